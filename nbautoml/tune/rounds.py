"""The driver's side of rounds: which trials are drawn together, and when they are told.

Without rounds a trial is drawn when a worker is free, and told when it ends. The rule of rounds,
and why, stands in `nbautoml.study.rounds`.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from nbautoml.events import TrialEnded

if TYPE_CHECKING:
    from nbautoml.store import TrialRow

__all__ = ["Rounds"]


@dataclass
class Rounds:
    """The trials that are drawn and not told yet.

    Attributes:
        size: trials in a round; None where there are no rounds.
    """

    size: int | None = None
    _open: set[int] = field(default_factory=set)
    _ended: dict[int, TrialEnded] = field(default_factory=dict)

    @property
    def n_to_draw(self) -> int:
        """How many trials may be drawn now: none before the round was told."""
        if self.size is None:
            return 1
        return 0 if self._open or self._ended else self.size

    def drawn(self, trial: int) -> None:
        """A trial was drawn."""
        if self.size is not None:
            self._open.add(trial)

    def ended(self, event: TrialEnded) -> Sequence[TrialEnded]:
        """A trial has ended: what is to be told now, in the order of the numbers."""
        if self.size is None:
            return [event]
        self._open.discard(event.trial)
        self._ended[event.trial] = event
        if self._open:
            return []
        told = [self._ended[number] for number in sorted(self._ended)]
        self._ended = {}
        return told

    def resume(self, rows: Iterable[TrialRow]) -> Sequence[TrialEnded]:
        """Take over the rows of a record; returns the ends that were told already."""
        found = list(rows)
        if self.size is None or not found:
            return []
        first = max(row.number for row in found) // self.size * self.size
        last = [row for row in found if row.number >= first]
        told = [row for row in found if row.number < first]
        if all(row.is_finished for row in last):
            told = found
        else:
            self._open = {row.number for row in last if not row.is_finished}
            self._ended = {row.number: _end_of(row) for row in last if row.is_finished}
        return [_end_of(row) for row in sorted(told, key=lambda row: row.number)]


def _end_of(row: TrialRow) -> TrialEnded:
    return TrialEnded(trial=row.number, state=row.state, values=list(row.values), error=row.error)
