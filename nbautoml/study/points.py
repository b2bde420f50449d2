"""Lists of points of a space: the grid, in an order that is shuffled but fixed, and Sobol's points."""

from __future__ import annotations

import math
import random
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from nbautoml.errors import SpaceError
from nbautoml.spec.space import Choice, Dimension, Float, Int, Space

__all__ = ["Grid", "SobolPoints", "from_unit"]

_SHUFFLED = 100_000  # up to so many points the order is a true shuffle, held in memory
_MOST_BRANCHES = 10_000


class Grid:
    """All points of a space, conditions included, none twice.

    A ``Float`` without a step, and an ``Int`` that is drawn over orders of magnitude, is cut into
    as many values as `n_trials` affords; any other dimension contributes all its values. Nothing
    is listed beforehand, so that a grid of 10^12 points costs no memory.

    Args:
        space: what varies.
        n_trials: how many points can be afforded; needed only where values have to be placed.
        seed: decides the order.
        should_place: False refuses dimensions that would have to be cut (brute force).

    Raises:
        SpaceError: values have to be placed and `n_trials` is None, or `should_place` is False.

    >>> grid = Grid(Space({"a": Int(1, 2), "b": Choice("x", "y", when=("a", 2))}), seed=1)
    >>> grid.size, sorted(map(str, grid))
    (3, ["{'a': 1}", "{'a': 2, 'b': 'x'}", "{'a': 2, 'b': 'y'}"])
    """

    def __init__(
        self,
        space: Space,
        *,
        n_trials: int | None = None,
        seed: int = 0,
        should_place: bool = True,
    ) -> None:
        self._space = space
        self._axes = _axes(space, n_trials, should_place=should_place)
        self._children: dict[str, list[str]] = {name: [] for name in space}
        for name, dimension in space.items():
            if dimension.when is not None:
                self._children[dimension.when[0]].append(name)
        self._roots = [name for name in space.order if space[name].when is None]
        self.size = self._product(self._roots)
        self._order = _order(self.size, seed)
        self._cursor = 0
        self._given: set[tuple[Any, ...]] = set()
        self._returned: list[dict[str, Any]] = []

    def __iter__(self) -> Iterator[dict[str, Any]]:
        return (self.point(self._order[place]) for place in range(self.size))

    def take(self) -> dict[str, Any] | None:
        """The next point that was not given yet; None when all were."""
        while self._returned:
            point = self._returned.pop()
            if self._key(point) not in self._given:
                self.mark(point)
                return point
        while self._cursor < self.size:
            point = self.point(self._order[self._cursor])
            self._cursor += 1
            if self._key(point) not in self._given:
                self.mark(point)
                return point
        return None

    def give_back(self, point: dict[str, Any]) -> None:
        """Take back a point that was given but not tried."""
        self._given.discard(self._key(point))
        self._returned.append(point)

    def mark(self, params: Mapping[str, Any]) -> None:
        """Note that a point was given elsewhere: by an earlier process, or by a person."""
        self._given.add(self._key(params))

    @property
    def is_exhausted(self) -> bool:
        """Whether every point was given."""
        if any(self._key(point) not in self._given for point in self._returned):
            return False
        while self._cursor < self.size:
            if self._key(self.point(self._order[self._cursor])) not in self._given:
                return False
            self._cursor += 1
        return True

    def point(self, index: int) -> dict[str, Any]:
        """The point of an index below `size`."""
        point: dict[str, Any] = {}
        self._decode(self._roots, index, point)
        return point

    def describe(self) -> str:
        """The grid in a line for people: how many values each dimension contributes.

        >>> Grid(Space({"a": Int(1, 3), "b": Choice("x", "y")})).describe()
        '6 points (a: 3, b: 2)'
        """
        counts = ", ".join(f"{name}: {len(axis)}" for name, axis in self._axes.items())
        return f"{self.size} points ({counts})"

    def _decode(self, names: Sequence[str], index: int, point: dict[str, Any]) -> None:
        for name in names:
            index, rest = divmod(index, self._count(name))
            axis = self._axes[name]
            if not self._children[name]:
                point[name] = axis[rest]
                continue
            for value in axis:
                active = self._active(name, value)
                n_below = self._product(active)
                if rest < n_below:
                    point[name] = value
                    self._decode(active, rest, point)
                    break
                rest -= n_below

    def _count(self, name: str) -> int:
        axis = self._axes[name]
        if not self._children[name]:
            return len(axis)
        return sum(self._product(self._active(name, value)) for value in axis)

    def _product(self, names: Sequence[str]) -> int:
        return math.prod(self._count(name) for name in names)

    def _active(self, parent: str, value: Any) -> list[str]:
        return [
            child
            for child in self._children[parent]
            if value in (self._space[child].when or ("", ()))[1]
        ]

    def _key(self, params: Mapping[str, Any]) -> tuple[Any, ...]:
        return tuple((name, params[name]) for name in self._space.order if name in params)


