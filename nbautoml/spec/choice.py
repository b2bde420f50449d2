"""`Choice`: one of some options."""

from __future__ import annotations

import enum
from typing import Any, ClassVar

from nbautoml.errors import SpaceError, nearest
from nbautoml.spec.dimension import Dimension, When, check_when, when_repr
from nbautoml.spec.options import Option, Plain, Symbol, option_to_json, plain, to_option

__all__ = ["Choice"]


class Choice(Dimension):
    """One of some options.

    Options are text, numbers, True, False, None, tuples or lists of these, members of an
    enumeration, or classes and functions that have a name (``nn.ReLU``). The record and the sampler
    know an option by its *label*: the value itself, the name of a class or function (of a member
    ``Act.RELU``), the text of a tuple. The module
    gets the object: see `resolve`.

    Args:
        options: at least one, all different.
        when: the condition under which this is chosen at all: see `Int`.

    Raises:
        SpaceError: no options, the same twice, or one that has no label.

    >>> Choice("sgd", "adam")
    Choice('sgd', 'adam')
    >>> hidden = Choice((64,), (64, 32))
    >>> hidden
    Choice((64,), (64, 32))
    >>> hidden.options, hidden.resolve("(64, 32)")
    (('(64,)', '(64, 32)'), (64, 32))
    """

    _SHOWN: ClassVar[int] = 12  # a message does not list more options than that

    options: tuple[Plain, ...]
    """The labels."""
    _options: tuple[Option, ...]

    def __init__(self, *options: Any, when: Any = None) -> None:
        made = tuple(to_option(option) for option in options)
        self._set(made, None)
        if not made:
            raise SpaceError("Choice() has no options", hint='write Choice("sgd", "adam")')
        for index, label in enumerate(self.options):
            if label in self.options[:index]:
                # 1, 1.0 and True too: Python, and so the sampler, holds them for the same.
                raise SpaceError(
                    f"{self!r}: the option {label!r} is there twice",
                    hint="options must differ, also by their names",
                )
        self._set(made, check_when(self, when))

    def _set(self, options: tuple[Option, ...], when: When | None) -> None:
        object.__setattr__(self, "_options", options)
        object.__setattr__(self, "options", tuple(option.label for option in options))
        object.__setattr__(self, "when", when)

    def __setattr__(self, name: str, value: Any) -> None:
        raise AttributeError(f"a Choice is frozen: {name} cannot be set")

    def __reduce__(self) -> tuple[Any, ...]:
        # The frozen __setattr__ would stop pickle and copy, which set attributes one by one.
        values = tuple(option.value for option in self._options)
        return _rebuilt, (values, self.when)

    def contains(self, value: Any) -> bool:
        """Whether a value is an option, given as its label or as the object itself."""
        return self._find(value) is not None

    def label(self, value: Any) -> Plain:
        """The label of an option, given as its label or as the object itself.

        Raises:
            SpaceError: it is no option; the hint names the nearest.
        """
        return self._option(value).label

    def resolve(self, value: Any) -> Any:
        """What the module is to be given for a label.

        Raises:
            SpaceError: no such option, or the option is a class or function and this choice was
                read from a record, which holds only the name.
        """
        found = self._option(value).value
        if isinstance(found, Symbol):
            raise SpaceError(
                f"only the name of the option {found} is known here",
                hint="bind the space to the cell's own dimensions: space.bound(dimensions)",
            )
        return found

    def bound(self, other: Any) -> Choice:
        """This choice with the objects of an equal one, where it has only their names."""
        if self != other:
            return self
        copy = object.__new__(Choice)
        copy._set(other._options, self.when)  # noqa: SLF001  another Choice
        return copy

    def listed(self) -> str:
        """The options as a person types them, cut where there are many."""
        shown = ", ".join(map(_typed, self._options[: self._SHOWN]))
        return shown + (", ..." if len(self.options) > self._SHOWN else "")

    def _option(self, value: Any) -> Option:
        found = self._find(value)
        if found is None:
            close = nearest(str(value), [str(option) for option in self.options])
            guess = f"did you mean {close!r}? " if close else ""
            raise SpaceError(f"{value!r} is no option", hint=f"{guess}One of: {self.listed()}")
        return found

    def _find(self, value: Any) -> Option | None:
        if isinstance(value, enum.Enum):  # one that is a text, too, is not the option of that text
            found = next((option for option in self._options if option.value is value), None)
            if found is not None:
                return found
        try:
            label = plain(value)
        except TypeError:
            return next((o for o in self._options if o.value is value or o.value == value), None)
        for option in self._options:
            if option.label == label and isinstance(option.label, bool) == isinstance(label, bool):
                return option
        return None

    def size(self) -> int:
        """How many values there are."""
        return len(self.options)

    def values(self) -> tuple[Plain, ...]:
        """The labels, in order."""
        return self.options

    def unconditional(self) -> Choice:
        """The dimension without its condition."""
        return _rebuilt(tuple(option.value for option in self._options), None)

    def to_json(self) -> dict[str, Any]:
        """Plain JSON, which reads back as an equal value."""
        body: dict[str, Any] = {
            "type": "Choice",
            "options": [option_to_json(option) for option in self._options],
        }
        if self.when is not None:
            body["when"] = [self.when[0], list(self.when[1])]
        return body

    def __repr__(self) -> str:
        return f"Choice({', '.join(map(_typed, self._options))}{when_repr(self.when)})"

    def _key(self) -> tuple[Any, ...]:
        # By labels: a choice that was read back from a record equals the one that was written.
        # The types tell 1 from True, and the class ReLU from the text "ReLU".
        kinds = tuple(
            "symbol" if option.is_symbol else type(option.value).__name__
            for option in self._options
        )
        return self.options, kinds, self.when

    def __eq__(self, other: object) -> bool:
        return self._key() == other._key() if isinstance(other, Choice) else NotImplemented

    def __hash__(self) -> int:
        return hash(self._key())


def _typed(option: Option) -> str:
    """An option as one types it: names and tuples without quotes."""
    is_bare = option.is_symbol or isinstance(option.value, (tuple, list))
    return str(option.label) if is_bare else repr(option.label)


def _rebuilt(values: tuple[Any, ...], when: When | None) -> Choice:
    return Choice(*values, when=when)
