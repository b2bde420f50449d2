"""A word of a magic or of a terminal, which knows where it stands, and errors that point at it."""

from __future__ import annotations

from typing import Any, Self

from nbautoml.errors import NbAutomlError, UsageError

__all__ = ["MISSING", "Word", "pointed", "repointed", "words_of"]

MISSING: Any = type("Missing", (), {"__repr__": lambda _: "MISSING"})()


class Word(str):
    """Text with its place in the line, and, once an expression was expanded, its value.

    Attributes:
        start, end: where it stands in the line that was typed, quotes included.
        value: the object that ``{expression}`` or ``$name`` stood for; `MISSING` for plain text.

    >>> word = Word.at("--trials", 3)
    >>> word, word.start, word.end
    ('--trials', 3, 11)
    """

    __slots__ = ("end", "start", "value")
    start: int
    end: int
    value: Any

    @classmethod
    def at(cls, text: str, start: int, end: int | None = None, value: Any = MISSING) -> Self:
        """The word with this text at this place."""
        word = cls(text)
        word.start = start
        word.end = start + len(text) if end is None else end
        word.value = value
        return word

    @property
    def is_expanded(self) -> bool:
        """Whether it stands for an object and not for its text."""
        return self.value is not MISSING

    def split_flag(self) -> list[Word]:
        """``--flag=value`` as two words; anything else as it is.

        A value that begins with a dash would be taken for a flag, and stays where it is.
        """
        name, equals, value = self.partition("=")
        if not (self.startswith("--") and equals) or self.is_expanded or value.startswith("-"):
            return [self]
        cut = self.start + len(name)
        quoted = len(value) >= 2 and value[0] == value[-1] and value[0] in "\"'"
        inner = value[1:-1] if quoted and value[0] not in value[1:-1] else value
        return [Word.at(name, self.start), Word.at(inner, cut + 1, self.end)]


def words_of(arguments: list[str]) -> tuple[str, list[Word]]:
    """A terminal's arguments as a line (for pointing) and its words.

    >>> line, words = words_of(["show", "my run"])
    >>> line, words[1].start
    ('show my run', 5)
    """
    words: list[Word] = []
    line = ""
    for argument in arguments:
        words.append(Word.at(argument, len(line)))
        line += argument + " "
    return line[:-1], words


def pointed(
    message: str, line: str, start: int, end: int | None = None, *, hint: str = "", prefix: str = ""
) -> UsageError:
    """An error that shows the line, with carets under the word that is off.

    Args:
        message: what is off.
        line: what was typed.
        start: where the word begins; ``len(line)`` for something that is missing.
        end: where it ends.
        hint: what to do.
        prefix: what stands before the line: "%automl ".

    >>> print(pointed("there is no flag --metrc", "tune a --metrc f1", 7, 14, prefix="%automl "))
    there is no flag --metrc
        %automl tune a --metrc f1
                       ^^^^^^^
    """
    shown, offset = _window(prefix + line, len(prefix) + start)
    width = max(1, (start + 1 if end is None else end) - start)
    width = min(width, max(1, len(shown) - offset))
    marks = " " * offset + "^" * width
    return UsageError(f"{message}\n    {shown}\n    {marks}", hint=hint)


def repointed(error: NbAutomlError, word: Word | None, line: str, prefix: str) -> NbAutomlError:
    """The error, of the same class, with the place of its word where that is known."""
    if word is not None and hasattr(word, "start"):
        shown = pointed(error.message, line, word.start, word.end, prefix=prefix)
        error.message = shown.message
        error.args = (shown.message,)
    return error


def _window(text: str, at: int, *, limit: int = 96) -> tuple[str, int]:
    """One line around a place, and where the place is in it."""
    flat = text.replace("\n", " ").replace("\t", " ")
    if len(flat) <= limit:
        return flat, at
    begin = max(0, min(at - limit // 2, len(flat) - limit))
    cut = flat[begin : begin + limit]
    if begin:
        cut = "..." + cut[3:]
    if begin + limit < len(flat):
        cut = cut[:-3] + "..."
    return cut, at - begin
