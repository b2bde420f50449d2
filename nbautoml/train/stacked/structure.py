"""What a module is beside the numbers in its weights and buffers: as it changes, and as two compare."""

from __future__ import annotations

import enum
import random
from collections.abc import Hashable, Iterator, Sized
from types import BuiltinFunctionType, FunctionType, NoneType
from typing import Any

import torch
from torch import nn
from torch.nn.parameter import UninitializedBuffer, UninitializedParameter

from nbautoml.train.seeds import numpy_state

__all__ = ["changed", "python_state", "structure_of"]

LONG = 100
_PLAIN = (int, float, str, bool, NoneType)
_ONES = (FunctionType, BuiltinFunctionType, type, torch.dtype, torch.device)
_USUAL = frozenset(vars(nn.Module()))


def python_state(module: nn.Module) -> dict[tuple[str, str], Any]:
    """What a stack cannot keep for each trial, by the layer and the attribute."""
    state: dict[tuple[str, str], Any] = {
        ("", "random numbers of Python"): random.getstate(),
        ("", "the seed of torch's generator"): torch.initial_seed(),
        ("", "random numbers of NumPy"): numpy_state(),
    }
    for name, layer in module.named_modules():
        for key, tensor in (*layer._parameters.items(), *layer._buffers.items()):  # noqa: SLF001
            state[name, key] = id(tensor)
        for key, value in vars(layer).items():
            if key[:1] != "_" and not isinstance(value, nn.Module):
                state[name, key] = _comparable(value)
    return state


def _comparable(value: Any) -> Any:
    """Something that tells whether an attribute has changed, or is another's."""
    if isinstance(value, torch.Tensor):
        return id(value), value._version  # noqa: SLF001  counts writes in place
    if isinstance(value, _PLAIN):
        return value
    if isinstance(value, Sized) and len(value) > LONG:
        return id(value), len(value)  # a vocabulary: writing it out would take longer than the step
    return repr(value)


def changed(before: dict[tuple[str, str], Any], after: dict[tuple[str, str], Any]) -> str:
    """The first place of which a `python_state` says something else than one before; "" if none does."""
    for place, value in after.items():
        if place not in before or before[place] != value:
            return ".".join(place).lstrip(".")
    return ""


def structure_of(module: nn.Module) -> tuple[Hashable, ...] | None:
    """All that its forward pass can hang on, but for numbers in weights and buffers.

    None where something in it cannot be compared for sure: a tensor that is no buffer, a weight without
    shape, an array, an object of somebody's class.
    """
    try:
        return tuple(_facts_of(module))
    except _UnknownError:
        return None


def _facts_of(module: nn.Module) -> Iterator[Hashable]:
    ties: dict[int, int] = {}
    for name, layer in module.named_modules(remove_duplicate=False):
        yield name, type(layer), layer.training, ties.setdefault(id(layer), len(ties))
        for own in (layer._parameters, layer._buffers):  # noqa: SLF001  with those that are None
            for key, tensor in own.items():
                if isinstance(tensor, UninitializedParameter | UninitializedBuffer):
                    raise _UnknownError
                yield key
                if tensor is not None:
                    tie = ties.setdefault(id(tensor), len(ties))
                    yield tensor.shape, tensor.dtype, tensor.requires_grad, tie
        for key, value in vars(layer).items():
            if key not in _USUAL:
                yield key, _fact(value)


def _fact(value: Any) -> Hashable:
    """A value whose text would not tell all of it raises `_UnknownError`."""
    if isinstance(value, (*_PLAIN, enum.Enum)):
        return type(value), value
    if isinstance(value, _ONES):  # equal if they are the same one
        return value
    if isinstance(value, list | tuple) and len(value) <= LONG:
        return type(value), tuple(map(_fact, value))
    if isinstance(value, dict) and len(value) <= LONG:
        return type(value), tuple((_fact(key), _fact(item)) for key, item in value.items())
    raise _UnknownError


class _UnknownError(Exception):
    """Something that cannot be compared."""
