"""The exceptions that a user can meet, as one tree.

::

    NbAutomlError
    |-- UsageError             a magic's words: unknown flag, missing value
    |-- RecipeError            what should run makes no sense: impossible range, unknown name
    |   `-- SpaceError         a dimension, or a dimension nobody uses
    |-- CapsuleError           the cell needs something that cannot be captured
    |-- DataError              labels, shapes, missing values, splits
    |-- CompressError          a model cannot be made smaller in this way; says which layer, and why
    |-- ModelError             the user's module failed: carries the user's own frames
    |   `-- DivergedError      the loss became NaN or infinite, with the step
    |-- StoreError             the record: cannot be read, written, or is newer than this version
    |   |-- RunNotFoundError
    |   |-- RunNameTakenError
    |   `-- RecordLostError    its writer must give way: folder removed, or another took over
    |-- EnergyError            a counter of energy that is not there, or that may not be read
    |-- EngineError            supervisor and workers: did not start, went away
    `-- MissingExtraError      an optional part is not installed

Every error says what happened, where, the value, and, as ``hint``, what to do.
In a notebook an `NbAutomlError` is shown as these two lines and not as forty
frames (``_render_traceback_``). Exceptions that are raised by the user's own
code keep the user's frames: see `ModelError`.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable

__all__ = [
    "CapsuleError",
    "CompressError",
    "DataError",
    "DivergedError",
    "EnergyError",
    "EngineError",
    "MissingExtraError",
    "ModelError",
    "NbAutomlError",
    "RecipeError",
    "RecordLostError",
    "RunNameTakenError",
    "RunNotFoundError",
    "SpaceError",
    "StoreError",
    "UsageError",
    "nearest",
]


def nearest(word: str, options: Iterable[str]) -> str:
    """The option that is closest to a mistyped word, or "" when none is close.

    >>> nearest("acuracy", ["accuracy", "loss"])
    'accuracy'
    >>> nearest("zzz", ["accuracy", "loss"])
    ''
    """
    found = difflib.get_close_matches(word, [str(option) for option in options], n=1, cutoff=0.6)
    return found[0] if found else ""


class NbAutomlError(Exception):
    """Base of all errors that are the user's to mend.

    Args:
        message: what happened, where, and the offending value.
        hint: what to do about it; may be empty.

    >>> print(NbAutomlError("lr is -1", hint="use a positive number"))
    lr is -1
    Hint: use a positive number
    """

    def __init__(self, message: str, *, hint: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint

    def __str__(self) -> str:
        return f"{self.message}\nHint: {self.hint}" if self.hint else self.message

    def __reduce__(self) -> tuple[object, ...]:
        # `hint` is keyword-only, so the default pickling (args only) would lose it.
        return _rebuild, (type(self), self.message, self.hint, self.__dict__)

    def _render_traceback_(self) -> list[str]:
        """What IPython prints instead of its own traceback."""
        lines = [f"{type(self).__name__}: {self.message}"]
        if self.hint:
            lines.append(f"Hint: {self.hint}")
        return lines


def _rebuild(
    kind: type[NbAutomlError], message: str, hint: str, state: dict[str, object]
) -> NbAutomlError:
    error = kind.__new__(kind)
    NbAutomlError.__init__(error, message, hint=hint)
    error.__dict__.update(state)
    return error


class UsageError(NbAutomlError):
    """The words of a magic, or the arguments of a call, are off."""


class RecipeError(NbAutomlError):
    """The statement of what to run makes no sense."""


class SpaceError(RecipeError):
    """A dimension is impossible, or nothing takes it."""


class CapsuleError(NbAutomlError):
    """The cell needs something that cannot be shipped to a worker."""


class DataError(NbAutomlError):
    """The data cannot be trained on as it is."""


class CompressError(NbAutomlError):
    """A technique can do nothing with this model, or a limit cannot be met."""


class ModelError(NbAutomlError):
    """The user's own code raised.

    Args:
        message: one line: which part failed, and the exception's own text.
        hint: what to do.
        frames: the user's frames of the traceback, formatted, ours cut out.
    """

    def __init__(self, message: str, *, hint: str = "", frames: str = "") -> None:
        super().__init__(message, hint=hint)
        self.frames = frames

    def _render_traceback_(self) -> list[str]:
        lines = self.frames.rstrip().splitlines() if self.frames else []
        return [*lines, *super()._render_traceback_()]


class DivergedError(ModelError):
    """The loss became NaN or infinite; ``step`` says at which optimiser step."""

    def __init__(self, message: str, *, hint: str = "", frames: str = "", step: int = -1) -> None:
        super().__init__(message, hint=hint, frames=frames)
        self.step = step


class StoreError(NbAutomlError):
    """The record of a run cannot be read or written."""


class RecordLostError(StoreError):
    """A record is no longer its writer's: removed, replaced, or taken over. Trying again is wrong."""


class RunNotFoundError(StoreError):
    """No run has that name or id."""


class RunNameTakenError(StoreError):
    """A run of that name is going on; the message offers the next free name."""


class EnergyError(NbAutomlError):
    """Energy cannot be read here: no counter, one that stands still, or one for root alone."""


class EngineError(NbAutomlError):
    """A supervisor or worker did not start, or went away."""


class MissingExtraError(NbAutomlError):
    """An optional part is not installed; the hint is the pip command."""
