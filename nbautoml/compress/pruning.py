"""The handler of `Pruning`: whole channels, or single weights."""

from __future__ import annotations

from typing import TYPE_CHECKING

from nbautoml.compress.sparse import prune_weights
from nbautoml.compress.structured import prune_channels

if TYPE_CHECKING:
    from nbautoml.compress.piece import Piece
    from nbautoml.compress.techniques import Pruning
    from nbautoml.compress.training import Bench

__all__ = ["prune"]


def prune(piece: Piece, config: Pruning, bench: Bench) -> Piece:
    """Prune as the config says.

    Raises:
        CompressError: there is nothing to prune.
        RecipeError: ``ratios`` or ``keep`` name no layer.
    """
    if config.is_structured:
        return prune_channels(piece, config, bench)
    return prune_weights(piece, config, bench)
