"""Points of a search that are one training: what they differ in is how its weights are stored."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from nbautoml.compress.space import AWARE
from nbautoml.spec import Choice, Space

__all__ = ["refined", "shaping_of", "with_form"]

STORED = frozenset({"quantization", "calibration", "per", "spared"})
"""Dimensions that say how weights are stored."""


def shaping_of(params: Mapping[str, Any]) -> str:
    """What all points of one training have in common, as text to compare.

    >>> pruned = {"pruning": "channels", "sparsity_1": 0.5, "epochs": 4}
    >>> whole, small = {**pruned, "quantization": "off"}, {**pruned, "quantization": "int8_weights"}
    >>> shaping_of(whole) == shaping_of(small)
    True
    >>> shaping_of(whole) == shaping_of({**pruned, "quantization": "int8_aware"})
    False
    """
    # Training with the rounding takes its passes from the others: another training.
    is_aware = params.get("quantization") == AWARE
    shaping = {name: value for name, value in params.items() if name not in STORED}
    return repr((is_aware, sorted(shaping.items())))


def with_form(params: Mapping[str, Any], form: str) -> dict[str, Any] | None:
    """The same training in another form; None where there is no such thing.

    >>> with_form({"epochs": 4, "quantization": "off"}, "int8_dynamic")
    {'epochs': 4, 'quantization': 'int8_dynamic'}
    >>> with_form({"epochs": 4, "quantization": "off"}, "int8_aware") is None
    True
    """
    before = params.get("quantization")
    if form == before or AWARE in {form, before}:
        return None
    found = {name: value for name, value in params.items() if name not in STORED}
    found["quantization"] = form
    if form == "int8_static":
        found |= {"calibration": "minmax", "per": "channel"}
    return found


def refined(params: Mapping[str, Any], space: Space) -> list[dict[str, Any]]:
    """The same training in the same form, with one thing about that form changed.

    >>> from nbautoml.spec import Choice
    >>> space = Space({"quantization": Choice("off", "int8_static"), "per": Choice("channel", "tensor")})
    >>> refined({"quantization": "int8_static", "per": "channel"}, space)
    [{'quantization': 'int8_static', 'per': 'tensor'}]
    """
    found = []
    for name in sorted(STORED - {"quantization"}, reverse=True):
        dimension = space.get(name)
        if name in params and isinstance(dimension, Choice):
            found += [
                {**params, name: other} for other in dimension.options if other != params[name]
            ]
    return found
