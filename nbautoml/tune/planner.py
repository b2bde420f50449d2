"""Which way is faster here: trials one by one, or many as one, and how many? Some real steps tell.

::

    one step alone --> x8 as one --> x32 as one --> the fastest that fits into memory
         |                 '-- not faster: one by one, nothing wider is tried
         '-- so slow that stacks would take longer to measure than a plan may cost

All workers of a run measure at the same time, so that what they take from each other is in the
figures. A worker of one thread on a CPU is measured by the time that it computes, not by the wall
clock: on a busy machine a stack's step of 5 ms waits for its turn, a step alone of 0.3 ms hardly
ever does, and one by one was chosen where stacks were five times as fast. Candidates that are not tried: one process with all cores for a trial (small models gain
nothing from a second thread, and large ones less than from a second process), and
`torch.compile` of the stacked step (38 us a trial and step after 19 s of compiling, where the stack
takes 35: `nbautoml.train.stacked`).
"""

from __future__ import annotations

import contextlib
import dataclasses
import itertools
import math
import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from nbautoml.events import PlanChosen

if TYPE_CHECKING:
    from nbautoml.train.stacked import Member, Ready
    from nbautoml.tune.session import Session

__all__ = ["Measured", "bytes_of_trial", "clock_for", "fitting_width", "measure", "one_by_one"]

WARM_STEPS = 2
LEAST_STEPS = 3
# A way; a slow step is measured `LEAST_STEPS` times. A whole run of a small model on two cores takes
# a second: what is measured has to be far shorter.
SECONDS = 0.03
FINE_S = 1e-4  # a clock that ticks less often tells nothing of a step
# All ways together may take this long, or this share of the run, whichever is more.
BUDGET_S, BUDGET_SHARE = 1.0, 0.03
# A stack has to be this much faster: it is the more delicate way.
GAIN = 0.9
# This share of the memory that is free may be taken by the workers' stacks.
MEMORY_SHARE = 0.6
# Copies of its weights that a trial has in a stack: weights, gradients, two of an optimiser's
# state, the best epoch's, and what it was built with.
COPIES = 6


@dataclass(frozen=True, kw_only=True)
class Measured:
    """Seconds a trial and step, each way.

    Attributes:
        alone_s: one by one.
        stacked_s: as one, by the number of trials; empty when it was not tried or cannot be done.
        reason: why there is nothing to choose, or "".
    """

    alone_s: float
    stacked_s: Mapping[int, float] = field(default_factory=dict)
    reason: str = ""

    @property
    def width(self) -> int:
        """The fastest number of trials to train as one; 1 is one by one."""
        if not self.stacked_s:
            return 1
        width = min(self.stacked_s, key=lambda n: self.stacked_s[n])
        return width if self.stacked_s[width] < GAIN * self.alone_s else 1

    def plan(self, *, n_workers: int, n_steps: int, device: str) -> PlanChosen:
        """The choice as an event, with what was measured.

        Args:
            n_workers: that train at the same time.
            n_steps: of a trial.
            device: where.
        """
        if self.reason:
            return one_by_one(self.reason, n_workers, device)
        ways = {1: self.alone_s, **self.stacked_s}
        rates = {n: n_workers / (seconds * n_steps) for n, seconds in ways.items()}
        chosen = self.width
        others = [f"{_way(n)} {rates[n]:.3g}" for n in ways if n != chosen]
        text = (
            f"{_way(chosen)} in {_workers(n_workers)} on {device}: about {rates[chosen]:.3g} "
            "trials/s" + "".join(f"; {other}" for other in others)
        )
        details: dict[str, Any] = {
            "executor": "vectorized" if chosen > 1 else "process",
            "width": chosen,
            "alone_s_per_step": self.alone_s,
            "stacked_s_per_step": {str(n): s for n, s in self.stacked_s.items()},
        }
        return PlanChosen(text=text, details=details)


def one_by_one(reason: str, n_workers: int, device: str) -> PlanChosen:
    """The plan where nothing can be stacked."""
    text = f"one by one in {_workers(n_workers)} on {device}: {reason}"
    return PlanChosen(text=text, details={"executor": "process", "width": 1, "reason": reason})


def _way(width: int) -> str:
    return "one by one" if width == 1 else f"vectorized x{width}"


