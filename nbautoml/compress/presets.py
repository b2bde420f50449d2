"""Points that a search tries first, and the rate at which what is left is fine-tuned."""

from __future__ import annotations

from typing import Any

from nbautoml.compress.space import AWARE, original_point, whole
from nbautoml.spec import Choice, Space

__all__ = ["presets", "rate_for"]

FIRST_FORMS = ("int8_static", "int8_dynamic", "int8_weights")  # alone, before anything else
FRESH_SCALE = 5.0
"""Times the trainer's rate for a student that may know nothing yet."""
RATE_OF_HALF, HIGHEST_FIRST = 5.0, 10.0
"""Times the trainer's rate where half of the channels are gone, and the highest that is tried first."""


def rate_for(left: float) -> float:
    """Times the trainer's rate for a fine-tune of what is left of the channels: the less, the higher.

    Measured after 12 to 16 passes of Adam on four small networks: with half of the channels gone five
    times the rate lost least, with four fifths ten times on three of them (20 times the best or far
    the worst).

    >>> [rate_for(left) for left in (1.0, 0.5, 0.3, 0.1)]
    [2.5, 5.0, 8.33, 10.0]
    """
    return min(HIGHEST_FIRST, round(RATE_OF_HALF * 0.5 / max(left, 1e-3), 2))


def presets(space: Space, n_epochs: int) -> list[dict[str, Any]]:
    """Points that are tried first: each technique alone, then the usual company."""
    origin = {**original_point(space), "epochs": n_epochs}
    shares = [name for name in space if name.startswith("sparsity_")]
    forms, students = _options(space, "quantization"), _options(space, "student")
    static = {"quantization": "int8_static", "calibration": "minmax", "per": "channel"}

    def pruned(share: float, criterion: str = "l2") -> dict[str, Any]:
        said = {"pruning": "channels", "criterion": criterion, "lr_scale": rate_for(1 - share)}
        return {**said, **dict.fromkeys(shares, share)}

    def taught(student: str = "same") -> dict[str, Any]:
        said = {"distillation": "on", "temperature": 2.0, "student": student, "taught": "last"}
        return said if "distillation" in space else {}

    def weights(bits: int) -> dict[str, Any]:
        form = f"int{bits}_weights"
        return {"quantization": form} if form in forms else {}

    wanted: list[dict[str, Any]] = []
    for form in forms:
        if form in FIRST_FORMS:
            said = static if form == "int8_static" else {"quantization": form}
            wanted.append({**said, "epochs": 0})
    if "given" in students:
        # Somebody wants to know about this one, right away: as one that has learnt already, and, at
        # a higher rate, as one that has not (a fresh student of digits after 8 passes of Adam: 91 %
        # at 0.001, 96 % at five times that).
        wanted += [taught("given"), {**taught("given"), "lr_scale": FRESH_SCALE, **weights(8)}]
    if shares:
        wanted += [
            pruned(0.5),
            {**pruned(0.75), **weights(8)},
            {**pruned(0.87), **weights(8)},
            {**pruned(0.91), **weights(4)},
        ]
    if "low_rank" in space:
        wanted.append({"low_rank": "on", "energy": 0.9})
    if "distillation" in space and ("half" in students or "shallow" not in students):
        wanted.append({**taught("half" if "half" in students else "same"), **weights(4)})
    if "shallow" in students:
        # Fewer blocks and narrower ones: of a transformer of two layers half of both cost nothing.
        narrow = [pruned(0.5), pruned(0.7)] if shares else [{}]
        wanted += [{**one, **taught("shallow"), **weights(8)} for one in narrow]
    if shares:
        wanted.append({**pruned(0.82, "taylor"), **weights(4)})
        if "int8_static" in forms:
            wanted.append({**pruned(0.5), **taught(), **static})
        if AWARE in forms:
            wanted.append({**pruned(0.7), "quantization": AWARE})
    points = [whole({**origin, **point}, space) for point in wanted]
    return [point for at, point in enumerate(points) if point not in points[:at]]


def _options(space: Space, name: str) -> tuple[Any, ...]:
    """What a choice offers; nothing where it is not in the space."""
    listed = space.get(name)
    return listed.options if isinstance(listed, Choice) else ()
