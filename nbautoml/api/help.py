"""Help, written from the table: on everything, or on one verb."""

from __future__ import annotations

import html
import textwrap
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

from nbautoml.api.option import Option, Verb
from nbautoml.api.verb_table import VERBS

__all__ = ["HelpText", "arguments_doc", "help_on"]

WIDTH = 96
_LEFT = 26


class HelpText:
    """Text that shows itself as it is, in a notebook and in a terminal."""

    def __init__(self, text: str) -> None:
        self.text = text

    def __repr__(self) -> str:
        return self.text

    def _repr_mimebundle_(self, include: Any = None, exclude: Any = None) -> dict[str, str]:
        return {
            "text/plain": self.text,
            "text/html": f"<pre>{html.escape(self.text)}</pre>",
        }


def help_on(verb: Verb | None, *, in_terminal: bool = False) -> HelpText:
    """What there is, or all about one verb.

    >>> print(help_on(VERBS["pause"]))
    %automl pause NAME [flags]
    <BLANKLINE>
    Hold a run at the next batch.
    <BLANKLINE>
      NAME                    name or id of a run
    <BLANKLINE>
    Flags
      --home PATH             folder of the runs; .nbautoml here, or NBAUTOML_HOME, when left out
    <BLANKLINE>
    Example
      %automl pause digits
    """
    if verb is None:
        return HelpText("\n".join(_overview(in_terminal=in_terminal)))
    return HelpText("\n".join(_about(verb, in_terminal=in_terminal)))


def _overview(*, in_terminal: bool) -> Iterator[str]:
    command = "python -m nbautoml" if in_terminal else "%automl"
    for verb in VERBS.values():
        if in_terminal and not verb.in_terminal:
            continue
        # A verb that takes a cell is shown with its two percent signs.
        lead = "%%automl" if verb.in_cell else command
        words = " ".join([lead, verb.name, *_places(verb)])
        yield from _row(words, verb.purpose, left=34)
    yield ""
    yield f"{command} help VERB   tells all about one of them."
    if not in_terminal:
        yield "The same in Python: nbautoml.tune(Net, data=(X, y), space={...}, trials=50)"


def _about(verb: Verb, *, in_terminal: bool) -> Iterator[str]:
    tail = " ".join([verb.name, *_places(verb), *(["[flags]"] if verb.options else [])])
    if in_terminal:
        yield f"python -m nbautoml {tail}"
    elif verb.in_cell:
        yield f"%%automl {tail}     above a cell that defines the model and what varies"
        yield f"%automl {tail}      with --model, for something that is already defined"
    else:
        yield f"%automl {tail}"
    yield ""
    yield from textwrap.wrap(f"{verb.purpose[0].upper()}{verb.purpose[1:]}. {verb.story}", WIDTH)
    yield ""
    for place in verb.places:
        yield from _row(place.name, place.help)
    settings = [option for option in verb.options if option.kind == "setting"]
    own = [option for option in verb.options if option.kind != "setting"]
    yield from _flags("Flags", own)
    yield from _flags(
        "The trainer's settings: a value, or a dimension, which then varies", settings
    )
    yield ""
    yield "Example"
    example = verb.example
    if in_terminal:
        example = example.replace("%automl", "python -m nbautoml")
    yield textwrap.indent(example, "  ")


def _flags(title: str, options: Sequence[Option]) -> Iterator[str]:
    if options:
        yield ""
        yield title
    for option in options:
        words = f"{option.flag} {option.rules.metavar}".rstrip()
        yield from _row(words, f"{option.help}{_extra(option)}")


def _extra(option: Option) -> str:
    parts = []
    if option.choices:
        parts.append(f"one of {', '.join(option.choices)}")
    if option.default is not None and option.default is not False:
        parts.append(f"default {option.default}")
    return f" ({'; '.join(parts)})" if parts else ""


def _places(verb: Verb) -> list[str]:
    return [f"[{place.name}]" if place.is_optional else place.name for place in verb.places]


def _row(words: str, text: str, *, left: int = _LEFT) -> Iterator[str]:
    lines = textwrap.wrap(text, WIDTH - left) or [""]
    lead = f"  {words}"
    if len(lead) > left - 2:
        yield lead
        lead = ""
    for line in lines:
        yield f"{lead:<{left}}{line}".rstrip()
        lead = ""


def arguments_doc(options: Iterable[Option]) -> str:
    """The section of a Python call's docstring that lists what it takes.

    >>> arguments_doc([VERBS["runs"].options[0]]).splitlines()[0]
    'Args:'
    """
    lines = ["Args:"]
    for option in options:
        text = f"{option.name}: {option.help.replace('--', '')}{_extra(option)}."
        lines += textwrap.wrap(text, 92, initial_indent="    ", subsequent_indent="        ")
    return "\n".join(lines)