def _workers(n: int) -> str:
    return "1 worker" if n == 1 else f"{n} workers"


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
    import psutil

    return int(psutil.virtual_memory().available)


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
    """A listener that lets some steps pass, and notes when each of them began."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self.n_steps = 0
        self.began_at: list[float] = []

    @property
    def seconds_per_step(self) -> float:
        """Median: on a busy machine some steps wait for their turn."""
        pairs = itertools.pairwise(self.began_at)
        return statistics.median([late - early for early, late in pairs] or [0.0])

    def on_batch(self) -> None:
        from nbautoml.train import TrialCancelled

        now = self._clock()
        self.n_steps += 1
        if self.n_steps <= WARM_STEPS:
            return
        self.began_at.append(now)
        if len(self.began_at) > LEAST_STEPS and now - self.began_at[0] > SECONDS:
            raise TrialCancelled

    def on_steps(self, steps: list[int], losses: list[float]) -> None:
        """Nothing is recorded."""

    def announce(self, epoch: int, step: int, metrics: dict[str, float]) -> None:
        """Nothing is recorded."""

    def on_epoch(self, epoch: int, step: int, metrics: dict[str, float]) -> bool:
        """Steps only: an evaluation in between would count."""
        return len(self.began_at) > LEAST_STEPS


def measure(
    members: Sequence[Ready],
    template: Ready,
    session: Session,
    *,
    device: str,
    max_width: int,
    run_steps: int,
) -> Measured:
    """Train some steps of one member alone, and of many as one; nothing is recorded.

    Their seeds decide their numbers, so that training them afterwards gives what it would have
    given.

    Args:
        members: of one structure; that in the middle by size is trained alone.
        template: as wide as the widest.
        session: of the run.
        device: where.
        max_width: most trials in a stack; wider ones than there are members are made of copies.
        run_steps: steps that this worker will make in the whole run, for all its trials.
    """
    if device == "cpu" and _has_convolutions(template):
        # Each time it was measured: 210 ms a trial stacked against 150 (small CNN, 8 wide). Measuring
        # it again cost a run of 8 s a half, and noise then chose the slower way.
        return Measured(alone_s=0.0, reason="convolutions train faster one by one on a CPU")
    by_size = sorted(members, key=lambda one: sum(t.numel() for t in one.start.values()))
    alone = _measure_alone(by_size[len(by_size) // 2].member, session, device)
    budget = max(BUDGET_S, BUDGET_SHARE * alone * run_steps)
    stacked: dict[int, float] = {}
    clock = _clock(device)
    for width in sorted({min(len(members), max_width), max_width}):
        expected = min([alone, *stacked.values()]) * width * (WARM_STEPS + LEAST_STEPS + 2)
        if width < 2 or expected > budget:
            break
        began = clock()
        try:
            stacked[width] = _measure_stack(members, template, session, device, width)
        except Exception as error:  # noqa: BLE001  whatever it is, one by one will tell it properly
            return Measured(alone_s=alone, reason=_reason(error))
        budget -= clock() - began
        if stacked[width] > alone:  # wider ones are as bad
            break
    if not stacked:
        text = f"a step takes {alone:.2g} s, which is training and hardly anything else"
        return Measured(alone_s=alone, reason=text)
    return Measured(alone_s=alone, stacked_s=stacked)


def _measure_alone(member: Member, session: Session, device: str) -> float:
    from nbautoml.train import TrialCancelled, fit

    watch = _Watch(_clock(device))
    with contextlib.suppress(TrialCancelled):  # enough was seen
        fit(
            member.build,
            session.opened_data,
            member.settings,
            objective=session.recipe.objectives[0],
            seed=member.seed,
            device=device,
            listener=watch,
            loss=session.loss,
        )
    return watch.seconds_per_step


def _measure_stack(
    members: Sequence[Ready], template: Ready, session: Session, device: str, width: int
) -> float:
    from nbautoml.train.stacked import StackedFit

    stack = StackedFit(
        session.opened_data,
        objective=session.recipe.objectives[0],
        device=device,
        width=width,
        loss=session.loss,
    )
    watches = [_Watch(_clock(device)) for _ in range(width)]
    stack.shape_by(template)
    for one, watch in zip(itertools.cycle(members), watches, strict=False):
        member = dataclasses.replace(
            one.member, listener=watch, keeper=None, resumed=None, limit_s=None
        )
        stack.add_ready(dataclasses.replace(one, member=member))
    for _ in stack.run():
        pass
    return watches[0].seconds_per_step / width


def _clock(device: str) -> Callable[[], float]:
    import torch

    return clock_for(device, torch.get_num_threads())


def _has_convolutions(template: Ready) -> bool:
    from nbautoml.train.stacked.tape import name_of

    return any(".conv" in name_of(op.function) for op in template.tape.ops)


def _reason(error: Exception) -> str:
    text = str(error).partition("\n")[0] or type(error).__name__
    return text if len(text) <= 160 else f"{text[:157]}..."