class SobolPoints:
    """Points that fill a space evenly, whichever are left out: scrambled Sobol points.

    Point ``k`` depends on the seed and on ``k`` alone. Conditions are honoured by drawing every
    dimension and leaving out those that do not exist.

    Source: Owen, "Scrambling Sobol' and Niederreiter-Xing points", 1998, as in scipy.
    """

    def __init__(self, space: Space, *, seed: int = 0) -> None:
        self._space = space
        self._seed = seed
        self._engine: Any = None

    def point(self, index: int) -> dict[str, Any]:
        """Values for all dimensions, whether they are active or not."""
        if not self._space:
            return {}
        if self._engine is None or self._engine.num_generated > index:
            self._engine = self._new_engine()
        if self._engine.num_generated < index:
            self._engine.fast_forward(index - self._engine.num_generated)
        row = self._engine.random(1)[0]
        return {
            name: from_unit(self._space[name], float(share))
            for name, share in zip(self._space.order, row, strict=True)
        }

    def _new_engine(self) -> Any:
        import numpy as np
        from scipy.stats import qmc

        generator = np.random.default_rng(self._seed)
        n_dimensions = len(self._space)
        try:
            return qmc.Sobol(n_dimensions, scramble=True, rng=generator)
        except TypeError:  # scipy before 1.15 calls it seed
            return qmc.Sobol(n_dimensions, scramble=True, seed=generator)


def from_unit(dimension: Dimension, share: float) -> Any:
    """The value of a dimension at a share in [0, 1) of its range.

    >>> from_unit(Int(1, 4), 0.5), from_unit(Choice("a", "b"), 0.9)
    (3, 'b')
    >>> round(from_unit(Float(1e-4, 1e-2, log=True), 0.5), 6)
    0.001
    """
    if isinstance(dimension, Choice):
        return dimension.options[min(int(share * len(dimension.options)), dimension.size() - 1)]
    if isinstance(dimension, Int):
        if dimension.log:
            low, high = math.log(dimension.low - 0.5), math.log(dimension.high + 0.5)
            whole = round(math.exp(low + share * (high - low)))
            return min(max(whole, dimension.low), dimension.high)
        return dimension.values()[min(int(share * dimension.size()), dimension.size() - 1)]
    if isinstance(dimension, Float):
        return _float_from_unit(dimension, share)
    raise TypeError(f"no point of a {type(dimension).__name__}")


def _float_from_unit(dimension: Float, share: float) -> float:
    size = dimension.size()
    if size is not None:
        return dimension.values()[min(int(share * size), size - 1)]
    if dimension.log:
        low, high = math.log(dimension.low), math.log(dimension.high)
        value = math.exp(low + share * (high - low))
    else:
        value = dimension.low + share * (dimension.high - dimension.low)
    return min(max(value, dimension.low), dimension.high)


def _axes(space: Space, n_trials: int | None, *, should_place: bool) -> dict[str, Sequence[Any]]:
    parents = {dimension.when[0] for dimension in space.values() if dimension.when is not None}
    # Every value of a parent is kept: conditions name single ones.
    placed = [name for name in space.order if name not in parents and _is_placed(space[name])]
    endless = [name for name in placed if space[name].size() is None]
    if endless and not should_place:
        raise SpaceError(
            f"{endless[0]} is {space[endless[0]]!r}, which has no end of values",
            hint="give it a step, or use grid, which places values itself",
        )
    placed = placed if should_place else []
    if placed and n_trials is None:
        raise SpaceError(
            f"a grid needs to know how many values of {', '.join(placed)} to try",
            hint="say how many trials there shall be, or use a step or a Choice",
        )
    axes: dict[str, Sequence[Any]] = {}
    n_fixed = math.prod(space[name].size() or 1 for name in space if name not in placed)
    n_each = _root((n_trials or 1) / n_fixed, len(placed)) if placed else 0
    for name in space.order:
        dimension = space[name]
        if name in placed:
            axes[name] = _placed_values(dimension, n_each)
        else:
            axes[name] = dimension.values()  # type: ignore[assignment]
        if name in parents and len(axes[name]) > _MOST_BRANCHES:
            raise SpaceError(f"{name} has too many values for conditions on a grid: {dimension!r}")
    return axes


def _is_placed(dimension: Dimension) -> bool:
    if isinstance(dimension, Int):
        return dimension.log and dimension.size() > 2
    return dimension.size() is None


def _root(ratio: float, n: int) -> int:
    """The largest whole number, at least 2, whose n-th power is at most the ratio."""
    # The small addition makes 1000 ** (1/3) the 10 that it is.
    root: float = max(ratio, 1.0) ** (1 / n)
    return max(2, math.floor(root + 1e-9))


def _placed_values(dimension: Dimension, n: int) -> list[Any]:
    """Values from end to end, evenly, over orders of magnitude for a log dimension."""
    if not isinstance(dimension, (Int, Float)):
        raise TypeError(f"values of a {type(dimension).__name__} are not placed")
    low, high = dimension.low, dimension.high
    values: list[Any] = []
    for index in range(n):
        share = index / (n - 1)
        value = low * (high / low) ** share if dimension.log else low + (high - low) * share
        found = round(value) if isinstance(dimension, Int) else float(f"{value:.6g}")
        found = min(max(found, low), high)
        if found not in values:
            values.append(found)
    return values


def _order(size: int, seed: int) -> Sequence[int]:
    generator = random.Random(seed)  # noqa: S311  an order, not a secret
    if size <= _SHUFFLED:
        order = list(range(size))
        generator.shuffle(order)
        return order
    return _Strides(size, generator)


class _Strides(Sequence[int]):
    """A permutation of range(size) that takes no memory: steps of a stride without a common factor."""

    def __init__(self, size: int, generator: random.Random) -> None:
        self._size = size
        self._start = generator.randrange(size)
        self._stride = generator.randrange(size // 3, size)
        while math.gcd(self._stride, size) != 1:
            self._stride = (self._stride + 1) % size

    def __len__(self) -> int:
        return self._size

    def __getitem__(self, place: Any) -> Any:
        return (self._start + place * self._stride) % self._size
