"""Pruning single weights: at once, or little by little while the network trains."""

from __future__ import annotations

import torch
from torch import nn
from torch.nn.utils import parametrize

from nbautoml.compress.holding import hold_masks, prunable, set_masks, settle
from nbautoml.compress.masks import agp_sparsity, keep_n_of_m, magnitude_masks, parse_n_of_m
from nbautoml.compress.training import Bench, Teaching, tune_last, tune_module

__all__ = ["masks_for", "prune_gradually", "prune_once"]

UPDATE_EVERY = 20  # batches between two looks at the masks


def masks_for(
    module: nn.Module, sparsity: float, *, scope: str = "global", pattern: str = ""
) -> dict[str, torch.Tensor]:
    """Masks of all layers that may be pruned: by magnitude, or by an n:m pattern.

    Raises:
        RecipeError: no such pattern.
    """
    weights = {name: _trained(layer) for name, layer in prunable(module)}
    if pattern:
        n, m = parse_n_of_m(pattern)
        return {name: keep_n_of_m(weight, n, m) for name, weight in weights.items()}
    return magnitude_masks(weights, sparsity, scope=scope)


def _trained(layer: nn.Module) -> torch.Tensor:
    """The parameter behind a layer's weight."""
    if parametrize.is_parametrized(layer, "weight"):
        return layer.parametrizations["weight"].original.detach()  # type: ignore[index, union-attr, no-any-return]
    return layer.weight.detach()  # type: ignore[operator]


def prune_once(
    module: nn.Module, sparsity: float, *, scope: str = "global", pattern: str = ""
) -> nn.Module:
    """Set the smallest weights to zero, in place; nothing is trained.

    >>> net = prune_once(nn.Linear(10, 10), 0.9)
    >>> int((net.weight != 0).sum())
    10
    """
    with torch.no_grad():
        layers = dict(module.named_modules())
        for name, mask in masks_for(module, sparsity, scope=scope, pattern=pattern).items():
            layers[name].weight.mul_(mask)
    return module


def prune_gradually(
    module: nn.Module,
    bench: Bench,
    sparsity: float,
    *,
    scope: str = "global",
    ramp_epochs: int,
    epochs: int,
    lr: float | None = None,
    is_regrowing: bool = True,
    teaching: Teaching | None = None,
) -> nn.Module:
    """Prune in place while training: the sparsity rises, then the weights that are left are tuned.

    Args:
        module: trained before.
        bench: data and trainer.
        sparsity: share of weights to drop in the end.
        scope: "global" or "layer".
        ramp_epochs: passes over which the sparsity rises as `agp_sparsity` says.
        epochs: passes with the last masks.
        lr: the first learning rate of both parts.
        is_regrowing: dropped weights get gradients while the sparsity rises, and may come back.
        teaching: a teacher to learn from.
    """
    hold_masks(module, masks_for(module, 0.0), is_regrowing=is_regrowing)
    n_steps = ramp_epochs * -(-bench.data.train.n // bench.settings.batch_size)
    # The last fifth of the ramp is at the final sparsity, so that what comes back can settle.
    n_rising, step = max(1, round(0.8 * n_steps)), 0

    def tighten() -> None:
        nonlocal step
        if step % UPDATE_EVERY == 0:
            wanted = agp_sparsity(step, n_rising, sparsity)
            set_masks(module, masks_for(module, wanted, scope=scope))
        step += 1

    if ramp_epochs:
        tune_last(module, bench, epochs=ramp_epochs, lr=lr, teaching=teaching, before_batch=tighten)
    masks = masks_for(module, sparsity, scope=scope)
    settle(module)
    _zero(module, masks)
    if epochs:
        hold_masks(module, masks)
        tune_module(module, bench, epochs=epochs, lr=lr, teaching=teaching)
        settle(module)
        _zero(module, masks)
    return module


def _zero(module: nn.Module, masks: dict[str, torch.Tensor]) -> None:
    layers = dict(module.named_modules())
    with torch.no_grad():
        for name, mask in masks.items():
            layers[name].weight.mul_(mask)
