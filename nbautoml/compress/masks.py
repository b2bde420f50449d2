"""Which weights to keep: the maths of pruning single weights, on tensors alone.

::

    scores  |w|^p  ->  threshold (one for all layers, or one each)  ->  mask of 0 and 1
                        ... or the n largest of every m neighbours
"""

from __future__ import annotations

from collections.abc import Mapping

import torch

from nbautoml.errors import RecipeError

__all__ = [
    "agp_sparsity",
    "keep_n_of_m",
    "lamp",
    "linear_sparsity",
    "masks_of",
    "parse_n_of_m",
    "sparsity_of",
    "weight_scores",
]


def weight_scores(
    weights: Mapping[str, torch.Tensor], criterion: str, *, seed: int = 0
) -> dict[str, torch.Tensor]:
    """How much each weight matters: the lowest goes first.

    For single weights the order by L1 and by L2 is the same.

    Args:
        weights: tensors by name.
        criterion: "l1", "l2", "lamp" (by the weights of its layer that are not smaller), "random".
        seed: of "random": the same scores each time.

    Source: Han et al. 2015, "Learning both Weights and Connections for Efficient Neural
    Networks"; Lee et al. 2021 (lamp).
    """
    if criterion == "random":
        generator = torch.Generator().manual_seed(seed)
        return {
            name: torch.rand(weight.shape, generator=generator).to(weight.device)
            for name, weight in weights.items()
        }
    if criterion == "lamp":
        return {name: lamp(weight.detach() ** 2) for name, weight in weights.items()}
    return {name: weight.detach().abs() for name, weight in weights.items()}


def masks_of(
    scores: Mapping[str, torch.Tensor],
    sparsity: float,
    *,
    scope: str = "global",
    shares: Mapping[str, float] | None = None,
) -> dict[str, torch.Tensor]:
    """Masks (1 keep, 0 drop) that drop the lowest scores.

    Exactly ``round(sparsity * n)`` weights are dropped, ties in the order in which they lie. Each
    layer keeps its best one as long as others can go in its place: no layer goes silent.

    Args:
        scores: tensors by name.
        sparsity: share of weights to drop, in [0, 1).
        scope: "global": one threshold for all; "layer": the same share of each.
        shares: of tensors that have one of their own; they take no part in the threshold for all.

    >>> masks = masks_of({"a": torch.tensor([3.0, 0.1]), "b": torch.tensor([0.2, 9.0])}, 0.5)
    >>> masks["a"].tolist(), masks["b"].tolist()
    ([1.0, 0.0], [0.0, 1.0])
    """
    shares = dict(shares or {})
    if scope == "layer":
        shares = dict.fromkeys(scores, sparsity) | shares
    masks = {name: _mask(scores[name].flatten(), share) for name, share in shares.items()}
    together = [name for name in scores if name not in masks]
    if together:
        flat = torch.cat([_best_last(scores[name].flatten()) for name in together])
        sizes = [scores[name].numel() for name in together]
        parts = torch.split(_mask(flat, sparsity), sizes)
        masks |= dict(zip(together, parts, strict=True))
    return {name: masks[name].reshape(scores[name].shape) for name in scores}


def _best_last(scores: torch.Tensor) -> torch.Tensor:
    held = scores.clone()
    if len(held):
        held[held.argmax()] = torch.inf
    return held


def _mask(scores: torch.Tensor, sparsity: float) -> torch.Tensor:
    mask = torch.ones(len(scores), dtype=torch.float32, device=scores.device)
    n_drop = round(sparsity * len(scores))
    if n_drop:
        mask[torch.argsort(scores, stable=True)[:n_drop]] = 0.0
    return mask


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


def linear_sparsity(step: int, n_steps: int, final: float, *, initial: float = 0.0) -> float:
    """The sparsity after a step of the schedule that rises evenly.

    >>> [round(linear_sparsity(step, 4, 0.8), 3) for step in range(5)]
    [0.0, 0.2, 0.4, 0.6, 0.8]
    """
    done = min(max(step / max(n_steps, 1), 0.0), 1.0)
    return final + (initial - final) * (1 - done)


def lamp(squares: torch.Tensor) -> torch.Tensor:
    """Layer-adaptive scores: each square by the sum of all that are not smaller.

    Scores of layers of any scale can then be compared, and each layer's largest one is 1.

    Source: Lee et al. 2021, "Layer-adaptive Sparsity for the Magnitude-based Pruning", equation 2.

    >>> [round(score, 3) for score in lamp(torch.tensor([3.0, 1.0, 4.0])).tolist()]
    [0.429, 0.125, 1.0]
    """
    flat = squares.detach().flatten().double()
    order = torch.argsort(flat, stable=True)
    left = torch.flip(torch.cumsum(torch.flip(flat[order], (0,)), 0), (0,))
    scores = torch.empty_like(flat)
    scores[order] = flat[order] / left.clamp(min=1e-30)
    return scores.reshape(squares.shape).to(squares.dtype)


def sparsity_of(masks: Mapping[str, torch.Tensor]) -> float:
    """The share of weights that masks drop."""
    n = sum(mask.numel() for mask in masks.values())
    return 1 - sum(float(mask.sum()) for mask in masks.values()) / max(n, 1)
