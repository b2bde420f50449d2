"""Trials of several objectives, as the driver keeps them: what each measured last, and who is ahead."""

from __future__ import annotations

from collections.abc import Sequence

from nbautoml.events import EpochEnded, Event, TrialEnded
from nbautoml.spec.fronts import front_of
from nbautoml.spec.objective import Objective

__all__ = ["Front"]


class Front:
    """The values that no other trial's beat in all objectives.

    >>> front = Front([Objective("accuracy", "maximize"), Objective("loss", "minimize")])
    >>> for number, values in enumerate([[0.9, 0.5], [0.8, 0.4], [0.8, 0.6]]):
    ...     front.take(TrialEnded(trial=number, state="complete", values=values))
    >>> front.values
    [[0.9, 0.5], [0.8, 0.4]]
    """

    def __init__(self, objectives: Sequence[Objective]) -> None:
        self._names = [one.metric for one in objectives]
        self._signs = [-1.0 if one.direction == "maximize" else 1.0 for one in objectives]
        self._measured: dict[int, list[float]] = {}
        self.values: list[list[float]] = []

    def take(self, event: Event) -> None:
        """Learn of an epoch or an end."""
        if isinstance(event, EpochEnded) and set(self._names) <= set(event.metrics):
            self._measured[event.trial] = [event.metrics[name] for name in self._names]
        elif isinstance(event, TrialEnded):
            self._measured.pop(event.trial, None)
            if event.state == "complete":
                self.add(event.values)

    def add(self, values: Sequence[float]) -> None:
        """The values of a whole trial."""
        if len(values) == len(self._signs):
            found = [*self.values, list(values)]
            keys = [[s * v for s, v in zip(self._signs, one, strict=True)] for one in found]
            self.values = [found[at] for at in front_of(keys)]

    def values_of(self, trial: int) -> list[float] | None:
        """What a running trial measured in its last epoch."""
        return self._measured.get(trial)
