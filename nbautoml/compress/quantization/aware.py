"""Quantisation-aware training: the trainer sees the rounding, and weights move to where it hurts less.

::

    x --round--> layer(x, round(weight)) --> ...      forward: as the int8 file will compute
    x ---------> layer(x, weight) ---------> ...      backward: as if nothing were rounded

Source: Jacob et al. 2018, "Quantization and Training of Neural Networks for Efficient
Integer-Arithmetic-Only Inference", section 3.
"""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

import torch
from torch import nn
from torch.nn.utils import parametrize
from torch.utils.hooks import RemovableHandle

from nbautoml.compress.holding import left_alone, prunable
from nbautoml.compress.piece import matches
from nbautoml.compress.training import Bench, tune_module

__all__ = ["RoundedInput", "RoundedWeight", "not_rounded", "train_aware"]

MOMENTUM = 0.1  # of the range that inputs are expected in
_ROUNDED = (nn.Linear, nn.Conv1d, nn.Conv2d, nn.Conv3d, nn.Embedding)


class RoundedWeight(nn.Module):
    """A weight as 8 bits would hold it; its gradient is that of the weight itself.

    >>> weight = torch.tensor([[1.0, 0.501]], requires_grad=True)
    >>> held = RoundedWeight(by_channel=True)(weight)
    >>> [round(number * 127, 3) for number in held[0].tolist()]
    [127.0, 64.0]
    >>> torch.autograd.grad(held.sum(), weight)[0].tolist()
    [[1.0, 1.0]]
    """

    def __init__(self, *, by_channel: bool) -> None:
        super().__init__()
        self.by_channel = by_channel

    def forward(self, weight: torch.Tensor) -> torch.Tensor:
        """The rounded weight."""
        largest = weight.detach().abs()
        largest = largest.flatten(1).amax(1) if self.by_channel else largest.amax()
        scale = largest.clamp(min=1e-12) / 127
        scale = scale.reshape(-1, *[1] * (weight.ndim - 1)) if self.by_channel else scale
        return _straight(weight, torch.round(weight.detach() / scale) * scale)


def _straight(value: torch.Tensor, rounded: torch.Tensor) -> torch.Tensor:
    """The rounded value on the way forward, the value's gradient on the way back."""
    return value + (rounded - value).detach()


class RoundedInput(nn.Module):
    """A layer's input as 8 bits would hold it, in a range that follows what it sees in training."""

    low: torch.Tensor
    high: torch.Tensor

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("low", torch.zeros(()))
        self.register_buffer("high", torch.zeros(()))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """The rounded input."""
        if self.training:
            self._follow(x.detach())
        step = ((self.high - self.low) / 255).clamp(min=1e-12)
        cut = torch.minimum(torch.maximum(x, self.low), self.high)  # no gradient beyond the range
        places = torch.round((cut.detach() - self.low) / step)
        return _straight(cut, self.low + places * step)

    def _follow(self, x: torch.Tensor) -> None:
        low, high = x.amin().clamp(max=0), x.amax().clamp(min=0)
        is_new = self.high == self.low
        self.low.copy_(torch.where(is_new, low, self.low + MOMENTUM * (low - self.low)))
        self.high.copy_(torch.where(is_new, high, self.high + MOMENTUM * (high - self.high)))


class _Guarded(nn.Module):
    """A module with what rounds the inputs of its layers, so that both move to a device together."""

    def __init__(self, module: nn.Module, rounders: dict[str, RoundedInput]) -> None:
        super().__init__()
        self.module = module
        self.rounders = nn.ModuleDict(
            {str(at): rounder for at, rounder in enumerate(rounders.values())}
        )

    def forward(self, *inputs: Any, **named: Any) -> Any:
        """What the module says."""
        return self.module(*inputs, **named)


def train_aware(
    module: nn.Module,
    bench: Bench,
    *,
    epochs: int,
    lr: float | None,
    keep: Collection[str],
    by_channel: bool,
) -> list[str]:
    """Train a module in place with its layers' weights and inputs rounded to 8 bits.

    Args:
        module: trained; has plain weights again afterwards, at the values that round best.
        bench: data and trainer.
        epochs: passes over the data.
        lr: of these passes.
        keep: layers that are left alone.
        by_channel: whether each output channel of a weight has its own scale.

    Returns:
        Names of the layers whose rounding was seen.
    """
    layers = {
        name: layer
        for name, layer in module.named_modules()
        if isinstance(layer, _ROUNDED) and not matches(name, keep)
    }
    rounders: dict[str, RoundedInput] = {}
    hooks: list[RemovableHandle] = []
    for name, layer in layers.items():
        held = RoundedWeight(by_channel=by_channel)
        parametrize.register_parametrization(layer, "weight", held)
        if not isinstance(layer, nn.Embedding):
            rounders[name] = RoundedInput()
            hooks.append(layer.register_forward_pre_hook(_rounding(rounders[name])))
    try:
        tune_module(_Guarded(module, rounders), bench, epochs=epochs, lr=lr)
    finally:
        for hook in hooks:
            hook.remove()
        for layer in layers.values():
            parametrize.remove_parametrizations(layer, "weight", leave_parametrized=True)
    return list(layers)


def not_rounded(module: nn.Module, keep: Collection[str]) -> list[str]:
    """Layers with weights that `train_aware` does not round, beside those that are kept.

    >>> not_rounded(nn.Sequential(nn.LSTM(2, 3), nn.Linear(3, 1)), ())
    ['0 (LSTM)']
    """
    found = [
        weight.told
        for weight in prunable(module)
        if not isinstance(weight.layer, _ROUNDED) and not matches(weight.place, keep)
    ]
    return list(dict.fromkeys([*found, *left_alone(module)]))


def _rounding(rounder: RoundedInput) -> Any:
    def before(_layer: nn.Module, inputs: tuple[Any, ...]) -> tuple[Any, ...]:
        return (rounder(inputs[0]), *inputs[1:])

    return before
