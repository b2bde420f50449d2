"""Metrics of a stack: what `nbautoml.train.metrics.Tally` gives for one trial, for all at once.

One `torch.bincount` counts for all trials; the figures are the same (a test compares them).
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from nbautoml.train.metrics import COUNTED, auroc, from_counts, guess_counts, label_counts

__all__ = ["StackedTally", "stacked_counts"]


def stacked_counts(
    output: Tensor, target: Tensor, task: str, n_classes: int, threshold: float = 0.0
) -> Tensor:
    """True and false positives, true and false negatives: ``(K, classes, 4)``.

    Args:
        output: ``(K, B, ...)``.
        target: ``(B, ...)``, the same for all trials.
        task: "binary", "multiclass" or "multilabel".
        n_classes: classes or labels.
        threshold: above it a single score means "yes".
    """
    n = len(output)
    if task == "multilabel":
        guess = output.reshape(n, *target.shape) > threshold
        return label_counts(guess, target.bool())
    if task == "binary" and output[0].numel() == target.numel():
        guess = output.reshape(n, -1) > threshold
    elif task == "binary":
        guess = (output[:, :, 1] - output[:, :, 0] > threshold).reshape(n, -1)
    else:
        guess = output.argmax(2).reshape(n, -1)
    return guess_counts(guess, target.flatten(), n_classes)


class StackedTally:
    """Adds up an evaluation of all trials, batch by batch.

    Args:
        names: what to measure.
        task: of the data.
        n_classes: classes or labels.
        threshold: see `stacked_counts`.
    """

    def __init__(
        self, names: Sequence[str], task: str, n_classes: int, threshold: float = 0.0
    ) -> None:
        self._names, self._task = names, task
        self._n_classes, self._threshold = n_classes, threshold
        self._is_counting = task != "regression" and any(name in COUNTED for name in names)
        self._is_keeping = task == "regression" or "auroc" in names
        self._n = 0
        self._loss: Tensor | float = 0.0
        self._counts: Tensor | int = 0
        self._kept: list[tuple[Tensor, Tensor]] = []

    def add(self, output: Tensor, target: Tensor, loss: Tensor) -> None:
        """Add a batch: outputs ``(K, B, ...)``, targets ``(B, ...)``, losses ``(K,)``."""
        self._n += len(target)
        self._loss = self._loss + loss.float() * len(target)
        if self._is_counting:
            self._counts = self._counts + stacked_counts(
                output, target, self._task, self._n_classes, self._threshold
            )
        if self._is_keeping:
            self._kept.append((output.detach().float(), target))

    def result(self) -> list[dict[str, float]]:
        """The metrics of each trial, in the order of ``names``."""
        assert isinstance(self._loss, Tensor)  # validation has rows
        losses = [loss / self._n for loss in self._loss.tolist()]
        found: list[dict[str, float]] = [{"loss": loss} for loss in losses]
        if isinstance(self._counts, Tensor):
            for own, counts in zip(found, self._counts.cpu(), strict=True):
                own.update(from_counts(self._names, counts, self._task))
        if self._kept:
            output = torch.cat([item for item, _ in self._kept], 1).cpu()
            target = torch.cat([item for _, item in self._kept]).cpu()
            self._add_scores(found, output, target)
        return [{name: own[name] for name in self._names} for own in found]

    def _add_scores(self, found: list[dict[str, float]], output: Tensor, target: Tensor) -> None:
        if self._task != "regression":
            for own, scores in zip(found, output, strict=True):
                own["auroc"] = auroc(scores, target, self._task, self._n_classes)
            return
        n = len(output)
        # In double and around the mean, as for one trial.
        guess = output.double().reshape(n, len(target), -1)
        truth = target.double().reshape(len(target), -1)
        off = guess - truth
        mae, mse = off.abs().mean((1, 2)).tolist(), off.square().mean((1, 2)).tolist()
        is_flat = len(truth) < 2 or bool((truth == truth[0]).all(dim=0).any())
        spread = (truth - truth.mean(0)).square().sum(0)
        r2 = (1 - off.square().sum(1) / spread).mean(1).tolist()
        for own, one_mae, one_mse, one_r2 in zip(found, mae, mse, r2, strict=True):
            own["mae"], own["rmse"] = one_mae, math.sqrt(one_mse)
            own["r2"] = math.nan if is_flat else one_r2
