"""Pruning channels: the module becomes a smaller, ordinary module.

::

    follow --> try each group --> score --> choose --> cut --> fine-tune --.
       ^                                                                   |
       '------------------------- n_rounds --------------------------------'
"""

from __future__ import annotations

import copy
import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from torch import nn

from nbautoml.compress.following import Group, follow
from nbautoml.compress.layers import best_match, check_names, example_of, to_cpu
from nbautoml.compress.piece import matches
from nbautoml.compress.scoring import channel_scores
from nbautoml.compress.surgery import cut, removal_of, why_not
from nbautoml.compress.training import teaching_of, tune_module
from nbautoml.errors import CompressError
from nbautoml.train.batches import call_module

if TYPE_CHECKING:
    from nbautoml.compress.piece import Piece
    from nbautoml.compress.techniques import Pruning
    from nbautoml.compress.training import Bench

__all__ = ["choose", "narrowed", "prunable_groups", "prune_channels"]

FLOOR = 0.1  # of a group's channels stay in a global ranking, or half of what stays on average
SEEN_ROWS = 1024  # for gradients


@dataclass(frozen=True, kw_only=True)
class Found:
    """The groups of a module that can lose channels, and layers that cannot, with the reason."""

    groups: Mapping[str, Group]
    refused: Mapping[str, str]


def prunable_groups(
    module: nn.Module, example: Any, keep: tuple[str, ...] = (), *, heads: str = "thinner"
) -> Found:
    """Follow a module and try every group that it has.

    Groups whose channels are the module's outputs are left out without a word.

    Raises:
        CompressError: it cannot be followed.
    """
    module = copy.deepcopy(module).cpu().eval()
    found, refused = follow(module, example, heads=heads)
    groups: dict[str, Group] = {}
    for group in found:
        if any(matches(name, keep) for name in group.makers):
            continue
        reason = why_not(module, group, example)
        if reason:
            refused[group.name] = reason
        elif reason is not None:
            groups[group.name] = group
    return Found(groups=groups, refused=refused)


def choose(
    groups: Mapping[str, Group],
    scores: Mapping[str, torch.Tensor],
    shares: Mapping[str, float],
    *,
    scope: str,
    sparsity: float,
) -> dict[str, list[int]]:
    """The channels that go.

    A group with a share of its own loses that share. Of the others together the share ``sparsity``
    goes in one ranking ("global"), or of each ("layer"). At least one atom of each group stays.

    Args:
        groups: by name.
        scores: a number a channel; the lowest goes first.
        shares: of groups with a share of their own.
        scope: "global" or "layer".
        sparsity: for groups without one.
    """
    gone: dict[str, list[int]] = {name: [] for name in groups}
    together: list[tuple[float, str, tuple[int, ...]]] = []
    for name, group in groups.items():
        ranked = sorted((_mean(scores[name], atom), name, atom) for atom in group.atoms)
        share = shares.get(name)
        if share is None and scope == "global":
            together += ranked
        else:
            n_go = round((sparsity if share is None else share) * len(ranked))
            for _, _, atom in ranked[: min(n_go, len(ranked) - 1)]:
                gone[name] += atom
    floors = _floors(groups, sparsity)
    target = round(sparsity * sum(groups[name].n for name in {name for _, name, _ in together}))
    for _, name, atom in sorted(together):
        if target <= 0:
            break
        if groups[name].n - len(gone[name]) - len(atom) >= floors[name] and len(atom) <= target:
            gone[name] += atom
            target -= len(atom)
    return gone


def _mean(scores: torch.Tensor, atom: tuple[int, ...]) -> float:
    return float(scores[list(atom)].double().mean())


def _floors(groups: Mapping[str, Group], sparsity: float) -> dict[str, int]:
    """How many channels of each group stay whatever their scores: a layer of one strangles all."""
    share = min(FLOOR, (1 - sparsity) / 2)
    return {
        name: max(len(group.atoms[0]), math.ceil(share * group.n)) for name, group in groups.items()
    }


