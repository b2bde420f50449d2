"""Ways that take turns, and the time that a chapter may take."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping

__all__ = ["Clock", "TimeOverError", "alternate"]


class TimeOverError(Exception):
    """Nothing can be measured any more: the chapter's time is over."""


class Clock:
    """How long a chapter may still take, and what it left out for want of time.

    Args:
        limit_s: seconds from now.

    Attributes:
        left_out: what was not measured, a sentence each; taken by who writes the next figure.

    >>> clock = Clock(0.0)
    >>> alternate({"a": lambda: 1.0}, repeats=2, clock=clock)
    Traceback (most recent call last):
        ...
    turns.TimeOverError: left out: the chapter's time was over
    """

    def __init__(self, limit_s: float = float("inf")) -> None:
        self._until = time.monotonic() + limit_s
        self.left_out: list[str] = []

    @property
    def left_s(self) -> float:
        """Seconds that are left."""
        return self._until - time.monotonic()

    def taken(self) -> list[str]:
        """What was left out since this was asked last."""
        found, self.left_out = self.left_out, []
        return found


def alternate(
    ways: Mapping[str, Callable[[], float]],
    *,
    repeats: int | Mapping[str, int],
    n_warm: int = 0,
    clock: Clock | None = None,
) -> dict[str, list[float]]:
    """Values of each way, the ways taking turns, so that a busy machine is busy for all.

    No turn begins that would not end in time, as long as the one before took; the clock is told.

    Args:
        ways: each gives one value.
        repeats: of all, or by way where one is too slow for as many.
        n_warm: first turns that are not kept.
        clock: of the chapter.

    Raises:
        TimeOverError: there is no time for a single turn.
    """
    clock = clock or Clock()
    if clock.left_s <= 0:
        raise TimeOverError("left out: the chapter's time was over")
    found: dict[str, list[float]] = {name: [] for name in ways}
    wanted = dict.fromkeys(ways, repeats) if isinstance(repeats, int) else dict(repeats)
    took: dict[str, float] = dict.fromkeys(ways, 0.0)
    for turn in range(max(wanted.values()) + n_warm):
        due = [name for name in ways if turn < wanted[name] + n_warm]
        if sum(took[name] for name in due) > clock.left_s:
            short = [f"{name} {len(found[name])} of {wanted[name]}" for name in due]
            clock.left_out.append(f"Repeats cut short by the time limit: {', '.join(short)}.")
            break
        for name in due:
            begin = time.monotonic()
            value = ways[name]()
            took[name] = time.monotonic() - begin
            if turn >= n_warm:
                found[name].append(value)
    if not any(found.values()):
        clock.taken()
        raise TimeOverError("left out: there was time for a first turn only, which is not kept")
    return {name: values for name, values in found.items() if values}
