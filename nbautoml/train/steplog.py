"""Losses of steps: kept on the device, fetched in chunks, checked one by one, reported thinned.

Fetching a loss makes the host wait for the device. Here a step only keeps a reference to its
loss; a chunk is fetched when a quarter of a second has passed, when it is long, and at the end
of an epoch. Every loss is looked at, so the step that diverged is named exactly, although it
is noticed a little later.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable

import torch

from nbautoml.errors import DivergedError

__all__ = ["StepLog", "stride_for"]

CHUNK_STEPS = 512  # references kept before a fetch
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

    Args:
        stride: see `stride_for`; step 1, 1 + stride, 1 + 2 stride ... are reported.
        on_steps: gets steps and losses.
    """

    def __init__(self, stride: int, on_steps: Callable[[list[int], list[float]], None]) -> None:
        self._stride = stride
        self._on_steps = on_steps
        self._chunk: list[torch.Tensor] = []
        self._sizes: list[int] = []
        self._first_step = 1
        self._deadline = 0.0
        self._sum = 0.0
        self._n = 0

    def start_epoch(self, first_step: int) -> None:
        """Begin the mean of an epoch anew; ``first_step`` is the number of its first step."""
        self._first_step = first_step
        self._deadline = time.perf_counter() + CHUNK_SECONDS
        self._sum, self._n = 0.0, 0

    def add(self, loss: torch.Tensor, n_samples: int) -> None:
        """Keep the loss of the next step, a mean over so many samples."""
        self._chunk.append(loss)
        self._sizes.append(n_samples)
        if len(self._chunk) >= CHUNK_STEPS or time.perf_counter() > self._deadline:
            self.flush()

    def flush(self) -> None:
        """Fetch what is kept, check it, report it.

        Raises:
            DivergedError: a loss is NaN or infinite; steps before it have been reported.
        """
        if not self._chunk:
            return
        losses: list[float] = torch.stack(self._chunk).flatten().tolist()
        sizes, first = self._sizes, self._first_step
        self._chunk, self._sizes = [], []
        self._first_step = first + len(losses)
        self._deadline = time.perf_counter() + CHUNK_SECONDS
        total = sum(map(float.__mul__, losses, map(float, sizes)))
        n_good = len(losses)
        if not math.isfinite(total):
            n_good = next((at for at, loss in enumerate(losses) if not math.isfinite(loss)), n_good)
        self._report(first, losses[:n_good])
        if n_good < len(losses):
            raise diverged(losses[n_good], first + n_good)
        self._sum += total
        self._n += sum(sizes)

    @property
    def mean(self) -> float:
        """Mean training loss of the epoch's samples that were fetched."""
        return self._sum / self._n if self._n else math.nan

    def _report(self, first: int, losses: list[float]) -> None:
        skip = (1 - first) % self._stride
        picked = losses[skip :: self._stride]
        if picked:
            start = first + skip
            self._on_steps(list(range(start, first + len(losses), self._stride)), picked)


def diverged(loss: float, step: int, what: str = "the training loss") -> DivergedError:
    """The error of a fit whose loss is no number any more."""
    return DivergedError(
        f"{what} is {loss} at step {step}",
        hint="use a smaller lr or clip the gradients (clip = 1.0); a log or a division in the "
        "module can also do this",
        step=step,
    )
