"""The handler of `Penalty`: training on while weights are pulled to zero, apart from the gradient.

::

    l2    theta <- theta - alpha lambda theta                       all shrink by the same share
    l1    theta <- sign(theta) max(|theta| - alpha lambda, 0)       all shrink by the same amount

Both are steps of their own, so they mean the same with every optimiser (an adaptive one would
rescale a penalty in the loss).

Source: Loshchilov and Hutter 2019, "Decoupled Weight Decay Regularization"; for l1 the proximal
step of Beck and Teboulle 2009.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

from nbautoml.compress.holding import HELD_LAYERS, note_left_alone, prunable
from nbautoml.compress.training import tune_last
from nbautoml.errors import CompressError
from nbautoml.train.schedules import lr_factor

if TYPE_CHECKING:
    from collections.abc import Iterable

    from nbautoml.compress.piece import Piece
    from nbautoml.compress.techniques import Penalty
    from nbautoml.compress.training import Bench

__all__ = ["penalize", "shrink_"]

SMALL = 0.01  # of its layer's largest weight: what the note counts


def shrink_(weights: Iterable[torch.Tensor], kind: str, amount: float) -> None:
    """One step towards zero, in place.

    Args:
        weights: what shrinks.
        kind: "l1" or "l2".
        amount: learning rate times strength.

    >>> theta = torch.tensor([1.0, -0.05])
    >>> shrink_([theta], "l2", 0.25)
    >>> [round(value, 4) for value in theta.tolist()]
    [0.75, -0.0375]
    >>> shrink_([theta], "l1", 0.25)
    >>> theta.abs().tolist()
    [0.5, 0.0]
    """
    with torch.no_grad():
        for weight in weights:
            if kind == "l2":
                weight.mul_(1 - amount)
            else:
                weight.copy_(torch.nn.functional.softshrink(weight, amount))


def penalize(piece: Piece, config: Penalty, bench: Bench) -> Piece:
    """Train on, with a step towards zero before each step of the optimiser.

    Weights of layers shrink; biases and norms do not. The last epoch is kept, not the best one:
    small weights are what is wanted.

    Raises:
        CompressError: it has no layers whose weights may shrink.
    """
    module, settings = piece.module, bench.settings
    weights = [weight.trained for weight in prunable(module)]
    if not weights:
        raise CompressError(
            f"{type(module).__name__} has no layers with weights to penalise",
            hint=HELD_LAYERS,
        )
    lr = settings.lr if config.lr is None else config.lr
    n_batches = -(-bench.data.train.n // settings.batch_size)
    n_steps, step = n_batches * config.epochs, 0

    def pull() -> None:
        nonlocal step
        step += 1
        factor = lr_factor(settings.schedule, settings.warmup, min(step, n_steps), n_steps)
        shrink_(weights, config.kind, lr * factor * config.strength)

    tune_last(module, bench, epochs=config.epochs, lr=lr, before_batch=pull)
    note_left_alone(piece, "penalised")
    n = sum(weight.numel() for weight in weights)
    small = sum(int((w.abs() <= SMALL * w.abs().max()).sum()) for w in weights)
    piece.note(f"{small / n:.1%} of the weights are below a hundredth of their layer's largest")
    return piece
