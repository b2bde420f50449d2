"""Words to an order: argparse, built from the table, with errors that point at the word.

::

    words --> Parser --> Order(verb, values, words)
                 '-----> HelpAsked(text)         --help, help VERB
"""

from __future__ import annotations

import argparse
import dataclasses
import inspect
import keyword
import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any, NoReturn

from nbautoml.api.kinds import one_of
from nbautoml.api.option import Option, Place, Verb
from nbautoml.api.verb_table import VERBS
from nbautoml.api.words import Word, pointed, repointed
from nbautoml.errors import NbAutomlError, UsageError, nearest

__all__ = ["HelpAsked", "Order", "Parser"]

_NEGATIVE = re.compile(r"-[\d.][\w.+-]*")
_ARGUMENT = re.compile(r"argument (\S+?)(?:/\S+)?:")


class HelpAsked(Exception):  # noqa: N818 - no error: a way out of argparse
    """The words asked for help on ``verb`` (None: on everything)."""

    def __init__(self, verb: Verb | None) -> None:
        super().__init__()
        self.verb = verb


@dataclass(frozen=True, kw_only=True)
class Order:
    """What the words say.

    Attributes:
        verb: the verb.
        values: by the options' and places' Python names; only what was said.
        words: the word that each value came from, for errors.
        line: what was typed.
        prefix: what stood before it.
    """

    verb: Verb
    values: Mapping[str, Any]
    words: Mapping[str, Word] = field(default_factory=dict)
    line: str = ""
    prefix: str = ""

    def error(self, name: str, message: str, hint: str = "") -> NbAutomlError:
        """An error about one value that points at its word."""
        return self.point(name, UsageError(message, hint=hint))

    def point(self, name: str, error: NbAutomlError) -> NbAutomlError:
        """The error, pointing at the word of a value."""
        return repointed(error, self.words.get(name), self.line, self.prefix)

    def explained(self, error: NbAutomlError) -> NbAutomlError:
        """An error of a later step, pointing at the word that it is about, if it is about one.

        An error names what it is about: a setting first ("lr is -1"), or a value in quotes.
        """
        for name, word in self.words.items():
            about = (f"{name} is ", f"{name} varies ", f"{name} does not ", f"{word} does not ")
            if error.message.startswith(about) or repr(str(word)) in error.message:
                return self.point(name, error)
        return error


