"""What a fit says while it runs, and what it leaves behind."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Protocol

from nbautoml.errors import NbAutomlError

if TYPE_CHECKING:
    import torch

__all__ = ["FitResult", "Listener", "Silent", "TimeOverError", "TrialCancelled"]


class TrialCancelled(Exception):  # noqa: N818  an order, not an error
    """Raised by a listener to end a fit at once; it leaves `fit` as it was raised."""


class TimeOverError(NbAutomlError):
    """A trial took longer than it may."""


class Listener(Protocol):
    """Who is told what a fit does.

    Called in this order, with epochs and steps counting from 1::

        on_batch on_batch ... on_steps ... on_batch on_steps on_epoch   on_batch ...
        '------------------------ epoch 1 -------------------------'   '- epoch 2

    Obligations: `on_batch` is called before every batch and must cost microseconds; it may
    block (the time is not counted as training). None of them may keep tensors. What an
    implementation raises leaves `fit` unchanged.
    """

    def on_batch(self) -> None:
        """Before a batch: may block while paused, or raise `TrialCancelled`."""

    def on_steps(self, steps: list[int], losses: list[float]) -> None:
        """Training losses at some steps, thinned; comes at most a few times a second."""

    def announce(self, epoch: int, step: int, metrics: dict[str, float]) -> None:
        """`on_epoch` will be called with this.

        A stack tells all its trials' listeners first, so that they can ask somebody else together;
        `fit` leaves it out.
        """

    def on_epoch(self, epoch: int, step: int, metrics: dict[str, float]) -> bool:
        """After an epoch and its validation; True ends the fit here, as stopped."""


class Silent:
    """A listener that hears all and says nothing.

    >>> Silent().on_epoch(1, 21, {"loss": 0.5})
    False
    """

    def on_batch(self) -> None:
        """Go on."""

    def on_steps(self, steps: list[int], losses: list[float]) -> None:
        """Nothing to do."""

    def announce(self, epoch: int, step: int, metrics: dict[str, float]) -> None:
        """Nothing to do."""

    def on_epoch(self, epoch: int, step: int, metrics: dict[str, float]) -> bool:
        """Never a reason to stop."""
        return False


@dataclass(frozen=True, kw_only=True)
class FitResult:
    """A fit that came to an end.

    Attributes:
        value: the objective at the best epoch.
        best_epoch: counts from 1; the first of several that are equally good.
        n_epochs: epochs that were trained.
        n_steps: optimiser steps that were made.
        metrics: of the best epoch, on validation data, with ``train_loss``.
        state_dict: weights and buffers after the best epoch, on the CPU.
        stopped: the listener asked to stop; running out of patience is no stop.
        ended_by: "epochs", "patience" or "stopped".
        duration_s: seconds of training, without those for which the listener blocked.
        notes: how it was run, in short sentences: precision, memory layout.
    """

    value: float
    best_epoch: int
    n_epochs: int
    n_steps: int
    metrics: Mapping[str, float]
    state_dict: Mapping[str, torch.Tensor] = field(repr=False)
    stopped: bool = False
    ended_by: str = "epochs"
    duration_s: float = 0.0
    notes: tuple[str, ...] = ()
