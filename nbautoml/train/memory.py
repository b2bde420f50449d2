"""Out of memory: told from other errors, and what is done then: the same update from smaller pieces.

A batch in two halves, gradients added up, each half's loss weighted by its rows: loss, gradients and
update are those of the whole batch, as far as the loss is a mean over samples. Not the same: batch
norm (each half has its own mean), dropout (other masks), and a loss that compares samples.
"""

from __future__ import annotations

import gc
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import torch

from nbautoml.train.batches import Inputs
from nbautoml.train.frames import one_line

if TYPE_CHECKING:
    from nbautoml.train.setup import Setup

__all__ = ["forward_in_parts", "free_memory", "is_device_lost", "is_out_of_memory"]

# What torch raises as a plain RuntimeError: its CPU allocator, and libraries below CUDA.
_SAID = ("can't allocate memory", "not enough memory: you tried to allocate", "out of memory")
_ALLOC_FAILED = ("CUBLAS_STATUS_ALLOC_FAILED", "CUDNN_STATUS_ALLOC_FAILED")


def is_out_of_memory(error: BaseException) -> bool:
    """Whether memory was lacking, on the device or on the host.

    >>> is_out_of_memory(torch.OutOfMemoryError("CUDA out of memory"))
    True
    >>> is_out_of_memory(RuntimeError("DefaultCPUAllocator: can't allocate memory: ..."))
    True
    >>> is_out_of_memory(RuntimeError("mat1 and mat2 shapes cannot be multiplied"))
    False
    """
    if isinstance(error, torch.OutOfMemoryError | MemoryError):
        return True
    if not isinstance(error, RuntimeError):
        return False  # its text is the user's, and asking for it may raise
    text = one_line(error)
    return any(words in text for words in (*_SAID, *_ALLOC_FAILED))


def is_device_lost(error: BaseException) -> bool:
    """Whether the process cannot use its device any more: after a CUDA error all calls fail.

    >>> is_device_lost(RuntimeError("CUDA error: device-side assert triggered"))
    True
    """
    return isinstance(error, RuntimeError) and "CUDA error" in one_line(error)


def free_memory(device: torch.device) -> None:
    """Give back what a failed attempt has left, before the next one."""
    gc.collect()  # modules refer to themselves in circles, by their hooks
    if device.type == "cuda":
        torch.cuda.empty_cache()


def forward_in_parts(setup: Setup) -> Callable[[Inputs, torch.Tensor], torch.Tensor]:
    """A forward pass of which all parts but the last have been gone back through when it returns.

    What comes back has the value of the whole batch's loss and the last part's gradients: one
    ``backward`` of it completes the batch's.
    """
    scaler, n_parts = setup.precision.scaler, setup.n_parts

    def forward(inputs: Inputs, target: torch.Tensor) -> torch.Tensor:
        # Two rows at least: batch norm takes no single one.
        n = min(n_parts, max(1, len(target) // 2))
        pieces = list(zip(_chunks(inputs, n), target.chunk(n), strict=True))
        done = torch.zeros((), device=target.device)
        for at, (some, wanted) in enumerate(pieces, start=1):
            loss = setup.forward(some, wanted) * (len(wanted) / len(target))
            if at == len(pieces):
                return loss + done
            (loss if scaler is None else scaler.scale(loss)).backward()  # type: ignore[no-untyped-call]
            done = done + loss.detach()
        raise AssertionError("unreachable")

    return forward


def _chunks(inputs: Inputs, n: int) -> list[Any]:
    if isinstance(inputs, torch.Tensor):
        return list(inputs.chunk(n))
    if isinstance(inputs, dict):
        columns = {name: tensor.chunk(n) for name, tensor in inputs.items()}
        return [{name: column[at] for name, column in columns.items()} for at in range(n)]
    return list(zip(*(tensor.chunk(n) for tensor in inputs), strict=True))
