"""The handler of `Distillation`: what the module has become, or another student, learns from the original."""

from __future__ import annotations

from typing import TYPE_CHECKING

from nbautoml.compress.layers import example_of
from nbautoml.compress.shallower import shallower
from nbautoml.compress.structured import narrowed
from nbautoml.compress.students import check_answers, given_student, own_student
from nbautoml.compress.training import Teaching, tune_module
from nbautoml.measure.counting import count_weights

if TYPE_CHECKING:
    from torch import nn

    from nbautoml.compress.piece import Piece
    from nbautoml.compress.techniques import Distillation
    from nbautoml.compress.training import Bench

__all__ = ["distill"]

WIDTHS = {"half": 0.5, "quarter": 0.25}


def distill(piece: Piece, config: Distillation, bench: Bench) -> Piece:
    """Train a student on targets and on its teacher's answers; the best epoch is kept.

    A narrower student begins with the channels of the largest weights, not from nothing: in the
    few epochs that it has it gets further; a shallower one with the blocks that do most. One that
    was given begins with the weights that it has, and takes the module's place.

    Raises:
        CompressError: no such student can be made, it answers in another shape, or there is nothing inside to transfer.
    """
    if config.student != "same":
        before = count_weights(piece.module).value
        piece.module = _student(piece, config, bench)
        after = count_weights(piece.module).value
        if config.student == "given":
            names = (
                f"{type(piece.module).__name__} takes the place of {type(piece.original).__name__}"
            )
            piece.note(f"the student {names}: {after:,.0f} weights instead of {before:,.0f}")
        else:
            piece.note(f"the student has {after:.0f} weights, {after / before:.0%} of what it had")
    teaching = Teaching(
        teacher=piece.original,
        temperature=config.temperature,
        weight=config.weight,
        transfer=config.transfer,
    )
    tune_module(piece.module, bench, epochs=config.epochs, lr=config.lr, teaching=teaching)
    return piece


def _student(piece: Piece, config: Distillation, bench: Bench) -> nn.Module:
    example = example_of(bench)
    if config.student == "shallow":
        return shallower(piece.module, example)
    if config.student in WIDTHS:
        return narrowed(piece.module, example, WIDTHS[config.student])
    if config.student == "given":
        found = given_student(piece.given)
    else:
        found = own_student(piece.original, config.arguments, bench.seed)
    check_answers(found, piece.original, example, seed=bench.seed)
    return found
