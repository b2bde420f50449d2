"""Dataclasses to JSON and back, by a table of names: nothing that is read decides which code runs.

A message is ``{"type": "EpochEnded", ...fields}``. JSON has no NaN, so numbers that
are not finite travel as the strings "nan", "inf" and "-inf".
"""

from __future__ import annotations

import dataclasses
import functools
import json
import math
from collections.abc import Mapping
from typing import Any, TypeVar, cast

from nbautoml.errors import NbAutomlError, nearest

__all__ = ["WireError", "dumps", "from_json", "loads", "plain", "to_json"]

T = TypeVar("T")

_NOT_FINITE = {"nan": math.nan, "inf": math.inf, "-inf": -math.inf}


class WireError(NbAutomlError):
    """A message that does not fit its type: unknown type, missing or unknown field."""


_AS_THEY_ARE = frozenset({int, str, bool, type(None)})
_NUMBERS = frozenset({int, float})


def plain(value: Any) -> Any:
    """A JSON-able copy: tuples become lists, numbers that are not finite become strings.

    >>> plain([1, 2.5]), plain([1, "a", None]), plain([1.0, float("inf")]), plain([(1,), 2])
    ([1, 2.5], [1, 'a', None], [1.0, 'inf'], [[1], 2])
    """
    kind = type(value)
    if kind in _AS_THEY_ARE:
        return value
    if kind is list:  # a curve's steps and values are most of what a worker sends
        kinds = set(map(type, value))
        if kinds <= _AS_THEY_ARE or (kinds <= _NUMBERS and all(map(math.isfinite, value))):
            return value.copy()
    if isinstance(value, float) and not math.isfinite(value):
        return "nan" if math.isnan(value) else ("inf" if value > 0 else "-inf")
    if isinstance(value, Mapping):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [plain(item) for item in value]
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return to_json(value)
    return value


def to_json(message: Any) -> dict[str, Any]:
    """The message as a JSON object with its type's name under ``type``."""
    kind: Any = type(message)
    body = {name: plain(getattr(message, name)) for name in _names(kind)}
    return {"type": kind.__name__, **body}


@functools.cache
def _names(kind: type) -> tuple[str, ...]:
    return tuple(field.name for field in dataclasses.fields(kind))


@functools.cache
def _annotations(kind: Any) -> dict[str, str]:
    return {field.name: str(field.type) for field in dataclasses.fields(kind)}


def dumps(message: Any) -> str:
    """`to_json` as compact text."""
    return json.dumps(to_json(message), separators=(",", ":"), ensure_ascii=False, allow_nan=False)


def loads(text: str | bytes, types: Mapping[str, type[T]]) -> T:
    """The message in a JSON text; see `from_json`.

    Raises:
        WireError: the text is no JSON object of a known type.
    """
    try:
        found = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise WireError(f"not a JSON message: {error}") from error
    return from_json(found, types)


def from_json(found: Any, types: Mapping[str, type[T]]) -> T:
    """The message that a JSON object states.

    Args:
        found: the object, with its type's name under ``type``.
        types: the types that are allowed here, by name.

    Raises:
        WireError: unknown type, or fields missing or unknown.
    """
    if not isinstance(found, Mapping) or not isinstance(found.get("type"), str):
        raise WireError(f"a message is an object with a 'type', got {str(found)[:80]!r}")
    name = found["type"]
    kind = types.get(name)
    if kind is None:
        near = nearest(name, types)
        raise WireError(
            f"unknown message type {name[:80]!r}", hint=f"did you mean {near!r}?" if near else ""
        )
    annotations = _annotations(cast("Any", kind))
    words = dict(found)
    del words["type"]
    if not words.keys() <= annotations.keys():
        raise WireError(f"{name} has no field {min(words.keys() - annotations.keys())[:80]!r}")
    try:
        return kind(**{key: _revived(value, annotations[key]) for key, value in words.items()})
    except (TypeError, ValueError) as error:
        raise WireError(f"{name}: {error}") from error


def _revived(value: Any, annotation: str) -> Any:
    """Undo `plain` where the field's annotation says so: tuples, and floats that are not finite."""
    if type(value) is float or type(value) is int:
        return value
    if isinstance(value, str) and value in _NOT_FINITE and "float" in annotation:
        return _NOT_FINITE[value]
    if isinstance(value, list):
        items = [_revived(item, annotation) for item in value]
        return tuple(items) if annotation.startswith("tuple") else items
    if isinstance(value, dict) and "float" in annotation:
        return {key: _revived(item, annotation) for key, item in value.items()}
    return value
