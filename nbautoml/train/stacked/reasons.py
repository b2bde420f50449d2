"""Why a module cannot be part of a stack."""

from __future__ import annotations

from nbautoml.errors import NbAutomlError

__all__ = ["BrokenStack", "CannotStack", "TooWide"]


class CannotStack(NbAutomlError):  # noqa: N818  no failure: the trial runs another way
    """A module, its data or its settings do not fit a stack; ``reason`` is one line for people.

    >>> CannotStack("forward reads a tensor's value with item()").reason
    "forward reads a tensor's value with item()"
    """

    def __init__(self, reason: str, *, hint: str = "") -> None:
        super().__init__(reason, hint=hint or "train this trial on its own")
        self.reason = reason


class TooWide(CannotStack):
    """A module's layers are wider than those of the stack; a wider stack would take it."""


class BrokenStack(Exception):  # noqa: N818  no failure of the trial: it starts again another way
    """A step of a stack raised what none of its trials is known to raise."""
