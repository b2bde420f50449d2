"""Which way is faster here: trials one by one, or many as one, and how many? Their first steps tell.

::

    known from an earlier run of this home? --> (`nbautoml.tune.remembered`) nothing is measured
    some steps of one trial alone --> is a stack's step short enough to be tried?
         the stack trains; its first steps are timed --> twice as fast: it goes on, nothing is lost
                |                                    '-- hardly faster: a narrower one is timed beside
                '-- slower: its trials are handed back, to be trained one by one

What is timed are steps that count: a stack that is faster has lost nothing but the few steps of a
trial alone (7 ms for a small model, where measuring all ways beforehand took 150 to 300).

All workers of a run measure at the same time, so that what they take from each other is in the
figures. A worker of one thread on a CPU is measured by the time that it computes, not by the wall
clock: on a busy machine a stack's step of 5 ms waits for its turn, a step alone of 0.3 ms hardly
ever does, and one by one was chosen where stacks were five times as fast.

Candidates that are not tried: one process with all cores for a trial (small models gain nothing
from a second thread, and large ones less than from a second process), and `torch.compile` of the
stacked step (``benchmarks/compiling.py``: no faster on a CPU, after 10 s of compiling and more).
"""

from __future__ import annotations

import contextlib
import dataclasses
import itertools
import math
import statistics
import time
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from nbautoml.machine import free_memory
from nbautoml.tune.measured import GAIN, Measured

if TYPE_CHECKING:
    from nbautoml.spec.fit import FitSettings
    from nbautoml.train.stacked import Member, Ready
    from nbautoml.tune.session import Session

__all__ = [
    "NARROW",
    "Contest",
    "SlowerError",
    "bytes_of_trial",
    "clock_for",
    "fitting_width",
    "measure_alone",
    "measure_stack",
    "step_clock",
    "why_alone",
    "why_never",
]

WARM_STEPS = 2
LEAST_STEPS = 3
ENOUGH_STEPS = 12
# A way, or `LEAST_STEPS` where a step is slow. A whole run of a small model on two cores takes a
# second: what is measured has to be far shorter.
SECONDS = 0.005
# A stack that takes less than this share of the time alone is far ahead, and nothing else is timed.
CLEAR = 0.5
NARROW = 8
FINE_S = 1e-4  # a clock that ticks less often tells nothing of a step
# All ways together may take this long, or this share of the run, whichever is more; a single step
# that takes longer than the first is all that is timed.
BUDGET_S, BUDGET_SHARE = 1.0, 0.03
# This share of the memory that is free may be taken by the workers' stacks.
MEMORY_SHARE = 0.6
# Copies of its weights that a trial has in a stack: weights, gradients, two of an optimiser's
# state, the best epoch's, and what it was built with.
COPIES = 6


# -- memory ---------------------------------------------------------------------------------


def bytes_of_trial(template: Ready) -> int:
    """Memory that one trial takes in a stack: copies of its weights, and a step's activations.

    Every value of the forward pass is counted as kept for the backward pass, with its gradient:
    more than what is really held at once.
    """
    weights = sum(tensor.numel() * tensor.element_size() for tensor in template.start.values())
    made = (math.prod(shape) for op in template.tape.ops for shape in op.shapes)
    return COPIES * weights + 2 * template.output.element_size() * sum(made)


def fitting_width(template: Ready, *, n_workers: int, device: str) -> int:
    """How many trials fit into memory as one, at least 1, with all workers doing the same."""
    return max(1, int(MEMORY_SHARE * _free_bytes(device) / n_workers / bytes_of_trial(template)))


def _free_bytes(device: str) -> int:
    if device.startswith("cuda"):
        import torch

        return int(torch.cuda.mem_get_info(device)[0])
    return free_memory()


# -- time -----------------------------------------------------------------------------------


