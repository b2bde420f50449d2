"""How long a trial took, whatever is done to the clock meanwhile.

Events carry wall-clock times, and a trial's duration is the difference of two of them; of it a run's
limit of time is made when the run goes on later. A clock that is set (or a machine that sleeps)
between start and end would add or take hours, so the end is moved by what the clock jumped.
"""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Callable

from nbautoml.events import Event, TrialEnded, TrialStarted

__all__ = ["TrialTimes"]

_JUMP_S = 2.0  # clocks that are slewed drift by less while a trial is trained


class TrialTimes:
    """Stamps events; the end of a trial with its start plus what has passed since.

    Args:
        wall: seconds since 1970.
        steady: seconds of a clock that nobody sets.

    >>> clock = {"wall": 1000.0, "steady": 5.0}
    >>> times = TrialTimes(lambda: clock["wall"], lambda: clock["steady"])
    >>> times.stamp(TrialStarted(trial=0, worker=1)).time
    1000.0
    >>> clock = {"wall": 1000.0 - 3600 + 20, "steady": 25.0}  # set back by an hour
    >>> times.stamp(TrialEnded(trial=0, state="complete")).time
    1020.0
    """

    def __init__(
        self,
        wall: Callable[[], float] = time.time,
        steady: Callable[[], float] = time.monotonic,
    ) -> None:
        self._wall, self._steady = wall, steady
        self._started: dict[int, tuple[float, float]] = {}  # trial -> wall, steady

    def stamp(self, event: Event) -> Event:
        """The event, with a time."""
        wall, steady = self._wall(), self._steady()
        at = event.time or wall
        if isinstance(event, TrialStarted):
            self._started[event.trial] = (wall, steady)
        elif isinstance(event, TrialEnded) and event.trial in self._started:
            begun, begun_steady = self._started.pop(event.trial)
            passed = steady - begun_steady
            jump = wall - begun - passed
            if abs(jump) > _JUMP_S:
                at = min(max(at - jump, begun), begun + passed)
        return event if event.time == at else dataclasses.replace(event, time=at)
