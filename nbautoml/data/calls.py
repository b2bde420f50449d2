"""How a module is called with what `Part.batches` yields."""

from __future__ import annotations

from typing import Any

__all__ = ["call_module"]


def call_module(module: Any, inputs: Any) -> Any:
    """``forward(x)``, ``forward(*xs)`` of a tuple, or ``forward(**xs)`` of a dict.

    >>> call_module(lambda a, b: a + b, (1, 2)), call_module(lambda a, b: a - b, {"b": 1, "a": 5})
    (3, 4)
    """
    if isinstance(inputs, dict):
        return module(**inputs)
    if isinstance(inputs, tuple):
        return module(*inputs)
    return module(inputs)
