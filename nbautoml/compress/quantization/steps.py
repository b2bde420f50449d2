"""What every backend does around its own quantising: train with the rounding, spare layers, tell what it cost."""

from __future__ import annotations

from collections.abc import Callable, Collection

import torch

from nbautoml.compress.piece import Piece
from nbautoml.compress.quantization.aware import not_rounded, train_aware
from nbautoml.compress.quantization.calibration import Rows
from nbautoml.compress.quantization.sensitivity import spare_sensitive
from nbautoml.compress.techniques import Quantization
from nbautoml.compress.training import Bench
from nbautoml.errors import CompressError
from nbautoml.measure import open_onnx

__all__ = ["BITS", "Answers", "difference", "outputs_of", "spared_layers", "train_if_aware"]

BITS = {"int8": 8, "int4": 4, "fp16": 16, "bf16": 16}
Answers = Callable[[Collection[str]], torch.Tensor]
"""Outputs for all calibration rows, with all layers quantised but those that are named."""


def train_if_aware(
    piece: Piece, config: Quantization, bench: Bench, check: Callable[[], object]
) -> None:
    """Train a piece with its rounding, where the mode is "aware".

    Args:
        piece: whose module learns, in place.
        config: what was asked for.
        bench: data and trainer.
        check: raises where the module cannot be exported: better before hours of training.
    """
    if config.to != "int8" or config.mode != "aware" or not config.epochs:
        return
    check()
    trained = train_aware(
        piece.module,
        bench,
        epochs=config.epochs,
        lr=config.lr,
        keep=config.keep,
        by_channel=config.per == "channel",
    )
    piece.module.eval()
    piece.note(f"trained with the rounding of {len(trained)} layers")
    others = not_rounded(piece.module, config.keep)
    if others:
        piece.note(f"weights of {', '.join(others)} are not rounded while it trains")


def spared_layers(
    answers: Answers, layers: list[str], config: Quantization, rows: Rows, whole: bytes
) -> tuple[str, ...]:
    """Layers that stay in float for the sake of the metric.

    Raises:
        CompressError: with any layer quantised it drops by more than ``config.max_drop``.
    """
    if config.max_drop is None:
        return ()
    before, _ = rows.score(outputs_of(whole, rows))
    spared = spare_sensitive(
        lambda left: rows.score(answers(left)),
        layers,
        whole=before,
        max_drop=config.max_drop,
    )
    if spared is None:
        metric = rows.bench.objective.metric
        raise CompressError(
            f"with any layer quantised, {metric} drops by more than max_drop {config.max_drop:g} on "
            f"{rows.n} calibration rows",
            hint="allow a larger drop, more bits, or mode 'aware', which trains with the rounding",
        )
    return spared


def outputs_of(data: bytes, rows: Rows) -> torch.Tensor:
    """The first output of a file for all rows."""
    exported = open_onnx(data)
    found = [exported.session.run(None, feeds)[0] for feeds in rows.chunks(exported.inputs)]
    return torch.cat([torch.from_numpy(part) for part in found])


def difference(piece: Piece, rows: Rows, whole: bytes) -> str:
    """By how much outputs of a quantised piece lie beside those of its float file, in words."""
    assert piece.onnx is not None
    before, after = outputs_of(whole, rows), outputs_of(piece.onnx, rows)
    scale = max(float(before.abs().max()), 1e-12)
    typical = float((after - before).abs().mean()) / scale
    return f"outputs move by {typical:.2%} of the largest on average, on {rows.n} calibration rows"
