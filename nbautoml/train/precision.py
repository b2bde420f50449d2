"""Automatic mixed precision: which type, when, and whether gradients must be scaled."""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass

import torch

__all__ = ["MIXED_FROM", "Precision", "precision_for"]

# Weights from which "auto" mixes: below, to cast them costs more than their products save. One step of an
# MLP 784-h-h-10 with fused Adam on an H200 (torch 2.11, slow host), float32 and bfloat16 in ms. There it
# pays late, and with large batches only; convolutions and attention do more with as many weights, for
# which no limit was measured.
#
#     h      batch   weights   float32   bfloat16
#     64     64      55,000    0.91      1.29
#     512    64      0.7 M     0.84      1.19
#     1024   512     1.9 M     0.88      1.03
#     2048   512     5.8 M     0.96      1.22
#     4096   64      20 M      0.74      1.07
#     4096   512     20 M      1.57      1.29
MIXED_FROM = 1_000_000


@dataclass(frozen=True, kw_only=True)
class Precision:
    """How a fit computes.

    Attributes:
        device_type: where autocast applies.
        dtype: what matrix products are computed in; None for the weights' own type.
        scaler: scales the loss so that float16 gradients do not vanish; None where the
            type's range needs none.
    """

    device_type: str
    dtype: torch.dtype | None = None
    scaler: torch.amp.GradScaler | None = None

    def autocast(self) -> AbstractContextManager[object]:
        """The context of a forward pass and its loss."""
        if self.dtype is None:
            return nullcontext()
        return torch.autocast(self.device_type, dtype=self.dtype)

    @property
    def note(self) -> str:
        """A short sentence for people, "" when nothing is mixed."""
        return "" if self.dtype is None else f"mixed precision in {str(self.dtype)[6:]}"


def precision_for(amp: bool | str, device: torch.device, n_weights: int) -> Precision:
    """The precision that a setting means on a device.

    "auto" mixes modules of `MIXED_FROM` weights and more, where a GPU has bfloat16. Older GPUs
    (V100, T4) have float16, whose gradients must be scaled: many trials cannot share that in a
    stack, and the scaler waits for the device in each step, so there it takes an explicit True.
    So it does on a CPU, where bfloat16 was measured to bring nothing.

    Args:
        amp: "auto", True or False.
        device: where the module is trained.
        n_weights: of the module.

    >>> precision_for("auto", torch.device("cpu"), n_weights=20_000_000).dtype is None
    True
    >>> precision_for(True, torch.device("cpu"), n_weights=100).dtype
    torch.bfloat16
    """
    kind = device.type
    if amp is False or (amp == "auto" and (kind != "cuda" or n_weights < MIXED_FROM)):
        return Precision(device_type=kind)
    if kind == "cuda" and not torch.cuda.is_bf16_supported(including_emulation=False):
        if amp == "auto":
            return Precision(device_type=kind)
        return Precision(device_type=kind, dtype=torch.float16, scaler=torch.amp.GradScaler(kind))
    return Precision(device_type=kind, dtype=torch.bfloat16)
