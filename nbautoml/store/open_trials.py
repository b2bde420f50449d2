"""What a writer remembers of its run between two transactions."""

from __future__ import annotations

import dataclasses
import operator
from dataclasses import dataclass, field
from typing import Any

from nbautoml.store.texts import checksum

__all__ = [
    "CHECKED_COLUMNS",
    "TRIAL_COLUMNS",
    "OpenTrials",
    "Trial",
    "checksum_of",
    "columns_of",
    "copy_of",
]


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
_all = operator.attrgetter(*TRIAL_COLUMNS)


def columns_of(trial: Trial) -> dict[str, Any]:
    """Its row."""
    return dict(zip(TRIAL_COLUMNS, _all(trial), strict=True))


def copy_of(trial: Trial) -> Trial:
    """One to be changed; `dataclasses.replace` takes three times as long."""
    return Trial(*_all(trial))


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
