"""The rows of the battery: each way to use a technique, and what must come of it on each small network."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

import onnx
import torch
from flat_student import Flat
from torch import nn

from nbautoml.compress import (
    Bench,
    Distillation,
    LowRank,
    Penalty,
    Piece,
    Pruning,
    Quantization,
    Sharing,
    Technique,
    apply_techniques,
)
from nbautoml.compress.layers import example_of
from nbautoml.measure.coding import stored_size
from nbautoml.measure.counting import call, count_nonzero, count_weights, weight_bytes

__all__ = ["IN_FILES", "ROWS", "Row", "weights"]


@dataclass(frozen=True, kw_only=True)
class Row:
    """A way to use a technique, and what must come of it.

    Attributes:
        technique: the config, or one for each network by its name.
        counts: what it makes smaller.
        shrinks: by what that must at least be divided.
        keeps_layers: whether the layers, and so the exported graph, stay as they are.
        student: one that is given, for answers of a shape.
        control: the same training without the technique, whose outcome it is compared with.
        refuses: networks with which it can do nothing, and what it says then.
    """

    technique: Technique | Callable[[str], Technique]
    counts: Callable[[Piece], float]
    shrinks: float
    keeps_layers: bool = False
    student: Callable[[torch.Size], nn.Module] | None = None
    control: Technique | None = None
    refuses: Mapping[str, str] = field(default_factory=dict)

    def applied(self, name: str, module: nn.Module, bench: Bench) -> Piece:
        """What the technique makes of a network."""
        technique = self.technique
        if not isinstance(technique, Technique):
            technique = technique(name)
        answer = call(module, example_of(bench)).shape[1:]
        student = self.student(answer) if self.student is not None else None
        return apply_techniques(module, [technique], bench, student=student)


def weights(piece: Piece) -> float:
    return count_weights(piece.module).value


def nonzero(piece: Piece) -> float:
    return count_nonzero(piece.module).value


def stored(piece: Piece) -> float:
    return stored_size(piece.module.state_dict()).value


def length(piece: Piece) -> float:
    return float(sum(w.detach().abs().sum() for w in piece.module.parameters() if w.ndim > 1))


def numbers(piece: Piece) -> float:
    """Bytes of the numbers in its file, or in the module where there is none."""
    if piece.onnx is None:
        return weight_bytes(piece.module)
    tensors = onnx.load_from_string(piece.onnx).graph.initializer
    return float(sum(onnx.numpy_helper.to_array(tensor).nbytes for tensor in tensors))


# What each class is made with: its width, by default and for a student of half of it.
WIDTHS = {
    "mlp": {"hidden": 16}, "cnn": {"width": 8}, "residual": {"width": 8}, "depthwise": {"width": 8},
    "dense": {"growth": 6}, "unet": {"width": 6}, "lstm": {"hidden": 12}, "transformer": {"width": 16},
    "embedding": {"width": 12}, "two_inputs": {"width": 8},
}  # fmt: skip


def half_as_wide(name: str) -> Technique:
    arguments = {key: width // 2 for key, width in WIDTHS[name].items()}
    return Distillation(student="own", arguments=arguments, epochs=1)


def born_again(name: str) -> Technique:
    return Distillation(student="own", arguments=WIDTHS[name], epochs=1)


def refusing(text: str, *names: str) -> dict[str, str]:
    return dict.fromkeys(names, text)


ROWS = {
    "channels": Row(technique=Pruning(0.5, epochs=1), counts=weights, shrinks=1.8),
    "channels by layer, in rounds": Row(
        technique=Pruning(0.5, scope="layer", n_rounds=2, epochs=2, criterion="taylor"),
        counts=weights, shrinks=1.8,
    ),
    "channels, whole heads": Row(  # they are dear: one ranking takes few of them
        technique=Pruning(0.5, heads="fewer", epochs=1), counts=weights, shrinks=1.2
    ),
    "weights": Row(
        technique=Pruning(0.5, granularity="weights", epochs=1),
        counts=nonzero, shrinks=1.4, keeps_layers=True,
    ),
    "weights, taught by the original": Row(
        technique=Pruning(0.5, granularity="weights", taught=0.7, epochs=1),
        counts=nonzero, shrinks=1.4, keeps_layers=True,
    ),
    "weights, gradually": Row(
        technique=Pruning(0.5, granularity="weights", schedule="agp", regrow=True, epochs=2),
        counts=nonzero, shrinks=1.4, keeps_layers=True,
    ),
    "weights, evenly": Row(
        technique=Pruning(0.5, granularity="weights", schedule="linear", criterion="l1", epochs=1),
        counts=nonzero, shrinks=1.4, keeps_layers=True,
    ),
    "two of four weights": Row(
        technique=Pruning(granularity="weights", pattern="2:4", epochs=1),
        counts=nonzero, shrinks=1.4, keeps_layers=True,
    ),
    "low rank": Row(technique=LowRank(0.6, epochs=1), counts=weights, shrinks=1.0),
    "sharing": Row(
        technique=Sharing(8, epochs=1), counts=stored, shrinks=2.5, keeps_layers=True
    ),
    "half a student, with hints": Row(
        technique=Distillation(student="half", transfer="hints", epochs=1),
        counts=weights, shrinks=1.8,
    ),
    "a quarter of a student": Row(
        technique=Distillation(student="quarter", epochs=1), counts=weights, shrinks=2.5
    ),
    "a shallow student": Row(
        technique=Distillation(student="shallow", epochs=1), counts=weights, shrinks=1.1,
        refuses=refusing("no layer inside hands on the shape", "cnn", "unet", "lstm", "embedding"),
    ),
    "attention transfer": Row(
        technique=Distillation(student="half", transfer="attention", epochs=1),
        counts=weights, shrinks=1.8,
        refuses=refusing("no inner layers with positions to look at", "mlp", "lstm"),
    ),
    "an own student": Row(technique=half_as_wide, counts=weights, shrinks=1.3),
    "born again": Row(
        technique=born_again, counts=weights, shrinks=0.999, keeps_layers=True
    ),
    "a student of another class": Row(
        technique=Distillation(student="given", epochs=1),
        counts=weights, shrinks=2.0, student=Flat,
    ),
    "l1": Row(
        technique=Penalty("l1", strength=0.5, epochs=1), control=Penalty("l1", strength=0, epochs=1),
        counts=length, shrinks=1.02, keeps_layers=True,
    ),
    "l2": Row(
        technique=Penalty("l2", strength=0.9, epochs=1), control=Penalty("l2", strength=0, epochs=1),
        counts=length, shrinks=1.02, keeps_layers=True,
    ),
    "int8, trained with the rounding": Row(
        technique=Quantization("int8", mode="aware", epochs=1),
        counts=numbers, shrinks=1.7, keeps_layers=True,
    ),
}  # fmt: skip
IN_FILES = {row for row, one in ROWS.items() if isinstance(one.technique, Quantization)}
"""Rows after which a file stands for the module."""
