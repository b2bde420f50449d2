"""Metrics of anything that answers batches: a module, an exported file. Nothing is trained."""

from __future__ import annotations

from collections.abc import Callable

import torch

from nbautoml.train.batches import Inputs, TrainData, eval_batch_size
from nbautoml.train.losses import Loss, loss_for
from nbautoml.train.metrics import Tally

__all__ = ["judge"]


def judge(
    answer: Callable[[Inputs], torch.Tensor],
    data: TrainData,
    names: tuple[str, ...],
    *,
    loss: Loss | str | None = None,
    batch_size: int = 64,
    rows: torch.Tensor | None = None,
    of_training: bool = False,
) -> dict[str, float]:
    """Metrics on the validation rows (or on some training rows).

    Args:
        answer: takes a batch's inputs and returns scores, as a module in evaluation mode does.
        data: what to judge on.
        names: metrics; "loss" is one.
        loss: the user's own, or a name; the task's when left out.
        batch_size: rows at once, at least.
        rows: positions of the rows to judge on; all when left out.
        of_training: whether they are training rows.
    """
    measured = loss_for(data.task, loss)
    threshold = 0.5 if isinstance(loss, torch.nn.BCELoss) else 0.0
    tally = Tally(
        names=names, task=data.task, n_classes=max(len(data.classes), 1), threshold=threshold
    )
    part = data.train if of_training else data.valid
    with torch.no_grad():
        for inputs, target in part.batches(eval_batch_size(data.spec, batch_size), order=rows):
            output = answer(inputs)
            tally.add(output, target, measured(output, target))
    return tally.result()
