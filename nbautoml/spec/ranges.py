"""`Int` and `Float`: numbers that may vary."""

from __future__ import annotations

import math
import numbers
from dataclasses import KW_ONLY, dataclass, replace
from decimal import Decimal
from typing import Any

from nbautoml.errors import SpaceError
from nbautoml.spec.dimension import Dimension, When, check_when, number_repr, when_repr

__all__ = ["Float", "Int"]

_LARGEST_INT = 2**53  # above it a float (the sampler's and JavaScript's number) skips integers


@dataclass(frozen=True, repr=False)
class Int(Dimension):
    """A whole number from ``low`` to ``high``, both included.

    Args:
        low: smallest value.
        high: largest value.
        log: draw evenly over orders of magnitude; needs ``low`` of at least 1 and no ``step``.
        step: distance of neighbours; must divide ``high - low``.
        when: ``("optimizer", "sgd")`` or ``("optimizer", ("sgd", "momentum"))``: the dimension
            exists only with these values of another one.

    Raises:
        SpaceError: the range is impossible.

    >>> Int(16, 256, log=True)
    Int(16, 256, log=True)
    >>> Int(4, 1)
    Traceback (most recent call last):
        ...
    nbautoml.errors.SpaceError: Int(4, 1): low is above high
    Hint: write Int(1, 4)
    """

    low: int
    high: int
    _: KW_ONLY
    log: bool = False
    step: int = 1
    when: When | None = None

    def __post_init__(self) -> None:
        for name in ("low", "high", "step"):
            object.__setattr__(self, name, self._whole(name, getattr(self, name)))
        object.__setattr__(self, "when", check_when(self, self.when))
        _check_flag(self)
        if self.low > self.high:
            raise SpaceError(
                f"{self!r}: low is above high", hint=f"write Int({self.high}, {self.low})"
            )
        if max(abs(self.low), abs(self.high)) > _LARGEST_INT:
            raise SpaceError(
                f"{self!r}: bounds beyond 2**53 cannot be drawn exactly", hint="use a Float"
            )
        if self.step < 1:
            raise SpaceError(f"{self!r}: step is {self.step}", hint="at least 1")
        if self.log and self.low < 1:
            raise SpaceError(
                f"{self!r}: log needs low to be at least 1, it is {self.low}",
                hint="raise low to 1, or leave out log=True",
            )
        if self.log and self.step != 1:
            raise SpaceError(f"{self!r}: log and step exclude each other", hint="drop one of them")
        if (self.high - self.low) % self.step:
            last = self.high - (self.high - self.low) % self.step
            raise SpaceError(
                f"{self!r}: steps of {self.step} from {self.low} miss {self.high}",
                hint=f"{last} is the last one that is reached: write Int({self.low}, {last}, "
                f"step={self.step})",
            )

    def _whole(self, name: str, value: Any) -> int:
        if isinstance(value, bool):
            raise SpaceError(f"Int: {name} is {value!r}", hint="write Choice(False, True)")
        if isinstance(value, numbers.Integral):
            return int(value)
        if isinstance(value, numbers.Real) and float(value).is_integer():
            return int(float(value))  # 1e3 is how people write a thousand
        raise SpaceError(
            f"Int: {name} is {value!r}, which is no whole number",
            hint="use Float for numbers between whole ones",
        )

    def contains(self, value: Any) -> bool:
        """Whether a value, as the record holds it, belongs to the dimension."""
        if isinstance(value, bool) or not isinstance(value, numbers.Integral):
            return False
        whole = int(value)
        return self.low <= whole <= self.high and (whole - self.low) % self.step == 0

    def size(self) -> int:
        """How many values there are."""
        return (self.high - self.low) // self.step + 1

    def values(self) -> range:
        """All values, in order."""
        return range(self.low, self.high + 1, self.step)

    def unconditional(self) -> Int:
        """The dimension without its condition."""
        return replace(self, when=None)

    def to_json(self) -> dict[str, Any]:
        """Plain JSON, which reads back as an equal value."""
        return _body(self)

    def __repr__(self) -> str:
        step = "" if self.step == 1 else f", step={self.step}"
        log = ", log=True" if self.log is True else ""
        return f"Int({self.low}, {self.high}{log}{step}{when_repr(self.when)})"


