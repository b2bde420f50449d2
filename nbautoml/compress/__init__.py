"""Compression: a trained module in, a smaller one out, with what it costs measured.

Importing this package imports no torch; what needs it is loaded when it is first used.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from nbautoml.compress.table import TECHNIQUES
from nbautoml.compress.techniques import (
    Distillation,
    LowRank,
    Penalty,
    Pruning,
    Quantization,
    Sharing,
    Technique,
)

if TYPE_CHECKING:
    from nbautoml.compress.piece import Piece
    from nbautoml.compress.pipeline import apply_techniques
    from nbautoml.compress.training import Bench

__all__ = [
    "TECHNIQUES",
    "Bench",
    "Distillation",
    "LowRank",
    "Penalty",
    "Piece",
    "Pruning",
    "Quantization",
    "Sharing",
    "Technique",
    "apply_techniques",
]

_HOMES = {"Bench": "training", "Piece": "piece", "apply_techniques": "pipeline"}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)
