"""What a word is: an option, a place, a verb. The table of them all is `nbautoml.api.options`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from nbautoml.api.kinds import KINDS, Kind

__all__ = ["Option", "Place", "Verb"]


@dataclass(frozen=True, kw_only=True)
class Option:
    """One option.

    Attributes:
        name: the Python keyword; its flag is ``--name`` with dashes.
        kind: a key of `KINDS`.
        help: one line, no full stop.
        default: what holds when it is left out.
        choices: the words it takes; empty for any.
        suggests: words offered by completion where others are allowed too.
    """

    name: str
    kind: str
    help: str
    default: Any = None
    choices: tuple[str, ...] = ()
    suggests: tuple[str, ...] = ()

    @property
    def flag(self) -> str:
        """The word in a magic or a terminal."""
        return "--" + self.name.replace("_", "-")

    @property
    def rules(self) -> Kind:
        """How its values are read and checked."""
        return KINDS[self.kind]

    @property
    def is_flag(self) -> bool:
        """Whether it stands alone, without a value."""
        return self.kind == "flag"


@dataclass(frozen=True, kw_only=True)
class Place:
    """A word without a flag: ``what`` is "new run", "run", "path" or "verb"."""

    name: str
    what: str
    help: str
    is_optional: bool = False


@dataclass(frozen=True, kw_only=True)
class Verb:
    """One verb: what follows ``%automl`` or ``python -m nbautoml``.

    Attributes:
        in_cell: usable as ``%%automl``, with a body.
        in_terminal: usable as ``python -m nbautoml``.
        example: lines that a person may copy.
    """

    name: str
    purpose: str
    places: tuple[Place, ...] = ()
    options: tuple[Option, ...] = ()
    in_cell: bool = False
    in_terminal: bool = True
    example: str = ""
    story: str = ""

    def option(self, name: str) -> Option | None:
        """The option with this Python keyword."""
        return next((option for option in self.options if option.name == name), None)

    @property
    def defaults(self) -> dict[str, Any]:
        """What holds when nothing is said."""
        return {option.name: option.default for option in self.options}
