"""What can be counted of a module without running a clock: weights, multiplications, bytes."""

from __future__ import annotations

import math
import weakref
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import nn
from torch.utils import _pytree as pytree
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import FlopCounterMode

from nbautoml.measure.measurement import Measurement

__all__ = [
    "call",
    "count_macs",
    "count_nonzero",
    "count_weights",
    "evaluating",
    "flop_counter",
    "peak_memory",
    "weight_bytes",
]


def call(module: nn.Module, example: Any) -> Any:
    """``forward`` with an example: a tensor, a tuple of them, or a dict by argument name."""
    if isinstance(example, dict):
        return module(**example)
    return module(*example) if isinstance(example, tuple) else module(example)


@contextmanager
def evaluating(module: nn.Module) -> Iterator[None]:
    """A module in evaluation mode for a while; afterwards each of its parts is as it was.

    >>> net = nn.Sequential(nn.BatchNorm1d(2).eval(), nn.Linear(2, 2))
    >>> with evaluating(net):
    ...     net.training
    False
    >>> net.training, net[0].training
    (True, False)
    """
    modes = [(part, part.training) for part in module.modules()]
    module.eval()
    try:
        yield
    finally:
        for part, mode in modes:
            part.training = mode


def count_weights(module: nn.Module) -> Measurement:
    """Parameters; one that is used in several places counts once.

    >>> count_weights(nn.Linear(4, 3)).value
    15
    """
    n = sum(weight.numel() for weight in module.parameters())
    return Measurement(value=n, unit="weights", method="counted")


def count_nonzero(module: nn.Module) -> Measurement:
    """Parameters that are not exactly zero."""
    n = sum(int(torch.count_nonzero(weight)) for weight in module.parameters())
    return Measurement(value=n, unit="weights", method="counted, those that are not zero")


def weight_bytes(module: nn.Module) -> int:
    """Bytes of parameters and buffers in memory."""
    return sum(tensor.numel() * tensor.element_size() for tensor in _tensors(module))


def _tensors(module: nn.Module) -> Iterator[torch.Tensor]:
    yield from module.parameters()
    yield from module.buffers()


def flop_counter() -> FlopCounterMode:
    """``torch.utils.flop_counter`` (matrix products, convolutions, attention) that knows recurrent kernels.

    GRU, RNN and LSTM are mostly matrix products to it; an LSTM on a CPU and all three on a GPU are one
    kernel a layer, which it does not know and would count as nothing. Each step of each row multiplies with
    every weight of both matrices once: of an LSTM four gates of ``W_ih x + W_hh h``, so
    ``4 * hidden * (n_in + hidden)`` multiplications. What goes value by value is left out, as elsewhere.

    Source: the equations in the documentation of ``torch.nn.LSTM``, ``GRU`` and ``RNN``.
    """
    aten = torch.ops.aten
    kernels = {
        aten.mkldnn_rnn_layer: _one_layer_flops,
        aten._cudnn_rnn: _all_layers_flops,  # noqa: SLF001  it has no other name
    }
    return FlopCounterMode(display=False, custom_mapping=kernels)


def _one_layer_flops(
    rows: Sequence[int], w_in: Sequence[int], w_hidden: Sequence[int], *_: Any, **__: Any
) -> int:
    """Of one layer in one direction, from the shapes of its inputs and matrices."""
    return 2 * math.prod(rows[:-1]) * (math.prod(w_in) + math.prod(w_hidden))


def _all_layers_flops(
    rows: Sequence[int], weights: Sequence[Sequence[int]], *_: Any, **__: Any
) -> int:
    """Of all layers and directions, whose biases are no matrices."""
    return 2 * math.prod(rows[:-1]) * sum(math.prod(one) for one in weights if len(one) == 2)


def count_macs(module: nn.Module, example: Any) -> Measurement:
    """Multiply-accumulate operations of one forward pass on the example.

    Counted by `flop_counter`, which counts a multiplication and an addition as two.

    >>> count_macs(nn.Linear(4, 3), torch.zeros(2, 4)).value
    24
    >>> count_macs(nn.LSTM(4, 6), torch.zeros(5, 1, 4)).value  # 5 steps of 4 gates x 6 x (4 + 6)
    1200
    """
    with evaluating(module), torch.no_grad(), flop_counter() as counter:
        call(module, example)
    return Measurement(
        value=counter.get_total_flops() // 2,
        unit="MACs",
        method="torch.utils.flop_counter on the example, halved; recurrent kernels by formula",
    )


class _Live(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Adds up the storages that operations make, and takes off those that go away."""

    def __init__(self, module: nn.Module) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.alive = self.peak = 0
        self._seen: weakref.WeakSet[Any] = weakref.WeakSet(
            tensor.untyped_storage() for tensor in _tensors(module)
        )

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        output = func(*args, **(kwargs or {}))
        for tensor in pytree.tree_leaves((args, output)):
            if isinstance(tensor, torch.Tensor):
                self._note(tensor.untyped_storage())
        return output

    def _note(self, storage: torch.UntypedStorage) -> None:
        if storage in self._seen:
            return
        self._seen.add(storage)
        self.alive += storage.nbytes()
        self.peak = max(self.peak, self.alive)
        weakref.finalize(storage, self._forget, storage.nbytes()).atexit = False

    def _forget(self, n_bytes: int) -> None:
        self.alive -= n_bytes


def peak_memory(module: nn.Module, example: Any) -> Measurement:
    """The most bytes of tensors that are alive at once in a forward pass: weights, inputs, results.

    Counted operation by operation, so the same on every machine; what a kernel uses for itself
    while it computes is not seen.

    >>> peak_memory(nn.Linear(4, 3), torch.zeros(2, 4)).value
    116
    """
    live = _Live(module)
    with evaluating(module), torch.no_grad(), live:
        output = call(module, example)
        del output
    return Measurement(
        value=live.peak + weight_bytes(module),
        unit="B",
        method="largest sum of live tensors in one pass, with weights and inputs",
    )
