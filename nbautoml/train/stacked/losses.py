"""Losses of a stack: outputs ``(K, B, ...)`` and targets ``(K, B, ...)`` to one loss a trial, ``(K,)``.

Cross entropy has a form of its own. Along a short last dimension torch's softmax isn't
vectorised: 12.1 us a trial (64 rows, 10 classes, forward and backward, one thread). With the
classes before the rows, and the gradient (softmax minus label) made in the same pass: 2.1.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F  # noqa: N812  torch's own name for it
from torch import Tensor

from nbautoml.train.losses import Loss, default_loss, loss_for

__all__ = ["StackedLoss", "stacked_loss", "with_gradient"]

StackedLoss = Callable[[Tensor, Tensor], Tensor]
"""``loss(outputs, targets) -> (K,)``, each the mean over its own batch."""


def stacked_loss(
    task: str, loss: str | Loss | None, smoothing: Tensor | None, weights: Tensor | None = None
) -> StackedLoss:
    """The loss of a stack.

    Args:
        task: "binary", "multiclass", "multilabel" or "regression".
        loss: a name, a user's own for one trial, or None for the task's.
        smoothing: each trial's label smoothing, ``(K,)``; None where no trial smooths.
        weights: of rows by their class, each trial's own, ``(K, classes)``; None: all are alike.
    """
    if callable(loss):
        one = loss_for(task, loss)
        by_trial: StackedLoss = torch.vmap(one)
        return by_trial
    return _Named(default_loss(task) if loss is None else loss, task, smoothing, weights)


def with_gradient(loss: StackedLoss, output: Tensor, target: Tensor) -> tuple[Tensor, Tensor]:
    """A stack's losses, and the gradient of their sum by the outputs."""
    found = loss.with_gradient(output, target) if isinstance(loss, _Named) else None
    if found is not None:
        return found
    # Copies: what inference mode has made cannot be kept for a backward pass.
    with torch.inference_mode(False), torch.enable_grad():
        leaf = output.clone().requires_grad_()
        losses = loss(leaf, target.clone())
        (grad,) = torch.autograd.grad(losses.sum(), [leaf])
    return losses.detach(), grad


@dataclass(frozen=True)
class _Named:
    """A loss of torch's, of a stack."""

    name: str
    task: str
    smoothing: Tensor | None
    weights: Tensor | None

    def __call__(self, output: Tensor, target: Tensor) -> Tensor:
        output, target = _aligned(output, target, self.task)
        has_classes = output.shape != target.shape
        if self.name == "nll":
            return _nll(output, target, self.smoothing, self.weights)
        if self.name in {"cross_entropy", "bce"}:
            kind = _cross_entropy if has_classes else _bce
            return kind(output, target, self.smoothing, self.weights)
        return _mean(_PLAIN[self.name](output, target, reduction="none"))

    def with_gradient(self, output: Tensor, target: Tensor) -> tuple[Tensor, Tensor] | None:
        """See the function; None where it takes autograd."""
        output, target = _aligned(output, target, self.task)
        is_known = self.name == "cross_entropy" and output.dtype == torch.float32
        if not is_known or output.ndim != 3 or target.ndim != 2:
            return None
        labels = target.unsqueeze(1)
        by_row = None if self.weights is None else _by_row(self.weights, labels)
        losses, slope = _loss_and_slope(output.transpose(1, 2), labels, self.smoothing, by_row)
        share = np.float32(1) / np.float32(slope.shape[2])  # as `_CrossEntropy` rounds it
        return losses, slope.mul_(float(share)).transpose(1, 2)


_PLAIN: dict[str, Callable[..., Tensor]] = {
    "mse": F.mse_loss,
    "mae": F.l1_loss,
    "huber": F.huber_loss,
}


def _aligned(output: Tensor, target: Tensor, task: str) -> tuple[Tensor, Tensor]:
    # As `losses.align` does for one trial.
    if task == "multiclass":
        return output, target
    if task == "binary" and output.ndim == target.ndim + 1 and output.shape[2] == 2:
        return output, target if target.dtype == torch.int64 else target.long()
    output = output if output.shape == target.shape else output.reshape(target.shape)
    return output, target if target.dtype == output.dtype else target.to(output.dtype)


def _mean(values: Tensor) -> Tensor:
    return values.flatten(1).mean(1)


def _by_row(weights: Tensor, target: Tensor) -> Tensor:
    """Weights of rows, in the target's shape."""
    return weights.gather(1, target.flatten(1).long()).view(target.shape)


def _bce(
    output: Tensor, target: Tensor, smoothing: Tensor | None, weights: Tensor | None
) -> Tensor:
    by_row = None if weights is None else _by_row(weights, target)
    if smoothing is not None:
        share = smoothing.view(-1, *(1,) * (target.ndim - 1))
        target = target * (1.0 - share) + share / 2.0
    return _mean(F.binary_cross_entropy_with_logits(output, target, by_row, reduction="none"))


def _nll(
    output: Tensor, target: Tensor, smoothing: Tensor | None, weights: Tensor | None
) -> Tensor:
    rows = -output.gather(2, target.unsqueeze(2)).squeeze(2)
    if smoothing is not None:
        share = smoothing.view(-1, *(1,) * (rows.ndim - 1))
        rows = (1.0 - share) * rows - share * output.mean(2)
    return _mean(rows if weights is None else _by_row(weights, target) * rows)


def _cross_entropy(
    output: Tensor, target: Tensor, smoothing: Tensor | None, weights: Tensor | None
) -> Tensor:
    n, n_rows, n_classes = output.shape[:3]
    # (K, classes, rows): what lies behind the classes counts as rows.
    scores = output.reshape(n, n_rows, n_classes, -1).transpose(1, 2).reshape(n, n_classes, -1)
    labels = target.reshape(n, 1, -1)
    by_row = None if weights is None else _by_row(weights, labels)
    loss: Tensor = _CrossEntropy.apply(scores.float(), labels, smoothing, by_row)  # type: ignore[no-untyped-call]
    return loss


class _CrossEntropy(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, scores: Tensor, target: Tensor, smoothing: Tensor | None, by_row: Tensor | None
    ) -> Tensor:
        loss, slope = _loss_and_slope(
            scores, target, smoothing, by_row, wants_slope=ctx.needs_input_grad[0]
        )
        ctx.save_for_backward(slope)
        return loss

    @staticmethod
    def backward(ctx: Any, given: Tensor) -> tuple[Tensor, None, None, None]:
        (slope,) = ctx.saved_tensors
        return slope * (given / slope.shape[2]).view(-1, 1, 1), None, None, None


def _loss_and_slope(
    scores: Tensor, target: Tensor, smoothing: Tensor | None, by_row: Tensor | None,
    *, wants_slope: bool = True,
) -> tuple[Tensor, Tensor]:  # fmt: skip
    """Cross entropy of ``(K, classes, rows)``, and by how much it changes with each score of a row."""
    logs = F.log_softmax(scores, 1)
    share = None if smoothing is None else smoothing.view(-1, 1, 1)
    rows = logs.gather(1, target).neg_()
    if share is not None:
        rows = (1.0 - share) * rows - share * logs.mean(1, keepdim=True)
    if by_row is not None:
        rows = rows * by_row
    loss = rows.mean((1, 2))
    if not wants_slope:
        return loss, logs
    slope = logs.exp_()
    hit = slope.new_full((), -1.0).expand_as(target)
    if share is not None:
        hit = (share - 1.0).expand_as(target)
        slope.sub_(share / slope.shape[1])
    slope.scatter_add_(1, target, hit)
    return loss, slope if by_row is None else slope.mul_(by_row)