@dataclass(frozen=True, repr=False)
class Float(Dimension):
    """A number from ``low`` to ``high``, both included.

    Args:
        low: smallest value.
        high: largest value.
        log: draw evenly over orders of magnitude; needs ``low`` above 0 and no ``step``.
        step: distance of neighbours; must divide ``high - low``; None draws from a continuum.
        when: see `Int`.

    Raises:
        SpaceError: the range is impossible.

    >>> Float(1e-4, 0.1, log=True)
    Float(0.0001, 0.1, log=True)
    >>> Float(0, 0.1, log=True)
    Traceback (most recent call last):
        ...
    nbautoml.errors.SpaceError: Float(0, 0.1, log=True): log needs low to be above 0
    Hint: raise low, to 0.0001 for instance, or leave out log=True
    """

    low: float
    high: float
    _: KW_ONLY
    log: bool = False
    step: float | None = None
    when: When | None = None

    def __post_init__(self) -> None:
        for name in ("low", "high", "step"):
            value = getattr(self, name)
            if value is not None or name != "step":
                object.__setattr__(self, name, self._number(name, value))
        object.__setattr__(self, "when", check_when(self, self.when))
        _check_flag(self)
        if self.low > self.high:
            swapped = f"Float({number_repr(self.high)}, {number_repr(self.low)})"
            raise SpaceError(f"{self!r}: low is above high", hint=f"write {swapped}")
        if not math.isfinite(self.high - self.low):
            raise SpaceError(f"{self!r}: the range is too wide for a float")
        if self.log and self.low <= 0:
            raise SpaceError(
                f"{self!r}: log needs low to be above 0",
                hint=f"raise low, to {number_repr(abs(self.high) / 1000 or 1e-4)} for instance, "
                "or leave out log=True",
            )
        if self.step is not None:
            self._check_step(self.step)

    def _number(self, name: str, value: Any) -> float:
        if isinstance(value, bool) or not isinstance(value, numbers.Real):
            raise SpaceError(f"Float: {name} is {value!r}, which is no number")
        if not math.isfinite(value):
            raise SpaceError(f"Float: {name} is {value!r}", hint="bounds must be finite")
        return float(value) + 0.0  # + 0.0 turns -0.0 into 0.0, which reads as what was meant

    def _check_step(self, step: float) -> None:
        if step <= 0:
            raise SpaceError(f"{self!r}: step is {number_repr(step)}", hint="more than 0")
        if self.log:
            raise SpaceError(f"{self!r}: log and step exclude each other", hint="drop one of them")
        # In decimals, as typed: 0.3 is no multiple of 0.1 in binary floats.
        low, high, size = (Decimal(repr(number)) for number in (self.low, self.high, step))
        if (high - low) % size:
            last = float(low + (high - low) // size * size)
            raise SpaceError(
                f"{self!r}: steps of {number_repr(step)} from {number_repr(self.low)} miss "
                f"{number_repr(self.high)}",
                hint=f"{number_repr(last)} is the last one that is reached",
            )

    def contains(self, value: Any) -> bool:
        """Whether a value, as the record holds it, belongs to the dimension."""
        if isinstance(value, bool) or not isinstance(value, numbers.Real):
            return False
        number = float(value)
        if not self.low <= number <= self.high:
            return False
        if self.step is None:
            return True
        steps = (number - self.low) / self.step
        return abs(steps - round(steps)) < 1e-6

    def size(self) -> int | None:
        """How many values there are; None without a step."""
        if self.low == self.high:
            return 1
        return None if self.step is None else round((self.high - self.low) / self.step) + 1

    def values(self) -> list[float]:
        """All values, in order; needs a step."""
        if self.low == self.high:
            return [self.low]
        if self.step is None:
            raise SpaceError(f"{self!r} has no list of values", hint="give it a step")
        low, size = Decimal(repr(self.low)), Decimal(repr(self.step))
        return [float(low + size * index) for index in range(self.size() or 0)]

    def unconditional(self) -> Float:
        """The dimension without its condition."""
        return replace(self, when=None)

    def to_json(self) -> dict[str, Any]:
        """Plain JSON, which reads back as an equal value."""
        return _body(self)

    def __repr__(self) -> str:
        step = "" if self.step is None else f", step={number_repr(self.step)}"
        log = ", log=True" if self.log is True else ""
        bounds = f"{number_repr(self.low)}, {number_repr(self.high)}"
        return f"Float({bounds}{log}{step}{when_repr(self.when)})"


def _body(dimension: Int | Float) -> dict[str, Any]:
    """JSON of a range; what was not said is left out, so that a recipe reads well."""
    body: dict[str, Any] = {
        "type": type(dimension).__name__,
        "low": dimension.low,
        "high": dimension.high,
    }
    if dimension.log:
        body["log"] = True
    if dimension.step not in (None, 1) or (isinstance(dimension, Float) and dimension.step == 1):
        body["step"] = dimension.step
    if dimension.when is not None:
        body["when"] = [dimension.when[0], list(dimension.when[1])]
    return body


def _check_flag(dimension: Int | Float) -> None:
    if not isinstance(dimension.log, bool):
        raise SpaceError(
            f"{type(dimension).__name__}: log is {dimension.log!r}", hint="write log=True"
        )
