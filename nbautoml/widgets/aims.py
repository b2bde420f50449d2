"""What is known of each of several objectives: its unit, its limits, what it was before the run."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from nbautoml.spec.objective import Objective
from nbautoml.widgets.labels import printable, unit_of
from nbautoml.widgets.protocol import Aim

__all__ = ["aims_of"]


def aims_of(objectives: Sequence[Objective], details: Mapping[str, Any]) -> list[Aim]:
    """One `Aim` an objective.

    Args:
        objectives: what the run makes as good as it can.
        details: those of its plan. ``limits`` holds by metric ``{"min": ..., "max": ...}`` (either
            may be missing), ``baseline`` the metrics of the model that the run began with. What is
            not of that form was written by something else, and is left out.

    >>> [aim] = aims_of([Objective("latency_ms", "minimize")], {"limits": {"latency_ms": {"max": 2}}})
    >>> aim["unit"], aim["least"], aim["most"], aim["before"]
    ('ms', None, 2.0, None)
    """
    limits, baseline = _mapping(details, "limits"), _mapping(details, "baseline")
    return [
        {
            "key": one.metric,
            "label": printable(one.metric, 40),
            "unit": unit_of(one.metric),
            "direction": one.direction,
            "least": _number(_mapping(limits, one.metric), "min"),
            "most": _number(_mapping(limits, one.metric), "max"),
            "before": _number(baseline, one.metric),
        }
        for one in objectives
    ]


def _mapping(found: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    value = found.get(name)
    return value if isinstance(value, Mapping) else {}


def _number(found: Mapping[str, Any], name: str) -> float | None:
    value = found.get(name)
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        return None
    try:
        number = float(value)
    except OverflowError:  # JSON's whole numbers have no end
        return None
    return number if math.isfinite(number) else None
