"""Weights that are held in a form while the trainer moves them: masked, or shared.

The trainer knows nothing of it: ``torch.nn.utils.parametrize`` puts the form between the
parameter that is trained and the weight that the layer uses.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from torch import nn
from torch.nn.utils import parametrize

if TYPE_CHECKING:
    from nbautoml.compress.piece import Piece

__all__ = [
    "HELD_LAYERS",
    "Masked",
    "Shared",
    "Weight",
    "hold_masks",
    "hold_shared",
    "left_alone",
    "note_left_alone",
    "prunable",
    "set_masks",
    "settle",
]

_PLAIN = (
    nn.Linear,
    nn.Conv1d,
    nn.Conv2d,
    nn.Conv3d,
    nn.ConvTranspose1d,
    nn.ConvTranspose2d,
    nn.ConvTranspose3d,
    nn.Embedding,
)
# Layers with several matrices, and what the names of these begin with.
_MANY: tuple[tuple[type[nn.Module], tuple[str, ...]], ...] = (
    (nn.RNNBase, ("weight_",)),
    (nn.RNNCellBase, ("weight_",)),
    (
        nn.MultiheadAttention,
        ("in_proj_weight", "q_proj_weight", "k_proj_weight", "v_proj_weight"),
    ),
)
HELD_LAYERS = (
    "taken are the weights of linear layers, convolutions, embeddings, recurrent layers and "
    "attention; those of other layers are left alone"
)
"""For people whose module has none of them."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Weight:
    """One matrix of a layer.

    Attributes:
        place: name of the layer whose it is.
        layer: that layer.
        attribute: where it stands in the layer.
    """

    place: str
    layer: nn.Module
    attribute: str = "weight"

    @property
    def name(self) -> str:
        """The layer's; where a layer has several, with the matrix's own: ``lstm.weight_hh_l0``."""
        if self.attribute == "weight":
            return self.place
        return f"{self.place}.{self.attribute}" if self.place else self.attribute

    @property
    def told(self) -> str:
        """The layer for people: its name and its kind."""
        kind = type(self.layer).__name__
        return f"{self.place} ({kind})" if self.place else kind

    @property
    def value(self) -> torch.Tensor:
        """What the layer computes with."""
        found: torch.Tensor = getattr(self.layer, self.attribute)
        return found

    @property
    def trained(self) -> torch.Tensor:
        """The parameter behind it: itself, where no form holds it."""
        if parametrize.is_parametrized(self.layer, self.attribute):
            found: torch.Tensor = self.forms.original
            return found
        return self.value

    @property
    def form(self) -> nn.Module:
        """What holds it."""
        found: nn.Module = self.forms[0]
        return found

    @property
    def forms(self) -> Any:
        """The list in which torch keeps what holds it."""
        return self.layer.parametrizations[self.attribute]  # type: ignore[index]


def prunable(module: nn.Module) -> Iterator[Weight]:
    """The weights that may be pruned or shared; one that several layers have comes once.

    Those of linear layers, convolutions and embeddings, of recurrent layers, and attention's
    projections. Biases and norms are left alone: they are few, and a network needs them.

    >>> [weight.name for weight in prunable(nn.Sequential(nn.LSTM(2, 3), nn.Linear(3, 1)))]
    ['0.weight_ih_l0', '0.weight_hh_l0', '1']
    """
    seen: set[int] = set()
    for weight in _all_of(module):
        key = id(weight.trained)
        if key not in seen:
            seen.add(key)
            yield weight


def _all_of(module: nn.Module) -> Iterator[Weight]:
    for name, layer in module.named_modules():
        if isinstance(layer, _PLAIN):
            if isinstance(layer.weight, torch.Tensor):
                yield Weight(place=name, layer=layer)
            continue
        for kind, beginnings in _MANY:
            if isinstance(layer, kind):
                for attribute in _attributes(layer):
                    if attribute.startswith(beginnings):
                        yield Weight(place=name, layer=layer, attribute=attribute)


def _attributes(layer: nn.Module) -> list[str]:
    """Names of a layer's parameters, those that forms hold included."""
    held = list(getattr(layer, "parametrizations", {}))
    return held + [name for name, _ in layer.named_parameters(recurse=False)]


