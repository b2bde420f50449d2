"""What every dimension has: values, a size, JSON, and the condition under which it exists."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable
from typing import Any

from nbautoml.errors import SpaceError
from nbautoml.spec.options import Plain, to_option

__all__ = ["Dimension", "When", "check_when", "number_repr", "when_repr"]

When = tuple[str, Any]
"""A condition: the parent's name, and the parent's values with which the dimension exists.

Typed with one value or several; held as ``(parent, (value, ...))``, the values as labels.
"""


class Dimension(ABC):
    """One thing that may vary. The kinds are `Int`, `Float` and `Choice`."""

    when: When | None

    @abstractmethod
    def contains(self, value: Any) -> bool:
        """Whether a value, as the record holds it, belongs to the dimension."""

    @abstractmethod
    def size(self) -> int | None:
        """How many values there are; None for a continuum."""

    @abstractmethod
    def values(self) -> Iterable[Plain]:
        """All values in order; `SpaceError` for a continuum."""

    @abstractmethod
    def unconditional(self) -> Dimension:
        """The dimension without its condition."""

    @abstractmethod
    def to_json(self) -> dict[str, Any]:
        """The dimension as plain JSON; `dimension_from_json` reads it back."""


def check_when(dimension: Dimension, when: Any) -> When | None:
    """A condition as typed, in its one form: ``(parent, (value, ...))``.

    A tuple or list behind the parent's name means several values; classes and functions stand
    for their names, as in `Choice`.
    """
    if when is None:
        return None
    hint = 'write when=("optimizer", "sgd") or when=("optimizer", ("sgd", "momentum"))'
    if not isinstance(when, (tuple, list)) or len(when) != 2 or not isinstance(when[0], str):
        raise SpaceError(f"{dimension!r}: when is {when!r}", hint=hint)
    parent, values = when
    several = values if isinstance(values, (tuple, list)) else (values,)
    if not several:
        raise SpaceError(f"{dimension!r}: when names no value of {parent}", hint=hint)
    labels: list[Plain] = []
    for value in several:
        label = to_option(value).label
        if label not in labels:
            labels.append(label)
    return parent, tuple(labels)


def when_repr(when: When | None) -> str:
    """The condition as the last argument of a repr, or ""."""
    if when is None:
        return ""
    parent, values = when
    return f", when=({parent!r}, {values[0]!r})" if len(values) == 1 else f", when={when!r}"


def number_repr(value: float) -> str:
    """A float as people write it: 0, 0.5, 1e-05.

    >>> number_repr(0.0), number_repr(1e-5), number_repr(0.25)
    ('0', '1e-05', '0.25')
    """
    return repr(float(value)).removesuffix(".0")
