"""Pieces that a worker has shaped and trained, the last few: a model in another form begins with one."""

from __future__ import annotations

import copy
import dataclasses
from collections import OrderedDict
from collections.abc import Callable

from nbautoml.compress.piece import Piece
from nbautoml.measure.counting import count_weights

__all__ = ["Shelf"]

MOST_WEIGHTS = 16_000_000


class Shelf:
    """Remembers pieces by what was done to them; each is handed out as a copy.

    Args:
        n_kept: how many at most; of more than 16 million weights together only the newest.

    >>> from torch import nn
    >>> shelf, made = Shelf(2), []
    >>> def make() -> Piece:
    ...     made.append("trained")
    ...     return Piece.of(nn.Linear(2, 2))
    >>> first, second = shelf.piece("pruned", make), shelf.piece("pruned", make)
    >>> made, first.module is second.module
    (['trained'], False)
    """

    def __init__(self, n_kept: int = 4) -> None:
        self._n_kept = n_kept
        self._pieces: OrderedDict[str, Piece] = OrderedDict()

    def piece(self, key: str, make: Callable[[], Piece]) -> Piece:
        """A copy of the piece under the key, which is made where there is none."""
        if key not in self._pieces:
            self._pieces[key] = make()
        self._pieces.move_to_end(key)
        while len(self._pieces) > self._n_kept or (
            len(self._pieces) > 1 and self._n_weights() > MOST_WEIGHTS
        ):
            self._pieces.popitem(last=False)
        return _copy(self._pieces[key])

    def _n_weights(self) -> float:
        return sum(count_weights(piece.module).value for piece in self._pieces.values())


def _copy(piece: Piece) -> Piece:
    """Techniques change a piece in place; the original stays the one that it was."""
    return dataclasses.replace(
        piece,
        module=copy.deepcopy(piece.module),
        bits=dict(piece.bits),
        notes=list(piece.notes),
    )
