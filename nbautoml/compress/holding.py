"""Weights that are held in a form while the trainer moves them: masked, or shared.

The trainer knows nothing of it: ``torch.nn.utils.parametrize`` puts the form between the
parameter that is trained and the weight that the layer uses.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import torch
from torch import nn
from torch.nn.utils import parametrize

__all__ = [
    "Masked",
    "Shared",
    "hold_masks",
    "hold_shared",
    "prunable",
    "set_masks",
    "settle",
    "trained_weight",
]

_PRUNED = (
    nn.Linear,
    nn.Conv1d,
    nn.Conv2d,
    nn.Conv3d,
    nn.ConvTranspose1d,
    nn.ConvTranspose2d,
    nn.ConvTranspose3d,
    nn.Embedding,
)


def prunable(module: nn.Module) -> Iterator[tuple[str, nn.Module]]:
    """Layers whose weights may be pruned or shared, by name; one that is used twice comes once.

    Biases and norms are left alone: they are few, and a network needs them.
    """
    seen: set[int] = set()
    for name, layer in module.named_modules():
        if isinstance(layer, _PRUNED) and isinstance(layer.weight, torch.Tensor):
            key = id(trained_weight(layer))
            if key not in seen:
                seen.add(key)
                yield name, layer


def trained_weight(layer: nn.Module) -> torch.Tensor:
    """The parameter behind a layer's weight."""
    if parametrize.is_parametrized(layer, "weight"):
        return layer.parametrizations["weight"].original  # type: ignore[index, union-attr, no-any-return]
    return layer.weight  # type: ignore[return-value]


def _twins(module: nn.Module, name: str) -> list[nn.Module]:
    """A layer and those that have the same weight (an output layer that is the table of words)."""
    first = module.get_submodule(name)
    weight = trained_weight(first)
    return [first] + [
        layer
        for layer in module.modules()
        if isinstance(layer, _PRUNED) and layer is not first and trained_weight(layer) is weight
    ]


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
    for name, mask in masks.items():
        for layer in _twins(module, name):
            held = Masked(mask.clone(), is_regrowing=is_regrowing)
            parametrize.register_parametrization(layer, "weight", held, unsafe=True)


def set_masks(module: nn.Module, masks: Mapping[str, torch.Tensor]) -> None:
    """Change the masks of layers that are held."""
    for name, mask in masks.items():
        for layer in _twins(module, name):
            layer.parametrizations["weight"][0].mask.copy_(mask)  # type: ignore[index, union-attr]


def hold_shared(module: nn.Module, codes: Mapping[str, torch.Tensor]) -> None:
    """Hold layers' weights to the shared values that they have."""
    for name, code in codes.items():
        twins = _twins(module, name)
        values = trained_weight(twins[0]).detach().clone()
        for layer in twins:
            layer.weight = nn.Parameter(values.clone())  # holding a weight overwrites it
            parametrize.register_parametrization(layer, "weight", Shared(code), unsafe=True)
            layer.parametrizations["weight"].original = trained_weight(twins[0])  # type: ignore[index, union-attr]


def settle(module: nn.Module) -> nn.Module:
    """Plain weights again, with the values that the forms gave; returns the module."""
    held = [layer for layer in module.modules() if parametrize.is_parametrized(layer, "weight")]
    first: dict[int, nn.Module] = {}
    ours = [layer for layer in held if isinstance(_form(layer), (Masked, Shared))]
    twin_of = {id(layer): first.setdefault(id(trained_weight(layer)), layer) for layer in ours}
    for layer in ours:
        own = nn.Parameter(trained_weight(layer).detach().clone())
        layer.parametrizations["weight"].original = own  # type: ignore[index, union-attr]
        parametrize.remove_parametrizations(layer, "weight", leave_parametrized=True)
    for layer in ours:
        layer.weight = twin_of[id(layer)].weight
    return module


def _form(layer: nn.Module) -> nn.Module:
    return layer.parametrizations["weight"][0]  # type: ignore[index, return-value]