class Parser:
    """Reads words by the table.

    Args:
        line: what the words were split from.
        prefix: "%automl ", "%%automl " or "python -m nbautoml ".

    >>> from nbautoml.api.words import words_of
    >>> line, words = words_of(["show", "digits"])
    >>> dict(Parser(line).parse(words).values)
    {'NAME': 'digits'}
    >>> line, words = words_of(["shwo", "digits"])
    >>> Parser(line, prefix="%automl ").parse(words)
    Traceback (most recent call last):
        ...
    nbautoml.errors.UsageError: there is no verb 'shwo'
        %automl shwo digits
                ^^^^
    Hint: did you mean show?
    """

    def __init__(self, line: str, *, prefix: str = "") -> None:
        self._line, self._prefix = line, prefix

    def parse(self, words: Sequence[Word], parameters: Collection[str] = ()) -> Order:
        """The order that the words give.

        Args:
            words: what was typed, split.
            parameters: names that the model takes: each is a flag, too.

        Raises:
            UsageError: an unknown verb or flag, a value that is missing or off.
            HelpAsked: ``--help`` is among them, or the verb is ``help``, or there are none.
        """
        if not words or words[0] in {"--help", "-h"}:
            raise HelpAsked(None)
        verb = self._verb(words[0])
        rest = [_dashed(word) for word in words[1:]]
        if any(word in {"--help", "-h"} and not word.is_expanded for word in rest):
            raise HelpAsked(verb)
        own = [name for name in parameters if verb.in_cell and verb.option(name) is None]
        verb = dataclasses.replace(verb, options=(*verb.options, *map(_parameter, own)))
        self._check_flags(verb, rest)
        found, extra = argparse_for(verb, self).parse_known_args(_joined_numbers(rest))
        if extra:
            raise self._too_many(verb, extra[0])
        pairs = {name: value for name, value in vars(found).items() if value is not None}
        order = Order(
            verb=verb,
            values={name: value for name, (_, value) in pairs.items()},
            words={name: word for name, (word, _) in pairs.items()},
            line=self._line,
            prefix=self._prefix,
        )
        if verb.name == "help":
            raise HelpAsked(VERBS.get(order.values.get("VERB", ""), None))
        self._check_directions(order)
        return order

    def error(self, message: str, word: str | None = None, hint: str = "") -> UsageError:
        """An error that points at the word, or at the end of the line."""
        at = getattr(word, "start", len(self._line) + 1)
        end = getattr(word, "end", None)
        return pointed(message, self._line, at, end, hint=hint, prefix=self._prefix)

    def converted(self, option: Option, word: str) -> tuple[Word, Any]:
        """The value that a word states for an option, with the word."""
        value = getattr(word, "value", None)
        try:
            if isinstance(word, Word) and word.is_expanded:
                result = option.rules.checked(option.flag, value)
            else:
                result = option.rules.from_text(option.flag, word)
            if option.choices and isinstance(result, str):
                result = one_of(option.flag, result, option.choices)
        except NbAutomlError as error:
            raise self.error(error.message, word, error.hint) from None
        return _with_place(word), result

    def place(self, place: Place, word: str) -> tuple[Word, Any]:
        """The value of a word without a flag."""
        text = str(getattr(word, "value", word)) if getattr(word, "is_expanded", False) else word
        if place.what == "verb" and text not in VERBS:
            raise self._no_verb(word)
        if place.what == "new run":
            self._check_new_name(text, word)
        return _with_place(word), str(text)

    def _verb(self, word: Word) -> Verb:
        verb = VERBS.get(word)
        if verb is None:
            raise self._no_verb(word)
        return verb

    def _no_verb(self, word: str) -> UsageError:
        near = nearest(word, VERBS)
        hint = f"did you mean {near}?" if near else "one of: " + ", ".join(VERBS)
        return self.error(f"there is no verb {str(word)!r}", word, hint)

    def _check_flags(self, verb: Verb, words: Sequence[Word]) -> None:
        """Unknown flags and flags said twice, found before argparse takes their values for places."""
        known = {option.flag: option for option in verb.options}
        seen: set[str] = set()
        for word in words:
            flag = word.partition("=")[0]
            if not word.startswith("--") or word.is_expanded:
                continue
            if flag not in known:
                raise self.error(
                    f"{verb.name} has no flag {flag}", word, self._flag_hint(verb, flag)
                )
            if flag in seen:
                raise self.error(f"{flag} is there twice", word, "leave one of them out")
            seen.add(flag)

    def _flag_hint(self, verb: Verb, flag: str) -> str:
        others = [v.name for v in VERBS.values() if any(o.flag == flag for o in v.options)]
        if others:
            return f"{flag} belongs to {' and '.join(others)}"
        if flag[2:] in {place.name.lower() for place in verb.places}:
            return f"the {flag[2:]} needs no flag: {verb.name} {flag[2:].upper()}"
        # Without the dashes, which make any two flags look alike.
        near = nearest(flag[2:], [option.flag[2:] for option in verb.options])
        return f"did you mean --{near}?" if near else f"all flags: %automl help {verb.name}"

    def _too_many(self, verb: Verb, word: str) -> UsageError:
        places = " ".join(place.name for place in verb.places)
        takes = f"{verb.name} takes {places}" if places else f"{verb.name} takes no name"
        hint = f"{takes}; put a value with spaces into quotes"
        if any(option.name == word.replace("-", "_") for option in verb.options):
            hint = f"did you mean --{word}?"
        return self.error(f"{str(word)!r} is one word too many", word, hint)

    def _check_new_name(self, text: str, word: str) -> None:
        if text.isidentifier() and not keyword.iskeyword(text):
            return
        bare = re.sub(r"\W+", "_", text).strip("_")
        fit = bare if bare.isidentifier() and not keyword.iskeyword(bare) else f"run_{bare}"
        raise self.error(
            f"{text!r} cannot be a variable, and the run's name becomes one",
            word,
            f"letters, digits and _, such as {fit}",
        )

    def _check_directions(self, order: Order) -> None:
        if {"maximize", "minimize"} <= set(order.values):
            raise self.error("--maximize and --minimize are both there", order.words["minimize"])

    def from_argparse(self, verb: Verb, message: str, words: Mapping[str, Word]) -> UsageError:
        """Our error for argparse's."""
        found = _ARGUMENT.search(message)
        if found and "expected one argument" in message:
            option = verb.option(found[1].removeprefix("--").replace("-", "_"))
            takes = option.rules.takes if option else "a value"
            return self.error(f"{found[1]} has no value", words.get(found[1]), f"it takes {takes}")
        if message.startswith("the following arguments are required"):
            missing = message.partition(": ")[2]
            place = next((p for p in verb.places if p.name in missing), None)
            helps = f"{place.name}: {place.help}" if place else ""
            return self.error(f"{verb.name} needs {missing}", None, helps)
        return self.error(message, None, f"all flags: %automl help {verb.name}")


