"""The handler of `Distillation`: what the module has become, or a narrower one, learns from the original."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
from torch import nn

from nbautoml.compress.layers import example_of
from nbautoml.compress.shallower import shallower
from nbautoml.compress.structured import narrowed
from nbautoml.compress.students import own_student
from nbautoml.compress.training import Teaching, tune_module
from nbautoml.errors import CompressError
from nbautoml.measure.counting import call, count_weights

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
        CompressError: no such student can be made, it answers in another shape, or there is nothing inside to transfer.
    """
    if config.student != "same":
        before = count_weights(piece.module).value
        example = example_of(bench)
        if config.student == "own":
            piece.module = own_student(piece.original, config.arguments, bench.seed)
            _check_answers(piece.module, piece.original, example)
        elif config.student == "shallow":
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


def _check_answers(student: nn.Module, teacher: nn.Module, example: Any) -> None:
    """Refuse a student that does not answer as its teacher does."""
    with torch.no_grad():
        theirs = call(teacher, example).shape
        try:
            ours = call(student.eval(), example).shape
        except Exception as error:
            raise CompressError(
                f"the student {type(student).__name__} does not take its teacher's inputs: {error}"
            ) from error
    if ours != theirs:
        raise CompressError(
            f"the student answers with shape {tuple(ours)}, and its teacher with {tuple(theirs)}",
            hint="keep the arguments that decide the outputs",
        )
