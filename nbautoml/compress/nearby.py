"""Points beside a good one: what a search tries once it knows where it stands."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from nbautoml.spec import Choice, Float, Space

__all__ = ["nearby"]

LEFT = (0.75, 0.9)
"""Shares of the channels that a narrower point keeps of those that are left."""
HIGHER = 1.5
"""Times the rate of its fine-tune, where that varies."""
FORMS = ("int8_dynamic", "int8_static", "int8_weights", "int4_weights")


def nearby(params: Mapping[str, Any], space: Space) -> list[dict[str, Any]]:
    """Points beside one, boldest first: fewer channels, other numbers, a few channels fewer.

    Args:
        params: a point of the space.
        space: what varies.

    >>> space = Space({"pruning": Choice("off", "channels"), "sparsity_1": Float(0.0, 0.95)})
    >>> [point["sparsity_1"] for point in nearby({"pruning": "channels", "sparsity_1": 0.6}, space)]
    [0.7, 0.64]
    """
    bold, careful = (_narrower(params, space, left) for left in LEFT)
    forms = space.get("quantization")
    others = [
        _with_form(params, form)
        for form in FORMS
        if isinstance(forms, Choice)
        and form in forms.options
        and form != params.get("quantization")
    ]
    points = [*bold, *others, *careful]
    return [point for point in points if point != dict(params)]


def _narrower(params: Mapping[str, Any], space: Space, left: float) -> list[dict[str, Any]]:
    shares: dict[str, float] = {}
    for name, dimension in space.items():
        if name.startswith("sparsity_") and name in params and isinstance(dimension, Float):
            shares[name] = min(dimension.high, round(1 - (1 - params[name]) * left, 4))
    if not shares:
        return []
    rate = space.get("lr_scale")
    if isinstance(rate, Float) and "lr_scale" in params:  # the less is left, the higher
        shares["lr_scale"] = min(rate.high, HIGHER * params["lr_scale"])
    return [{**params, **shares}]


def _with_form(params: Mapping[str, Any], form: str) -> dict[str, Any]:
    found = {
        name: value for name, value in params.items() if name not in {"calibration", "per"}
    } | {"quantization": form}
    if form == "int8_static":
        found |= {"calibration": "minmax", "per": "channel"}
    return found
