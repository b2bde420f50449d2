"""Which checkpoints a run's open trials have: the books of its supervisor. No torch here."""

from __future__ import annotations

from collections.abc import Iterable

from nbautoml.events import ArtifactRemoved, ArtifactWritten, Checkpoint, Event, TrialEnded
from nbautoml.store import ArtifactRow

__all__ = ["CHECKPOINT", "Kept"]

CHECKPOINT = "checkpoint"
# The newest, and one to fall back on should that turn out to be damaged.
N_KEPT = 2


class Kept:
    """Checkpoints by trial, newest first; what is no longer needed comes back as removals.

    >>> kept = Kept()
    >>> for epoch in (1, 2, 3):
    ...     gone = kept.take(
    ...         ArtifactWritten(
    ...             trial=7,
    ...             kind="checkpoint",
    ...             path=f"c{epoch}",
    ...             sha256="",
    ...             n_bytes=9,
    ...             details={"epoch": epoch, "step": 10 * epoch},
    ...         )
    ...     )
    >>> [item.epoch for item in kept.of(7)], [event.path for event in gone]
    ([3, 2], ['c1'])
    >>> [event.path for event in kept.take(TrialEnded(trial=7, state="complete"))]
    ['c3', 'c2']
    """

    def __init__(self) -> None:
        self._of: dict[int, tuple[Checkpoint, ...]] = {}

    def restore(self, rows: Iterable[ArtifactRow], finished: Iterable[int]) -> list[Event]:
        """Take over what a record holds.

        Args:
            rows: of its artifacts, oldest first.
            finished: trials that are over, whose checkpoints nobody will ask for.
        """
        gone: list[Event] = []
        for row in rows:
            if row.kind == CHECKPOINT and row.trial is not None:
                gone += self._add(row.trial, row)
        for number in set(finished) & self._of.keys():
            gone += self._drop(number)
        return gone

    def of(self, trial: int) -> tuple[Checkpoint, ...]:
        """What the trial can go on from, newest first."""
        return self._of.get(trial, ())

    def take(self, event: Event) -> list[Event]:
        """Learn of an event; returns what can be removed since."""
        if isinstance(event, ArtifactWritten) and event.kind == CHECKPOINT:
            return self._add(event.trial, event) if event.trial is not None else []
        return self._drop(event.trial) if isinstance(event, TrialEnded) else []

    def _add(self, trial: int, file: ArtifactWritten | ArtifactRow) -> list[Event]:
        new = Checkpoint(
            path=file.path,
            sha256=file.sha256,
            n_bytes=file.n_bytes,
            epoch=int(file.details["epoch"]),
            step=int(file.details["step"]),
        )
        # An attempt that fell back on an older one writes that epoch again: later ones are void.
        older = [item for item in self.of(trial) if item.epoch < new.epoch]
        kept = (new, *older)[:N_KEPT]
        gone = [item for item in self.of(trial) if item not in kept]
        self._of[trial] = kept
        return [ArtifactRemoved(path=item.path) for item in gone]

    def _drop(self, trial: int) -> list[Event]:
        return [ArtifactRemoved(path=item.path) for item in self._of.pop(trial, ())]
