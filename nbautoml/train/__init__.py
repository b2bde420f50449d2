"""The trainer: one fit of a module on a device, with settings, metrics and a listener.

Importing this package imports no torch (a supervisor formats tracebacks with it); the names
below are loaded when they are first used.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from nbautoml.train.dryrun import dry_run
    from nbautoml.train.frames import one_line, release_frames, user_frames
    from nbautoml.train.loop import fit
    from nbautoml.train.memory import free_memory, is_device_lost, is_out_of_memory
    from nbautoml.train.result import FitResult, Listener, Silent, TimeOverError, TrialCancelled
    from nbautoml.train.state import CannotKeep, FitState, Keeper

__all__ = [
    "CannotKeep",
    "FitResult",
    "FitState",
    "Keeper",
    "Listener",
    "Silent",
    "TimeOverError",
    "TrialCancelled",
    "dry_run",
    "fit",
    "free_memory",
    "is_device_lost",
    "is_out_of_memory",
    "one_line",
    "release_frames",
    "user_frames",
]

_HOMES = {
    "CannotKeep": "state",
    "FitResult": "result",
    "FitState": "state",
    "Keeper": "state",
    "Listener": "result",
    "Silent": "result",
    "TimeOverError": "result",
    "TrialCancelled": "result",
    "dry_run": "dryrun",
    "fit": "loop",
    "free_memory": "memory",
    "is_device_lost": "memory",
    "is_out_of_memory": "memory",
    "one_line": "frames",
    "release_frames": "frames",
    "user_frames": "frames",
}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    found = globals()[name] = getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)
    return found  # kept: some are asked for at every batch