def prune_channels(piece: Piece, config: Pruning, bench: Bench) -> Piece:
    """Prune a piece's channels in rounds, each followed by its part of the fine-tuning.

    Raises:
        CompressError: nothing can be pruned; says why for each layer.
        RecipeError: ``ratios`` or ``keep`` name no layer.
    """
    module = piece.module
    check_names(module, "ratios", config.ratios)
    check_names(module, "keep", config.keep)
    example = example_of(bench)
    generator = torch.Generator().manual_seed(bench.seed)
    teaching = teaching_of(config, piece.original)
    n_first: dict[str, int] = {}
    left: dict[str, int] = {}
    for number in range(1, config.n_rounds + 1):
        found = prunable_groups(module, example, config.keep, heads=config.heads)
        if number == 1:
            _tell(piece, found, config)
        for name, group in found.groups.items():
            n_first.setdefault(name, group.n)
        if config.criterion == "taylor":
            _gather_gradients(module, bench)
        scores = {
            name: channel_scores(module, group, config.criterion, generator=generator)
            for name, group in found.groups.items()
        }
        module.zero_grad(set_to_none=True)
        gone = _round(found.groups, scores, config, n_first, number)
        cut(module, removal_of(found.groups, gone))
        left |= {name: group.n - len(gone[name]) for name, group in found.groups.items()}
        epochs = config.epochs * number // config.n_rounds
        epochs -= config.epochs * (number - 1) // config.n_rounds
        if epochs:
            tune_module(module, bench, epochs=epochs, lr=config.lr, teaching=teaching)
    n = sum(n_first.values())
    piece.note(f"{n - sum(left.values())} of the {n} channels that may go are gone")
    return piece


def _round(
    groups: Mapping[str, Group],
    scores: Mapping[str, torch.Tensor],
    config: Pruning,
    n_first: Mapping[str, int],
    number: int,
) -> dict[str, list[int]]:
    """What goes in a round: after it, as much of the first module is gone as the round says."""
    done = number / config.n_rounds
    shares: dict[str, float] = {}
    for name, group in groups.items():
        wanted = best_match(group.makers, config.ratios)
        if wanted is None and config.scope == "layer":
            wanted = config.sparsity
        if wanted is not None:
            shares[name] = _still(n_first[name], group.n, wanted * done)
    rest = [name for name in groups if name not in shares]
    before, now = sum(n_first[name] for name in rest), sum(groups[name].n for name in rest)
    sparsity = _still(before, now, config.sparsity * done) if rest else 0.0
    return choose(groups, scores, shares, scope=config.scope, sparsity=sparsity)


def _still(before: int, now: int, wanted: float) -> float:
    """The share of what is there now that must go so that a share of what was is gone."""
    return max(0.0, 1 - before * (1 - wanted) / now)


def _tell(piece: Piece, found: Found, config: Pruning) -> None:
    kinds = {type(layer).__name__ for layer in piece.module.modules()}
    if config.criterion == "bn_scale" and not any("BatchNorm" in kind for kind in kinds):
        piece.note("bn_scale: there is no batch norm, so l2 decides")
    for name, reason in found.refused.items():
        piece.note(f"{name} keeps all its channels: {reason}")
    if not found.groups:
        reasons = "; ".join(f"{name}: {why}" for name, why in found.refused.items())
        raise CompressError(
            f"no channels of {type(piece.module).__name__} can be pruned"
            + (f" ({reasons})" if reasons else ": all of them are outputs, or are to be kept"),
            hint='prune single weights instead: granularity="weights"',
        )


def _gather_gradients(module: nn.Module, bench: Bench) -> None:
    """Gradients of the training loss on some rows, left where autograd leaves them."""
    loss, size = bench.base_loss, bench.settings.batch_size
    module.eval().requires_grad_(True)
    module.zero_grad(set_to_none=True)
    rows = torch.arange(min(SEEN_ROWS, bench.data.train.n))
    with torch.enable_grad():
        for some, target in bench.data.train.batches(size, order=rows):
            loss(call_module(module, to_cpu(some)), target.cpu()).backward()  # type: ignore[no-untyped-call]


def narrowed(module: nn.Module, example: Any, share: float) -> nn.Module:
    """A copy with this share of each layer's channels, those of the largest weights.

    Raises:
        CompressError: no layer can lose channels.
    """
    found = prunable_groups(module, example)
    if not found.groups:
        raise CompressError(
            f"no narrower {type(module).__name__} can be made: no layer can lose channels",
            hint='say student="same", or give a student of your own',
        )
    scores = {name: channel_scores(module, g, "l2") for name, g in found.groups.items()}
    gone = choose(found.groups, scores, {}, scope="layer", sparsity=1 - share)
    return cut(copy.deepcopy(module), removal_of(found.groups, gone))
