"""Which weights to keep: the maths of pruning single weights, on tensors alone.

::

    scores  |w|^p  ->  threshold (one for all layers, or one each)  ->  mask of 0 and 1
                        ... or the n largest of every m neighbours
"""

from __future__ import annotations

from collections.abc import Mapping

import torch

from nbautoml.errors import RecipeError

__all__ = ["agp_sparsity", "keep_n_of_m", "magnitude_masks", "parse_n_of_m", "sparsity_of"]


def magnitude_masks(
    weights: Mapping[str, torch.Tensor], sparsity: float, *, scope: str = "global"
) -> dict[str, torch.Tensor]:
    """Masks (1 keep, 0 drop) that drop the weights of smallest magnitude.

    For single weights the order by L1 and by L2 is the same, so there is one function. Exactly
    ``round(sparsity * n)`` weights are dropped, ties in the order in which they lie.

    Args:
        weights: tensors by name.
        sparsity: share of weights to drop, in [0, 1).
        scope: "global": one threshold for all; "layer": the same share of each.

    Source: Han et al. 2015, "Learning both Weights and Connections for Efficient Neural Networks".

    >>> masks = magnitude_masks({"a": torch.tensor([3.0, -0.1]), "b": torch.tensor([0.2, 9.0])}, 0.5)
    >>> masks["a"].tolist(), masks["b"].tolist()
    ([1.0, 0.0], [0.0, 1.0])
    """
    if scope == "layer":
        return {name: _mask(weight.abs(), sparsity) for name, weight in weights.items()}
    flat = torch.cat([weight.detach().abs().flatten() for weight in weights.values()])
    together = _mask(flat, sparsity)
    masks: dict[str, torch.Tensor] = {}
    start = 0
    for name, weight in weights.items():
        masks[name] = together[start : start + weight.numel()].reshape(weight.shape)
        start += weight.numel()
    return masks


def _mask(scores: torch.Tensor, sparsity: float) -> torch.Tensor:
    n_drop = round(sparsity * scores.numel())
    mask = torch.ones(scores.numel(), dtype=torch.float32, device=scores.device)
    if n_drop:
        order = torch.argsort(scores.detach().flatten(), stable=True)
        mask[order[:n_drop]] = 0.0
    return mask.reshape(scores.shape)


def parse_n_of_m(text: str) -> tuple[int, int]:
    """The two numbers of a pattern such as 2:4.

    Raises:
        RecipeError: it is no such pattern.

    >>> parse_n_of_m("2:4")
    (2, 4)
    """
    left, _, right = text.partition(":")
    if left.isdigit() and right.isdigit() and 0 < int(left) < int(right):
        return int(left), int(right)
    raise RecipeError(
        f"the pattern is {text!r}", hint="write how many of how many are kept, such as 2:4"
    )


def keep_n_of_m(weight: torch.Tensor, n: int, m: int) -> torch.Tensor:
    """A mask that keeps the ``n`` largest of every ``m`` neighbours along the input axis.

    A last group that is shorter than ``m`` keeps at most ``n``. Some GPUs compute 2:4 faster;
    a CPU does not.

    Source: Mishra et al. 2021, "Accelerating Sparse Deep Neural Networks".

    >>> keep_n_of_m(torch.tensor([[0.1, 3.0, -2.0, 0.0]]), 2, 4).tolist()
    [[0.0, 1.0, 1.0, 0.0]]
    """
    rows = weight.detach().abs().flatten(1)
    missing = -rows.shape[1] % m
    padded = torch.nn.functional.pad(rows, (0, missing), value=-1.0)
    groups = padded.reshape(len(rows), -1, m)
    kept = torch.zeros_like(groups).scatter_(2, groups.topk(n, dim=2).indices, 1.0)
    return kept.reshape(len(rows), -1)[:, : rows.shape[1]].reshape(weight.shape)


def agp_sparsity(step: int, n_steps: int, final: float, *, initial: float = 0.0) -> float:
    """The sparsity after a step of the gradual schedule: fast at first, ever slower.

    Source: Zhu and Gupta 2017, "To prune, or not to prune", equation 1.

    >>> [round(agp_sparsity(step, 4, 0.8), 3) for step in range(5)]
    [0.0, 0.463, 0.7, 0.788, 0.8]
    """
    done = min(max(step / max(n_steps, 1), 0.0), 1.0)
    return final + (initial - final) * (1 - done) ** 3


def sparsity_of(masks: Mapping[str, torch.Tensor]) -> float:
    """The share of weights that masks drop."""
    n = sum(mask.numel() for mask in masks.values())
    return 1 - sum(float(mask.sum()) for mask in masks.values()) / max(n, 1)
