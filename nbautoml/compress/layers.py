"""Layers by name, and rows to try a module on: what several techniques ask."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

import torch
from torch import nn
from torch.utils import _pytree as pytree

from nbautoml.compress.piece import matches
from nbautoml.errors import RecipeError, nearest
from nbautoml.train.batches import first_batch

if TYPE_CHECKING:
    from nbautoml.compress.training import Bench

__all__ = ["best_match", "check_names", "example_of", "to_cpu"]

TRIED_ROWS = 4


def check_names(module: nn.Module, label: str, names: Iterable[str]) -> None:
    """Refuse names that are no layers of the module: a typo would silently do nothing.

    Raises:
        RecipeError: names one, and the nearest that there is.

    >>> check_names(nn.Sequential(nn.Linear(2, 2)), "keep", ["1"])
    Traceback (most recent call last):
        ...
    nbautoml.errors.RecipeError: keep names '1', which is no layer of Sequential
    Hint: its layers: 0
    """
    known = [name for name, _ in module.named_modules() if name]
    for name in names:
        if name not in known:
            near = nearest(name, known)
            guess = f"did you mean {near!r}? " if near else ""
            raise RecipeError(
                f"{label} names {name!r}, which is no layer of {type(module).__name__}",
                hint=f"{guess}its layers: {', '.join(known[:20])}",
            )


def best_match(names: Iterable[str], by_prefix: Mapping[str, float]) -> float | None:
    """The value for the first of these names that has one; of several prefixes the longest's.

    >>> best_match(["encoder.0"], {"encoder": 0.5, "encoder.0": 0.2})
    0.2
    >>> best_match(["out"], {"encoder": 0.5}) is None
    True
    """
    for name in names:
        fitting = [prefix for prefix in by_prefix if matches(name, [prefix])]
        if fitting:
            return by_prefix[max(fitting, key=len)]
    return None


def to_cpu(inputs: Any) -> Any:
    """Inputs of a batch, on the CPU."""
    return pytree.tree_map(
        lambda leaf: leaf.cpu() if isinstance(leaf, torch.Tensor) else leaf, inputs
    )


def example_of(bench: Bench, n: int = TRIED_ROWS) -> Any:
    """Inputs of the first training rows, on the CPU."""
    inputs, _ = first_batch(bench.data.train, n)
    return to_cpu(inputs)
