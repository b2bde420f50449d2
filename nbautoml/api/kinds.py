"""What an option takes: how its text in a magic is read, and how its value in Python is checked.

A magic's word and a Python argument end in the same check, so that ``--time 10m`` and
``time="10m"`` mean the same and fail with the same words.
"""

from __future__ import annotations

import math
import numbers
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any

from nbautoml.compress.table import techniques_from
from nbautoml.errors import RecipeError, UsageError, nearest
from nbautoml.spec import parse_duration

__all__ = ["KINDS", "Kind", "one_of"]


@dataclass(frozen=True, kw_only=True)
class Kind:
    """A kind of value.

    Attributes:
        takes: what it takes, for people: "a whole number, at least 1".
        annotation: its type in the Python signature.
        metavar: what stands for it in a usage line; empty for a flag, which takes no value.
        read: text to value; raises ValueError. None: the text is Python, read where names are known.
        check: value to value; raises ValueError.
    """

    takes: str
    annotation: str
    metavar: str
    read: Callable[[str], Any] | None
    check: Callable[[Any], Any]

    def checked(self, label: str, value: Any) -> Any:
        """The value in its own type.

        Raises:
            UsageError: it is no value of this kind.

        >>> KINDS["duration"].checked("time", "1h30m")
        5400.0
        >>> KINDS["count"].checked("trials", 0)
        Traceback (most recent call last):
            ...
        nbautoml.errors.UsageError: trials is 0
        Hint: trials takes a whole number, at least 1
        """
        return self._told(label, value, self.check)

    def from_text(self, label: str, text: str) -> Any:
        """The value that a word of a magic states.

        >>> KINDS["count"].from_text("--trials", "60")
        60
        """
        if self.read is None:
            return text
        return self._told(label, text, self.read)

    def _told(self, label: str, value: Any, convert: Callable[[Any], Any]) -> Any:
        try:
            return convert(value)
        except (ValueError, RecipeError):
            raise UsageError(
                f"{label} is {_shown(value)}", hint=f"{label} takes {self.takes}"
            ) from None


def one_of(label: str, value: str, options: tuple[str, ...]) -> str:
    """The value, when it is one of the options.

    Raises:
        UsageError: it is none; the hint names the nearest and all.

    >>> one_of("--sampler", "tpee", ("auto", "tpe"))
    Traceback (most recent call last):
        ...
    nbautoml.errors.UsageError: --sampler is 'tpee'
    Hint: did you mean 'tpe'? One of: auto, tpe
    """
    if value in options:
        return value
    near = nearest(value, options)
    guess = f"did you mean {near!r}? " if near else ""
    raise UsageError(f"{label} is {value!r}", hint=f"{guess}One of: {', '.join(options)}")


