"""A magic's line as words: quotes hold a word together, and so do brackets.

``--data (X, y)`` is two words, because Python's brackets are balanced; a shell would see three.
Nothing is expanded here except a whole word that is ``{expression}`` or ``$name``: IPython's own
expansion is silent when it fails and cannot be switched off for one word.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator, Mapping
from typing import Any

from nbautoml.api.namespace import evaluate
from nbautoml.api.words import Word, pointed
from nbautoml.errors import NbAutomlError

__all__ = ["expand", "split_words"]

_CLOSING = {"(": ")", "[": "]", "{": "}"}
_QUOTES = "\"'"


def split_words(line: str, *, prefix: str = "", is_open: bool = False) -> list[Word]:
    """The words of a line, each with its place.

    Args:
        line: what follows ``%automl``.
        prefix: what stands before it, for errors.
        is_open: what is not closed at the end is a word all the same (somebody is typing).

    Raises:
        UsageError: a quote or a bracket that is not closed, or closed and never opened.

    >>> split_words("tune digits --data (X, y) --lr 'Float(1, 2)' # a note")
    ['tune', 'digits', '--data', '(X, y)', '--lr', 'Float(1, 2)']
    """
    words: list[Word] = []
    at = 0
    while at < len(line):
        if line[at].isspace():
            at += 1
        elif line[at] == "#":
            break
        else:
            end = _end_of_word(line, at, prefix=prefix, is_open=is_open)
            words.extend(_word(line, at, end).split_flag())
            at = end
    return words


def _end_of_word(line: str, start: int, *, prefix: str, is_open: bool) -> int:
    """Where the word that begins at ``start`` ends."""
    waiting: list[tuple[str, int]] = []  # closing brackets that must come, with their openers
    at = start
    while at < len(line):
        letter = line[at]
        if letter in _QUOTES and (waiting or _may_open(line, start, at)):
            end = _end_of_quote(line, at)
            if end is None:
                if is_open:
                    return len(line)
                raise pointed(
                    f"this quote {letter} is not closed",
                    line,
                    at,
                    prefix=prefix,
                    hint=f"put another {letter} where the text ends",
                )
            at = end
            continue
        if letter in _CLOSING:
            waiting.append((_CLOSING[letter], at))
        elif letter in _CLOSING.values():
            if not waiting or waiting[-1][0] != letter:
                raise pointed(
                    f"this {letter} closes nothing",
                    line,
                    at,
                    prefix=prefix,
                    hint="quote a text that holds brackets",
                )
            waiting.pop()
        elif letter.isspace() and not waiting:
            break
        at += 1
    if waiting and not is_open:
        closing, opened = waiting[-1]
        raise pointed(
            f"this {line[opened]} is not closed",
            line,
            opened,
            prefix=prefix,
            hint=f"a {closing} is missing",
        )
    return at


def _may_open(line: str, start: int, at: int) -> bool:
    """Whether a quote at this place opens a text: not in the middle of a word, as in don't."""
    return at == start or line[at - 1] == "=" or not line[at - 1].isalnum()


def _end_of_quote(line: str, at: int) -> int | None:
    """The place after the quote that closes the one at ``at``."""
    quote = line[at]
    at += 1
    while at < len(line):
        if line[at] == "\\":
            at += 2
        elif line[at] == quote:
            return at + 1
        else:
            at += 1
    return None


def _word(line: str, start: int, end: int) -> Word:
    """The word, without the quotes when they hold all of it."""
    raw = line[start:end]
    if raw[0] in _QUOTES and len(raw) > 1 and _end_of_quote(raw, 0) == len(raw):
        inner = raw[1:-1].replace(f"\\{raw[0]}", raw[0])
        return Word.at(inner, start, end)
    return Word.at(raw, start, end)


def expand(
    words: list[Word], namespace: Mapping[str, Any], *, line: str, prefix: str = ""
) -> list[Word]:
    """The words, those that are ``{expression}`` or ``$name`` as a whole with their values.

    Raises:
        UsageError: the expression is no Python, names something unknown, or raises.

    >>> [word.value for word in expand(split_words("{n + 1} $n"), {"n": 2}, line="{n + 1} $n")]
    [3, 2]
    """
    return [_expanded(word, namespace, line=line, prefix=prefix) for word in words]


def _expanded(word: Word, namespace: Mapping[str, Any], *, line: str, prefix: str) -> Word:
    expression = next(_expressions(word), None)
    if expression is None:
        return word
    try:
        value = evaluate(expression, namespace)
    except NbAutomlError as error:
        raise pointed(
            error.message, line, word.start, word.end, hint=error.hint, prefix=prefix
        ) from error.__cause__
    return Word.at(str(word), word.start, word.end, value)


def _expressions(word: Word) -> Iterator[str]:
    """The expression inside a word that is to be expanded."""
    if word.startswith("$") and word[1:].isidentifier():
        yield word[1:]
    elif word.startswith("{") and word.endswith("}") and not _is_dict(word):
        yield word[1:-1].strip()


def _is_dict(text: str) -> bool:
    """Whether braces make a dict: then they are Python's own, and the word is an expression."""
    try:
        found = ast.parse(text, mode="eval").body
    except SyntaxError:
        return False
    return isinstance(found, (ast.Dict, ast.DictComp))
