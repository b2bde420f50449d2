"""Figures of merit on validation data: counts for classes, torchmetrics' functions for the rest.

Class metrics come from counts (true and false positives and negatives of each class), which
add up over batches: nothing of the size of the outputs is kept. The area under the ROC curve
and the regression metrics need all scores, and keep them only when they are asked for.

Precision, recall and F1 are **macro**: the mean over classes, each class weighing the same,
for binary tasks as well (which of two classes is "the positive one" is nobody's to guess).
Classes that neither occur nor were predicted are left out of the mean, as scikit-learn does.
A metric that is not defined (one class only, a constant target) is NaN.

Counting is written here, for one trial and for a stack of them: torchmetrics counts one at a time.
The rest is torchmetrics', which takes over a second to import (with SciPy's signals and Matplotlib), so it is
imported where it is first needed; a classifier's first trial does not wait for it.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt
import torch

from nbautoml.train.losses import align

__all__ = [
    "COUNTED",
    "Tally",
    "auroc",
    "class_counts",
    "default_metrics",
    "from_counts",
    "from_scores",
    "guess_counts",
    "label_counts",
]

COUNTED = ("accuracy", "precision", "recall", "f1")
"""Metrics that follow from `class_counts`."""


def default_metrics(task: str, metric: str) -> tuple[str, ...]:
    """What is measured when nothing is said: the loss, the objective, and what costs no more.

    >>> default_metrics("multiclass", "auroc")
    ('loss', 'accuracy', 'auroc')
    """
    names = ["loss", *(("mae", "rmse", "r2") if task == "regression" else ("accuracy",))]
    return tuple(dict.fromkeys([*names, metric]))


def class_counts(
    output: torch.Tensor,
    target: torch.Tensor,
    task: str,
    n_classes: int,
    *,
    threshold: float = 0.0,
) -> torch.Tensor:
    """Counts a class: true and false positives, true and false negatives.

    Args:
        output: as the module gives it.
        target: as the data gives it.
        task: "binary", "multiclass" or "multilabel" (a label counts as a class there).
        n_classes: classes or labels of the data.
        threshold: the score above which a single score means "yes": 0 for raw scores, 0.5
            for a module that gives probabilities.

    Returns:
        int64 of shape (classes, 4); the sum over batches is the count over all.
    """
    if task == "multilabel":
        output, target = align(output, target, task)
        return label_counts(output > threshold, target > 0)
    is_scored = task == "binary"
    guess = binary_scores(output, target) > threshold if is_scored else output.argmax(dim=1)
    return guess_counts(guess.reshape(1, -1), target.flatten(), n_classes)[0]


def guess_counts(guess: torch.Tensor, target: torch.Tensor, n_classes: int) -> torch.Tensor:
    """Counts a class of guesses at the same targets: ``(K, n)`` and ``(n,)`` -> ``(K, classes, 4)``.

    One `torch.bincount` fills the tables of truth and guess of all K: some 60 us for one.
    """
    k, n_cells = len(guess), n_classes**2
    cells = target.long() * n_classes + guess
    if k > 1:
        cells = cells + torch.arange(0, k * n_cells, n_cells, device=guess.device).unsqueeze(1)
    table = torch.bincount(cells.flatten(), minlength=k * n_cells)
    table = table.view(k, n_classes, n_classes)
    right = table.diagonal(dim1=1, dim2=2)
    n_true, n_guessed = table.sum(2), table.sum(1)
    right_no = len(target) - n_true - n_guessed + right
    return torch.stack([right, n_guessed - right, right_no, n_true - right], dim=2)


def label_counts(guess: torch.Tensor, truth: torch.Tensor) -> torch.Tensor:
    """Counts a label, both given as booleans: ``(..., n, labels)`` -> ``(..., labels, 4)``."""
    parts = (guess & truth, guess & ~truth, ~guess & ~truth, ~guess & truth)
    return torch.stack([part.sum(-2) for part in parts], dim=-1)


def binary_scores(output: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
    """One score a sample, higher for the second class, of one or two scores a sample."""
    output, target = align(output, target, "binary")
    return output if output.shape == target.shape else output[:, 1] - output[:, 0]


def from_counts(names: Sequence[str], counts: torch.Tensor, task: str) -> dict[str, float]:
    """Metrics of counts as `class_counts` gives them; names of other metrics are passed over.

    >>> counts = torch.tensor([[3, 1, 5, 1], [5, 1, 3, 1]])  # 10 samples, 8 right
    >>> from_counts(["accuracy"], counts, "binary")
    {'accuracy': 0.8}
    """
    # NumPy: a handful of small sums, which cost torch several times as much.
    tp, fp, tn, fn = counts.cpu().numpy().astype(np.float64).T
    is_there = tp + fp + fn > 0
    n_right = (tp + tn).sum() if task == "multilabel" else tp.sum()
    n = (tp + fp + tn + fn).sum() if task == "multilabel" else tp[0] + fp[0] + tn[0] + fn[0]
    tp, fp, fn = tp[is_there], fp[is_there], fn[is_there]
    found = {"accuracy": float(n_right / n)}
    if "precision" in names:
        found["precision"] = _ratio(tp, tp + fp)
    if "recall" in names:
        found["recall"] = _ratio(tp, tp + fn)
    if "f1" in names:
        found["f1"] = _ratio(2 * tp, 2 * tp + fp + fn)
    return {name: found[name] for name in names if name in found}


def from_scores(
    names: Sequence[str], output: torch.Tensor, target: torch.Tensor, task: str, n_classes: int
) -> dict[str, float]:
    """Metrics that need all outputs at once: auroc, mae, rmse, r2; other names are passed over."""
    if task == "regression":
        return _regression(names, *align(output, target, task))
    return {"auroc": auroc(output, target, task, n_classes)} if "auroc" in names else {}


def _regression(
    names: Sequence[str], output: torch.Tensor, target: torch.Tensor
) -> dict[str, float]:
    from torchmetrics.functional.regression import (
        mean_absolute_error,
        mean_squared_error,
        r2_score,
    )

    # Several targets: each column counts the same, as scikit-learn's default. In double, and
    # for r2 around the mean: sums of squares of years or prices drown in float32.
    output = output.cpu().double().reshape(len(output), -1)
    target = target.cpu().double().reshape(len(target), -1)
    found: dict[str, float] = {}
    if "mae" in names:
        found["mae"] = mean_absolute_error(output, target).item()
    if "rmse" in names:
        found["rmse"] = mean_squared_error(output, target, squared=False).item()
    if "r2" in names:
        is_flat = len(target) < 2 or bool((target == target[0]).all(dim=0).any())
        middle = target.mean(dim=0)
        found["r2"] = math.nan if is_flat else r2_score(output - middle, target - middle).item()
    return {name: found[name] for name in names if name in found}


def auroc(output: torch.Tensor, target: torch.Tensor, task: str, n_classes: int) -> float:
    """Area under the ROC curve; with several classes the mean of each against the rest.

    A class (or label) that all samples have, or none, has no curve and is left out; NaN when
    that leaves nothing.
    """
    target = target.cpu()
    if task == "binary":
        return _area(binary_scores(output.cpu(), target).flatten(), target.flatten() > 0)
    if task == "multilabel":
        scores, is_in = output.cpu().reshape(target.shape), target > 0
    else:
        scores = output.cpu().movedim(1, -1).flatten(0, -2).double().softmax(dim=1)
        is_in = target.flatten()[:, None] == torch.arange(n_classes)
    areas = [_area(scores[:, index], is_in[:, index]) for index in range(n_classes)]
    defined = [area for area in areas if not math.isnan(area)]
    return sum(defined) / len(defined) if defined else math.nan


def _area(scores: torch.Tensor, is_in: torch.Tensor) -> float:
    from torchmetrics.functional.classification import binary_auroc

    n_in = int(is_in.sum())
    if n_in in {0, len(is_in)}:
        return math.nan
    # torchmetrics squeezes scores through a sigmoid, where those above 17 become equal in
    # float32; only their order counts, so it is given ranks, which lie in [0, 1) already.
    ranks = torch.unique(scores, return_inverse=True)[1].double() / len(scores)
    return float(binary_auroc(ranks, is_in.long(), validate_args=False))


def _ratio(part: npt.NDArray[np.float64], whole: npt.NDArray[np.float64]) -> float:
    """Mean over classes of part / whole, 0 where the whole is."""
    return float(np.mean(part / np.maximum(whole, 1.0)))


@dataclass(kw_only=True)
class Tally:
    """Adds up an evaluation batch by batch; nothing is fetched from the device before `result`.

    Attributes:
        names: what to measure, "loss" included or not.
        task: "binary", "multiclass", "multilabel" or "regression".
        n_classes: classes or labels of the data.
        threshold: see `class_counts`.
    """

    names: Sequence[str]
    task: str
    n_classes: int
    threshold: float = 0.0
    _n: int = 0
    _loss: torch.Tensor | None = None
    _counts: torch.Tensor | None = None
    _kept: list[tuple[torch.Tensor, torch.Tensor]] = field(default_factory=list)

    def add(self, output: torch.Tensor, target: torch.Tensor, loss: torch.Tensor) -> None:
        """Add a batch: outputs, targets, and the mean loss over it."""
        weighted = loss.detach().float() * len(target)
        self._n += len(target)
        self._loss = weighted if self._loss is None else self._loss + weighted
        if self.task != "regression" and any(name in COUNTED for name in self.names):
            counts = class_counts(
                output, target, self.task, self.n_classes, threshold=self.threshold
            )
            self._counts = counts if self._counts is None else self._counts + counts
        if self.task == "regression" or "auroc" in self.names:
            self._kept.append((output.detach().float(), target))

    def result(self) -> dict[str, float]:
        """The metrics by name, in the order of ``names``; NaN where one is not defined."""
        if self._loss is None:
            return dict.fromkeys(self.names, math.nan)
        found = {"loss": self._loss.item() / self._n}
        if self._counts is not None:
            found.update(from_counts(self.names, self._counts, self.task))
        if self._kept:
            output = torch.cat([output for output, _ in self._kept])
            target = torch.cat([target for _, target in self._kept])
            found.update(from_scores(self.names, output, target, self.task, self.n_classes))
        return {name: found[name] for name in self.names}
