"""One name of a capsule, with what must be there before it."""

from __future__ import annotations

import types
from dataclasses import dataclass

from nbautoml.capsule.container import Captured
from nbautoml.capsule.history import Snippet

__all__ = ["Item"]


@dataclass(frozen=True, kw_only=True)
class Item:
    """One name of the capsule.

    Attributes:
        source: the statement that makes it, "" for a value that is put in from a file.
        eager: names that must be there before it; ``lazy``: names that its functions use later;
            ``soft``: names that only annotations use.
        is_import: it belongs to the head of the module.
        is_filling: it puts things into a table that are made after the table.
        module: the module that it is, or comes from.
    """

    name: str
    source: str = ""
    eager: tuple[str, ...] = ()
    lazy: tuple[str, ...] = ()
    soft: tuple[str, ...] = ()
    made: frozenset[str] = frozenset()
    is_import: bool = False
    is_future: bool = False
    is_filling: bool = False
    module: types.ModuleType | None = None
    captured: Captured | None = None
    original: Snippet | None = None
