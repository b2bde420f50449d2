"""What is minimised: a loss by name or a user's own, over outputs brought into one form.

Modules differ in how they answer: one score or two for a binary task, ``(n,)`` or ``(n, 1)``
for a number. `align` settles that in one place, so that a loss (and a metric) sees one form.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import torch
import torch.nn.functional as F  # noqa: N812  torch's own name for it

from nbautoml.errors import RecipeError, nearest

__all__ = [
    "LOSS_TABLE",
    "Loss",
    "LossInfo",
    "align",
    "class_weights",
    "default_loss",
    "loss_for",
]

Loss = Callable[[torch.Tensor, torch.Tensor], torch.Tensor]
"""``loss(output, target) -> scalar``, the mean over the batch."""


def align(
    output: torch.Tensor, target: torch.Tensor, task: str
) -> tuple[torch.Tensor, torch.Tensor]:
    """Output and target in the form that losses and metrics take.

    ===========  ==================  =======================================
    task         module answers      becomes
    ===========  ==================  =======================================
    multiclass   (n, classes, ...)   as it is, target int64 (n, ...)
    binary       (n,) or (n, 1)      scores (n,), target as floats (n,)
    binary       (n, 2)              as it is, target int64 (n,)
    multilabel   (n, labels)         as it is, target as floats (n, labels)
    regression   (n,) or (n, 1)      shape and dtype of the target
    ===========  ==================  =======================================

    Without it an ``(n, 1)`` output against an ``(n,)`` target would be broadcast to
    ``(n, n)``, and the loss would be wrong without a word.

    >>> output, target = align(torch.zeros(4, 1), torch.tensor([0, 1, 1, 0]), "binary")
    >>> output.shape, target.dtype
    (torch.Size([4]), torch.float32)
    """
    if task == "multiclass":
        return output, target
    if task == "binary":
        if output.ndim == target.ndim + 1 and output.shape[1] == 2:
            return output, target if target.dtype == torch.int64 else target.long()
        output = output if output.shape == target.shape else output.reshape(target.shape)
        return output, target.to(output.dtype)
    if output.shape != target.shape:
        output = output.reshape(target.shape)
    return output, target if target.dtype == output.dtype else target.to(output.dtype)


@dataclass(frozen=True)
class LossInfo:
    """A loss by name: ``function(output, target, label_smoothing)`` on aligned tensors."""

    function: Callable[[torch.Tensor, torch.Tensor, float], torch.Tensor]
    tasks: tuple[str, ...]
    takes_smoothing: bool = False


def cross_entropy(output: torch.Tensor, target: torch.Tensor, smoothing: float) -> torch.Tensor:
    """Cross entropy of raw scores; with one score for two classes it is the binary one."""
    if output.shape == target.shape:
        return bce(output, target, smoothing)
    return F.cross_entropy(output, target, label_smoothing=smoothing)


def bce(output: torch.Tensor, target: torch.Tensor, smoothing: float) -> torch.Tensor:
    """Binary cross entropy of raw scores (no sigmoid in the module)."""
    if output.shape != target.shape:
        return F.cross_entropy(output, target, label_smoothing=smoothing)
    if smoothing:
        target = target * (1.0 - smoothing) + smoothing / 2.0
    return F.binary_cross_entropy_with_logits(output, target)


def nll(output: torch.Tensor, target: torch.Tensor, smoothing: float) -> torch.Tensor:
    """Negative log likelihood, for a module that ends in log_softmax."""
    loss = F.nll_loss(output, target)
    if smoothing:
        # As cross_entropy smooths: that share of the label is spread over all classes.
        loss = (1.0 - smoothing) * loss - smoothing * output.mean()
    return loss


def mse(output: torch.Tensor, target: torch.Tensor, _: float) -> torch.Tensor:
    """Mean squared error."""
    return F.mse_loss(output, target)


def mae(output: torch.Tensor, target: torch.Tensor, _: float) -> torch.Tensor:
    """Mean absolute error."""
    return F.l1_loss(output, target)


def huber(output: torch.Tensor, target: torch.Tensor, _: float) -> torch.Tensor:
    """Squared up to an error of 1, absolute beyond."""
    return F.huber_loss(output, target)


LOSS_TABLE: Mapping[str, LossInfo] = {
    "cross_entropy": LossInfo(cross_entropy, ("binary", "multiclass"), takes_smoothing=True),
    "bce": LossInfo(bce, ("binary", "multilabel"), takes_smoothing=True),
    "nll": LossInfo(nll, ("binary", "multiclass"), takes_smoothing=True),
    "mse": LossInfo(mse, ("regression",)),
    "mae": LossInfo(mae, ("regression",)),
    "huber": LossInfo(huber, ("regression",)),
}

_DEFAULTS = {
    "binary": "bce",
    "multiclass": "cross_entropy",
    "multilabel": "bce",
    "regression": "mse",
}


def default_loss(task: str) -> str:
    """Name of the loss that a task gets when none is said.

    >>> default_loss("regression")
    'mse'
    """
    return _DEFAULTS[task]


def class_weights(counts: torch.Tensor, balance: float) -> torch.Tensor:
    """What a row of each class weighs, as floats like ``counts``; 1 on average over all rows.

    A class of ``n`` rows weighs as ``n ** -balance``: with 0 all rows are alike, with 1 all classes
    are (what scikit-learn calls balanced). A class without rows weighs nothing.

    Args:
        counts: rows of each class.
        balance: in [0, 1].

    >>> class_weights(torch.tensor([90, 10]), 1.0)
    tensor([0.5556, 5.0000])
    >>> class_weights(torch.tensor([90, 10, 0]), 0.5)
    tensor([0.8333, 2.5000, 0.0000])
    """
    rows = counts.double()
    weights = torch.where(rows > 0, rows.clamp(min=1.0) ** -balance, 0.0)
    weights = weights * rows.sum() / (weights * rows).sum()
    return weights.float()


def loss_for(
    task: str,
    loss: str | Loss | None = None,
    *,
    label_smoothing: float = 0.0,
    weights: torch.Tensor | None = None,
) -> Loss:
    """The loss of a fit, taking outputs as modules give them (it aligns them first).

    Args:
        task: "binary", "multiclass", "multilabel" or "regression".
        loss: a name in `LOSS_TABLE`, a callable ``(output, target) -> scalar`` (a function,
            or a module such as ``nn.SmoothL1Loss()``), or None for the task's own.
        label_smoothing: share of a label that is spread over the other classes.
        weights: of rows by their class, ``(classes,)``; see `class_weights`.

    Raises:
        RecipeError: unknown name, a loss that does not suit the task, or smoothing or weights where
            there are no labels.

    >>> loss_for("regression", "huber")(torch.zeros(3, 1), torch.zeros(3)).item()
    0.0
    >>> loss_for("regression", "hubber")
    Traceback (most recent call last):
        ...
    nbautoml.errors.RecipeError: loss 'hubber' is not known
    Hint: did you mean 'huber'? For regression: mse, mae, huber
    """
    if callable(loss):
        _refuse_smoothing(label_smoothing, "a loss of your own")
        _refuse_weights(weights, "a loss of your own")
        return _aligned(loss, task)
    name = default_loss(task) if loss is None else loss
    info = LOSS_TABLE.get(name)
    suitable = ", ".join(key for key, item in LOSS_TABLE.items() if task in item.tasks)
    if info is None:
        near = nearest(name, LOSS_TABLE)
        guess = f"did you mean {near!r}? " if near else ""
        raise RecipeError(f"loss {name!r} is not known", hint=f"{guess}For {task}: {suitable}")
    if task not in info.tasks:
        raise RecipeError(
            f"loss {name!r} does not suit a {task} task", hint=f"for {task}: {suitable}"
        )
    if not info.takes_smoothing:
        _refuse_smoothing(label_smoothing, f"loss {name!r}")
    if weights is not None:
        if not info.takes_smoothing or task == "multilabel":
            _refuse_weights(weights, f"loss {name!r} of a {task} task")
        return _aligned(_weighted(name, label_smoothing, weights), task)
    function = info.function
    return _aligned(lambda output, target: function(output, target, label_smoothing), task)


def _weighted(name: str, smoothing: float, weights: torch.Tensor) -> Loss:
    """The mean over rows, each with its class's weight."""

    def loss(output: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
        labels = target.long()
        if output.shape == target.shape:  # one score for two classes
            if smoothing:
                target = target * (1.0 - smoothing) + smoothing / 2.0
            rows = F.binary_cross_entropy_with_logits(output, target, reduction="none")
        elif name == "nll":
            rows = F.nll_loss(output, target, reduction="none")
            if smoothing:
                rows = (1.0 - smoothing) * rows - smoothing * output.mean(1)
        else:
            rows = F.cross_entropy(output, target, label_smoothing=smoothing, reduction="none")
        return (weights[labels] * rows).mean()

    return loss


def _aligned(loss: Loss, task: str) -> Loss:
    if task == "multiclass":  # nothing to align: one call less in every step
        return loss

    def aligned(output: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
        return loss(*align(output, target, task))

    return aligned


def _refuse_smoothing(label_smoothing: float, what: str) -> None:
    if label_smoothing:
        raise RecipeError(
            f"label_smoothing is {label_smoothing}, but {what} has no labels to smooth",
            hint="leave label_smoothing out",
        )


def _refuse_weights(weights: torch.Tensor | None, what: str) -> None:
    if weights is not None:
        raise RecipeError(
            f"class_balance is set, but {what} has no classes to weigh",
            hint="leave class_balance out",
        )