def clock_for(device: str, n_threads: int) -> Callable[[], float]:
    """Seconds that this process has computed, where one thread on a CPU does it all; else the time.

    >>> clock_for("cuda:0", 1) is time.perf_counter and clock_for("cpu", 2) is time.perf_counter
    True
    """
    is_fine = time.get_clock_info("process_time").resolution < FINE_S  # 16 ms on Windows
    is_alone = device == "cpu" and n_threads == 1
    return time.process_time if is_alone and is_fine else time.perf_counter


class _Watch:
    """A listener that notes when each step began, and ends the training when enough was seen."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self.began_at: list[float] = []

    @property
    def seconds_per_step(self) -> float:
        """Median: on a busy machine some steps wait for their turn. The first steps count if no other did."""
        steps = [late - early for early, late in itertools.pairwise(self.began_at)]
        return statistics.median(steps[WARM_STEPS:] or steps or [0.0])

    @property
    def has_enough(self) -> bool:
        """Whether the steps so far tell what a step takes."""
        timed = self.began_at[WARM_STEPS:]
        return len(timed) > LEAST_STEPS and timed[-1] - timed[0] > SECONDS

    def on_batch(self) -> None:
        from nbautoml.train import TrialCancelled

        self.began_at.append(self._clock())
        if self.has_enough or self._is_slow():
            raise TrialCancelled

    def _is_slow(self) -> bool:
        """Whether the first steps alone took what measuring may take."""
        return len(self.began_at) > 1 and self.began_at[-1] - self.began_at[0] > BUDGET_S

    def on_steps(self, steps: list[int], losses: list[float]) -> None:
        """Nothing is recorded."""

    def announce(self, epoch: int, step: int, metrics: dict[str, float]) -> None:
        """Nothing is recorded."""

    def on_epoch(self, epoch: int, step: int, metrics: dict[str, float]) -> bool:
        """Nothing is recorded; an epoch of few steps is followed by others."""
        return self.has_enough


class Contest:
    """Is a stack faster than its trials one by one? Its own first steps are timed.

    A `StackedFit` calls `start` before an epoch's batches and `tick` after each.

    Args:
        alone_s: seconds a trial and step, one by one.
        clock: see `clock_for`.
        try_other: times a stack of another width than the one given, if that may change anything:
            that width, and seconds a trial and step; called where the gain is small, and told
            whether there is one.
        on_decided: is told, once.

    Raises:
        SlowerError: from `tick`, when another way is faster.
    """

    def __init__(
        self,
        alone_s: float,
        clock: Callable[[], float],
        try_other: Callable[[int, bool], tuple[int, float]],
        on_decided: Callable[[Measured], None],
    ) -> None:
        self._alone_s, self._clock = alone_s, clock
        self._try_other, self._on_decided = try_other, on_decided
        self._seconds: list[float] = []
        self._last = 0.0
        self.is_open = True

    @property
    def has_seen_any(self) -> bool:
        """Whether any step was timed."""
        return bool(self._seconds)

    def start(self) -> None:
        """An epoch's batches begin."""
        self._last = self._clock()

    def tick(self, width: int) -> None:
        """A step of as many trials was made; one alone, whom others may yet join, tells nothing."""
        now = self._clock()
        if width < 2:
            self._last = now
            return
        self._seconds.append((now - self._last) / width)
        self._last = now
        timed = self._seconds[WARM_STEPS:]
        is_long = sum(timed) * width > SECONDS or len(timed) >= ENOUGH_STEPS
        if len(timed) >= LEAST_STEPS and is_long:
            self.is_open = False
            self._decide(statistics.median(timed), width)

    def _decide(self, stacked_s: float, width: int) -> None:
        ways, try_other, on_decided = {width: stacked_s}, self._try_other, self._on_decided
        del self._try_other, self._on_decided  # what they hold is large
        if stacked_s > CLEAR * self._alone_s:
            other, seconds = try_other(width, stacked_s < GAIN * self._alone_s)
            if other != width:
                ways[other] = seconds
        measured = Measured(alone_s=self._alone_s, stacked_s=dict(sorted(ways.items())))
        on_decided(measured)
        if measured.width < width:
            raise SlowerError(measured.width)


