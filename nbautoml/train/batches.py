"""What a fit needs of data: a protocol, since `nbautoml.data` is a sibling that train never imports."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Protocol

import torch
from torch import nn

from nbautoml.spec.data import DataSpec

__all__ = ["Inputs", "Part", "TrainData", "call_module", "eval_batch_size", "first_batch"]

Inputs = torch.Tensor | tuple[torch.Tensor, ...] | dict[str, torch.Tensor]
"""A batch as ``forward`` wants it: ``forward(x)``, ``forward(*xs)`` or ``forward(**xs)``."""

EVAL_BYTES = 4 * 2**20  # of inputs in a batch without gradients
_ITEM_BYTES = {"int64": 8, "float64": 8}


class Part(Protocol):
    """Rows that are trained on, or validated on.

    Obligations: `batches` yields ``ceil(n / batch_size)`` batches (one less when the last is
    not full and is dropped), each on the device already or copied there. ``order`` lies on the CPU.
    """

    @property
    def n(self) -> int:
        """Number of rows."""

    @property
    def on_device(self) -> bool:
        """Whether all rows lie on the device."""

    def class_counts(self, n_classes: int) -> torch.Tensor:
        """How many targets there are of each class, ``(n_classes,)`` on the device."""

    def batches(
        self, batch_size: int, *, order: torch.Tensor | None = None, drop_last: bool = False
    ) -> Iterator[tuple[Any, torch.Tensor]]:
        """Inputs and targets, batch by batch; ``order`` holds positions of rows."""


class TrainData(Protocol):
    """Data of one task, opened in the process that trains."""

    @property
    def spec(self) -> DataSpec:
        """What the data is."""

    @property
    def task(self) -> str:
        """What kind of target: "binary", "multiclass", "multilabel" or "regression"."""

    @property
    def classes(self) -> tuple[str, ...]:
        """Names of classes or labels; empty for regression."""

    @property
    def train(self) -> Part:
        """Rows to train on."""

    @property
    def valid(self) -> Part:
        """Rows to validate on."""


def call_module(module: nn.Module, inputs: Inputs) -> Any:
    """``forward`` as the layout of the inputs asks for it."""
    if isinstance(inputs, torch.Tensor):
        return module(inputs)
    return module(**inputs) if isinstance(inputs, dict) else module(*inputs)


def first_batch(part: Part, batch_size: int) -> tuple[Any, torch.Tensor]:
    """The first rows, without making the part gather more than those."""
    rows = torch.arange(min(batch_size, part.n))
    return next(iter(part.batches(batch_size, order=rows)))


def eval_batch_size(spec: DataSpec, batch_size: int) -> int:
    """Rows at once when no gradients are kept: more than in training where samples are small."""
    sample = sum(item.n_values * _ITEM_BYTES.get(item.dtype, 4) for item in spec.inputs)
    return max(batch_size, EVAL_BYTES // max(sample, 1))
