"""Values that can be written as source: literals, enums, dataclasses, partials, names of things."""

from __future__ import annotations

import dataclasses
import datetime as dt
import enum
import functools
import math
import pathlib
import re
import sys
import types
from collections.abc import Callable
from typing import Any

__all__ = ["NoExpressionError", "express"]

MAX_LENGTH = 20_000


class NoExpressionError(TypeError):
    """The value cannot be written as source."""


def express(value: Any, name_of: Callable[[Any], str]) -> str:
    """The source of an expression that makes an equal value.

    Args:
        value: what to write.
        name_of: gives the expression for a class, function or module, and sees to it that the
            capsule has it; raises `NoExpressionError` where it cannot.

    >>> express({"a": (1, 2.5)}, repr)
    "{'a': (1, 2.5)}"
    """
    text = _express(value, name_of, frozenset())
    if len(text) > MAX_LENGTH:
        raise NoExpressionError("it is too long for source")
    return text


def _express(value: Any, name_of: Callable[[Any], str], seen: frozenset[int]) -> str:
    if value is None or value is Ellipsis or type(value) in _PLAIN:
        return repr(value)
    if type(value) is float:
        return repr(value) if math.isfinite(value) else f"float({str(value)!r})"
    if isinstance(value, (type, types.FunctionType, types.BuiltinFunctionType, types.ModuleType)):
        return name_of(value)
    if id(value) in seen:
        raise NoExpressionError("it contains itself")
    seen = seen | {id(value)}

    def inner(item: Any) -> str:
        return _express(item, name_of, seen)

    if type(value) in {list, tuple, set, frozenset, dict}:
        return _container(value, inner)
    if isinstance(value, list) and type(value).__module__.startswith("IPython."):
        return _container(list(value), inner)  # the output of a shell line
    if type(value) in _WRITTEN_AS_REPR:
        return _by_repr(value, name_of)
    return _torch_word(value, name_of) or _object(value, name_of, inner)


def _object(value: Any, name_of: Callable[[Any], str], inner: Callable[[Any], str]) -> str:
    """Objects whose constructor is known to make them again."""
    if isinstance(value, enum.Enum):
        kind = name_of(type(value))
        is_member = value.name in type(value).__members__
        return f"{kind}[{value.name!r}]" if is_member else f"{kind}({inner(value.value)})"
    if isinstance(value, tuple) and hasattr(value, "_fields"):
        words = [f"{n}={inner(item)}" for n, item in zip(value._fields, value, strict=True)]
        return f"{name_of(type(value))}({', '.join(words)})"
    if isinstance(value, functools.partial):
        words = [f"{name}={inner(item)}" for name, item in value.keywords.items()]
        parts = [inner(value.func), *(inner(item) for item in value.args), *words]
        return f"{name_of(functools)}.partial({', '.join(parts)})"
    if isinstance(value, pathlib.PurePath):
        return f"{name_of(pathlib)}.{type(value).__name__}({str(value)!r})"
    if dataclasses.is_dataclass(value):
        return _dataclass(value, name_of, inner)
    raise NoExpressionError(f"{type(value).__module__}.{type(value).__qualname__}")


def _torch_word(value: Any, name_of: Callable[[Any], str]) -> str:
    """A dtype or device of torch; "" for anything else."""
    torch = sys.modules.get("torch")
    if torch is not None and isinstance(value, torch.dtype):
        return f"{name_of(torch)}.{str(value).removeprefix('torch.')}"
    if torch is not None and isinstance(value, torch.device):
        return f"{name_of(torch)}.device({str(value)!r})"
    return ""


_PLAIN = frozenset({bool, int, str, bytes, complex, range, slice})

# Their repr is an expression, given their module.
_WRITTEN_AS_REPR = frozenset({dt.date, dt.datetime, dt.time, dt.timedelta, re.Pattern})


def _by_repr(value: Any, name_of: Callable[[Any], str]) -> str:
    if isinstance(value, re.Pattern):
        return f"{name_of(re)}.compile({value.pattern!r}, {value.flags})"
    if getattr(value, "tzinfo", None) not in {None, dt.UTC}:
        raise NoExpressionError(f"a time in the zone {value.tzinfo}")
    name = name_of(dt)
    return repr(value).replace("datetime.", f"{name}.") if name != "datetime" else repr(value)


def _container(value: Any, inner: Callable[[Any], str]) -> str:
    if isinstance(value, dict):
        return "{" + ", ".join(f"{inner(k)}: {inner(v)}" for k, v in value.items()) + "}"
    if isinstance(value, list):
        return "[" + ", ".join(inner(item) for item in value) + "]"
    if isinstance(value, tuple):
        return (
            "(" + "".join(f"{inner(item)}, " for item in value).rstrip(" ") + ")"
            if len(value) == 1
            else ("(" + ", ".join(inner(item) for item in value) + ")")
        )
    items = ", ".join(sorted(inner(item) for item in value))
    if isinstance(value, frozenset):
        return f"frozenset({{{items}}})" if value else "frozenset()"
    return f"{{{items}}}" if value else "set()"


def _dataclass(value: Any, name_of: Callable[[Any], str], inner: Callable[[Any], str]) -> str:
    """A call with the fields that ``__init__`` takes; it must give an equal object."""
    fields = dataclasses.fields(value)
    words = [f"{f.name}={inner(getattr(value, f.name))}" for f in fields if f.init]
    extra = set(getattr(value, "__dict__", {})) - {f.name for f in fields}
    if extra or any(not f.init for f in fields):
        raise NoExpressionError(f"a {type(value).__name__} with more than its constructor takes")
    return f"{name_of(type(value))}({', '.join(words)})"