class SlowerError(Exception):
    """Another way is faster than the stack that was begun: ``width`` trials as one, 1 for one by one."""

    def __init__(self, width: int) -> None:
        super().__init__(f"{width} at a time are faster")
        self.width = width


def measure_alone(members: Sequence[Ready], session: Session, device: str) -> float:
    """Seconds of a step of one member alone; nothing is recorded, and its seed decides its numbers.

    Args:
        members: of one structure; that in the middle by size is trained.
        session: of the run.
        device: where.
    """
    by_size = sorted(members, key=lambda one: sum(t.numel() for t in one.start.values()))
    return _measure_alone(by_size[len(by_size) // 2].member, session, device)


def why_alone(alone_s: float, *, width: int, run_steps: int) -> str:
    """Why no stack is even tried; "" when it is.

    Args:
        alone_s: seconds of a step one by one.
        width: of the stack.
        run_steps: steps that this worker will make in the whole run, for all its trials.
    """
    if width < 2:
        return "a second trial does not fit into memory"
    budget = max(BUDGET_S, BUDGET_SHARE * alone_s * run_steps)
    if alone_s * width * (WARM_STEPS + LEAST_STEPS + 2) > budget:
        return f"a step takes {alone_s:.2g} s, which is training and hardly anything else"
    return ""


def why_never(template: Ready, device: str) -> str:
    """Why trials of this structure are not stacked on a device, whatever they take; "" if they are.

    Convolutions on a CPU, each time it was measured: 210 ms a trial stacked against 150 (small CNN,
    8 wide). Measuring it again cost a run of 8 s a half, and noise then chose the slower way.
    """
    if device == "cpu" and _has_convolutions(template):
        return "convolutions train faster one by one on a CPU"
    return ""


def _measure_alone(member: Member, session: Session, device: str) -> float:
    from nbautoml.train import TrialCancelled, fit

    watch = _Watch(step_clock(device))
    with contextlib.suppress(TrialCancelled):  # enough was seen
        fit(
            member.build,
            session.opened_data,
            _long_enough(member),
            objective=session.recipe.objectives[0],
            seed=member.seed,
            device=device,
            listener=watch,
            loss=session.loss,
        )
    return watch.seconds_per_step


def measure_stack(
    members: Sequence[Ready], template: Ready, session: Session, *, device: str, width: int
) -> float:
    """Seconds a trial and step of a stack that is thrown away."""
    from nbautoml.train.stacked import StackedFit

    stack = StackedFit(
        session.opened_data,
        objective=session.recipe.objectives[0],
        device=device,
        width=width,
        loss=session.loss,
    )
    watches = [_Watch(step_clock(device)) for _ in range(width)]
    stack.shape_by(template)
    for one, watch in zip(itertools.cycle(members), watches, strict=False):
        member = dataclasses.replace(
            one.member,
            settings=_long_enough(one.member),
            listener=watch,
            keeper=None,
            resumed=None,
            limit_s=None,
        )
        stack.add_ready(dataclasses.replace(one, member=member))
    for _ in stack.run():
        pass
    return watches[0].seconds_per_step / width


def _long_enough(member: Member) -> FitSettings:
    """A trial's settings with as many epochs as there are steps to time: it may have one step in all."""
    epochs = max(member.settings.epochs, WARM_STEPS + LEAST_STEPS + 1)
    return dataclasses.replace(member.settings, epochs=epochs, patience=None)


def step_clock(device: str) -> Callable[[], float]:
    """`clock_for` this process; on a GPU, once what was begun there is done."""
    import torch

    clock = clock_for(device, torch.get_num_threads())
    if not device.startswith("cuda"):
        return clock

    def when_done() -> float:
        torch.cuda.synchronize(device)
        return clock()

    return when_done


def _has_convolutions(template: Ready) -> bool:
    from nbautoml.train.stacked.tape import name_of

    return any(".conv" in name_of(op.function) for op in template.tape.ops)
