"""A student of another class than all small networks; in a file of its own, so that another process finds it."""

from __future__ import annotations

import torch
from torch import nn


class Flat(nn.Module):
    """Takes whatever comes in, flat, through a narrow layer."""

    def __init__(self, answer: torch.Size) -> None:
        super().__init__()
        self.answer = tuple(answer)
        self.hidden, self.out = nn.LazyLinear(2), nn.Linear(2, answer.numel())
        nn.init.constant_(self.out.weight, 0.1)
        nn.init.zeros_(self.out.bias)

    def forward(self, x: torch.Tensor, more: torch.Tensor | None = None) -> torch.Tensor:
        """As many answers as were asked for."""
        parts = [x] if more is None else [x, more]
        x = torch.cat([part.flatten(1).float() for part in parts], 1)
        return self.out(self.hidden(x)).unflatten(1, self.answer)
