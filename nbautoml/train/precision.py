"""Automatic mixed precision: which type, when, and whether gradients must be scaled."""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass

import torch

__all__ = ["Precision", "precision_for"]


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


def precision_for(amp: bool | str, device: torch.device) -> Precision:
    """The precision that a setting means on a device.

    "auto" mixes where a GPU has bfloat16. Older GPUs (V100, T4) have float16, whose gradients must
    be scaled: many trials cannot share that in a stack, and the scaler waits for the device in each
    step, so there it takes an explicit True. So it does on a CPU, where bfloat16 was measured to
    bring nothing.

    >>> precision_for("auto", torch.device("cpu")).dtype is None
    True
    >>> precision_for(True, torch.device("cpu")).dtype
    torch.bfloat16
    """
    kind = device.type
    if amp is False or (amp == "auto" and kind != "cuda"):
        return Precision(device_type=kind)
    if kind == "cuda" and not torch.cuda.is_bf16_supported(including_emulation=False):
        if amp == "auto":
            return Precision(device_type=kind)
        return Precision(device_type=kind, dtype=torch.float16, scaler=torch.amp.GradScaler(kind))
    return Precision(device_type=kind, dtype=torch.bfloat16)
