"""The name of a run as a variable of the notebook: it takes nothing of the user's away."""

from __future__ import annotations

import builtins
from collections.abc import Mapping
from typing import Any

from nbautoml.api.parser import Order
from nbautoml.api.run import Run

__all__ = ["check_name_free", "why_not_bound"]


def check_name_free(order: Order, namespace: Mapping[str, Any]) -> None:
    """Refuse a new run's name that is a variable of another kind.

    Raises:
        UsageError: points at the name; offers one that is free.
    """
    name = order.values["NAME"]
    if name in namespace and not isinstance(namespace[name], Run):
        kind = type(namespace[name]).__name__
        raise order.error(
            "NAME",
            f"{name} is taken by a variable of type {kind}, and the run's name becomes one",
            f"call the run {_free(name, namespace)}, or del {name} first",
        )
    if hasattr(builtins, name):
        raise order.error(
            "NAME",
            f"{name} is a word of Python's own, and the run's name becomes a variable",
            f"call the run {_free(name, namespace)}",
        )


def why_not_bound(name: str, namespace: Mapping[str, Any]) -> str:
    """Why a run that exists cannot be bound to its name; "" when it can.

    >>> why_not_bound("my run", {}), why_not_bound("digits", {})
    ('my run cannot be a variable', '')
    """
    if not name.isidentifier() or hasattr(builtins, name):
        return f"{name} cannot be a variable"
    taken = namespace.get(name)
    if taken is not None and not isinstance(taken, Run):
        return f"{name} stays the {type(taken).__name__} that it is"
    return ""


def _free(name: str, namespace: Mapping[str, Any]) -> str:
    candidate, number = f"{name}_run", 2
    while candidate in namespace:
        candidate, number = f"{name}_run_{number}", number + 1
    return candidate
