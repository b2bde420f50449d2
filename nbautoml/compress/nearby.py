"""Points beside a good one: what a search tries once it knows where it stands."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any

from nbautoml.compress.presets import rate_for
from nbautoml.compress.space import whole
from nbautoml.spec import Choice, Float, Space

__all__ = ["left_of", "nearby", "sized", "switched"]

BOLD, CAREFUL, WIDER = 0.75, 0.9, 1.25
"""Times the channels that are left."""
HIGHER = 1.5
"""Times the rate of its fine-tune, where that varies and channels go."""
RATES = (2.0, 0.5)
"""Times the rate, with nothing else changed."""
SWITCHES = ("criterion", "heads", "transfer", "first", "taught")
"""Choices of which one at a time is changed."""
TEMPERATURE = 2.0


def nearby(params: Mapping[str, Any], space: Space) -> list[dict[str, Any]]:
    """Points beside one: fewer channels, a few fewer, fewer in one group of layers, more.

    In which numbers they are stored is no matter of where they stand: see `families`.

    Args:
        params: a point of the space.
        space: what varies.

    >>> from nbautoml.spec import Choice
    >>> space = Space({"pruning": Choice("off", "channels"), "sparsity_1": Float(0.0, 0.95)})
    >>> [point["sparsity_1"] for point in nearby({"pruning": "channels", "sparsity_1": 0.6}, space)]
    [0.7, 0.64, 0.5]
    """
    shares = [name for name in space if name.startswith("sparsity_") and name in params]
    each = [[name] for name in shares] if len(shares) > 1 else []
    points = [
        _resized(params, space, names, left)
        for names, left in (
            (shares, BOLD),
            (shares, CAREFUL),
            *((names, BOLD) for names in each),
            (shares, WIDER),
        )
    ]
    return [point for point in points if point != dict(params)]


def _resized(
    params: Mapping[str, Any], space: Space, names: Collection[str], left: float
) -> dict[str, Any]:
    changed: dict[str, Any] = {}
    for name in names:
        dimension = space[name]
        assert isinstance(dimension, Float)
        share = round(1 - (1 - params[name]) * left, 4)
        changed[name] = min(dimension.high, max(dimension.low, share))
    rate = space.get("lr_scale")
    if left < 1 and changed and isinstance(rate, Float) and "lr_scale" in params:
        changed["lr_scale"] = min(rate.high, HIGHER * params["lr_scale"])  # less is left
    return {**params, **changed}


def left_of(params: Mapping[str, Any]) -> float:
    """The share of the channels that is left, over all groups of layers.

    >>> left_of({"sparsity_1": 0.8, "sparsity_2": 0.6, "energy": 0.9})
    0.3
    """
    shares = [float(value) for name, value in params.items() if name.startswith("sparsity_")]
    return round(1 - sum(shares) / max(len(shares), 1), 4)


def sized(params: Mapping[str, Any], space: Space, left: float) -> dict[str, Any]:
    """A pruned point with so much left of its channels, its groups as they are to each other.

    Its fine-tune has the rate that so little needs, if that is higher.
    """
    shares = [name for name in space if name.startswith("sparsity_") and name in params]
    rate = params.get("lr_scale", 1.0)
    found = _resized({**params, "lr_scale": rate}, space, shares, left / left_of(params))
    if "lr_scale" in space:
        found["lr_scale"] = max(rate, rate_for(left))
    else:
        found.pop("lr_scale")
    return found


def switched(params: Mapping[str, Any], space: Space) -> list[dict[str, Any]]:
    """Points of other trainings that are as large: one thing is done another way.

    Args:
        params: a point of the space.
        space: what varies.

    >>> space = Space({"pruning": Choice("off", "channels"), "distillation": Choice("off", "on"),
    ...                "criterion": Choice("l2", "taylor", when=("pruning", "channels"))})
    >>> for point in switched({"pruning": "channels", "criterion": "l2", "distillation": "off"}, space):
    ...     print(point["criterion"], point["distillation"])
    taylor off
    l2 on
    """
    points = []
    for name in SWITCHES:
        dimension = space.get(name)
        if name in params and isinstance(dimension, Choice):
            others = [other for other in dimension.options if other != params[name]]
            points += [{**params, name: other} for other in others]
    if params.get("distillation") == "off" and any(params.get(n) for n in ("pruning", "low_rank")):
        points.append({**params, "distillation": "on", "temperature": TEMPERATURE})
    elif params.get("distillation") == "on" and params.get("student", "same") == "same":
        points.append({**params, "distillation": "off"})
    rate = space.get("lr_scale")
    if isinstance(rate, Float) and "lr_scale" in params:
        scaled = [round(times * params["lr_scale"], 4) for times in RATES]
        points += [{**params, "lr_scale": one} for one in scaled if rate.low <= one <= rate.high]
    return [whole(point, space) for point in points]
