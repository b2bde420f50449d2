"""What a worker is given to do, and what it may call while doing it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import Enum
from pathlib import Path
from typing import Any, Protocol

from nbautoml.events.facts import Event

__all__ = [
    "Checkpoint",
    "Handout",
    "Obeyed",
    "RunControl",
    "Task",
    "TaskContext",
    "TrialSpec",
    "Verdict",
]


@dataclass(frozen=True, kw_only=True)
class Checkpoint:
    """A file of ``artifacts/`` from which a trial can go on after an epoch."""

    path: str
    sha256: str
    n_bytes: int
    epoch: int
    step: int


@dataclass(frozen=True, kw_only=True)
class TrialSpec:
    """One point of the space to be tried: its number, active parameters and own seed.

    ``checkpoints``: what an earlier attempt left to go on from, newest first.
    """

    number: int
    params: Mapping[str, Any]
    seed: int
    checkpoints: tuple[Checkpoint, ...] = ()

    @property
    def start(self) -> tuple[int, int]:
        """Epoch and step after which it goes on; zeros when it starts anew."""
        newest = self.checkpoints[0] if self.checkpoints else None
        return (newest.epoch, newest.step) if newest else (0, 0)

    def to_json(self) -> dict[str, Any]:
        """The trial as a JSON object: the fields by name."""
        return {**vars(self), "checkpoints": [vars(item) for item in self.checkpoints]}

    @classmethod
    def from_json(cls, found: Mapping[str, Any]) -> TrialSpec:
        """The trial that `to_json` wrote."""
        kept = tuple(Checkpoint(**item) for item in found["checkpoints"])
        return cls(**{**found, "checkpoints": kept})


@dataclass(frozen=True, kw_only=True)
class Task:
    """A piece of work for one worker: one trial, or a stack of them.

    Attributes:
        handler: "package.module:function" inside nbautoml, called as ``handler(task, context)``.
        trials: the trials that the handler trains; it must end each with a `TrialEnded`.
        payload: anything else it needs, as plain JSON.
        limit_s: seconds that a trial may take; None for no limit. Handlers see to it; a worker
            that takes longer than all its trials together may is ended.
    """

    handler: str
    trials: tuple[TrialSpec, ...]
    payload: Mapping[str, Any] = field(default_factory=dict)
    limit_s: float | None = None

    def to_json(self) -> dict[str, Any]:
        """The task as a JSON object."""
        return {
            "handler": self.handler,
            "trials": [trial.to_json() for trial in self.trials],
            "payload": dict(self.payload),
            "limit_s": self.limit_s,
        }

    @classmethod
    def from_json(cls, found: Mapping[str, Any]) -> Task:
        """The task that `to_json` wrote."""
        return cls(
            handler=found["handler"],
            trials=tuple(map(TrialSpec.from_json, found["trials"])),
            payload=found["payload"],
            limit_s=found["limit_s"],
        )


@dataclass(frozen=True, kw_only=True)
class Handout:
    """A task for a worker, with the events that record how it came to be."""

    task: Task
    events: Sequence[Event] = ()


@dataclass(frozen=True, kw_only=True)
class Obeyed:
    """What came of a command: why it is refused, or what is to be recorded together with it."""

    refusal: str = ""
    events: Sequence[Event] = ()


@dataclass(frozen=True, kw_only=True)
class Verdict:
    """How a run ended, for people.

    Attributes:
        state: "finished" or "failed".
        message: in one line.
        lines: what else was found; the last lines of the run's log.
    """

    state: str
    message: str
    lines: tuple[str, ...] = ()


class RunControl(Enum):
    """The answer to "shall I go on?"."""

    GO_ON = "go_on"
    STOP_EARLY = "stop_early"
    CANCEL = "cancel"


class TaskContext(Protocol):
    """What a handler may call; one is given to each call of a handler.

    Obligations of an implementation: events of one task arrive in the order in which they
    were emitted; `report` answers from the same rung for every trial; `check` is cheap
    enough for every batch (it may block while the run is paused).
    """

    run_folder: Path
    home_data: Path
    device: str
    n_threads: int

    @property
    def is_retired(self) -> bool:
        """Whether `retire` was called: the handler ends, and leaves its other trials open."""

    def retire(self) -> None:
        """This process should not be used any more (a CUDA error, memory that does not come back).

        It ends with this task; trials of it that have not ended are given to another.
        """

    def emit(self, event: Event) -> None:
        """Send an event to the record; buffered, so it costs microseconds."""

    def flush(self) -> None:
        """Send what was emitted and posted now, and wait for nothing."""

    def report(self, trial: int, epoch: int, value: float) -> RunControl:
        """Tell the stopper the objective after an epoch, and learn whether to go on."""

    def post(self, trial: int, epoch: int, value: float) -> None:
        """The first half of `report`: tell, and don't wait. A stack posts for all its trials."""

    def verdict(self, trial: int) -> RunControl:
        """The other half: the answer to the earliest `post` that has none; of this trial."""

    def check(self, trial: int) -> RunControl:
        """Whether the trial was cancelled; blocks while the run is paused."""

    def more(self, n: int) -> tuple[TrialSpec, ...]:
        """Up to ``n`` further trials for this task: a stack has free slots. None at the end."""

    def ask(self, trial: int, question: Mapping[str, Any]) -> dict[str, Any]:
        """Put a question to the run's driver (plain JSON both ways) and wait for the answer."""
