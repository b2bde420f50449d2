"""Is a compiled step of a stack, or a CUDA graph of it, worth what making it takes?

::

    python benchmarks/compiling.py [--device cuda:0] [--width 32] [--epochs 20] [--out out]

The same trials (an MLP 64-64-64-10 on digits, Adam, batches of 64, learning rates of their own) are
trained as one, from the same seeds:

* as it is: what `nbautoml.train.stacked` does; on a GPU a step is recorded as a CUDA graph there;
* launched: kernel by kernel, as on a processor; on a GPU only;
* compiled: `torch.compile` of forward and losses, and so of their backward pass; launched.

Written down are microseconds a trial and step, without the first epoch, which makes what is made: the
seconds that this took are a figure of its own, and so is after how many steps they are won back. All
ways end with the same losses, or the program says so.
"""

from __future__ import annotations

import argparse
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any
from unittest import mock

HERE = Path(__file__).resolve().parent
sys.path[:0] = [str(HERE), str(HERE.parent)]
os.environ.setdefault("TORCHINDUCTOR_COMPILE_THREADS", "1")

import torch
from figures import Figure
from models import Mlp, digits
from pages import Results, write
from torch import Tensor

from nbautoml.data import open_data, snapshot
from nbautoml.spec.fit import FitSettings
from nbautoml.spec.objective import Objective
from nbautoml.train.result import FitResult, Silent
from nbautoml.train.stacked import Member, StackedFit, steps
from nbautoml.train.stacked.noise import Draws
from nbautoml.train.stacked.program import Program

BATCH = 64
Gradients = tuple[Tensor, tuple[Tensor | None, ...] | None]


class CompiledSteps(steps.Steps):
    """Forward and losses are compiled; members neither come nor go, and nothing is random."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._made: dict[Program, Callable[..., Tensor]] = {}

    def gradients(
        self, program: Program, inputs: list[Tensor], target: Tensor, draws: Draws
    ) -> Gradients:
        if program not in self._made:
            loss = self._loss
            self._made[program] = torch.compile(
                lambda inputs, target, values: loss(program(inputs, values, draws), target),
                dynamic=False,
            )
        group, weights = self._group, self._weights
        leaves = list(weights.leaves.values())
        with torch.inference_mode(False), torch.enable_grad():
            inputs, target = [item.clone() for item in inputs], target.clone()
            with group.setup.precision.autocast():
                losses = self._made[program](inputs, target, {**weights.kept, **weights.leaves})
            return losses, torch.autograd.grad(losses.sum(), leaves, allow_unused=True)


class Epochs:
    """A stack's timer that takes the seconds of each epoch's steps."""

    is_open = True

    def __init__(self, n_batches: int, device: str) -> None:
        self._n_batches, self._device = n_batches, device
        self._n, self._begin = 0, 0.0
        self.seconds: list[float] = []

    def _now(self) -> float:
        if self._device.startswith("cuda"):
            torch.cuda.synchronize(self._device)
        return time.perf_counter()

    def start(self) -> None:
        """An epoch's batches begin."""
        self._n, self._begin = 0, self._now()

    def tick(self, width: int) -> None:
        """A step was made."""
        self._n += 1
        if self._n == self._n_batches:
            self.seconds.append(self._now() - self._begin)


Way = tuple[type[steps.Steps], bool]
"""What takes the steps, and whether they may be recorded."""


def ways_for(device: str) -> dict[str, Way]:
    """What can be tried on a device."""
    launched = {"launched": (steps.Steps, False)} if device.startswith("cuda") else {}
    return {"as it is": (steps.Steps, True), **launched, "compiled": (CompiledSteps, False)}


def trained(
    way: Way, data: Any, *, device: str, width: int, epochs: int
) -> tuple[list[float], list[float], int]:
    """Seconds of each epoch's steps, final losses, and steps an epoch."""
    n_batches = -(-data.train.n // BATCH)
    timer = Epochs(n_batches, device)
    stack = StackedFit(
        data,
        objective=Objective("loss", "minimize"),
        device=device,
        width=width,
        timer=timer,
        has_graph=way[1],
    )
    for number in range(width):
        settings = FitSettings(
            optimizer="adam", lr=1e-4 * (1 + number % 10), batch_size=BATCH, epochs=epochs,
            amp=False,
        )  # fmt: skip
        stack.add(
            Member(number=number, build=Mlp, settings=settings, seed=number, listener=Silent())
        )
    losses = {}
    with mock.patch("nbautoml.train.stacked.fit.Steps", way[0]):
        for number, result in stack.run():
            if not isinstance(result, FitResult):
                raise result
            losses[number] = result.metrics["loss"]
    return timer.seconds, [losses[number] for number in sorted(losses)], n_batches


def measure(device: str, *, width: int, epochs: int) -> list[Figure]:
    """What a step takes each way, and what making it took."""
    step_us: dict[str, Sequence[float]] = {}
    making_s: dict[str, Sequence[float]] = {}
    notes, wanted = [], None
    with tempfile.TemporaryDirectory() as place:
        spec = snapshot(digits(), home_data=Path(place))
        data = open_data(spec, Path(place), device=device)
        for name, way in ways_for(device).items():
            torch.compiler.reset()
            try:
                seconds, losses, n = trained(way, data, device=device, width=width, epochs=epochs)
            except Exception as error:
                text = (str(error).strip().splitlines() or [""])[0]
                notes.append(f"{name}: failed, {type(error).__name__}: {text[:200]}.")
                continue
            later = [one / n / width * 1e6 for one in seconds[1:]]
            step_us[name] = later
            making_s[name] = [max(0.0, seconds[0] - statistics.median(seconds[1:]))]
            wanted = wanted or losses
            if name != "as it is":
                worst = max(abs(a / b - 1) for a, b in zip(losses, wanted, strict=True))
                gain = statistics.median(step_us["as it is"]) - statistics.median(later)
                won = (
                    f"{making_s[name][0] / (gain * 1e-6 * width):.3g}" if gain > 0 else "no number"
                )
                notes.append(
                    f"{name}: final losses within {worst:.1g} of those as it is; what making it "
                    f"took is won back after {won} of the stack's steps."
                )
    about = f"{device}, {width} trials as one, MLP on digits"
    return [
        Figure(f"a trial and step: {about}", "us", step_us, notes=notes),
        Figure(f"made in the first epoch: {about}", "s", making_s),
    ]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--width", type=int, default=32)
    parser.add_argument("--epochs", type=int, default=20, help="2 at least")
    parser.add_argument("--out", type=Path, default=Path("out"))
    asked = parser.parse_args()
    if asked.device == "cpu":
        torch.set_num_threads(1)
    begin, results = time.monotonic(), Results(is_quick=asked.epochs < 5, load=[os.getloadavg()[0]])
    for figure in measure(asked.device, width=asked.width, epochs=max(2, asked.epochs)):
        results.figures.append(figure.about())
    results.seconds["compiling"] = time.monotonic() - begin
    results.load.append(os.getloadavg()[0])
    print(write(results, asked.out, "compiling"))
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