def left_alone(module: nn.Module) -> list[str]:
    """Layers that hold matrices of which none is prunable, with their kinds.

    >>> left_alone(nn.Sequential(nn.Bilinear(2, 2, 2), nn.Linear(2, 1)))
    ['0 (Bilinear)']
    """
    taken = {id(weight.layer) for weight in _all_of(module)}
    return [
        f"{name} ({type(layer).__name__})" if name else type(layer).__name__
        for name, layer in module.named_modules()
        if id(layer) not in taken and any(w.ndim > 1 for w in layer.parameters(recurse=False))
    ]


def note_left_alone(piece: Piece, done: str) -> None:
    """Note the layers of a piece that `left_alone` names, and what is not ``done`` to them."""
    found = left_alone(piece.module)
    if found:
        piece.note(f"weights of {', '.join(found)} are not {done}")


def _twins(module: nn.Module, name: str) -> list[Weight]:
    """A weight and those that are the same one (an output layer that is the table of words)."""
    whole = list(_all_of(module))
    first = next(weight for weight in whole if weight.name == name)
    others = (weight for weight in whole if weight is not first)
    return [first, *(weight for weight in others if weight.trained is first.trained)]


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
        return _Held.apply(weight, self.mask, self.is_regrowing)  # type: ignore[no-untyped-call, no-any-return]


class _Held(torch.autograd.Function):
    """Masks on the way forward; on the way back, too, or lets the whole gradient through.

    The product lies as the weight does. Plain ``weight * mask`` forgets the layout of a convolution
    with one input channel, and with it the layers behind lose ``channels_last`` (LeNet-5 of half the
    width: 15.7 instead of 11.8 ms a step on one core).
    """

    @staticmethod
    def forward(
        ctx: Any, weight: torch.Tensor, mask: torch.Tensor, is_regrowing: bool
    ) -> torch.Tensor:
        if not is_regrowing:
            ctx.save_for_backward(mask)
        return torch.mul(weight, mask, out=torch.empty_like(weight))

    @staticmethod
    def backward(ctx: Any, grad: torch.Tensor) -> tuple[torch.Tensor, None, None]:
        for mask in ctx.saved_tensors:
            grad = grad * mask
        return grad, None, None


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
    """Hold weights at zero where their masks are."""
    for name, mask in masks.items():
        for weight in _twins(module, name):
            _hold(weight, Masked(mask.clone(), is_regrowing=is_regrowing))


def _hold(weight: Weight, form: nn.Module) -> None:
    parametrize.register_parametrization(weight.layer, weight.attribute, form, unsafe=True)


def set_masks(module: nn.Module, masks: Mapping[str, torch.Tensor]) -> None:
    """Change the masks of weights that are held."""
    for name, mask in masks.items():
        for weight in _twins(module, name):
            weight.form.mask.copy_(mask)  # type: ignore[operator]


def hold_shared(module: nn.Module, codes: Mapping[str, torch.Tensor]) -> None:
    """Hold weights to the shared values that they have."""
    for name, code in codes.items():
        twins = _twins(module, name)
        values = twins[0].trained.detach().clone()
        for weight in twins:
            # Holding a weight overwrites it.
            setattr(weight.layer, weight.attribute, nn.Parameter(values.clone()))
            _hold(weight, Shared(code))
            weight.forms.original = twins[0].trained


def settle(module: nn.Module) -> nn.Module:
    """Plain weights again, with the values that the forms gave; returns the module."""
    ours = [
        weight
        for weight in _all_of(module)
        if parametrize.is_parametrized(weight.layer, weight.attribute)
        and isinstance(weight.form, (Masked, Shared))
    ]
    first: dict[int, Weight] = {}
    twin_of = {id(weight): first.setdefault(id(weight.trained), weight) for weight in ours}
    for weight in ours:
        weight.forms.original = nn.Parameter(weight.trained.detach().clone())
        parametrize.remove_parametrizations(weight.layer, weight.attribute, leave_parametrized=True)
    for weight in ours:
        setattr(weight.layer, weight.attribute, twin_of[id(weight)].value)
    return module
