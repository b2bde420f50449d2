"""Losses of steps: kept on the device, fetched in chunks, checked one by one, reported thinned.

Fetching a loss makes the host wait for the device. Here a step only keeps a reference to its
loss; a chunk is fetched when a quarter of a second has passed and at the end of an epoch. Every loss is looked at, so the step that diverged is named exactly, although it
is noticed a little later.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable

import torch

from nbautoml.errors import DivergedError

__all__ = ["StepLog", "stride_for"]

CHUNK_SECONDS = 0.25  # age of what a curve shows, at most
POINTS_AN_EPOCH = 50
POINTS_A_FIT = 2_000


def stride_for(n_batches: int, n_steps: int) -> int:
    """Every how many steps one is reported: at most 50 an epoch and 2,000 a fit.

    >>> stride_for(n_batches=21, n_steps=210), stride_for(n_batches=1000, n_steps=1_000_000)
    (1, 500)
    """
    return max(math.ceil(n_batches / POINTS_AN_EPOCH), math.ceil(n_steps / POINTS_A_FIT), 1)


class StepLog:
    """The losses of one fit.

    The loop appends to ``losses`` itself and calls `flush` when ``deadline`` has passed: a
    method call a step would cost as much as all the rest that is done for it here.

    Args:
        stride: see `stride_for`; step 1, 1 + stride, 1 + 2 stride ... are reported.
        on_steps: gets steps and losses.

    Attributes:
        losses: scalars on the device, one a step since the last flush.
        deadline: when to flush, in seconds of `time.perf_counter`.
    """

    def __init__(self, stride: int, on_steps: Callable[[list[int], list[float]], None]) -> None:
        self.losses: list[torch.Tensor] = []
        self.deadline = 0.0
        self._stride = stride
        self._on_steps = on_steps
        self._next_step = 1
        self._sizes = (1, 1)
        self._last_step = 1
        self._sum = 0.0
        self._n = 0

    def start_epoch(self, first_step: int, n_steps: int, sizes: tuple[int, int]) -> None:
        """Begin the mean of an epoch anew.

        Args:
            first_step: number of its first step.
            n_steps: how many it has.
            sizes: samples in a batch, and in the last one.
        """
        self.losses.clear()
        self.deadline = time.perf_counter() + CHUNK_SECONDS
        self._next_step, self._last_step = first_step, first_step + n_steps - 1
        self._sizes = sizes
        self._sum, self._n = 0.0, 0

    def flush(self) -> None:
        """Fetch what is kept, check it, report it.

        Raises:
            DivergedError: a loss is NaN or infinite; steps before it have been reported.
        """
        if not self.losses:
            return
        losses: list[float] = torch.stack(self.losses).flatten().tolist()
        self.losses.clear()
        self.take(losses)

    def take(self, losses: list[float]) -> None:
        """Check and report the losses of the next steps, fetched already.

        Raises:
            DivergedError: as `flush`.
        """
        first = self._next_step
        self._next_step = first + len(losses)
        self.deadline = time.perf_counter() + CHUNK_SECONDS
        total = sum(losses)
        if not math.isfinite(total):
            self._raise_if_diverged(first, losses)
        self._report(first, losses)
        size, last_size = self._sizes
        self._sum += size * total
        self._n += size * len(losses)
        if self._next_step > self._last_step:
            self._sum += (last_size - size) * losses[-1]
            self._n += last_size - size

    @property
    def mean(self) -> float:
        """Mean training loss of the epoch's samples, as far as it was fetched."""
        return self._sum / self._n if self._n else math.nan

    def _raise_if_diverged(self, first: int, losses: list[float]) -> None:
        for at, loss in enumerate(losses):
            if not math.isfinite(loss):
                self._report(first, losses[:at])
                raise diverged(loss, first + at)

    def _report(self, first: int, losses: list[float]) -> None:
        skip = (1 - first) % self._stride
        picked = losses[skip :: self._stride]
        if picked:
            steps = range(first + skip, first + len(losses), self._stride)
            self._on_steps(list(steps), picked)


def diverged(loss: float, step: int, what: str = "the training loss") -> DivergedError:
    """The error of a fit whose loss is no number any more."""
    return DivergedError(
        f"{what} is {loss} at step {step}",
        hint="use a smaller lr or clip the gradients (clip = 1.0); a log or a division in the "
        "module can also do this",
        step=step,
    )
