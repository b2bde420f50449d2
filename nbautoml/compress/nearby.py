"""Points beside a good one: what a search tries once it knows where it stands."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any

from nbautoml.spec import Float, Space

__all__ = ["nearby"]

BOLD, CAREFUL, WIDER = 0.75, 0.9, 1.25
"""Times the channels that are left."""
HIGHER = 1.5
"""Times the rate of its fine-tune, where that varies and channels go."""


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
