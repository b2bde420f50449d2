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
    from nbautoml.train.result import FitResult, Listener, Silent, TrialCancelled

__all__ = [
    "FitResult",
    "Listener",
    "Silent",
    "TrialCancelled",
    "dry_run",
    "fit",
    "one_line",
    "release_frames",
    "user_frames",
]

_HOMES = {
    "FitResult": "result",
    "Listener": "result",
    "Silent": "result",
    "TrialCancelled": "result",
    "dry_run": "dryrun",
    "fit": "loop",
    "one_line": "frames",
    "release_frames": "frames",
    "user_frames": "frames",
}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)
