"""An error of the user's code as a trial's end: one line, and the user's frames."""

from __future__ import annotations

from pathlib import Path

from nbautoml.errors import ModelError, NbAutomlError
from nbautoml.events import TrialEnded

__all__ = ["OUT_OF_MEMORY", "cancelled", "failed"]

OUT_OF_MEMORY = "out of memory, also with half the batch at a time"

MAX_TEXT = 2000


def failed(trial: int, error: BaseException, capsule_dir: Path) -> TrialEnded:
    """The end of a trial whose work raised.

    Args:
        trial: its number.
        error: what was raised; it is not kept, so that no tensor of its frames is.
        capsule_dir: the user's own files, whose frames are shown.
    """
    from nbautoml.train import is_out_of_memory, one_line, user_frames

    if isinstance(error, ModelError):
        text, told = error.message, error.frames
    elif isinstance(error, NbAutomlError):
        text, told = str(error), ""
    elif is_out_of_memory(error):
        text, told = f"{OUT_OF_MEMORY}: {one_line(error)}", user_frames(error, [str(capsule_dir)])
    else:
        text = _words(error)
        told = user_frames(error, [str(capsule_dir)])
    return TrialEnded(trial=trial, state="failed", error=text, traceback=told)


def _words(error: BaseException) -> str:
    """Type and text, bounded; a user's ``__str__`` may raise, too."""
    name = type(error).__name__
    try:
        return f"{name}: {error}"[:MAX_TEXT]
    except Exception as failure:  # noqa: BLE001  whatever it raises
        return f"{name}: <no text: {type(failure).__name__}>"


def cancelled(trial: int) -> TrialEnded:
    """The end of a trial that a command ended."""
    return TrialEnded(trial=trial, state="cancelled", error="cancelled by command")
