"""Why a module cannot be part of a stack."""

from __future__ import annotations

from nbautoml.errors import NbAutomlError

__all__ = ["CannotStack", "TooWide"]


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
