"""Plain attributes of modules as JSON and back: numbers, texts, tuples, torch's functions and types."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import torch
import torch.nn.functional as F  # noqa: N812  torch's own name for it
from torch import nn

from nbautoml.errors import CompressError, StoreError

__all__ = ["decode", "encode", "resolved_class", "symbols_of"]

# Where functions that modules hold (an activation, mostly) may come from.
_FUNCTION_HOMES: dict[str, Any] = {
    # Those that take tensors: not torch.load and its like.
    "torch": torch._C._VariableFunctions,  # noqa: SLF001  they are listed nowhere else
    "torch.nn.functional": F,
    "torch.nn.init": nn.init,
    "torch.special": torch.special,
}


def symbols_of(names: Mapping[str, Any]) -> dict[Any, str]:
    """Classes and functions of a namespace, with the names under which they are found."""
    found: dict[Any, str] = {}
    for name, value in names.items():
        if name.startswith("_") or not callable(value):
            continue
        if isinstance(value, type) or hasattr(value, "__code__"):
            own = getattr(value, "__name__", "") == name
            if value not in found or own:
                found[value] = name
    return found


def resolved_class(kind: type, symbols: Mapping[Any, str], path: str) -> str:
    """The text that stands for a class: its name among the symbols, or "module:name" of a package.

    Raises:
        CompressError: nothing leads to it.
    """
    if kind in symbols and not kind.__module__.startswith("torch."):
        return symbols[kind]
    if kind.__module__ != "__main__" and "<locals>" not in kind.__qualname__:
        return f"{kind.__module__}:{kind.__qualname__}"
    if kind.__qualname__ in symbols.values():
        raise CompressError(
            f"another class is called {kind.__qualname__} now than that of {path or 'the module'}",
            hint="its cell was run again, or two classes have one name: make the module anew, or "
            "rename one of them",
        )
    raise CompressError(
        f"the class {kind.__qualname__} of {path or 'the module'} has no name at the top level",
        hint="define it in a cell of its own, not inside a function",
    )


def encode(value: Any, symbols: Mapping[Any, str], path: str) -> Any:
    """A value as JSON.

    Raises:
        CompressError: it has no such form.

    >>> encode((1, 2.5, None), {}, "")
    {'tuple': [1, 2.5, None]}
    >>> encode(torch.relu, {}, "")
    {'function': 'torch:relu'}
    """
    if value is None or isinstance(value, (bool, int, str)):
        return value
    if isinstance(value, float):
        return value if math.isfinite(value) else {"float": str(value)}
    if isinstance(value, (tuple, list, set, frozenset)):
        items = sorted(value, key=repr) if isinstance(value, (set, frozenset)) else value
        listed = [encode(item, symbols, path) for item in items]
        if isinstance(value, list):
            return listed
        return {"tuple" if isinstance(value, tuple) else "set": listed}
    if isinstance(value, Mapping) and all(isinstance(key, str) for key in value):
        return {"dict": {key: encode(item, symbols, path) for key, item in value.items()}}
    if isinstance(value, torch.dtype):
        return {"dtype": str(value).removeprefix("torch.")}
    if isinstance(value, torch.device):
        return {"device": "cpu"}  # where it was does not matter where it is loaded
    return _function(value, symbols, path)


def _function(value: Any, symbols: Mapping[Any, str], path: str) -> dict[str, str]:
    name = getattr(value, "__name__", "")
    for place, home in _FUNCTION_HOMES.items():
        if name and getattr(home, name, None) is value:
            return {"function": f"{place}:{name}"}
    if callable(value) and getattr(value, "__hash__", None) and value in symbols:
        return {"symbol": symbols[value]}
    raise CompressError(
        f"{path} is a {type(value).__name__}, which cannot be stored with the model",
        hint="keep layers as attributes (in a list: nn.ModuleList), and functions under a name of "
        "their own, not as lambdas",
    )


def decode(value: Any, names: Mapping[str, Any]) -> Any:
    """The value that `encode` wrote.

    Raises:
        StoreError: it names something that is not here.

    >>> decode({"tuple": [1, {"float": "inf"}]}, {})
    (1, inf)
    """
    if isinstance(value, list):
        return [decode(item, names) for item in value]
    if not isinstance(value, dict):
        return value
    (kind, body), *others = value.items()
    if others:
        raise StoreError(f"an attribute of a module is damaged: {value!r}")
    if kind in {"tuple", "set"}:
        items = [decode(item, names) for item in body]
        return tuple(items) if kind == "tuple" else set(items)
    if kind == "dict":
        return {key: decode(item, names) for key, item in body.items()}
    if kind == "float":
        return float(body)
    if kind == "device":
        return torch.device("cpu")
    if kind == "dtype":
        found = getattr(torch, body, None)
        if isinstance(found, torch.dtype):
            return found
    if kind == "function":
        place, _, name = str(body).partition(":")
        function = getattr(_FUNCTION_HOMES.get(place), name, None)
        if callable(function):
            return function
    if kind == "symbol" and body in names:
        return names[body]
    raise StoreError(
        f"an attribute of a module names {body!r}, which is not here",
        hint="run the cell that defines it first",
    )
