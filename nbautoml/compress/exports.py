"""A module as a float ONNX file; an equal one that was exported before is not exported again.

A search judges one trained module in several forms, each time as a copy. Of a small network the
export takes longer than the training: seconds, where quantising the file takes tenths of one.
"""

from __future__ import annotations

import hashlib
from collections import OrderedDict
from typing import Any

import numpy as np
import torch
from torch import nn

from nbautoml.measure import export_onnx, parts_of, with_rows

__all__ = ["MOST_KEPT_BYTES", "float_file"]

N_KEPT, MOST_KEPT_BYTES = 4, 64_000_000
_KEPT: OrderedDict[tuple[type, str], bytes] = OrderedDict()


def float_file(module: nn.Module, example: Any) -> bytes:
    """The module's file, as `export_onnx` writes it; the last few are remembered.

    Args:
        module: equal to an earlier one when its class, layers, plain attributes and numbers are.
        example: inputs of two rows or more.

    Raises:
        ModelError: it cannot be exported.
        MissingExtraError: onnx or onnxscript is not installed.
    """
    key = (type(module), _digest(module, example))
    if key in _KEPT:
        _KEPT.move_to_end(key)
        return _KEPT[key]
    data = export_onnx(module, with_rows(example, 2))
    if len(data) <= MOST_KEPT_BYTES:
        _KEPT[key] = data
    while len(_KEPT) > N_KEPT:
        _KEPT.popitem(last=False)
    return data


def _digest(module: nn.Module, example: Any) -> str:
    """Of a module's layers and numbers, and of what it takes."""
    found = hashlib.sha256(repr(module).encode())
    for part in parts_of(example):
        found.update(f"{tuple(part.shape[1:])} {part.dtype}".encode())
    for layer in module.modules():
        found.update(_plain(layer).encode())
    for name, tensor in module.state_dict().items():
        found.update(name.encode())
        found.update(tensor.detach().cpu().contiguous().view(-1).view(torch.uint8).numpy())
    return found.hexdigest()


def _plain(layer: nn.Module) -> str:
    """Attributes that are neither weights nor layers: a forward may read any of them."""
    kept = {
        name: _told(value)
        for name, value in vars(layer).items()
        if name != "training" and not (name.startswith("_") and name in _OF_EVERY_LAYER)
    }
    return f"{type(layer).__module__}.{type(layer).__qualname__} {sorted(kept.items(), key=str)}"


def _told(value: Any) -> str:
    """A value as text; of an array every number, which its `repr` rounds and leaves out."""
    if isinstance(value, torch.Tensor):
        value = value.detach().cpu().numpy()
    if isinstance(value, np.ndarray):
        digest = hashlib.sha256(np.ascontiguousarray(value).tobytes()).hexdigest()
        return f"{value.shape} {value.dtype} {digest}"
    return repr(value)


_OF_EVERY_LAYER = frozenset(vars(nn.Module()))
