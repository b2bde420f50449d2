"""How much channels matter: one number a channel, from all the weights that go with it.

A channel's weights lie in several layers (what makes it, its norm, what reads it). Each layer
says how much each of its slices matters; a channel matters as much as its slices do on average,
relative to the other channels of its group.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch import nn

from nbautoml.compress.following import RECURRENT, Group, Slot
from nbautoml.compress.masks import lamp
from nbautoml.compress.surgery import axis_of

__all__ = ["channel_scores"]

_CONV = nn.modules.conv._ConvNd  # noqa: SLF001  torch's only name for all of them
_BATCH = nn.modules.batchnorm._BatchNorm  # noqa: SLF001


def channel_scores(
    module: nn.Module, group: Group, criterion: str, *, generator: torch.Generator | None = None
) -> torch.Tensor:
    """Scores of a group's channels, shape (n,): the lowest goes first. Their mean is 1.

    Args:
        module: whose weights (and gradients, for "taylor") are looked at.
        group: which channels.
        criterion: "l1", "l2", "lamp": size of the weights; "fpgm": distance from the others;
            "taylor": weight times gradient, what the loss would change by; "bn_scale": the factor
            of the batch norm ("l2" where there is none); "random".
        generator: of "random".

    Source: Li et al. 2017 (l1, l2); He et al. 2019 (fpgm); Molchanov et al. 2019 (taylor); Liu et
    al. 2017 (bn_scale); Lee et al. 2021 (lamp).
    """
    if criterion == "random":
        return torch.rand(group.n, generator=generator)
    slots = list(group.slots)
    if criterion == "bn_scale":
        normed = [s for s in slots if isinstance(_layer(module, s), _BATCH)]
        slots, criterion = (normed, "l1") if normed else (slots, "l2")
    total, seen = torch.zeros(group.n), torch.zeros(group.n)
    for slot in slots:
        channels = torch.tensor(slot.channels)
        for rows in _slices(module, slot, with_grad=criterion == "taylor"):
            total.index_add_(0, channels, _MEASURES[criterion](rows))
            seen.index_add_(0, channels, torch.ones(len(channels)))
    scores = total / seen.clamp(min=1)
    if criterion == "lamp":
        scores = lamp(scores)
    return scores / scores.mean().clamp(min=1e-12)


def _far(rows: torch.Tensor) -> torch.Tensor:
    return torch.cdist(rows, rows).sum(1)


_MEASURES: dict[str, Callable[[torch.Tensor], torch.Tensor]] = {
    "l1": lambda rows: rows.abs().sum(1),
    "l2": lambda rows: rows.pow(2).sum(1),
    "lamp": lambda rows: rows.pow(2).sum(1),
    "fpgm": _far,
    "taylor": lambda rows: rows.sum(1).abs(),
}


def _layer(module: nn.Module, slot: Slot) -> Any:
    return None if slot.axis is not None else module.get_submodule(slot.name)


def _slices(module: nn.Module, slot: Slot, *, with_grad: bool) -> Iterator[torch.Tensor]:
    """A row for each of a slot's places: all weights that lie there."""

    def of(weight: torch.Tensor, axis: int, places: torch.Tensor) -> torch.Tensor:
        value = weight.detach()
        if with_grad:
            grad = weight.grad if weight.grad is not None else torch.zeros_like(weight)
            value = value * grad
        return value.movedim(axis, 0)[places].reshape(len(places), -1).float()

    places = torch.tensor(slot.places)
    layer = _layer(module, slot)
    if layer is None:
        assert slot.axis is not None  # that is why there is no layer
        yield of(module.get_parameter(slot.name), slot.axis, places)
    elif isinstance(layer, nn.MultiheadAttention):
        for part in range(3):
            yield of(layer.in_proj_weight, 0, places + part * layer.embed_dim)
        yield of(layer.out_proj.weight, 1, places)
    elif isinstance(layer, RECURRENT):
        for name, weight in layer.named_parameters():
            if slot.side == "in":
                if name.startswith("weight_ih_l0"):
                    yield of(weight, 1, places)
            elif name.startswith("weight"):
                for gate in range(weight.shape[0] // layer.hidden_size):
                    yield of(weight, 0, places + gate * layer.hidden_size)
    elif isinstance(layer, nn.Embedding):
        yield of(layer.weight, 1, places)
    elif layer.weight is not None:
        yield _plain(layer, slot, places, of)


def _plain(layer: Any, slot: Slot, places: torch.Tensor, of: Any) -> torch.Tensor:
    if not isinstance(layer, (nn.Linear, _CONV)):
        rows: torch.Tensor = of(layer.weight, 0, places)
        return rows
    each = axis_of(layer, slot.side, set(slot.places))
    if each[0] == 1 and isinstance(layer, _CONV) and layer.groups > 1:
        n = layer.in_channels if slot.side == "in" else layer.out_channels
        places = places % (n // layer.groups)
    found: torch.Tensor = of(layer.weight, each[0], places)
    return found
