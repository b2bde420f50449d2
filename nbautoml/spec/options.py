"""How an option of a `Choice` is written down: every option has a label that fits in JSON.

Text, numbers, True, False and None are their own labels. A class or a function goes by its name,
a member of an enumeration by its class and its name, a tuple or list of plain values by its text. A recipe that is read from a file holds the names
alone; nothing is imported to find the objects again, because a file must not decide which code
runs. They are taken from the cell's own dimensions instead (`Space.bound`).
"""

from __future__ import annotations

import enum
import math
import numbers
from dataclasses import dataclass
from typing import Any, NamedTuple

from nbautoml.errors import SpaceError

__all__ = ["Option", "Plain", "Symbol", "option_from_json", "option_to_json", "plain", "to_option"]

Plain = str | int | float | bool | None
"""A value that the record can hold as it is."""


@dataclass(frozen=True)
class Symbol:
    """A class or function of which only the name is known."""

    name: str

    def __repr__(self) -> str:
        return self.name


class Option(NamedTuple):
    """A label, and the object that it stands for (the label itself for a plain value)."""

    label: Plain
    value: Any
    is_symbol: bool = False


def plain(value: Any) -> Plain:
    """A plain value in Python's own type; raises `TypeError` for anything else.

    Numbers of numpy become Python's, so that they can be written as JSON.
    """
    if value is None or isinstance(value, bool):
        return value
    if isinstance(value, str):
        return str(value)
    if isinstance(value, numbers.Integral):
        return int(value)
    if isinstance(value, numbers.Real):
        return float(value)
    if type(value).__module__ == "numpy" and type(value).__name__ in ("bool", "bool_"):
        return bool(value)
    raise TypeError(f"{type(value).__name__} is no plain value")


def to_option(value: Any) -> Option:
    """The label of an option, with what it stands for.

    Raises:
        SpaceError: the value has no label.

    >>> to_option((64, 32)).label, to_option(dict).label, to_option(3).label
    ('(64, 32)', 'dict', 3)
    >>> to_option(enum.Enum("Act", ["RELU", "GELU"]).RELU).label
    'Act.RELU'
    """
    if isinstance(value, Symbol):
        return Option(value.name, value, is_symbol=True)
    if isinstance(value, enum.Enum):  # also of one whose members are text or numbers
        return Option(f"{type(value).__name__}.{value.name}", value, is_symbol=True)
    if isinstance(value, (tuple, list)):
        return Option(_sequence_label(value), value)
    try:
        label = plain(value)
    except TypeError:
        return Option(_name(value), value, is_symbol=True)
    if isinstance(label, float) and not math.isfinite(label):
        raise SpaceError(f"the option {value!r} is not finite", hint="leave it out")
    return Option(label, label)


def option_from_json(body: Any) -> Any:
    """What to hand to `Choice` for an option of a record."""
    if isinstance(body, dict):
        if body.keys() == {"name"} and isinstance(body["name"], str):
            return Symbol(body["name"])
        for kind in (tuple, list):
            if body.keys() == {kind.__name__} and isinstance(body[kind.__name__], list):
                return kind(option_from_json(item) for item in body[kind.__name__])
        raise SpaceError(f"{body!r} is no option of a Choice")
    return body


def option_to_json(option: Option) -> Any:
    """An option for a record: `option_from_json` reads it back."""
    if option.is_symbol:
        return {"name": option.label}
    if isinstance(option.value, (tuple, list)):
        items = [option_to_json(to_option(item)) for item in option.value]
        return {type(option.value).__name__: items}
    return option.label


def _sequence_label(value: tuple[Any, ...] | list[Any]) -> str:
    items = [to_option(item) for item in value]
    if any(item.is_symbol for item in items):
        raise SpaceError(
            f"the option {value!r} holds more than plain values",
            hint="write a function that makes it, and give the function as the option",
        )
    # Numpy's numbers have reprs of their own, hence the labels of the items.
    parts = [str(o.label) if _is_sequence(o) else repr(o.label) for o in items]
    if isinstance(value, list):
        return f"[{', '.join(parts)}]"
    return f"({parts[0]},)" if len(parts) == 1 else f"({', '.join(parts)})"


def _is_sequence(option: Option) -> bool:
    return isinstance(option.value, (tuple, list))


def _name(value: Any) -> str:
    name = getattr(value, "__name__", None)
    if not callable(value) or not isinstance(name, str):
        raise SpaceError(
            f"an option is {value!r}, a {type(value).__name__}, which has no name to be recorded by",
            hint="options are text, numbers, None, tuples of these, members of an Enum, or classes and "
            "functions: nn.ReLU, not nn.ReLU()",
        )
    if not name.isidentifier():
        raise SpaceError(
            f"an option is {value!r}, a function without a name",
            hint="define it with def, so that its name can be recorded",
        )
    return name