class _Quiet(argparse.ArgumentParser):
    """An argparse parser that raises our errors, prints nothing and never exits."""

    def __init__(self, *, verb: Verb, owner: Parser, **options: Any) -> None:
        super().__init__(prog=verb.name, add_help=False, allow_abbrev=False, **options)
        self._verb, self._owner = verb, owner
        self._words: dict[str, Word] = {}

    def parse_known_args(self, args: Any = None, namespace: Any = None) -> Any:
        self._words = {str(word): word for word in args or () if isinstance(word, Word)}
        return super().parse_known_args(args, namespace)

    def error(self, message: str) -> NoReturn:
        raise self._owner.from_argparse(self._verb, message, self._words)

    def exit(self, status: int = 0, message: str | None = None) -> NoReturn:
        raise UsageError(message or f"argparse ended with {status}")


class _Flag(argparse.Action):
    """A flag without a value, as the pair (word, True)."""

    def __init__(self, **options: Any) -> None:
        super().__init__(nargs=0, **options)

    def __call__(
        self, parser: Any, namespace: Any, values: Any, option_string: str | None = None
    ) -> None:
        word = parser._words.get(option_string)  # noqa: SLF001 - the parser is ours
        setattr(namespace, self.dest, (word if word is not None else _with_place(""), True))


def argparse_for(verb: Verb, owner: Parser) -> argparse.ArgumentParser:
    """The argparse parser of one verb."""
    parser = _Quiet(verb=verb, owner=owner)
    for place in verb.places:
        nargs = "?" if place.is_optional else None
        parser.add_argument(place.name, nargs=nargs, type=partial(owner.place, place))
    for option in verb.options:
        if option.is_flag:
            parser.add_argument(option.flag, dest=option.name, action=_Flag)
        else:
            parser.add_argument(
                option.flag, dest=option.name, type=partial(owner.converted, option)
            )
    return parser


def _parameter(name: str) -> Option:
    """A parameter of the model as an option."""
    return Option(name=name, kind="setting", help="a parameter of the model")


def _dashed(word: Word) -> Word:
    """A flag with dashes, also where a person typed underscores as in Python."""
    if not word.startswith("--") or word.is_expanded:
        return word
    name, equals, value = word.partition("=")
    return Word.at(name.replace("_", "-") + equals + value, word.start, word.end)


def _joined_numbers(words: Sequence[Word]) -> list[str]:
    """A flag and a negative number after it as one word: argparse takes ``-1e-3`` for a flag."""
    joined: list[str] = []
    for word in words:
        last = joined[-1] if joined else ""
        if _NEGATIVE.fullmatch(word) and last.startswith("--") and "=" not in last:
            joined[-1] = f"{last}={word}"
        else:
            joined.append(word)
    return joined


def _with_place(word: str) -> Word:
    return word if isinstance(word, Word) else Word.at(str(word), 0, 0)


def signature_of(
    options: Sequence[Option], first: str, by_place: Sequence[str] = ()
) -> inspect.Signature:
    """The signature of a verb's Python call.

    Args:
        options: of the call.
        first: name of the argument that comes before them.
        by_place: options that come next, and need not be named.
    """
    parameters = [inspect.Parameter(first, inspect.Parameter.POSITIONAL_ONLY)]
    for option in sorted(options, key=lambda one: one.name not in by_place):
        kind = option.rules.annotation
        may_be_none = option.default is None and kind != "Any"
        is_placed = option.name in by_place
        parameters.append(
            inspect.Parameter(
                option.name,
                inspect.Parameter.POSITIONAL_OR_KEYWORD
                if is_placed
                else inspect.Parameter.KEYWORD_ONLY,
                default=option.default,
                annotation=f"{kind} | None" if may_be_none else kind,
            )
        )
    parameters.append(inspect.Parameter("settings", inspect.Parameter.VAR_KEYWORD))
    return inspect.Signature(parameters, return_annotation="Run")
