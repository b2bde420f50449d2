"""The clocks of a stack's trials: each runs with its share of the time that the stack has trained.

A stack of ten that has trained for five seconds has trained each of its trials for half a second.
All slices of a step cost the same, so that shares are equal, and nobody's clock runs while others
are waited for: a run that is paused, a record that is being written, an answer of the stopper's.
"""

from __future__ import annotations

import math
import time
from collections.abc import Sequence

from nbautoml.train.result import TimeOverError
from nbautoml.train.stacked.slots import Slot

__all__ = ["Shares"]


class Shares:
    """One epoch's time, shared by the trials that are in it.

    Args:
        slots: the trials; those that are over their time are given a `TimeOverError` as failure,
            and leave the stack at the end of the epoch.
    """

    def __init__(self, slots: Sequence[Slot]) -> None:
        self._slots, self._begin = slots, time.perf_counter()
        self._waited_before = sum(slot.waited_s for slot in slots)
        self._next_end = self._look_for_ends(0.0)

    @property
    def spent_s(self) -> float:
        """Seconds of the stack in this epoch, so far."""
        waited = sum(slot.waited_s for slot in self._slots) - self._waited_before
        return time.perf_counter() - self._begin - waited

    def check(self) -> None:
        """Before a batch: is a trial over its time?"""
        if self._next_end < math.inf and (spent := self.spent_s) > self._next_end:
            self._next_end = self._look_for_ends(spent)

    def close(self) -> None:
        """The epoch is over: its time goes to the trials' accounts."""
        spent = self.spent_s
        self._look_for_ends(spent)
        for slot in self._slots:
            slot.duration_s += spent / len(self._slots)

    def _look_for_ends(self, spent: float) -> float:
        """Fail those whose time is over; returns the seconds of the epoch at which the next is."""
        ends = [math.inf]
        for slot in self._slots:
            member = slot.member
            if member.limit_s is None or slot.failure is not None:
                continue
            left = member.limit_s - member.built_s - slot.duration_s
            if left * len(self._slots) < spent:
                slot.failure = TimeOverError(f"took longer than {member.limit_s:g} s")
            else:
                ends.append(left * len(self._slots))
        return min(ends)
