"""What happens in a run, as frozen events: the only way in which a record changes.

A trial's life, with the events that move it::

    TrialPlanned      TrialStarted                 TrialEnded(state)
    ------------> waiting ------> running ---------------------------> complete | stopped_early
                     ^               |  StepsDone, EpochEnded          | failed | cancelled
                     '--TrialRequeued'  (its worker or its owner died, or the run was interrupted)

A trial that starts again keeps the curve that it has up to the epoch where it goes on.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from nbautoml.events.wire import from_json

__all__ = [
    "RUN_STATES",
    "TRIAL_STATES",
    "ArtifactRemoved",
    "ArtifactWritten",
    "CommandObeyed",
    "EpochEnded",
    "Event",
    "LogLine",
    "ParamsSuggested",
    "PlanChosen",
    "RunStateChanged",
    "StepsDone",
    "TrialEnded",
    "TrialPlanned",
    "TrialRequeued",
    "TrialRestarted",
    "TrialStarted",
    "event_from_json",
]

RUN_STATES = ("queued", "running", "paused", "finished", "stopped", "failed", "interrupted")
TRIAL_STATES = ("waiting", "running", "complete", "stopped_early", "failed", "cancelled")


@dataclass(frozen=True, kw_only=True)
class Event:
    """Something that happened; ``time`` is seconds since 1970 (UTC), set by whoever saw it."""

    time: float = 0.0


@dataclass(frozen=True, kw_only=True)
class RunStateChanged(Event):
    """The run is now in ``state`` (one of `RUN_STATES`); ``message`` says why, for people."""

    state: str
    message: str = ""


@dataclass(frozen=True, kw_only=True)
class PlanChosen(Event):
    """How the trials are executed, in a line for people, with what was measured."""

    text: str
    details: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class TrialPlanned(Event):
    """The sampler suggested (or a person enqueued) a point of the space."""

    trial: int
    params: Mapping[str, Any]


@dataclass(frozen=True, kw_only=True)
class ParamsSuggested(Event):
    """An objective that asks while it runs was given these values; ``params`` are all so far."""

    trial: int
    params: Mapping[str, Any]


@dataclass(frozen=True, kw_only=True)
class TrialStarted(Event):
    """A worker began with the trial; ``worker`` is its process id, ``device`` e.g. "cpu".

    It goes on after ``epoch`` and ``step`` (0: it starts anew); what an earlier attempt measured
    later than that is dropped.
    """

    trial: int
    worker: int
    device: str = "cpu"
    epoch: int = 0
    step: int = 0


@dataclass(frozen=True, kw_only=True)
class StepsDone(Event):
    """Values of one quantity at optimiser steps (thinned); ``name`` is e.g. "step_loss"."""

    trial: int
    name: str
    steps: list[int]
    values: list[float]


@dataclass(frozen=True, kw_only=True)
class EpochEnded(Event):
    """One pass over the data is done (epochs count from 1); ``step`` is the last optimiser step."""

    trial: int
    epoch: int
    step: int
    metrics: Mapping[str, float]


@dataclass(frozen=True, kw_only=True)
class TrialRequeued(Event):
    """The trial goes back to waiting, to be run again under the same number.

    Its curve stays until it starts: only then is it known how much of it is measured again.
    """

    trial: int
    reason: str


@dataclass(frozen=True, kw_only=True)
class TrialRestarted(Event):
    """The trial's worker begins it again, after ``epoch`` and ``step`` (0: anew)."""

    trial: int
    reason: str
    epoch: int = 0
    step: int = 0


@dataclass(frozen=True, kw_only=True)
class TrialEnded(Event):
    """The trial is over.

    ``values`` holds one number an objective, empty when it failed or was cancelled before
    it had any; ``error`` is one line, ``traceback`` the user's frames.
    """

    trial: int
    state: str
    values: list[float] = field(default_factory=list)
    metrics: Mapping[str, float] = field(default_factory=dict)
    best_epoch: int | None = None
    error: str = ""
    traceback: str = ""


@dataclass(frozen=True, kw_only=True)
class ArtifactWritten(Event):
    """A file of the run's ``artifacts/`` folder is complete: ``path`` is relative to it."""

    trial: int | None
    kind: str
    path: str
    sha256: str
    n_bytes: int
    details: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class ArtifactRemoved(Event):
    """A file of ``artifacts/`` is needed no more; it is deleted once the record has forgotten it."""

    path: str


@dataclass(frozen=True, kw_only=True)
class LogLine(Event):
    """A line for the run's log; ``level`` is "debug", "info", "warning" or "error"."""

    text: str
    level: str = "info"
    trial: int | None = None


@dataclass(frozen=True, kw_only=True)
class CommandObeyed(Event):
    """A command from the inbox was carried out, or refused with the reason in ``refusal``."""

    command_id: str
    command: str
    refusal: str = ""


_EVENTS: dict[str, type[Event]] = {
    kind.__name__: kind
    for kind in (
        RunStateChanged,
        PlanChosen,
        TrialPlanned,
        ParamsSuggested,
        TrialStarted,
        StepsDone,
        EpochEnded,
        TrialRequeued,
        TrialRestarted,
        TrialEnded,
        ArtifactWritten,
        ArtifactRemoved,
        LogLine,
        CommandObeyed,
    )
}


def event_from_json(found: Any) -> Event:
    """The event that a JSON object states (`WireError` when it states none)."""
    return from_json(found, _EVENTS)
