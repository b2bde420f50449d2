"""`Space`: the named dimensions of a run.

::

    Space ── name ──> Int | Float | Choice
                        `-- when=("optimizer", "sgd")  active only if the parent is, with that value
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping
from types import MappingProxyType
from typing import Any

from nbautoml.errors import SpaceError, nearest
from nbautoml.spec.choice import Choice
from nbautoml.spec.dimension import Dimension
from nbautoml.spec.options import Plain, Symbol, option_from_json
from nbautoml.spec.ranges import Float, Int

__all__ = ["Choice", "Dimension", "Float", "Int", "Space", "Symbol", "dimension_from_json"]

_KINDS: Mapping[str, frozenset[str]] = MappingProxyType(
    {
        "Int": frozenset({"low", "high", "log", "step", "when"}),
        "Float": frozenset({"low", "high", "log", "step", "when"}),
        "Choice": frozenset({"options", "when"}),
    }
)
_LINE = 88


class Space(Mapping[str, Dimension]):
    """Named dimensions, frozen, in the order in which they were given.

    Args:
        dimensions: a dimension a name; names are Python identifiers.

    Raises:
        SpaceError: a value is no dimension, a condition names an unknown parent or a value that
            the parent cannot take, or conditions go round in a circle.

    >>> space = Space({"optimizer": Choice("sgd", "adam"), "lr": Float(1e-4, 0.1, log=True)})
    >>> space["lr"].contains(0.01), space.size()
    (True, None)
    >>> Space({"momentum": Float(0, 0.9, when=("optimiser", "sgd")), "optimizer": Choice("sgd")})
    Traceback (most recent call last):
        ...
    nbautoml.errors.SpaceError: momentum depends on 'optimiser', which is no dimension
    Hint: did you mean 'optimizer'?
    """

    __slots__ = ("_children", "_dimensions", "_hash", "_order")

    def __init__(self, dimensions: Mapping[str, Dimension] = MappingProxyType({})) -> None:
        for name, dimension in dimensions.items():
            _check_entry(name, dimension)
        self._dimensions = dict(dimensions)
        self._hash: int | None = None
        self._children: dict[str, list[str]] = {name: [] for name in self._dimensions}
        for name, dimension in self._dimensions.items():
            if dimension.when is not None:
                self._check_condition(name, dimension.when)
                self._children[dimension.when[0]].append(name)
        self._order = self._sorted()

    def __getitem__(self, name: str) -> Dimension:
        return self._dimensions[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._dimensions)

    def __len__(self) -> int:
        return len(self._dimensions)

    def __hash__(self) -> int:
        if self._hash is None:
            self._hash = hash(frozenset(self._dimensions.items()))
        return self._hash

    def __repr__(self) -> str:
        entries = [f"{name!r}: {dimension!r}" for name, dimension in self.items()]
        line = f"Space({{{', '.join(entries)}}})"
        if len(line) <= _LINE:
            return line
        return "Space({\n" + "".join(f"    {entry},\n" for entry in entries) + "})"

    @property
    def order(self) -> tuple[str, ...]:
        """The names, each parent before its children."""
        return self._order

    @property
    def is_conditional(self) -> bool:
        """Whether some dimension exists only under a condition."""
        return any(dimension.when is not None for dimension in self.values())

    def is_active(self, name: str, params: Mapping[str, Any]) -> bool:
        """Whether a dimension exists, given the values of its ancestors."""
        when = self._dimensions[name].when
        if when is None:
            return True
        parent, values = when
        if parent not in params or not self.is_active(parent, params):
            return False
        return _is_among(self._dimensions[parent], params[parent], values)

    def active(self, params: Mapping[str, Any]) -> tuple[str, ...]:
        """The names that exist with these parameters, parents first.

        >>> space = Space({"optimizer": Choice("sgd", "adam"),
        ...                "momentum": Float(0, 0.9, when=("optimizer", "sgd"))})
        >>> space.active({"optimizer": "adam"}), space.active({"optimizer": "sgd"})
        (('optimizer',), ('optimizer', 'momentum'))
        """
        return tuple(name for name in self._order if self.is_active(name, params))

    def contains(self, params: Mapping[str, Any]) -> bool:
        """Whether these are the parameters of one point: `explain` says why not."""
        return not self.explain(params)

    def explain(self, params: Mapping[str, Any], *, partial: bool = False) -> str:
        """What keeps parameters from being a point of the space; "" when nothing does.

        Args:
            params: a value a name.
            partial: names may be missing (a trial to enqueue, of which the rest is drawn), but
                not one on which a given name depends.
        """
        for name in params:
            if name not in self:
                close = nearest(name, self)
                return f"{name} is no dimension{f' (did you mean {close}?)' if close else ''}"
        for name, value in params.items():
            dimension = self[name]
            if not dimension.contains(value):
                return f"{name} is {value!r}, which is not in {dimension!r}"
        for name in self._order:
            fault = self._fault(name, params, partial=partial)
            if fault:
                return fault
        return ""

    def check(self, params: Mapping[str, Any], *, partial: bool = False) -> None:
        """Raise `SpaceError` unless the parameters are a point (or part of one)."""
        fault = self.explain(params, partial=partial)
        if fault:
            raise SpaceError(f"these parameters are not in the space: {fault}")

    def _fault(self, name: str, params: Mapping[str, Any], *, partial: bool) -> str:
        is_active = self.is_active(name, params)
        if name in params and not is_active:
            parent, values = self[name].when or ("", ())
            state = (
                f"{parent} is {params[parent]!r}" if parent in params else f"{parent} is missing"
            )
            return f"{name} exists only when {_condition(parent, values)}, but {state}"
        if name not in params and is_active and not partial:
            return f"{name} is missing"
        return ""

    def size(self) -> int | None:
        """How many different points there are; None when there is a continuum.

        >>> Space({"a": Int(1, 3), "b": Choice("x", "y", when=("a", 2))}).size()
        4
        """
        return self._product(name for name in self._order if self[name].when is None)

    def _product(self, names: Iterable[str]) -> int | None:
        counts = [self._count(name) for name in names]
        return None if None in counts else math.prod(count for count in counts if count)

    def _count(self, name: str) -> int | None:
        """Points of a dimension and all that hangs on it."""
        n_values = self[name].size()
        children = self._children[name]
        if n_values is None or not children:
            return n_values
        decisive = {value for child in children for value in (self[child].when or ("", ()))[1]}
        total = n_values - len(decisive)  # with the other values no child exists
        for value in decisive:
            active = (c for c in children if value in (self[c].when or ("", ()))[1])
            n_points = self._product(active)
            if n_points is None:
                return None
            total += n_points
        return total

    def resolve(self, params: Mapping[str, Any]) -> dict[str, Any]:
        """Parameters with the objects in the place of labels; other names pass unchanged.

        >>> Space({"hidden": Choice((64,), (64, 32))}).resolve({"hidden": "(64,)", "lr": 0.1})
        {'hidden': (64,), 'lr': 0.1}
        """
        resolved = {}
        for name, value in params.items():
            dimension = self.get(name)
            resolved[name] = dimension.resolve(value) if isinstance(dimension, Choice) else value
        return resolved

    def labels(self, params: Mapping[str, Any]) -> dict[str, Any]:
        """The reverse of `resolve`: parameters as the record holds them."""
        labels = {}
        for name, value in params.items():
            dimension = self.get(name)
            labels[name] = dimension.label(value) if isinstance(dimension, Choice) else value
        return labels

    def bound(self, dimensions: Mapping[str, Any]) -> Space:
        """This space, its choices holding the objects of equal choices of the same names.

        A space that was read from a record knows a class by its name alone. The worker, which
        has imported the capsule, gives it the dimensions that stand there.
        """
        return Space(
            {
                name: dimension.bound(dimensions.get(name))
                if isinstance(dimension, Choice)
                else dimension
                for name, dimension in self.items()
            }
        )

    def to_json(self) -> dict[str, Any]:
        """The space as plain JSON: an object a name, in order."""
        return {name: dimension.to_json() for name, dimension in self.items()}

    @classmethod
    def from_json(cls, body: Mapping[str, Any]) -> Space:
        """Read `to_json` back; raises `SpaceError` for anything else."""
        if not isinstance(body, Mapping):
            raise SpaceError(f"a space is an object of dimensions, not {type(body).__name__}")
        return cls({name: dimension_from_json(entry) for name, entry in body.items()})

    def _check_condition(self, name: str, when: tuple[str, tuple[Plain, ...]]) -> None:
        parent_name, values = when
        parent = self._dimensions.get(parent_name)
        if parent is None:
            close = nearest(parent_name, [other for other in self if other != name])
            raise SpaceError(
                f"{name} depends on {parent_name!r}, which is no dimension",
                hint=f"did you mean {close!r}?"
                if close
                else f"make {parent_name} a Choice, or leave out when=",
            )
        if isinstance(parent, Float):
            raise SpaceError(
                f"{name} depends on {parent_name}, which is a Float",
                hint="a condition needs a Choice or an Int",
            )
        for value in values:
            if not parent.contains(value):
                raise SpaceError(
                    f"{name} exists when {parent_name} is {value!r}, which {parent_name} "
                    f"cannot take: {parent!r}",
                    hint=_nearest_value(parent, value),
                )

    def _sorted(self) -> tuple[str, ...]:
        order: list[str] = []

        def place(name: str, path: tuple[str, ...]) -> None:
            if name in path:
                circle = " -> ".join((*path[path.index(name) :], name))
                raise SpaceError(f"conditions go round in a circle: {circle}")
            when = self._dimensions[name].when
            if when is not None:
                place(when[0], (*path, name))
            if name not in order:
                order.append(name)

        for name in self._dimensions:
            place(name, ())
        return tuple(order)


def dimension_from_json(body: Any) -> Dimension:
    """Read a dimension's `to_json` back; raises `SpaceError` for anything else.

    >>> dimension_from_json({"type": "Int", "low": 1, "high": 4})
    Int(1, 4)
    """
    if not isinstance(body, Mapping) or body.get("type") not in _KINDS:
        raise SpaceError(f"{body!r} is no dimension")
    kind = body["type"]
    fields = {name: value for name, value in body.items() if name != "type"}
    unknown = set(fields) - _KINDS[kind]
    if unknown:
        raise SpaceError(f"{kind} has no {', '.join(sorted(unknown))}: {body!r}")
    try:
        when = fields.pop("when", None)
        if kind == "Choice":
            options = [option_from_json(option) for option in fields["options"]]
            return Choice(*options, when=when)
        make = Int if kind == "Int" else Float
        return make(fields.pop("low"), fields.pop("high"), when=when, **fields)
    except (KeyError, TypeError) as error:
        raise SpaceError(f"{body!r} is no dimension: {error}") from error


def _check_entry(name: Any, dimension: Any) -> None:
    if not isinstance(name, str) or not name.isidentifier():
        raise SpaceError(
            f"{name!r} cannot be the name of a dimension", hint="use a Python identifier"
        )
    if isinstance(dimension, type) and issubclass(dimension, Dimension):
        raise SpaceError(
            f"{name} is the class {dimension.__name__}", hint=f"call it: {dimension.__name__}(...)"
        )
    if not isinstance(dimension, Dimension):
        raise SpaceError(
            f"{name} is {dimension!r}, which is no dimension",
            hint="use Int(low, high), Float(low, high) or Choice(option, option)",
        )


def _is_among(parent: Dimension, value: Any, values: tuple[Plain, ...]) -> bool:
    if isinstance(parent, Choice):
        return parent.contains(value) and parent.label(value) in values
    return value in values


def _condition(parent: str, values: tuple[Plain, ...]) -> str:
    return f"{parent} is {' or '.join(map(repr, values))}"


def _nearest_value(parent: Dimension, value: Any) -> str:
    if not isinstance(parent, Choice):
        return ""
    close = nearest(str(value), [str(option) for option in parent.options])
    return f"did you mean {close!r}?" if close else ""
