"""What a stack knows of each member, and of the epoch it is in."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Protocol

import torch
from torch import Tensor

from nbautoml.errors import DataError, DivergedError
from nbautoml.spec.objective import Objective
from nbautoml.train.judge import Judge
from nbautoml.train.loop import check_metrics
from nbautoml.train.stacked.members import Member
from nbautoml.train.stacked.padding import Shapes, Strided
from nbautoml.train.stacked.weights import Entering
from nbautoml.train.steplog import CHUNK_SECONDS, StepLog

__all__ = ["Epoch", "Slot", "Timer", "by_trial"]


class Timer(Protocol):
    """Whoever wants to know how long a stack's steps take."""

    @property
    def is_open(self) -> bool:
        """Whether it wants to know more."""

    def start(self) -> None:
        """An epoch's batches begin."""

    def tick(self, width: int) -> None:
        """A step of as many trials was made."""


@dataclass(kw_only=True)
class Slot:
    """A member in training; what it was built as is let go once its weights are in the matrix.

    Attributes:
        start: what it brings; let go once it is in the matrix.
        shapes: of its own weights and buffers.
        noise: what its dropout layers draw, where that is less than the stack's; None otherwise.
    """

    member: Member
    start: Entering
    notes: tuple[str, ...]
    log: StepLog
    judge: Judge
    epoch: int = 0
    duration_s: float = 0.0
    waited_s: float = 0.0
    failure: Exception | None = None
    ended_by: str = ""
    rates: list[float] = field(default_factory=list)
    shapes: Shapes = field(default_factory=dict)
    noise: Sequence[Strided] | None = None

    def checked(
        self, found: dict[str, float], objective: Objective, step: int
    ) -> dict[str, float] | None:
        """An epoch's metrics, the mean of its losses among them; None where the member has failed."""
        metrics = {"train_loss": self.log.mean, **found}
        if self.failure is None:
            try:
                check_metrics(metrics, objective, step)
            except (DivergedError, DataError) as error:
                self.failure = error
        return metrics if self.failure is None else None

    def report(self, step: int, metrics: dict[str, float]) -> None:
        """Tell the listener of an epoch, and note whether the member ends with it."""
        asked = time.perf_counter()
        try:
            should_stop = self.member.listener.on_epoch(self.epoch, step, metrics)
        except Exception as error:  # noqa: BLE001  the listener's, handed on
            self.failure = error
            return
        self.waited_s += time.perf_counter() - asked
        if should_stop:
            self.ended_by = "stopped"
        elif self.judge.is_out_of_patience(self.epoch):
            self.ended_by = "patience"
        elif self.epoch == self.member.settings.epochs:
            self.ended_by = "epochs"


@dataclass(kw_only=True)
class Epoch:
    """One pass of all members over the training rows: losses that are not fetched yet, and when they will be."""

    losses: list[Tensor]
    deadline: float

    def flush(self, slots: Sequence[Slot]) -> None:
        """Hand the losses that were kept back to the members' logs: one wait for the device."""
        if not self.losses:
            return
        columns = torch.stack(self.losses, dim=1).tolist()
        self.losses.clear()
        self.deadline = time.perf_counter() + CHUNK_SECONDS
        for slot, losses in zip(slots, columns, strict=True):
            if slot.failure is None:
                try:
                    slot.log.take(losses)
                except Exception as error:  # noqa: BLE001  divergence or the listener's, handed on
                    slot.failure = error


def by_trial(rows: Tensor, n: int) -> Tensor:
    """The rows of one batch of each of ``n`` trials as ``(n, B, ...)``."""
    return rows.view(n, -1, *rows.shape[1:])
