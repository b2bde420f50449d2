"""Techniques one after another on a module.

::

    module -> Piece -> prune -> distill -> ... -> quantize -> Piece
                         '------ each a handler of `TECHNIQUES` ------'
              '--- a `Shelf` keeps what came of it ---'

One training, several exports: a model that differs from an earlier one in its last step alone, the
quantisation, begins with what the earlier one was when it was trained.
"""

from __future__ import annotations

import importlib
import json
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import torch

from nbautoml.compress.piece import Piece
from nbautoml.compress.shelf import Shelf
from nbautoml.compress.table import techniques_from, work_of
from nbautoml.compress.techniques import Quantization

if TYPE_CHECKING:
    from torch import nn

    from nbautoml.compress.techniques import Technique
    from nbautoml.compress.training import Bench

__all__ = ["apply_techniques"]


def apply_techniques(
    module: nn.Module,
    techniques: Sequence[Technique] | str,
    bench: Bench,
    *,
    student: nn.Module | None = None,
    shelf: Shelf | None = None,
) -> Piece:
    """Make a module smaller; the module itself is left as it is.

    Args:
        module: trained.
        techniques: configs in order, or words with commas.
        bench: data and trainer for what has to be trained or calibrated.
        student: of any class, for ``Distillation(student="given")``; left as it is.
        shelf: of pieces of this module and bench; what all steps but a last quantisation make
            under one seed is taken from it, or put there.

    Returns:
        The module (and the ONNX file, once it is quantised) with notes.

    Raises:
        RecipeError: no such technique, or an order that cannot be.
        CompressError: a technique can do nothing with this module; says why.
    """
    steps = techniques_from(techniques)
    n_shaping = len(steps) - (bool(steps) and isinstance(steps[-1], Quantization))
    shaping, last = steps[:n_shaping], steps[n_shaping:]
    if shelf is None or not shaping:
        piece = _applied(Piece.of(module, given=student), shaping, bench)
    else:
        key = json.dumps([bench.seed, *(step.to_json() for step in shaping)], sort_keys=True)
        piece = shelf.piece(key, lambda: _applied(Piece.of(module, given=student), shaping, bench))
    piece = _applied(piece, last, bench)
    _lay_out_plainly(piece.module)
    return piece


def _applied(piece: Piece, techniques: Sequence[Technique], bench: Bench) -> Piece:
    for technique in techniques:
        place, _, name = work_of(technique).handler.partition(":")
        handler: Callable[[Piece, Any, Bench], Piece] = getattr(
            importlib.import_module(place), name
        )
        piece = handler(piece, technique, bench)
        piece.module.eval()
    return piece


def _lay_out_plainly(module: nn.Module) -> None:
    """As a file holds it: the trainer may have laid weights out by channels, which sums otherwise."""
    for tensor in (*module.parameters(), *module.buffers()):
        tensor.data = tensor.data.clone(memory_format=torch.contiguous_format)
