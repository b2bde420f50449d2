"""Which epoch was the best, and when to give up waiting for a better one."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import torch

from nbautoml.spec.objective import Objective

__all__ = ["Judge", "keep_weights"]


@dataclass(kw_only=True)
class Judge:
    """The best epoch so far.

    Args:
        objective: decides what is better; a tie keeps the earlier epoch.
        patience: epochs without a better one that are waited for; None waits for ever.

    >>> judge = Judge(objective=Objective("loss", "minimize"), patience=2)
    >>> [judge.is_better(epoch, {"loss": loss}) for epoch, loss in enumerate([3, 1, 2, 1], 1)]
    [True, True, False, False]
    >>> judge.best_epoch, judge.is_out_of_patience(4)
    (2, True)
    """

    objective: Objective
    patience: int | None = None
    value: float = float("nan")
    best_epoch: int = 0
    metrics: Mapping[str, float] = field(default_factory=dict)

    def is_better(self, epoch: int, metrics: Mapping[str, float]) -> bool:
        """Take an epoch into account; True when it is the best so far."""
        value = metrics[self.objective.metric]
        if not self.objective.is_better(value, self.value):
            return False
        self.value, self.best_epoch, self.metrics = value, epoch, dict(metrics)
        return True

    def is_out_of_patience(self, epoch: int) -> bool:
        """Whether the last ``patience`` epochs brought nothing better."""
        return self.patience is not None and epoch - self.best_epoch >= self.patience


def keep_weights(
    module: torch.nn.Module, kept: dict[str, torch.Tensor] | None
) -> dict[str, torch.Tensor]:
    """A copy of the module's state on the CPU, into the same memory as the copy before.

    Plain contiguous tensors: what a file format takes, whatever layout training used.
    """
    state: dict[str, Any] = module.state_dict()
    if kept is not None and kept.keys() == state.keys():
        for name, value in state.items():
            old = kept[name]
            if isinstance(value, torch.Tensor) and old.shape == value.shape:
                old.copy_(value.detach())
            else:
                kept[name] = _copy(value)
        return kept
    return {name: _copy(value) for name, value in state.items()}


def _copy(value: Any) -> Any:
    if not isinstance(value, torch.Tensor):
        return copy.deepcopy(value)  # what a user's get_extra_state gave
    return torch.empty_like(
        value, device="cpu", memory_format=torch.contiguous_format, requires_grad=False
    ).copy_(value.detach())
