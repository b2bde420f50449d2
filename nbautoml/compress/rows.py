"""Which validation rows a search sees, and which are kept to judge what it found.

::

    validation rows --+-- searched on: best epochs, the sampler, the front
                      '-- held out:    whether a model that is picked keeps to --max-drop

Whoever tries thirty models on the same rows finds one that suits these rows. Held out rows tell.
With few rows both halves would say too little, and all of them do both.
"""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from nbautoml.data import TrainData

__all__ = ["FEWEST", "n_held_out", "split_rows"]

FEWEST = 600
"""Validation rows from which on half of them are held out: 300 tell a drop of two points."""


def n_held_out(n_valid: int) -> int:
    """How many of so many validation rows are held out.

    >>> n_held_out(599), n_held_out(10_000)
    (0, 5000)
    """
    return n_valid // 2 if n_valid >= FEWEST else 0


def split_rows(data: TrainData, n_held: int, seed: int) -> tuple[TrainData, TrainData | None]:
    """The data as the search sees it, and with the held out rows as its validation rows.

    Args:
        data: a run's.
        n_held: how many rows are held out; none for 0.
        seed: of the run, which decides which ones.
    """
    import torch

    if not n_held:
        return data, None
    order = torch.randperm(data.valid.n, generator=torch.Generator().manual_seed(seed))
    seen, held = order[n_held:].sort().values, order[:n_held].sort().values
    return (
        dataclasses.replace(data, valid=data.valid.take(seen)),
        dataclasses.replace(data, valid=data.valid.take(held)),
    )
