"""Does what a module answers fit the data? Checked once, on one batch, before the first trial."""

from __future__ import annotations

import math
from typing import Any

import torch

from nbautoml.errors import ModelError
from nbautoml.train.layers import describe

__all__ = ["check_output", "ends_with"]

_PASSED_ON = {  # nodes of the graph that only change the shape
    "ViewBackward0", "UnsafeViewBackward0", "ReshapeAliasBackward0", "SqueezeBackward0",
    "SqueezeBackward1", "SqueezeBackward2", "UnsqueezeBackward0", "SelectBackward0",
    "AliasBackward0", "CloneBackward0", "ToCopyBackward0", "TBackward0", "TransposeBackward0",
}  # fmt: skip


def check_output(
    output: Any,
    target: torch.Tensor,
    *,
    task: str,
    n_classes: int,
    loss: str | None,
    model: str,
    last_layer: str,
) -> str:
    """Check a module's output against targets.

    Args:
        output: what ``forward`` gave for a batch.
        target: that batch's targets.
        task: "binary", "multiclass", "multilabel" or "regression".
        n_classes: classes or labels of the data.
        loss: name of the loss; None for a user's own, which may take what we don't know.
        model: the class's name.
        last_layer: the layer that ran last, as a message calls it; may be "".

    Returns:
        A remark for people when something is odd but works, else "".

    Raises:
        ModelError: no tensor, not finite, no way back to the weights, or a shape that does
            not fit; says which layer and both shapes.
    """
    if not isinstance(output, torch.Tensor):
        raise ModelError(
            f"{model}.forward returned {describe(output)}, it must return one tensor",
            hint=_not_tensor(output),
        )
    where = f" (its last layer is {last_layer})" if last_layer else ""
    expected, hint = _mismatch(output, target, task, n_classes)
    if expected:
        raise ModelError(
            f"{model} returns {_a_sample(output, target)}, {expected}: the output has "
            f"{describe(output)}, the target {describe(target)}{where}",
            hint=hint,
        )
    if not output.dtype.is_floating_point:
        raise ModelError(
            f"{model}.forward returned {describe(output)}: whole numbers cannot be trained on",
            hint="return the scores themselves, without argmax or rounding",
        )
    if not bool(torch.isfinite(output).all()):
        raise ModelError(
            f"{model} returns NaN or infinity before any training{where}",
            hint="look for a log, a division or a square root of what can be zero, and at how "
            "the weights are initialised",
        )
    return _check_form(output, task, loss, model)


def _not_tensor(output: Any) -> str:
    if output is None:
        return "end forward with `return ...`"
    if isinstance(output, tuple | list | dict):
        return "return only what the loss takes, for example the first element"
    return "return the tensor of scores"


def _a_sample(output: torch.Tensor, target: torch.Tensor) -> str:
    if output.ndim == 0:
        return "a single number for the whole batch"
    if len(output) != len(target):
        return f"{len(output)} rows for a batch of {len(target)}"
    n = math.prod(output.shape[1:])
    return f"{n} value a sample" if n == 1 else f"{n} values a sample"


def _mismatch(
    output: torch.Tensor, target: torch.Tensor, task: str, n_classes: int
) -> tuple[str, str]:
    """What the data wants instead and what to do, or two empty strings."""
    keep_batch = "keep the batch as the first dimension: x.flatten(1), not x.flatten()"
    if output.ndim == 0 or len(output) != len(target):
        return "one row a sample is needed", keep_batch
    if task == "multiclass":
        return _mismatch_of_classes(output, target, n_classes)
    n_out, n_wanted = math.prod(output.shape[1:]), math.prod(target.shape[1:])
    if task == "binary":
        fits = n_out in {1, 2}
        wanted = "the data has 2 classes", "the last layer must have 1 or 2 outputs"
    else:
        fits = n_out == n_wanted
        what = "label" if task == "multilabel" else "value"
        plural = "s" if n_wanted > 1 else ""
        wanted = (
            f"the data has {n_wanted} {what}{plural} a sample",
            f"the last layer must have {n_wanted} output{plural}",
        )
    return ("", "") if fits else wanted


def _mismatch_of_classes(
    output: torch.Tensor, target: torch.Tensor, n_classes: int
) -> tuple[str, str]:
    if output.ndim < 2 or output.shape[1] != n_classes:
        return (
            f"the data has {n_classes} classes",
            f"the last layer must have {n_classes} outputs, one score a class",
        )
    if output.shape[2:] != target.shape[1:]:
        return (
            "after the classes the output must have the target's shape",
            "return scores of shape (batch, classes, ...)",
        )
    return "", ""


def _check_form(output: torch.Tensor, task: str, loss: str | None, model: str) -> str:
    """Raw scores, probabilities or their logarithms: does the loss take what the module gives?"""
    if loss is None or task == "regression":
        return ""
    end = ends_with(output)
    if loss == "nll":
        sums = output.detach().float().exp().sum(dim=1)
        if not torch.allclose(sums, torch.ones_like(sums), atol=1e-2):
            raise ModelError(
                f"loss 'nll' takes log-probabilities, what {model} returns does not sum to one "
                "as such",
                hint="end forward with F.log_softmax(x, dim=1), or leave loss out",
            )
        return ""
    if end == "sigmoid" and task in {"binary", "multilabel"}:
        raise ModelError(
            f"{model} ends with a sigmoid, but loss {loss!r} takes raw scores (it applies the "
            "sigmoid itself)",
            hint="return the scores before the sigmoid; run.best_model(x) > 0 is then a yes",
        )
    if end == "softmax":
        return (
            f"{model} ends with a softmax, and loss {loss!r} applies one itself: it will learn "
            "slowly; return the scores before the softmax"
        )
    return ""


def ends_with(output: torch.Tensor) -> str:
    """The function whose result the output is: "sigmoid", "softmax", or "" for any other.

    >>> x = torch.zeros(2, 1, requires_grad=True)
    >>> ends_with(x.sigmoid().squeeze(1))
    'sigmoid'
    """
    node = output.grad_fn
    while node is not None and node.name() in _PASSED_ON and node.next_functions:
        node = node.next_functions[0][0]
    name = node.name() if node is not None else ""
    return {"SigmoidBackward0": "sigmoid", "SoftmaxBackward0": "softmax"}.get(name, "")
