"""The handler of `Sharing`: k-means of each layer's weights, then training of the centres."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

from nbautoml.compress.codebooks import share_weights
from nbautoml.compress.holding import (
    HELD_LAYERS,
    hold_shared,
    note_left_alone,
    prunable,
    settle,
)
from nbautoml.compress.layers import check_names
from nbautoml.compress.piece import matches
from nbautoml.compress.training import teaching_of, tune_module
from nbautoml.errors import CompressError
from nbautoml.measure import stored_size, weight_bytes, weights_in

if TYPE_CHECKING:
    from torch import nn

    from nbautoml.compress.piece import Piece
    from nbautoml.compress.techniques import Sharing
    from nbautoml.compress.training import Bench, Teaching

__all__ = ["share", "share_values"]


def share_values(
    module: nn.Module,
    bench: Bench,
    config: Sharing,
    *,
    teaching: Teaching | None = None,
) -> None:
    """Let a module's weights share values, in place, and train these.

    Args:
        module: trained before.
        bench: data and trainer.
        config: how many values, and how long they are trained.
        teaching: a teacher to learn from, whoever it is.

    Raises:
        CompressError: it has no layers whose weights can be shared.
        RecipeError: ``keep`` names no layer.
    """
    check_names(module, "keep", config.keep)
    codes: dict[str, torch.Tensor] = {}
    for weight in prunable(module):
        if matches(weight.name, config.keep):
            continue
        shared, codes[weight.name] = share_weights(weight.value, config.n_clusters)
        with torch.no_grad():
            weight.value.copy_(shared)
    if not codes:
        raise CompressError(
            f"{type(module).__name__} has no layers whose weights can be shared"
            + (" beside those that are kept" if config.keep else ""),
            hint=HELD_LAYERS,
        )
    if config.epochs:
        hold_shared(module, codes)
        lr = bench.settings.lr / 10 if config.lr is None else config.lr
        tune_module(module, bench, epochs=config.epochs, lr=lr, teaching=teaching)
        settle(module)


def share(piece: Piece, config: Sharing, bench: Bench) -> Piece:
    """Let the weights of each layer share a few values; zeros stay zeros.

    The module runs as before, with plain weights: it is its stored form that becomes smaller, and
    the note says by how much.

    Raises:
        CompressError: it has no layers whose weights can be shared.
        RecipeError: ``keep`` names no layer.
    """
    module = piece.module
    share_values(module, bench, config, teaching=teaching_of(config, piece.original))
    note_left_alone(piece, "shared")
    stored = stored_size(weights_in(module)).value
    piece.note(
        f"stored in {stored / 1000:.1f} kB once it is entropy coded, "
        f"1/{weight_bytes(piece.original) / stored:.0f} of the original's {weight_bytes(piece.original) / 1000:.1f} kB"
    )
    return piece
