"""A layer as two thinner ones: the best approximation of its matrix by one of lower rank.

Source: Denton et al. 2014, "Exploiting Linear Structure Within Convolutional Networks"; for
convolutions the two-step form (k x k into r channels, then 1 x 1) of Zhang et al. 2015.
"""

from __future__ import annotations

import torch
from torch import nn

__all__ = ["factorise", "rank_for_energy", "split_layer", "worth_it"]


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
    """A linear layer or a plain 2-d convolution as two; None where that saves nothing.

    >>> layer = nn.Linear(64, 64)
    >>> with torch.no_grad():
    ...     _ = layer.weight.copy_(torch.randn(64, 2) @ torch.randn(2, 64))
    >>> split_layer(layer, 0.999)[0]
    Linear(in_features=64, out_features=2, bias=False)
    """
    if type(layer) is nn.Linear:
        left, right = factorise(layer.weight, energy)
        if not worth_it(layer.out_features, layer.in_features, left.shape[1]):
            return None
        first = nn.Linear(layer.in_features, left.shape[1], bias=False)
        second = nn.Linear(left.shape[1], layer.out_features, bias=layer.bias is not None)
        return _filled(first, second, right, left, layer.bias)
    if type(layer) is nn.Conv2d and layer.groups == 1:
        return _split_convolution(layer, energy)
    return None


def _split_convolution(layer: nn.Conv2d, energy: float) -> nn.Sequential | None:
    matrix = layer.weight.detach().flatten(1)
    left, right = factorise(matrix, energy)
    rank = left.shape[1]
    if not worth_it(len(matrix), matrix.shape[1], rank):
        return None
    first = nn.Conv2d(
        layer.in_channels,
        rank,
        layer.kernel_size,  # type: ignore[arg-type]
        stride=layer.stride,  # type: ignore[arg-type]
        padding=layer.padding,  # type: ignore[arg-type]
        dilation=layer.dilation,  # type: ignore[arg-type]
        padding_mode=layer.padding_mode,
        bias=False,
    )
    second = nn.Conv2d(rank, layer.out_channels, 1, bias=layer.bias is not None)
    return _filled(
        first,
        second,
        right.reshape(rank, *layer.weight.shape[1:]),
        left[:, :, None, None],
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
