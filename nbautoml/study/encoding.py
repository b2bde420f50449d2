"""Points of a space as rows of numbers, for a model that compares points by distance.

A number lies in [0, 1] (over orders of magnitude where it is drawn so), a category is its place
among the options, and what does not exist in a point is NaN. Options that are all numbers, in
order, are such a number too: their places, evenly.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nbautoml.spec.space import Choice, Dimension, Float, Int, Space

__all__ = ["Axis", "Encoding"]

Array = NDArray[np.float64]

_FEW_LEVELS = 16  # of so many values each is a neighbour of each
_STEPS = np.array([-0.003, 0.003, -0.02, 0.02, -0.1, 0.1, -0.3, 0.3])
_INACTIVE = 0.5  # where a number that does not exist is placed: far from no value


@dataclass(frozen=True)
class Axis:
    """One dimension as numbers.

    Attributes:
        dimension: what it stands for.
        is_category: its values have no order.
        n_levels: how many values there are; None where they are endless.
    """

    dimension: Dimension
    is_category: bool
    n_levels: int | None

    @classmethod
    def of(cls, dimension: Dimension) -> Axis:
        """The axis of a dimension."""
        is_category = isinstance(dimension, Choice) and not _is_ordered(dimension.options)
        return cls(dimension, is_category, dimension.size())

    @cached_property
    def places(self) -> Array | None:
        """All places, where there are few."""
        if self.n_levels is None or self.n_levels > _FEW_LEVELS:
            return None
        if self.is_category:
            return np.arange(self.n_levels, dtype=np.float64)
        if isinstance(self.dimension, Int):
            return np.array([self.number(value) for value in self.dimension.values()])
        return np.linspace(0, 1, self.n_levels)

    def number(self, value: Any) -> float:
        """Where a value lies."""
        dimension = self.dimension
        if isinstance(dimension, Choice):
            place = dimension.options.index(value)
            return float(place) if self.is_category else place / (len(dimension.options) - 1)
        if not isinstance(dimension, (Int, Float)):
            raise TypeError(f"no axis for a {type(dimension).__name__}")
        low, high = float(dimension.low), float(dimension.high)
        if dimension.log:
            return math.log(float(value) / low) / math.log(high / low)
        return (float(value) - low) / (high - low)

    def value(self, number: float) -> Any:
        """The value at a place: the nearest one."""
        dimension = self.dimension
        if isinstance(dimension, Choice):
            return dimension.options[self._place(number)]
        if isinstance(dimension, Int):
            if not dimension.log:
                return dimension.low + self._place(number) * dimension.step
            whole = round(_between(dimension, number))
            return min(max(whole, dimension.low), dimension.high)
        if isinstance(dimension, Float):
            if dimension.step is not None:
                return dimension.values()[self._place(number)]
            return min(max(_between(dimension, number), dimension.low), dimension.high)
        raise TypeError(f"no axis for a {type(dimension).__name__}")

    def snapped(self, numbers: Array) -> Array:
        """The places of the values that are nearest to some numbers."""
        numbers = np.maximum(numbers, 0)  # `np.clip` takes 8 us, these two 1
        if not self.is_category:
            numbers = np.minimum(numbers, 1)
        dimension = self.dimension
        if self.is_category or self.n_levels is None:
            return numbers
        if isinstance(dimension, Int) and dimension.log:
            low, ratio = dimension.low, dimension.high / dimension.low
            whole = np.minimum(np.maximum(np.rint(low * ratio**numbers), low), dimension.high)
            found: Array = np.log(whole / low) / math.log(ratio)
            return found
        return np.rint(numbers * (self.n_levels - 1)) / (self.n_levels - 1)

    def drawn(self, n: int, generator: np.random.Generator) -> Array:
        """Numbers by chance, each value as likely as the dimension says."""
        if self.is_category:
            return generator.integers(self.n_levels or 1, size=n).astype(np.float64)
        if self.n_levels is not None and not getattr(self.dimension, "log", False):
            return generator.integers(self.n_levels, size=n) / (self.n_levels - 1)
        return self.snapped(generator.random(n))

    def middle(self, generator: np.random.Generator) -> float:
        """The middle of a number (one of the two, where there are two); any category."""
        if self.is_category:
            return float(self.drawn(1, generator)[0])
        return float(self.snapped(np.array([0.5 + generator.choice([-1e-6, 1e-6])]))[0])

    @property
    def is_fine(self) -> bool:
        """Whether its neighbours are a little and more to both sides: there are many values, in order."""
        return self.places is None and not self.is_category

    def near(self, numbers: Array, normals: Array, generator: np.random.Generator) -> Array:
        """Places beside each of some numbers, a number itself perhaps among its own; (n, m).

        Args:
            numbers: (n,).
            normals: for a fine axis, one a step; (n, m).
            generator: of other draws.
        """
        if self.places is not None:
            return np.broadcast_to(self.places, (len(numbers), len(self.places)))
        if self.is_category:
            return self.drawn(len(numbers) * _FEW_LEVELS, generator).reshape(len(numbers), -1)
        return self.snapped(numbers[:, None] + _STEPS * np.abs(normals))

    def _place(self, number: float) -> int:
        count = self.n_levels or 1
        place = round(number if self.is_category else number * (count - 1))
        return min(max(place, 0), count - 1)


class Encoding:
    """The dimensions of a space that vary, as axes.

    >>> encoding = Encoding(Space({"n": Int(1, 100, log=True), "kind": Choice("a", "b")}))
    >>> encoding.row({"n": 10, "kind": "b"}).tolist(), encoding.params(np.array([0.5, 1.0]))
    ([0.5, 1.0], {'n': 10, 'kind': 'b'})
    """

    def __init__(self, space: Space) -> None:
        self._space = space
        self.names = [name for name in space.order if space[name].size() != 1]
        self.axes = [Axis.of(space[name]) for name in self.names]
        self.is_category = np.array([axis.is_category for axis in self.axes], dtype=np.bool_)

    @property
    def is_coarse(self) -> bool:
        """Whether every dimension has but a few values: neighbouring points then differ a lot."""
        return all(axis.places is not None for axis in self.axes)

    def row(self, params: Mapping[str, Any]) -> Array:
        """A point as numbers, NaN where it has no value."""
        return np.array(
            [
                axis.number(params[name]) if name in params else math.nan
                for name, axis in zip(self.names, self.axes, strict=True)
            ]
        )

    def params(self, row: Array) -> dict[str, Any]:
        """The values at a row, those that do not exist left out."""
        return {
            name: axis.value(float(number))
            for name, axis, number in zip(self.names, self.axes, row, strict=True)
            if not math.isnan(number)
        }

    def features(self, rows: Array) -> Array:
        """Rows without NaN: a category that does not exist is one more category."""
        return np.where(np.isnan(rows), np.where(self.is_category, -1.0, _INACTIVE), rows)

    def drawn(self, n: int, generator: np.random.Generator) -> Array:
        """Points by chance; (n, d)."""
        columns = [axis.drawn(n, generator) for axis in self.axes]
        return self._settled(np.stack(columns, axis=1), generator)

    def middle(self, generator: np.random.Generator) -> Array:
        """The point in the middle of all numbers; (d,)."""
        row = np.array([axis.middle(generator) for axis in self.axes])
        settled: Array = self._settled(row[None], generator)[0]
        return settled

    def neighbours(self, rows: Array, generator: np.random.Generator) -> Array:
        """Points that differ from one of the rows in one dimension; (n, d)."""
        exists = ~np.isnan(rows)
        is_fine = np.array([axis.is_fine for axis in self.axes])
        normals = np.zeros((*rows.shape, len(_STEPS)))
        wanted = exists & is_fine
        normals[wanted] = generator.standard_normal((int(wanted.sum()), len(_STEPS)))
        places = [
            axis.near(rows[:, index], normals[:, index], generator)
            for index, axis in enumerate(self.axes)
        ]
        moved = np.repeat(rows[:, None], sum(near.shape[1] for near in places), axis=1)
        is_other = np.zeros(moved.shape[:2], dtype=np.bool_)
        end = 0
        for index, near in enumerate(places):
            begin, end = end, end + near.shape[1]
            moved[:, begin:end, index] = near
            own = rows[:, index, None]
            is_other[:, begin:end] = exists[:, index, None] & (near != own)
        return self._settled(moved[is_other], generator)

    def _settled(self, rows: Array, generator: np.random.Generator) -> Array:
        """Rows whose conditions hold: what cannot exist is NaN, what came into being is drawn."""
        if not self._space.is_conditional:
            return rows
        fresh = np.stack([axis.drawn(len(rows), generator) for axis in self.axes], axis=1)
        rows = np.where(np.isnan(rows), fresh, rows)
        constant = {name: next(iter(self._space[name].values()))
                    for name in self._space if name not in self.names}  # fmt: skip
        for row in rows:
            params: dict[str, Any] = {}
            for name in self._space.order:
                if name in constant:
                    params[name] = constant[name]
                    continue
                index = self.names.index(name)
                if self._space.is_active(name, params):
                    params[name] = self.axes[index].value(float(row[index]))
                else:
                    row[index] = math.nan
        return rows


def _is_ordered(options: tuple[Any, ...]) -> bool:
    """Whether options are numbers that rise, or fall, from first to last."""
    if len(options) < 3 or any(
        isinstance(option, bool) or not isinstance(option, (int, float)) for option in options
    ):
        return False
    return list(options) in (sorted(options), sorted(options, reverse=True))


def _between(dimension: Int | Float, share: float) -> float:
    low, high = float(dimension.low), float(dimension.high)
    if dimension.log:
        return float(low * (high / low) ** share)
    return low + share * (high - low)
