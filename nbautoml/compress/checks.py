"""What the settings of techniques are held to; each check refuses with the setting, the value and what fits."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from nbautoml.errors import RecipeError, nearest

__all__ = ["at_least", "between", "one_of", "rate", "softening"]


def one_of(label: str, value: Any, options: Sequence[str]) -> None:
    """One of some words.

    >>> one_of("scope", "globl", ("global", "layer"))
    Traceback (most recent call last):
        ...
    nbautoml.errors.RecipeError: scope is 'globl'
    Hint: did you mean 'global'? One of: global, layer
    """
    if value in options:
        return
    near = nearest(str(value), options)
    guess = f"did you mean {near!r}? " if near else ""
    raise RecipeError(f"{label} is {value!r}", hint=f"{guess}One of: {', '.join(options)}")


def between(label: str, value: Any, low: float, high: float) -> None:
    """A number in [low, high)."""
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not low <= value < high:
        raise RecipeError(
            f"{label} is {value!r}", hint=f"{label} is a number from {low:g} to below {high:g}"
        )


def at_least(label: str, value: Any, low: int) -> None:
    """A whole number from ``low``."""
    if isinstance(value, bool) or not isinstance(value, int) or value < low:
        raise RecipeError(f"{label} is {value!r}", hint=f"{label} is a whole number from {low}")


def rate(value: Any) -> None:
    """A learning rate, or None for the trainer's own."""
    if value is not None and (isinstance(value, bool) or not isinstance(value, (int, float))):
        raise RecipeError(f"lr is {value!r}", hint="lr is a number above 0")
    if value is not None and not 0 < value < float("inf"):
        raise RecipeError(f"lr is {value!r}", hint="lr is a number above 0")


def softening(value: Any) -> None:
    """A temperature, which softens answers."""
    is_number = isinstance(value, (int, float)) and not isinstance(value, bool)
    if not is_number or not 0 < value < float("inf"):
        raise RecipeError(f"temperature is {value!r}", hint="temperature is a number above 0")
