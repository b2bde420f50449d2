"""Tab completion of ``%automl`` lines: verbs, flags, the words that a flag takes, names of runs.

An IPython matcher, so it works wherever the kernel is asked: Lab, Notebook, VS Code, a terminal.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from typing import Any

from nbautoml.api.option import Option, Verb
from nbautoml.api.verb_table import VERBS
from nbautoml.api.words import Word
from nbautoml.errors import NbAutomlError
from nbautoml.magics.tokens import split_words
from nbautoml.store import Home

__all__ = ["candidates", "make_matcher", "register", "unregister"]

_LINE = re.compile(r"^\s*(?:[\w\[\]\"'., ]+=\s*)?(%{1,2})automl(?=\s)")
_KEY = "_nbautoml_matcher"


def candidates(line: str) -> tuple[str, list[str]]:
    """What may stand where a line ends, as (the piece that is being typed, words for it).

    Args:
        line: everything from ``%automl`` (or ``%%automl``) on, up to the cursor.

    >>> candidates("%automl sho")
    ('sho', ['show'])
    >>> candidates("%%automl tune digits --sampler g")
    ('g', ['gp', 'grid'])
    >>> candidates("%%automl tune digits --metric accuracy,n")
    ('accuracy,n', ['accuracy,n_parameters'])
    """
    found = _LINE.match(line)
    if found is None:
        return "", []
    rest = line[found.end() :]
    is_cell = found[1] == "%%"
    typed = split_words(rest, is_open=True)
    piece = (
        "" if not typed or (rest[-1:].isspace() and typed[-1].end < len(rest)) else str(typed[-1])
    )
    before = typed[:-1] if piece else typed
    if not before:
        verbs = [verb.name for verb in VERBS.values() if verb.in_cell or not is_cell]
        return piece, _starting(verbs, piece)
    verb = VERBS.get(before[0])
    if verb is None:
        return piece, []
    return piece, _starting(_words_for(verb, before[1:], piece), piece)


def _words_for(verb: Verb, before: Sequence[Word], piece: str) -> Iterable[str]:
    last = before[-1] if before else ""
    waiting = _option(verb, last)
    if waiting is not None and not waiting.is_flag:
        words = [*waiting.choices, *waiting.suggests]
        return _further(words, piece) if waiting.kind == "names" else words
    n_places = _count_places(verb, before)
    if not piece.startswith("-") and n_places < len(verb.places):
        what = verb.places[n_places].what
        if what == "run":
            return _run_names()
        return list(VERBS) if what == "verb" else []
    used = {word.partition("=")[0] for word in before}
    return [option.flag for option in verb.options if option.flag not in used] + ["--help"]


def _further(words: Iterable[str], piece: str) -> list[str]:
    """What may follow the names that are typed already, with these in front."""
    typed, comma, _ = piece.rpartition(",")
    used = {name.partition(":")[0] for name in typed.split(",")}
    return [f"{typed}{comma}{word}" for word in words if word not in used]


def _option(verb: Verb, word: str) -> Option | None:
    return verb.option(word[2:].replace("-", "_")) if word.startswith("--") else None


def _count_places(verb: Verb, words: Sequence[Word]) -> int:
    """How many words stand without a flag."""
    n, is_value = 0, False
    for word in words:
        option = _option(verb, word)
        if option is not None:
            is_value = not option.is_flag
        elif is_value:
            is_value = False
        elif not word.startswith("--"):
            n += 1
    return n


def _run_names() -> list[str]:
    try:
        return list(dict.fromkeys(info.name for info in Home().runs() if info.name))
    except (NbAutomlError, OSError):
        return []  # completion says nothing; the verb itself will tell what is wrong


def _starting(words: Iterable[str], piece: str) -> list[str]:
    return sorted(word for word in words if word.startswith(piece))


def make_matcher() -> Any:
    """A matcher of IPython's second API."""
    from IPython.core.completer import SimpleCompletion, context_matcher

    @context_matcher(priority=200, identifier="nbautoml")  # type: ignore[untyped-decorator]
    def automl_matcher(context: Any) -> dict[str, Any]:
        lines = context.full_text.split("\n")
        line = lines[context.cursor_line] if context.cursor_line < len(lines) else ""
        piece, words = candidates(
            _joined(lines, context.cursor_line, line[: context.cursor_position])
        )
        return {
            "completions": [SimpleCompletion(text=word, type="keyword") for word in words],
            "matched_fragment": piece,
            # Python's own completions mean nothing on this line, where there are any of ours.
            "suppress": bool(words),
            "ordered": True,
        }

    return automl_matcher


def _joined(lines: Sequence[str], number: int, text: str) -> str:
    """The line up to the cursor with those before it that a backslash continues."""
    while number > 0 and lines[number - 1].rstrip().endswith("\\"):
        number -= 1
        text = f"{lines[number].rstrip()[:-1]} {text.lstrip()}"
    return text


def register(shell: Any) -> None:
    """Add the matcher to a shell; a second call changes nothing."""
    completer = getattr(shell, "Completer", None)
    if completer is not None and getattr(completer, _KEY, None) is None:
        matcher = make_matcher()
        completer.custom_matchers.append(matcher)
        setattr(completer, _KEY, matcher)


def unregister(shell: Any) -> None:
    """Take the matcher away again."""
    completer = getattr(shell, "Completer", None)
    matcher = getattr(completer, _KEY, None)
    if completer is not None and matcher is not None:
        completer.custom_matchers.remove(matcher)
        setattr(completer, _KEY, None)
