"""What happens (`Event`), what is asked (`Command`), and what is to be done (`Task`): typed, and plain JSON on the wire."""

from nbautoml.events.commands import (
    CancelTrial,
    Command,
    Enqueue,
    Interrupt,
    Pause,
    Resume,
    Stop,
    command_from_json,
)
from nbautoml.events.facts import (
    ArtifactWritten,
    CommandObeyed,
    EpochEnded,
    Event,
    LogLine,
    PlanChosen,
    RunStateChanged,
    StepsDone,
    TrialEnded,
    TrialPlanned,
    TrialRequeued,
    TrialStarted,
    event_from_json,
)
from nbautoml.events.tasks import RunControl, Task, TaskContext, TrialSpec
from nbautoml.events.wire import WireError

__all__ = [
    "ArtifactWritten",
    "CancelTrial",
    "Command",
    "CommandObeyed",
    "Enqueue",
    "EpochEnded",
    "Event",
    "Interrupt",
    "LogLine",
    "Pause",
    "PlanChosen",
    "Resume",
    "RunControl",
    "RunStateChanged",
    "StepsDone",
    "Stop",
    "Task",
    "TaskContext",
    "TrialEnded",
    "TrialPlanned",
    "TrialRequeued",
    "TrialSpec",
    "TrialStarted",
    "WireError",
    "command_from_json",
    "event_from_json",
]