def _shown(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 80 else f"{text[:77]}..."


def _whole(low: int) -> Callable[[Any], int]:
    def check(value: Any) -> int:
        if isinstance(value, bool) or not isinstance(value, numbers.Integral):
            raise ValueError  # noqa: TRY004 - every check speaks ValueError
        if int(value) < low:
            raise ValueError
        return int(value)

    return check


def _share(value: Any) -> float:
    if isinstance(value, bool) or not isinstance(value, numbers.Real):
        raise ValueError  # noqa: TRY004 - every check speaks ValueError
    if not 0 < float(value) < 1:
        raise ValueError
    return float(value)


def _trials(value: Any) -> int | tuple[int, ...]:
    if isinstance(value, numbers.Integral):
        return _whole(1)(value)
    if isinstance(value, str) or not isinstance(value, Iterable):
        raise ValueError  # noqa: TRY004 - every check speaks ValueError
    listed = tuple(dict.fromkeys(_whole(0)(item) for item in value))
    if not listed:
        raise ValueError
    return listed


def _trials_from(text: str) -> int | tuple[int, ...]:
    if "," not in text:
        return _trials(int(text))
    return _trials([int(part) for part in text.split(",") if part.strip()])


def _duration(value: Any) -> float:
    if isinstance(value, bool) or not isinstance(value, (str, numbers.Real)):
        raise ValueError  # noqa: TRY004 - every check speaks ValueError
    return parse_duration(value if isinstance(value, str) else float(value))


_UNITS: Mapping[str, Mapping[str, float]] = MappingProxyType(
    {
        "ms": MappingProxyType({"us": 1e-3, "ms": 1.0, "s": 1e3}),
        "B": MappingProxyType(
            {"b": 1.0, "kb": 1e3, "mb": 1e6, "gb": 1e9, "kib": 2**10, "mib": 2**20}
        ),
        "mJ": MappingProxyType({"uj": 1e-3, "mj": 1.0, "j": 1e3}),
    }
)
_AMOUNT = re.compile(r"\s*([0-9.eE+-]+)\s*([a-zA-Z]*)\s*")


def _amount(unit: str) -> Callable[[Any], float]:
    """Numbers above 0 with a unit of a family; a plain number is in the unit itself."""

    def check(value: Any) -> float:
        factor = 1.0
        if isinstance(value, str):
            found = _AMOUNT.fullmatch(value)
            if found is None or (found[2] and found[2].lower() not in _UNITS[unit]):
                raise ValueError
            if found[2] == "MJ":  # a million, and not a thousandth
                raise ValueError
            factor = _UNITS[unit][found[2].lower()] if found[2] else 1.0
            value = float(found[1])
        if isinstance(value, bool) or not isinstance(value, numbers.Real):
            raise ValueError  # noqa: TRY004 - every check speaks ValueError
        if not 0 < float(value) * factor < math.inf:
            raise ValueError
        return float(value) * factor

    return check


def _drop(value: Any) -> float:
    if isinstance(value, str):
        value = float(value.removesuffix("%")) / (100 if value.endswith("%") else 1)
    if isinstance(value, bool) or not isinstance(value, numbers.Real):
        raise ValueError  # noqa: TRY004 - every check speaks ValueError
    if not 0 <= float(value) < math.inf:
        raise ValueError
    return float(value)


def _methods(value: Any) -> Any:
    """What was said to be done: auto, or words, as they are; or configs."""
    if isinstance(value, str) and value == "auto":
        return value
    try:
        found = techniques_from(value)
        return value if isinstance(value, str) else found
    except RecipeError as error:  # it knows better than a line about all values what is off
        raise UsageError(error.message, hint=error.hint) from None


def _bool(value: Any) -> bool:
    if not isinstance(value, bool):
        raise ValueError  # noqa: TRY004 - every check speaks ValueError
    return value


def _names(value: Any) -> str:
    """Names with commas between them, however they were given."""
    listed = value if isinstance(value, (list, tuple)) else [value]
    if not listed:
        raise ValueError
    return ",".join(_text(name) for name in listed)


def _text(value: Any) -> str:
    if not isinstance(value, str) or not value:
        raise ValueError
    return value


def _path(value: Any) -> Path:
    if not isinstance(value, (str, Path)) or not str(value):
        raise ValueError
    return Path(value).expanduser()


def _any(value: Any) -> Any:
    return value


KINDS: Mapping[str, Kind] = MappingProxyType(
    {
        "flag": Kind(
            takes="no value (in Python: True or False)",
            annotation="bool",
            metavar="",
            read=_any,
            check=_bool,
        ),
        "count": Kind(
            takes="a whole number, at least 1",
            annotation="int",
            metavar="N",
            read=lambda text: _whole(1)(int(text)),
            check=_whole(1),
        ),
        "number": Kind(
            takes="a whole number, at least 0",
            annotation="int",
            metavar="N",
            read=lambda text: _whole(0)(int(text)),
            check=_whole(0),
        ),
        "trials": Kind(
            takes="how many, or their numbers with commas (7, for one)",
            annotation="int | Sequence[int]",
            metavar="N|N,N",
            read=_trials_from,
            check=_trials,
        ),
        "share": Kind(
            takes="a number between 0 and 1",
            annotation="float",
            metavar="SHARE",
            read=lambda text: _share(float(text)),
            check=_share,
        ),
        "duration": Kind(
            takes="a time such as 90s, 10m, 1h30m (a plain number is seconds)",
            annotation="str | float",
            metavar="TIME",
            read=_duration,
            check=_duration,
        ),
        "techniques": Kind(
            takes="auto, or techniques in order with commas (in Python also a list of configs)",
            annotation="str | Sequence[Technique]",
            metavar="NAME[,NAME]",
            read=_methods,
            check=_methods,
        ),
        "drop": Kind(
            takes="a number from 0, in the metric's unit (0.01 or 1%)",
            annotation="str | float",
            metavar="DROP",
            read=_drop,
            check=_drop,
        ),
        "milliseconds": Kind(
            takes="a time such as 2ms, 500us, 1s (a plain number is milliseconds)",
            annotation="str | float",
            metavar="MS",
            read=_amount("ms"),
            check=_amount("ms"),
        ),
        "bytes": Kind(
            takes="a size such as 500KB, 2MB, 1MiB (a plain number is bytes)",
            annotation="str | float",
            metavar="SIZE",
            read=_amount("B"),
            check=_amount("B"),
        ),
        "millijoules": Kind(
            takes="an energy such as 5mJ, 200uJ, 1J (a plain number is millijoules)",
            annotation="str | float",
            metavar="MJ",
            read=_amount("mJ"),
            check=_amount("mJ"),
        ),
        "text": Kind(takes="a word", annotation="str", metavar="WORD", read=_text, check=_text),
        "names": Kind(
            takes="a name, or several with commas (in Python also a list)",
            annotation="str | Sequence[str]",
            metavar="NAME[,NAME]",
            read=_names,
            check=_names,
        ),
        "path": Kind(
            takes="a path", annotation="str | Path", metavar="PATH", read=_path, check=_path
        ),
        "expression": Kind(
            takes="a name or an expression of this notebook",
            annotation="Any",
            metavar="EXPR",
            read=None,
            check=_any,
        ),
        "setting": Kind(
            takes="a value, or a dimension such as Float(1e-4, 1e-1, log=True)",
            annotation="Any",
            metavar="VALUE",
            read=None,
            check=_any,
        ),
    }
)
