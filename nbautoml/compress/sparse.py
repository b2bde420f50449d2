"""Pruning single weights: at once, or little by little while the network trains.

::

    once       mask -> fine-tune with the mask held
    agp        sparsity |      .-----------------   rises fast, then slowly, while it trains;
    linear              |   .-'                     with regrow, dropped weights may come back
                        |__/____________________    then the rest is fine-tuned
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import torch
from torch import nn

from nbautoml.compress.holding import (
    HELD_LAYERS,
    hold_masks,
    note_left_alone,
    prunable,
    set_masks,
    settle,
)
from nbautoml.compress.layers import best_match, check_names
from nbautoml.compress.masks import (
    agp_sparsity,
    keep_n_of_m,
    linear_sparsity,
    masks_of,
    parse_n_of_m,
    sparsity_of,
    weight_scores,
)
from nbautoml.compress.piece import matches
from nbautoml.compress.training import Bench, Teaching, teaching_of, tune_last, tune_module
from nbautoml.errors import CompressError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from nbautoml.compress.piece import Piece
    from nbautoml.compress.techniques import Pruning

__all__ = ["Sieve", "prune_gradually", "prune_once", "prune_weights"]

UPDATE_EVERY = 20  # batches between two looks at the masks
SETTLED = (
    0.2  # of a schedule's batches are at the final sparsity, so that what comes back can settle
)


@dataclass(frozen=True, kw_only=True)
class Sieve:
    """Which weights of a module go.

    Attributes:
        sparsity: share of the weights that goes.
        criterion: what matters: see `weight_scores`.
        scope: "global" or "layer".
        ratios: shares of layers by name or prefix.
        pattern: such as "2:4", which then decides alone.
        keep: layers that are left alone.
        seed: of the criterion "random".
    """

    sparsity: float
    criterion: str = "l2"
    scope: str = "global"
    ratios: Mapping[str, float] = field(default_factory=dict)
    pattern: str = ""
    keep: tuple[str, ...] = ()
    seed: int = 0

    def done(self, module: nn.Module) -> float:
        """How much of this pruning a module has behind it: its zeros by those that it will have.

        >>> net = nn.Linear(10, 10, bias=False)
        >>> _ = prune_once(net, Sieve(sparsity=0.45))
        >>> Sieve(sparsity=0.9).done(net)
        0.5
        """
        weights = [
            weight.value.detach()
            for weight in prunable(module)
            if not matches(weight.name, self.keep)
        ]
        n = sum(weight.numel() for weight in weights)
        n_zero = sum(int((weight == 0).sum()) for weight in weights)
        n_final = sum(int((mask == 0).sum()) for mask in self.masks(module).values())
        return min(1.0, n_zero / n_final) if n and n_final else 0.0

    def masks(self, module: nn.Module, *, done: float = 1.0) -> dict[str, torch.Tensor]:
        """Masks of the layers' weights, when this share of the pruning is done.

        Raises:
            RecipeError: no such pattern.
        """
        weights = {
            weight.name: weight.trained.detach()
            for weight in prunable(module)
            if not matches(weight.name, self.keep)
        }
        if self.pattern:
            n, m = parse_n_of_m(self.pattern)
            return {name: keep_n_of_m(weight, n, m) for name, weight in weights.items()}
        found = {name: best_match([name], self.ratios) for name in weights}
        return masks_of(
            weight_scores(weights, self.criterion, seed=self.seed),
            self.sparsity * done,
            scope=self.scope,
            shares={name: share * done for name, share in found.items() if share is not None},
        )


def prune_once(module: nn.Module, sieve: Sieve) -> dict[str, torch.Tensor]:
    """Set weights to zero, in place; nothing is trained. Returns the masks.

    >>> net = nn.Linear(10, 10)
    >>> _ = prune_once(net, Sieve(sparsity=0.9))
    >>> int((net.weight != 0).sum())
    10
    """
    masks = sieve.masks(module)
    _zero(module, masks)
    return masks


def prune_gradually(
    module: nn.Module,
    bench: Bench,
    sieve: Sieve,
    *,
    ramp_epochs: int,
    epochs: int,
    schedule: str = "agp",
    lr: float | None = None,
    is_regrowing: bool = True,
    teaching: Teaching | None = None,
) -> dict[str, torch.Tensor]:
    """Prune in place while training: the sparsity rises, then the weights that are left are tuned.

    It rises from the share of zeros that there is: what was pruned before is pruned further, and
    does not first become dense again.

    Args:
        module: trained before.
        bench: data and trainer.
        sieve: which weights go in the end.
        ramp_epochs: passes over which the sparsity rises.
        epochs: passes with the last masks.
        schedule: "agp" or "linear": how it rises.
        lr: the first learning rate of both parts.
        is_regrowing: dropped weights get gradients while the sparsity rises, and may grow back; else
            they are ranked by what they were when they were dropped.
        teaching: a teacher to learn from.

    Returns:
        The masks that hold in the end.
    """
    rising = agp_sparsity if schedule == "agp" else linear_sparsity
    initial = sieve.done(module)
    hold_masks(module, sieve.masks(module, done=initial), is_regrowing=is_regrowing)
    n_steps = ramp_epochs * -(-bench.data.train.n // bench.settings.batch_size)
    n_rising, step = max(1, round((1 - SETTLED) * n_steps)), 0

    def tighten() -> None:
        nonlocal step
        if step % UPDATE_EVERY == 0 or step == n_rising:
            done = rising(step, n_rising, 1.0, initial=initial)
            set_masks(module, sieve.masks(module, done=done))
        step += 1

    if ramp_epochs:
        tune_last(module, bench, epochs=ramp_epochs, lr=lr, teaching=teaching, before_batch=tighten)
    masks = sieve.masks(module)
    set_masks(module, masks)  # what comes back last comes back with its value
    settle(module)
    tune_masked(module, bench, masks, epochs=epochs, lr=lr, teaching=teaching)
    return masks


def tune_masked(
    module: nn.Module,
    bench: Bench,
    masks: Mapping[str, torch.Tensor],
    *,
    epochs: int,
    lr: float | None = None,
    teaching: Teaching | None = None,
) -> None:
    """Fine-tune what masks leave, in place; what they drop stays zero."""
    if not epochs:
        return
    hold_masks(module, masks)
    tune_module(module, bench, epochs=epochs, lr=lr, teaching=teaching)
    settle(module)
    _zero(module, masks)


def _zero(module: nn.Module, masks: Mapping[str, torch.Tensor]) -> None:
    weights = {weight.name: weight.value for weight in prunable(module)}
    with torch.no_grad():
        for name, mask in masks.items():
            weights[name].mul_(mask)


def prune_weights(piece: Piece, config: Pruning, bench: Bench) -> Piece:
    """Prune a piece's single weights as a config says.

    Raises:
        CompressError: it has no layers whose weights may go.
        RecipeError: ``ratios`` or ``keep`` name no layer.
    """
    module = piece.module
    check_names(module, "ratios", config.ratios)
    check_names(module, "keep", config.keep)
    sieve = Sieve(
        sparsity=config.sparsity,
        criterion=config.criterion,
        scope=config.scope,
        ratios=config.ratios,
        pattern=config.pattern,
        keep=config.keep,
        seed=bench.seed,
    )
    if not sieve.masks(module, done=0.0):
        raise CompressError(
            f"{type(module).__name__} has no layers with weights to prune"
            + (" beside those that are kept" if config.keep else ""),
            hint=HELD_LAYERS,
        )
    lr, teaching = config.lr, teaching_of(config, piece.original)
    if config.schedule == "once":
        masks = prune_once(module, sieve)
        tune_masked(module, bench, masks, epochs=config.epochs, lr=lr, teaching=teaching)
    else:
        ramp = -(-2 * config.epochs // 3)
        masks = prune_gradually(
            module,
            bench,
            sieve,
            ramp_epochs=ramp,
            epochs=config.epochs - ramp,
            schedule=config.schedule,
            lr=lr,
            is_regrowing=config.regrow,
            teaching=teaching,
        )
    note_left_alone(piece, "pruned")
    piece.note(f"{sparsity_of(masks):.1%} of the weights that may go are zero")
    return piece
