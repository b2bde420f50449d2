"""Weights that are held in a form while the trainer moves them: masked, or shared.

The trainer knows nothing of it: ``torch.nn.utils.parametrize`` puts the form between the
parameter that is trained and the weight that the layer uses.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import torch
from torch import nn
from torch.nn.utils import parametrize

__all__ = ["Masked", "Shared", "hold_masks", "hold_shared", "prunable", "set_masks", "settle"]

_PRUNED = (nn.Linear, nn.Conv1d, nn.Conv2d, nn.Conv3d, nn.Embedding)


def prunable(module: nn.Module) -> Iterator[tuple[str, nn.Module]]:
    """Layers whose weights may be pruned or shared, by name; one that is used twice comes once.

    Biases and norms are left alone: they are few, and a network needs them.
    """
    seen: set[int] = set()
    for name, layer in module.named_modules():
        weight = getattr(layer, "weight", None)
        if isinstance(layer, _PRUNED) and isinstance(weight, torch.Tensor):
            key = id(weight if not parametrize.is_parametrized(layer) else layer)
            if key not in seen:
                seen.add(key)
                yield name, layer


class Masked(nn.Module):
    """``weight * mask``. With regrowth the dropped weights get gradients, too, and may come back.

    Source: Guo, Yao and Chen 2016, "Dynamic Network Surgery" (what it calls splicing).
    """

    mask: torch.Tensor

    def __init__(self, mask: torch.Tensor, *, is_regrowing: bool) -> None:
        super().__init__()
        self.register_buffer("mask", mask)
        self.is_regrowing = is_regrowing

    def forward(self, weight: torch.Tensor) -> torch.Tensor:
        """The weight with its zeros."""
        if self.is_regrowing and weight.requires_grad:
            return _Straight.apply(weight, self.mask)  # type: ignore[no-untyped-call, no-any-return]
        return weight * self.mask


class _Straight(torch.autograd.Function):
    """Masks on the way forward, lets the whole gradient through on the way back."""

    @staticmethod
    def forward(_ctx: object, weight: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
        return weight * mask

    @staticmethod
    def backward(_ctx: object, grad: torch.Tensor) -> tuple[torch.Tensor, None]:
        return grad, None


class Shared(nn.Module):
    """``centres[codes]``: what is trained is the codebook. Code 0 is the weight zero."""

    codes: torch.Tensor

    def __init__(self, codes: torch.Tensor) -> None:
        super().__init__()
        self.register_buffer("codes", codes)

    def forward(self, centres: torch.Tensor) -> torch.Tensor:
        """The weight that the codebook stands for."""
        return torch.cat([centres.new_zeros(1), centres])[self.codes]

    def right_inverse(self, weight: torch.Tensor) -> torch.Tensor:
        """The codebook of a weight whose values are shared already."""
        flat, codes = weight.flatten(), self.codes.flatten()
        n = int(codes.max()) if codes.numel() else 0
        sums = torch.zeros(n + 1, dtype=weight.dtype).index_add_(0, codes, flat)
        return (sums / torch.bincount(codes, minlength=n + 1).clamp(min=1))[1:]


def hold_masks(
    module: nn.Module, masks: Mapping[str, torch.Tensor], *, is_regrowing: bool = False
) -> None:
    """Hold layers' weights at zero where their masks are."""
    layers = dict(module.named_modules())
    for name, mask in masks.items():
        held = Masked(mask.clone(), is_regrowing=is_regrowing)
        parametrize.register_parametrization(layers[name], "weight", held, unsafe=True)


def set_masks(module: nn.Module, masks: Mapping[str, torch.Tensor]) -> None:
    """Change the masks of layers that are held."""
    layers = dict(module.named_modules())
    for name, mask in masks.items():
        held = layers[name].parametrizations["weight"][0]
        held.mask.copy_(mask)


def hold_shared(module: nn.Module, codes: Mapping[str, torch.Tensor]) -> None:
    """Hold layers' weights to the shared values that they have."""
    layers = dict(module.named_modules())
    for name, code in codes.items():
        parametrize.register_parametrization(layers[name], "weight", Shared(code), unsafe=True)


def settle(module: nn.Module) -> nn.Module:
    """Plain weights again, with the values that the forms gave; returns the module."""
    for layer in module.modules():
        if parametrize.is_parametrized(layer, "weight"):
            parametrize.remove_parametrizations(layer, "weight", leave_parametrized=True)
    return module
