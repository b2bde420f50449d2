"""A number that was measured, with all that one must know to believe it."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

__all__ = ["Measurement", "quantile"]

_DECIMAL = (("G", 1e9), ("M", 1e6), ("k", 1e3))


@dataclass(frozen=True, kw_only=True)
class Measurement:
    """A value with its unit, how it was found, from how many looks, and how far these lay apart.

    Attributes:
        value: in ``unit``.
        unit: "ms", "bytes", "weights", "MACs" ...
        method: how, in a few words.
        n: how many looks it is taken from; 1 for what is counted and cannot vary.
        spread: the distance between the quartiles of these looks, in ``unit``; 0 when counted.

    >>> print(Measurement(value=0.951, unit="ms", method="median", n=50, spread=0.02))
    0.951 ms (spread 0.02, n=50)
    >>> print(Measurement(value=431080, unit="weights", method="counted"))
    431 k weights
    """

    value: float
    unit: str
    method: str
    n: int = 1
    spread: float = 0.0

    def __str__(self) -> str:
        told = f"{_short(self.value)} {self.unit}" if self.unit == "ms" else self._counted()
        return f"{told} (spread {_short(self.spread)}, n={self.n})" if self.n > 1 else told

    def _counted(self) -> str:
        for letter, size in _DECIMAL:
            if abs(self.value) >= size:
                return f"{_short(self.value / size)} {letter}{'' if self.unit == 'B' else ' '}{self.unit}"
        return f"{_short(self.value)} {self.unit}"

    @classmethod
    def of_times(cls, seconds: Sequence[float], *, share: float, method: str) -> Measurement:
        """A quantile of times, in milliseconds.

        >>> Measurement.of_times([0.001, 0.002, 0.003], share=0.5, method="median").value
        2.0
        """
        times = sorted(1000 * second for second in seconds)
        return cls(
            value=quantile(times, share),
            unit="ms",
            method=method,
            n=len(times),
            spread=quantile(times, 0.75) - quantile(times, 0.25),
        )

    def to_json(self) -> dict[str, Any]:
        """Plain JSON: the fields by name."""
        return dict(vars(self))

    @classmethod
    def from_json(cls, found: Mapping[str, Any]) -> Measurement:
        """What `to_json` wrote."""
        return cls(**found)


def quantile(ordered: Sequence[float], share: float) -> float:
    """The value below which a share of the ordered numbers lies, between two of them linearly.

    >>> quantile([1, 2, 3, 4], 0.5)
    2.5
    """
    if not ordered:
        return math.nan
    place = share * (len(ordered) - 1)
    low = math.floor(place)
    high = min(low + 1, len(ordered) - 1)
    return ordered[low] + (ordered[high] - ordered[low]) * (place - low)


def _short(value: float) -> str:
    return f"{value:.3g}" if abs(value) < 1000 else f"{value:,.0f}"
