"""The handler of `Distillation`: what the module has become, or a narrower one, learns from the original."""

from __future__ import annotations

from typing import TYPE_CHECKING

from nbautoml.compress.layers import example_of
from nbautoml.compress.shallower import shallower
from nbautoml.compress.structured import narrowed
from nbautoml.compress.training import Teaching, tune_module
from nbautoml.measure.counting import count_weights

if TYPE_CHECKING:
    from nbautoml.compress.piece import Piece
    from nbautoml.compress.techniques import Distillation
    from nbautoml.compress.training import Bench

__all__ = ["distill"]

WIDTHS = {"half": 0.5, "quarter": 0.25}


def distill(piece: Piece, config: Distillation, bench: Bench) -> Piece:
    """Train a student on targets and on its teacher's answers; the best epoch is kept.

    A narrower student begins with the channels of the largest weights, not from nothing: in the
    few epochs that it has it gets further; a shallower one with the blocks that do most.

    Raises:
        CompressError: no such student can be made, or there is nothing inside to transfer.
    """
    if config.student != "same":
        before = count_weights(piece.module).value
        example = example_of(bench)
        if config.student == "shallow":
            piece.module = shallower(piece.module, example)
        else:
            piece.module = narrowed(piece.module, example, WIDTHS[config.student])
        after = count_weights(piece.module).value
        piece.note(f"the student has {after:.0f} weights, {after / before:.0%} of what it had")
    teaching = Teaching(
        teacher=piece.original,
        temperature=config.temperature,
        weight=config.weight,
        transfer=config.transfer,
    )
    tune_module(piece.module, bench, epochs=config.epochs, lr=config.lr, teaching=teaching)
    return piece
