"""Which of several points no other beats in all objectives."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from typing import Protocol, TypeVar

from nbautoml.spec.objective import Objective

__all__ = ["dominates", "front_of", "front_of_trials"]


class _Trial(Protocol):
    @property
    def number(self) -> int: ...

    @property
    def state(self) -> str: ...

    @property
    def values(self) -> tuple[float, ...]: ...


_T = TypeVar("_T", bound=_Trial)


def dominates(one: Sequence[float], other: Sequence[float]) -> bool:
    """Whether one is as good in all and better in some; smaller is better.

    >>> dominates((1, 2), (1, 3)), dominates((1, 3), (2, 2))
    (True, False)
    """
    pairs = list(zip(one, other, strict=True))
    return all(a <= b for a, b in pairs) and any(a < b for a, b in pairs)


def front_of(points: Sequence[Sequence[float]]) -> list[int]:
    """Positions of the points that no other dominates; smaller is better.

    >>> front_of([(1, 5), (2, 2), (3, 3), (5, 1)])
    [0, 1, 3]
    """
    front: list[int] = []
    # In this order a point is only beaten by one before it, and then also by one of the front.
    for at in sorted(range(len(points)), key=lambda at: tuple(points[at])):
        if not any(dominates(points[other], points[at]) for other in front):
            front.append(at)
    return sorted(front)


def front_of_trials(rows: Iterable[_T], objectives: Sequence[Objective]) -> list[_T]:
    """The complete trials that no other beats in all objectives, by the first objective."""
    signs = [-1.0 if one.direction == "maximize" else 1.0 for one in objectives]
    found = [row for row in rows if row.state == "complete" and len(row.values) == len(signs)]
    found = [row for row in found if all(map(math.isfinite, row.values))]
    keys = [[s * v for s, v in zip(signs, row.values, strict=True)] for row in found]
    front = front_of(keys)
    return [found[at] for at in sorted(front, key=lambda at: (keys[at], found[at].number))]
