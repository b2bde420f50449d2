"""What a reader gets: plain frozen rows, free of SQLAlchemy."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

__all__ = [
    "ArtifactRow",
    "Changes",
    "CommandRow",
    "Cursor",
    "LogRow",
    "Page",
    "Points",
    "RunInfo",
    "RunRow",
    "TrialRow",
    "spent_seconds",
]

FINISHED_STATES = frozenset({"complete", "stopped_early", "failed", "cancelled"})
OPEN_STATES = frozenset({"waiting", "running"})
LIVE_RUN_STATES = frozenset({"queued", "running", "paused"})


@dataclass(frozen=True, kw_only=True)
class RunRow:
    """One run, as its record states it; times are seconds since 1970 (UTC) or None.

    ``state`` is what a person should see: a run whose owner is gone reads "interrupted",
    whatever it was doing when it went. Such a run is an orphan, and the trials that were running
    read "waiting", which they will be when somebody resumes it.
    """

    id: str
    name: str
    kind: str
    state: str
    message: str = ""
    plan: str = ""
    plan_details: Mapping[str, Any] = field(default_factory=dict)
    owner_pid: int | None = None
    owner_host: str = ""
    created_at: float = 0.0
    started_at: float | None = None
    ended_at: float | None = None
    seq: int = 0
    is_orphan: bool = False


@dataclass(frozen=True, kw_only=True)
class RunInfo:
    """One line of a list of runs.

    ``best_value`` is the first objective's best over trials that have a value, or None. Where there
    are several objectives ``bests`` has the best of each, by its metric; they may be of different
    trials.
    ``problem`` says why the record could not be read; the other fields then come from the recipe.
    """

    id: str
    name: str
    kind: str
    state: str
    path: Path
    message: str = ""
    created_at: float = 0.0
    started_at: float | None = None
    ended_at: float | None = None
    n_trials: int = 0
    n_finished: int = 0
    best_value: float | None = None
    bests: Mapping[str, float] = field(default_factory=dict)
    problem: str = ""


@dataclass(frozen=True, kw_only=True)
class TrialRow:
    """One trial.

    ``values`` holds one number an objective (empty while there is none), ``value`` the first of
    them; ``metrics`` are those of the best epoch once it ended, before that of the last epoch.
    ``seq`` is the run's counter at the trial's last change.
    """

    number: int
    state: str
    params: Mapping[str, Any]
    value: float | None = None
    values: tuple[float, ...] = ()
    metrics: Mapping[str, float] = field(default_factory=dict)
    attempt: int = 1
    epoch: int = 0
    step: int = 0
    best_epoch: int | None = None
    worker: int | None = None
    device: str = ""
    planned_at: float | None = None
    started_at: float | None = None
    ended_at: float | None = None
    error: str = ""
    traceback: str = ""
    seq: int = 0

    @property
    def is_finished(self) -> bool:
        """Whether it is over; a finished trial never changes."""
        return self.state in FINISHED_STATES

    @property
    def duration_s(self) -> float | None:
        """Seconds from start to end, never below 0; None before it ended."""
        if self.started_at is None or self.ended_at is None:
            return None
        return max(self.ended_at - self.started_at, 0.0)


def spent_seconds(rows: Iterable[TrialRow]) -> float:
    """What trials have taken together, of a run's limit of time; one that never began took nothing.

    >>> whole = TrialRow(number=0, state="complete", params={}, started_at=5.0, ended_at=7.0)
    >>> called_off = TrialRow(number=1, state="cancelled", params={}, ended_at=9.0)
    >>> spent_seconds([whole, called_off])
    2.0
    """
    return sum(row.duration_s or 0.0 for row in rows)


@dataclass(frozen=True, kw_only=True)
class Page:
    """What a screen shows of a run's trials, of one moment; all of them while there are few.

    ``counts`` holds the number of trials by state, of all. ``trials`` are the open ones, the best and
    the newest, in the order of their numbers: what is left out is finished, and never changes.
    """

    cursor: Cursor
    counts: Mapping[str, int]
    trials: list[TrialRow]


@dataclass(frozen=True, kw_only=True)
class Points:
    """Measured values in the order in which they were recorded, as columns of equal length.

    ``epochs`` is 0 for a value inside an epoch (a step's loss), else the epoch, from 1.

    >>> len(Points())
    0
    """

    ids: list[int] = field(default_factory=list)
    trials: list[int] = field(default_factory=list)
    names: list[str] = field(default_factory=list)
    steps: list[int] = field(default_factory=list)
    epochs: list[int] = field(default_factory=list)
    values: list[float] = field(default_factory=list)

    def __len__(self) -> int:
        return len(self.ids)


@dataclass(frozen=True, kw_only=True)
class LogRow:
    """One line of the run's log."""

    id: int
    time: float
    level: str
    text: str
    trial: int | None = None


@dataclass(frozen=True, kw_only=True)
class ArtifactRow:
    """One file of the run; ``path`` is relative to ``folder``, its ``artifacts/``."""

    id: int
    time: float
    trial: int | None
    kind: str
    path: str
    sha256: str
    n_bytes: int
    details: Mapping[str, Any] = field(default_factory=dict)
    folder: Path = Path()


@dataclass(frozen=True, kw_only=True)
class CommandRow:
    """A command that was obeyed, or refused for the reason in ``refusal``."""

    id: int
    time: float
    command_id: str
    command: str
    refusal: str = ""


@dataclass(frozen=True, kw_only=True)
class Cursor:
    """How much of a record a reader has seen; plain numbers, so that it can travel as JSON.

    ``of_orphan``: the reader knows already that the run's owner is gone, of which the record does not tell.
    """

    seq: int = 0
    point: int = 0
    log: int = 0
    command: int = 0
    of_orphan: bool = False


@dataclass(frozen=True, kw_only=True)
class Changes:
    """What is new since a cursor, of one moment.

    First forget all points of the trials in ``dropped`` (they began again: what they keep of
    their curves comes once more with ``points``), then take ``trials`` (whole rows that replace what was known) and ``points`` (appended).
    """

    run: RunRow
    trials: list[TrialRow]
    points: Points
    logs: list[LogRow]
    commands: list[CommandRow]
    dropped: list[int]
    cursor: Cursor

    def __bool__(self) -> bool:
        return bool(self.trials or self.points or self.logs or self.commands or self.dropped)
