"""What the run loop asks of an executor: give a task to a worker, hear what happens, pass on control.

::

    RunLoop --start(task)--> Pool --poll()--> Message*        Message: Ready | Happened | Reported
            --answer(...)-->                                           Asked | Finished | Died | Printed
            --control(...)->
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

from nbautoml.events import Event, RunControl, Task, TrialSpec

__all__ = [
    "Asked",
    "Control",
    "Died",
    "Finished",
    "Happened",
    "Message",
    "Pool",
    "Printed",
    "Ready",
    "Reported",
    "Wanted",
]


@dataclass(frozen=True, kw_only=True)
class Message:
    """Something a worker says; ``worker`` is its process id."""

    worker: int


@dataclass(frozen=True, kw_only=True)
class Ready(Message):
    """The worker waits for a task."""


@dataclass(frozen=True, kw_only=True)
class Happened(Message):
    """Events of the worker's task, in order."""

    events: Sequence[Event]


@dataclass(frozen=True, kw_only=True)
class Reported(Message):
    """The worker waits for an answer: shall this trial go on?"""

    trial: int
    epoch: int
    value: float


@dataclass(frozen=True, kw_only=True)
class Asked(Message):
    """The worker waits for an answer to a question for the driver."""

    trial: int
    question: Mapping[str, Any]


@dataclass(frozen=True, kw_only=True)
class Wanted(Message):
    """The worker waits for further trials for its task: it has room for ``n``."""

    n: int


@dataclass(frozen=True, kw_only=True)
class Finished(Message):
    """The worker's task is over; every trial of it has ended, or ``error`` says why not.

    One that retires leaves its process: trials that it has not ended are run elsewhere.
    """

    error: str = ""
    traceback: str = ""
    is_retired: bool = False


@dataclass(frozen=True, kw_only=True)
class Died(Message):
    """The worker is gone; ``task`` is what it had in hand, ``reason`` is for people."""

    task: Task | None
    reason: str
    is_killed: bool


@dataclass(frozen=True, kw_only=True)
class Printed(Message):
    """Lines that the user's code printed, and how many more were left out."""

    lines: Sequence[str]
    n_left_out: int = 0


@dataclass(frozen=True, kw_only=True)
class Control:
    """What all workers should know: hold, cancel some trials, or drop everything."""

    is_paused: bool = False
    cancelled: frozenset[int] = field(default_factory=frozenset)
    is_over: bool = False


class Pool(Protocol):
    """An executor.

    Obligations: `poll` returns messages of one worker in the order they were sent; after `close`
    nothing of the pool is left running.
    """

    @property
    def n_free(self) -> int:
        """How many tasks could be started now."""

    def start(self, task: Task) -> tuple[int, str]:
        """Give the task to a free worker; returns its process id and device."""

    def poll(self, timeout_s: float) -> list[Message]:
        """What was said since the last call; waits at most ``timeout_s`` for something."""

    def answer(self, worker: int, control: RunControl) -> None:
        """Answer a `Reported`."""

    def answer_question(self, worker: int, answer: Mapping[str, Any]) -> None:
        """Answer an `Asked`."""

    def give(self, worker: int, trials: Sequence[TrialSpec]) -> str:
        """Answer a `Wanted`; returns the worker's device."""

    def control(self, control: Control) -> None:
        """Tell all workers, now and those to come."""

    def close(self, *, grace_s: float) -> None:
        """End all workers; those that do not end by themselves in ``grace_s`` are killed."""
