"""What a person asks of a run: files in its inbox, obeyed by its supervisor."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from nbautoml.events.wire import WireError, from_json

__all__ = [
    "COMMANDS",
    "CancelTrial",
    "Command",
    "Enqueue",
    "Interrupt",
    "Pause",
    "Resume",
    "Stop",
    "command_from_json",
]


@dataclass(frozen=True, kw_only=True)
class Command:
    """Something a person asks; each is acknowledged by a `CommandObeyed` event."""


@dataclass(frozen=True, kw_only=True)
class Pause(Command):
    """Hold all trials at their next batch; nothing is lost."""


@dataclass(frozen=True, kw_only=True)
class Resume(Command):
    """Go on after a `Pause`."""


@dataclass(frozen=True, kw_only=True)
class Stop(Command):
    """End the run now: running trials are cancelled, what they measured is kept."""


@dataclass(frozen=True, kw_only=True)
class Interrupt(Command):
    """Leave the run resumable: its kernel was shut down on purpose."""

    reason: str = "the kernel was shut down"


@dataclass(frozen=True, kw_only=True)
class CancelTrial(Command):
    """End one trial; the run goes on."""

    trial: int

    def __post_init__(self) -> None:
        if not isinstance(self.trial, int) or isinstance(self.trial, bool) or self.trial < 0:
            raise WireError(f"CancelTrial: trial must be a number from 0, got {self.trial!r}")


@dataclass(frozen=True, kw_only=True)
class Enqueue(Command):
    """Try these parameters next; those that are left out are sampled."""

    params: Mapping[str, Any]

    def __post_init__(self) -> None:
        if not isinstance(self.params, Mapping):
            raise WireError(f"Enqueue: params must be an object, got {self.params!r}")


COMMANDS: dict[str, type[Command]] = {
    kind.__name__: kind for kind in (Pause, Resume, Stop, Interrupt, CancelTrial, Enqueue)
}


def command_from_json(found: Any) -> Command:
    """The command that a JSON object states (`WireError` when it states none)."""
    return from_json(found, COMMANDS)
