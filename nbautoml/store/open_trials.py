"""What a writer remembers of its run between two transactions."""

from __future__ import annotations

import dataclasses
import operator
from dataclasses import dataclass, field

from nbautoml.store.texts import checksum

__all__ = ["CHECKED_COLUMNS", "TRIAL_COLUMNS", "OpenTrials", "Trial", "checksum_of"]


@dataclass(slots=True)
class Trial:
    """A trial that is not over, in the columns of its row."""

    number: int
    state: str = "waiting"
    attempt: int = 1
    params: str = "{}"
    value: float | None = None
    objective_values: str = "[]"
    metrics: str = "{}"
    epoch: int = 0
    step: int = 0
    best_epoch: int | None = None
    worker: int | None = None
    device: str = ""
    owner: str | None = None
    planned_at: float | None = None
    started_at: float | None = None
    ended_at: float | None = None
    error: str = ""
    traceback: str = ""
    n_points: int = 0
    dropped_seq: int = 0
    checksum: int | None = None
    seq: int = 0


TRIAL_COLUMNS = tuple(item.name for item in dataclasses.fields(Trial))
CHECKED_COLUMNS = tuple(name for name in TRIAL_COLUMNS if name not in {"owner", "checksum"})
_checked = operator.attrgetter(*CHECKED_COLUMNS)


def checksum_of(trial: Trial) -> int:
    """Of a finished trial's row."""
    return checksum(_checked(trial))


@dataclass
class OpenTrials:
    """What a writer remembers of its run: open trials whole, finished ones by number."""

    seq: int = 0
    state: str = "queued"
    started_at: float | None = None
    n_trials: int = 0
    trials: dict[int, Trial] = field(default_factory=dict)
    finished: set[int] = field(default_factory=set)
    commands: set[str] = field(default_factory=set)
