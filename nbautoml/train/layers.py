"""What a layer takes, in words: for the error of a layer that was given something else."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.nn.modules.conv import _ConvNd

__all__ = ["Complaint", "complaint_about", "describe", "label"]

Complaint = tuple[str, str]
"""What is wrong, as the rest of a sentence, and what to do about it."""

_INTEGERS = {torch.int64, torch.int32}


def label(name: str, layer: nn.Module, root: nn.Module) -> str:
    """How a layer is called in a message: its dotted name and its own text.

    >>> net = nn.Sequential(nn.Linear(2, 3))
    >>> label("0", net[0], net)
    '0 (Linear(in_features=2, out_features=3, bias=True))'
    """
    if layer is root or not name:
        return type(root).__name__
    text = repr(layer)
    return (
        f"{name} ({text})"
        if "\n" not in text and len(text) <= 120
        else (f"{name} ({type(layer).__name__})")
    )


def describe(value: Any) -> str:
    """Shape and dtype of what was passed, for a message.

    >>> describe(torch.zeros(2, 3)), describe((torch.zeros(1), None))
    ('shape (2, 3)', 'a tuple of (shape (1,), None)')
    """
    if isinstance(value, torch.Tensor):
        kind = "" if value.dtype == torch.float32 else f" {_plain(value.dtype)}"
        return f"shape {tuple(value.shape)}{kind}"
    if isinstance(value, Mapping):
        inside = ", ".join(f"{key}: {describe(item)}" for key, item in list(value.items())[:8])
        return f"a dict of ({inside})"
    if isinstance(value, tuple | list):
        inside = ", ".join(describe(item) for item in value[:8])
        return f"a {type(value).__name__} of ({inside})"
    return "None" if value is None else f"a {type(value).__name__}"


def complaint_about(layer: nn.Module, value: Any) -> Complaint | None:
    """Why a layer of torch's cannot take a value, or None when that is not the trouble."""
    if not isinstance(value, torch.Tensor):
        return None
    if isinstance(layer, nn.Embedding | nn.EmbeddingBag):
        return _embedding(layer, value)
    complain = next((check for kind, check in _CHECKS if isinstance(layer, kind)), None)
    return _dtype(layer, value) or (complain(layer, value) if complain else None)


def _plain(dtype: torch.dtype) -> str:
    return str(dtype).removeprefix("torch.")


def _dtype(layer: nn.Module, value: torch.Tensor) -> Complaint | None:
    weight = next(layer.parameters(recurse=False), None)
    if (
        weight is None
        or weight.dtype == value.dtype
        or torch.is_autocast_enabled(value.device.type)
    ):
        return None
    got, own = _plain(value.dtype), _plain(weight.dtype)
    if value.dtype in _INTEGERS:
        hint = (
            "give numbers as floats (X.astype('float32')), or begin with nn.Embedding for indices"
        )
    else:
        hint = f"convert the input with x.to(torch.{own}), or the layer with .to(torch.{got})"
    return f"got {got} values, it computes in {own}", hint


def _linear(layer: nn.Linear, value: torch.Tensor) -> Complaint | None:
    wanted = layer.in_features
    if value.ndim and value.shape[-1] == wanted:
        return None
    told = f"got {describe(value)}, it takes (..., {wanted})"
    per_sample = math.prod(value.shape[1:])
    if value.ndim > 2 and per_sample == wanted:
        return told, "flatten before it: x.flatten(1), or an nn.Flatten() layer"
    if value.ndim > 2:
        return told, f"after x.flatten(1) its in_features would be {per_sample}"
    return told, f"its in_features would have to be {value.shape[-1] if value.ndim else 1}"


def _convolution(layer: _ConvNd, value: torch.Tensor) -> Complaint | None:
    n_axes = len(layer.kernel_size)
    axes = ("length",) if n_axes == 1 else ("height", "width") if n_axes == 2 else (
        "depth", "height", "width",
    )  # fmt: skip
    told = f"got {describe(value)}, it takes (batch, {layer.in_channels}, {', '.join(axes)})"
    if value.ndim == n_axes + 2:
        if value.shape[1] == layer.in_channels:
            return None
        if value.shape[-1] == layer.in_channels:
            order = ", ".join(str(at) for at in (0, n_axes + 1, *range(1, n_axes + 1)))
            return told, f"the channels come last in this data: x.permute({order}) puts them first"
        return told, f"its in_channels would have to be {value.shape[1]}"
    if value.ndim == n_axes + 1 and layer.in_channels == 1:
        return told, "add the channel: x.unsqueeze(1)"
    if value.ndim == 2 and n_axes == 2:
        side = math.isqrt(value.shape[1] // layer.in_channels)
        if side * side * layer.in_channels == value.shape[1]:
            return (
                told,
                f"make images of it: x.reshape(len(x), {layer.in_channels}, {side}, {side})",
            )
    return told, f"reshape the input to {n_axes + 2} dimensions before it"


def _batch_norm(layer: _BatchNorm, value: torch.Tensor) -> Complaint | None:
    if value.ndim > 1 and value.shape[1] != layer.num_features:
        return (
            f"got {describe(value)}, it takes (batch, {layer.num_features}, ...)",
            f"its num_features would have to be {value.shape[1]}",
        )
    if value.ndim > 1 and value.numel() == value.shape[1]:
        return (
            f"got a batch of one sample ({describe(value)}), which has no variance in training",
            "use a batch_size of at least 2, or nn.LayerNorm or nn.GroupNorm",
        )
    return None


def _layer_norm(layer: nn.LayerNorm, value: torch.Tensor) -> Complaint | None:
    expected = tuple(layer.normalized_shape)
    if tuple(value.shape[-len(expected) :]) == expected:
        return None
    return (
        f"got {describe(value)}, it takes (..., {', '.join(map(str, expected))})",
        f"nn.LayerNorm({value.shape[-1]}) would fit",
    )


def _recurrent(layer: nn.RNNBase, value: torch.Tensor) -> Complaint | None:
    if value.shape[-1:] == (layer.input_size,):
        return None
    axes = "batch, time" if layer.batch_first else "time, batch"
    return (
        f"got {describe(value)}, it takes ({axes}, {layer.input_size})",
        f"its input_size would have to be {value.shape[-1]}",
    )


def _embedding(layer: nn.Embedding | nn.EmbeddingBag, value: torch.Tensor) -> Complaint | None:
    if value.dtype not in _INTEGERS:
        return (
            f"got {_plain(value.dtype)} values, it takes int64 indices",
            "give the indices as whole numbers (X.astype('int64')), or use nn.Linear for numbers",
        )
    low, high, n_rows = int(value.min()), int(value.max()), layer.num_embeddings
    if low >= 0 and high < n_rows:
        return None
    told = f"got indices from {low} to {high}, it has {n_rows} rows (0 to {n_rows - 1})"
    if low < 0:
        return told, "indices begin at 0"
    return told, f"its num_embeddings would have to be at least {high + 1}"


_CHECKS: tuple[tuple[type[nn.Module], Callable[[Any, torch.Tensor], Complaint | None]], ...] = (
    (nn.Linear, _linear),
    (_ConvNd, _convolution),
    (_BatchNorm, _batch_norm),
    (nn.LayerNorm, _layer_norm),
    (nn.RNNBase, _recurrent),
)
