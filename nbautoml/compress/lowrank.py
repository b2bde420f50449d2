"""A layer as two thinner ones: the best approximation of its matrix by one of lower rank.

Source: Denton et al. 2014, "Exploiting Linear Structure Within Convolutional Networks"; for
convolutions the two-step form (k x k into r channels, then 1 x 1) of Zhang et al. 2015.
"""

from __future__ import annotations

import copy
from typing import TYPE_CHECKING, Any

import torch
from torch import nn

from nbautoml.compress.holding import left_alone, prunable
from nbautoml.compress.layers import check_names, example_of
from nbautoml.compress.piece import matches
from nbautoml.compress.training import teaching_of, tune_module
from nbautoml.errors import CompressError
from nbautoml.measure.counting import call

if TYPE_CHECKING:
    from nbautoml.compress.piece import Piece
    from nbautoml.compress.techniques import LowRank
    from nbautoml.compress.training import Bench

__all__ = ["factorise", "factorize", "rank_for_energy", "split_layer", "worth_it"]


def rank_for_energy(singular: torch.Tensor, energy: float) -> int:
    """The fewest singular values whose squares hold this share of the sum of all squares.

    >>> rank_for_energy(torch.tensor([3.0, 1.0, 0.1]), 0.9)
    2
    >>> rank_for_energy(torch.tensor([3.0, 1.0, 0.1]), 0.5)
    1
    """
    share = torch.cumsum(singular.double() ** 2, 0) / (singular.double() ** 2).sum()
    return int((share < energy - 1e-12).sum()) + 1


def factorise(matrix: torch.Tensor, energy: float) -> tuple[torch.Tensor, torch.Tensor]:
    """Two matrices whose product is near a matrix ``(out, in)``: ``(out, r)`` and ``(r, in)``."""
    u, s, v = torch.linalg.svd(matrix.detach().double(), full_matrices=False)
    rank = rank_for_energy(s, energy)
    root = s[:rank].sqrt()
    left, right = u[:, :rank] * root, root[:, None] * v[:rank]
    return left.to(matrix.dtype), right.to(matrix.dtype)


def worth_it(n_out: int, n_in: int, rank: int) -> bool:
    """Whether two matrices of this rank hold fewer weights than the one.

    >>> worth_it(100, 100, 40), worth_it(100, 100, 50)
    (True, False)
    """
    return rank * (n_out + n_in) < n_out * n_in


def split_layer(layer: nn.Module, energy: float) -> nn.Sequential | None:
    """A linear layer or a plain convolution as two; None where that saves nothing.

    >>> layer = nn.Linear(64, 64)
    >>> with torch.no_grad():
    ...     _ = layer.weight.copy_(torch.randn(64, 2) @ torch.randn(2, 64))
    >>> split_layer(layer, 0.999)[0]
    Linear(in_features=64, out_features=2, bias=False)
    """
    if not _can_split(layer):
        return None
    if isinstance(layer, nn.Linear):
        left, right = factorise(layer.weight, energy)
        if not worth_it(layer.out_features, layer.in_features, left.shape[1]):
            return None
        first = nn.Linear(layer.in_features, left.shape[1], bias=False)
        second = nn.Linear(left.shape[1], layer.out_features, bias=layer.bias is not None)
        return _filled(first, second, right, left, layer.bias)
    return _split_convolution(layer, energy)


def _split_convolution(layer: Any, energy: float) -> nn.Sequential | None:
    matrix = layer.weight.detach().flatten(1)
    left, right = factorise(matrix, energy)
    rank = left.shape[1]
    if not worth_it(len(matrix), matrix.shape[1], rank):
        return None
    kind = type(layer)
    first = kind(
        layer.in_channels,
        rank,
        layer.kernel_size,
        stride=layer.stride,
        padding=layer.padding,
        dilation=layer.dilation,
        padding_mode=layer.padding_mode,
        bias=False,
    )
    second = kind(rank, layer.out_channels, 1, bias=layer.bias is not None)
    ones = (1,) * len(layer.kernel_size)
    return _filled(
        first,
        second,
        right.reshape(rank, *layer.weight.shape[1:]),
        left.reshape(*left.shape, *ones),
        layer.bias,
    )


def _filled(
    first: nn.Module,
    second: nn.Module,
    right: torch.Tensor,
    left: torch.Tensor,
    bias: torch.Tensor | None,
) -> nn.Sequential:
    with torch.no_grad():
        first.weight.copy_(right)  # type: ignore[operator]
        second.weight.copy_(left)  # type: ignore[operator]
        if bias is not None:
            second.bias.copy_(bias)  # type: ignore[operator]
    return nn.Sequential(first, second)


def factorize(piece: Piece, config: LowRank, bench: Bench) -> Piece:
    """Split every layer of a piece where that saves weights, then fine-tune.

    A layer is put back where the module does not run with two in its place (it reads the layer's
    weight itself, say), and where its weight is another layer's, too.

    Raises:
        CompressError: no layer could be split; says why.
        RecipeError: ``keep`` names no layer.
    """
    module, example = piece.module, example_of(bench)
    check_names(module, "keep", config.keep)
    n_split, dense, whole = 0, [], left_alone(module)
    for weight in list(prunable(module)):
        name, layer = weight.name, weight.layer
        if matches(name, config.keep):
            continue
        if not _can_split(layer):
            whole += [] if weight.told in whole else [weight.told]
            continue
        if _n_holders(module, weight.value) > 1:
            piece.note(f"{name} is not factorised: another layer has the same weight")
            continue
        split = split_layer(layer, config.energy)
        if split is None:
            dense.append(name)
            continue
        reason = _replace(module, name, split, example)
        if reason:
            piece.note(f"{name} is not factorised: {reason}")
        n_split += not reason
    if whole:
        piece.note(f"{', '.join(whole)}: only linear layers and plain convolutions are factorised")
    if dense:
        piece.note(
            f"{', '.join(dense)} stay as they are: two layers that keep {config.energy:.0%} of "
            "the energy would hold more weights"
        )
    if not n_split:
        raise CompressError(
            f"no layer of {type(module).__name__} becomes smaller as two: "
            + ("; ".join(piece.notes) or "it has no linear layers or convolutions to split"),
            hint=f"keep less than {config.energy:.0%} of the energy, or prune instead",
        )
    if config.epochs:
        teaching = teaching_of(config, piece.original)
        tune_module(module, bench, epochs=config.epochs, lr=config.lr, teaching=teaching)
    return piece


def _can_split(layer: nn.Module) -> bool:
    """Subclasses are parts that another layer reads by itself (attention's last one)."""
    is_plain = type(layer) in (nn.Linear, nn.Conv1d, nn.Conv2d)
    return is_plain and getattr(layer, "groups", 1) == 1


def _n_holders(module: nn.Module, weight: torch.Tensor) -> int:
    return sum(
        own is weight for layer in module.modules() for own in layer.parameters(recurse=False)
    )


def _replace(module: nn.Module, name: str, new: nn.Module, example: Any) -> str:
    """Put a layer in another's place, or leave it and say why the module cannot take it."""
    old = module.get_submodule(name)
    module.set_submodule(name, new)
    try:
        with torch.no_grad():
            call(module, copy.deepcopy(example))
    except Exception as error:  # noqa: BLE001  the user's forward may raise anything at all
        module.set_submodule(name, old)
        return f"forward does not take two in its place ({type(error).__name__}: {error})"[:200]
    return ""
