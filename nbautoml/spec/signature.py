"""What a class or function takes, and what its signature lets vary."""

from __future__ import annotations

import inspect
import re
import typing
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

from nbautoml.errors import SpaceError
from nbautoml.spec.space import Choice, Dimension, Float, Int

__all__ = ["Parameters", "read_parameters", "read_signature", "title"]

_OURS = re.compile(r"\b(Int|Float|Choice)\b")
_FALLBACK = MappingProxyType({"Int": Int, "Float": Float, "Choice": Choice})


@dataclass(frozen=True, kw_only=True)
class Parameters:
    """What a class or function takes.

    Attributes:
        dimensions: those that its signature lets vary.
        defaults: the defaults of all parameters that have one.
        names: all names that can be given.
        required: names that have neither a default nor a dimension.
        accepts_any: whether ``**kwargs`` takes any other name too.
    """

    dimensions: Mapping[str, Dimension]
    defaults: Mapping[str, Any]
    names: frozenset[str]
    required: frozenset[str]
    accepts_any: bool = False


def read_signature(target: Callable[..., Any]) -> tuple[dict[str, Dimension], dict[str, Any]]:
    """The dimensions and the defaults in the signature of a class or function.

    >>> class Net:
    ...     def __init__(self, hidden: Int(16, 256) = 64, depth=2): ...
    >>> read_signature(Net)
    ({'hidden': Int(16, 256)}, {'hidden': 64, 'depth': 2})
    """
    parameters = read_parameters(target)
    return dict(parameters.dimensions), dict(parameters.defaults)


def read_parameters(target: Callable[..., Any]) -> Parameters:
    """What a class or function takes, and what of it may vary.

    A dimension stands as the annotation (also as text, under ``from __future__ import
    annotations``, and within ``Annotated[int, Int(1, 4)]``) or as the default.

    Raises:
        SpaceError: an annotation cannot be evaluated, or a default is outside its dimension.
    """
    try:
        signature = inspect.signature(target)
    except (TypeError, ValueError) as error:
        raise SpaceError(f"{title(target)} has no signature that can be read: {error}") from error
    function = _function(target)
    dimensions: dict[str, Dimension] = {}
    defaults: dict[str, Any] = {}
    required: set[str] = set()
    names: set[str] = set()
    accepts_any = False
    for name, parameter in signature.parameters.items():
        if parameter.kind is parameter.VAR_KEYWORD:
            accepts_any = True
        if parameter.kind not in (parameter.POSITIONAL_OR_KEYWORD, parameter.KEYWORD_ONLY):
            continue
        names.add(name)
        dimension = _annotated_dimension(name, parameter.annotation, target, function)
        if isinstance(parameter.default, Dimension):
            dimension = parameter.default
        elif parameter.default is not parameter.empty:
            defaults[name] = parameter.default
            _check_default(name, dimension, parameter.default)
        if dimension is not None:
            dimensions[name] = dimension
        elif name not in defaults:
            required.add(name)
    return Parameters(
        dimensions=MappingProxyType(dimensions),
        defaults=MappingProxyType(defaults),
        names=frozenset(names),
        required=frozenset(required),
        accepts_any=accepts_any,
    )


def _function(target: Callable[..., Any]) -> Any:
    """The function in whose globals annotations that are text have to be read."""
    function: Any = target
    if inspect.isclass(target):
        # What inspect.signature reads; a metaclass or __new__ with a signature is rare.
        function = target.__init__
    function = inspect.unwrap(function)
    return getattr(function, "__func__", function)


def _annotated_dimension(
    name: str, annotation: Any, target: Any, function: Any
) -> Dimension | None:
    if isinstance(annotation, str):
        annotation = _evaluated(name, annotation, target, function)
    if isinstance(annotation, Dimension):
        return annotation
    if inspect.isclass(annotation) and issubclass(annotation, Dimension):
        raise SpaceError(
            f"{name} of {title(target)} is annotated with {annotation.__name__} itself",
            hint=f"call it: {name}: {annotation.__name__}(...)",
        )
    if typing.get_origin(annotation) is typing.Annotated:
        found = [item for item in annotation.__metadata__ if isinstance(item, Dimension)]
        if len(found) > 1:
            raise SpaceError(f"{name} of {title(target)} has {len(found)} dimensions")
        return found[0] if found else None
    return None


def _evaluated(name: str, text: str, target: Any, function: Any) -> Any:
    """An annotation that is text, evaluated where it was written; None if it is not ours."""
    # Other text may still be an alias (`Width = Int(1, 4)`), so it is tried, but may fail.
    is_ours = _OURS.search(text) is not None
    around = dict(vars(target)) if inspect.isclass(target) else {}
    cells = zip(
        getattr(getattr(function, "__code__", None), "co_freevars", ()),
        getattr(function, "__closure__", None) or (),
        strict=False,
    )
    names = {**_FALLBACK, **getattr(function, "__globals__", {})}
    around.update({free: cell.cell_contents for free, cell in cells if _is_filled(cell)})
    try:
        return eval(text, names, around)  # noqa: S307  the user's own annotation, as Python does
    except SpaceError as error:
        raise SpaceError(f"{name} of {title(target)}: {error.message}", hint=error.hint) from error
    except Exception as error:
        if not is_ours:
            return None  # an annotation of the user's that only a type checker reads
        raise SpaceError(
            f"the annotation of {name} in {title(target)} cannot be read: {text} "
            f"({type(error).__name__}: {error})",
            hint="what it names must be defined at the top level, before the class is used",
        ) from error


def _is_filled(cell: Any) -> bool:
    try:
        cell.cell_contents  # noqa: B018  an empty cell raises
    except ValueError:
        return False
    return True


def _check_default(name: str, dimension: Dimension | None, default: Any) -> None:
    if dimension is None or dimension.when is not None or dimension.contains(default):
        return  # where a dimension is conditional, the default is for when it does not exist
    raise SpaceError(
        f"the default of {name} is {default!r}, which is not in {dimension!r}",
        hint="change the default, or widen the dimension",
    )


def title(target: Any) -> str:
    """What a class or function is called in a message."""
    return getattr(target, "__qualname__", None) or repr(target)
