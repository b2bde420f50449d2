"""Which way is faster here: trials one by one, or many as one? Some real steps of each tell."""

from __future__ import annotations

import contextlib
import dataclasses
import itertools
import statistics
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from nbautoml.events import PlanChosen

if TYPE_CHECKING:
    from nbautoml.train.stacked import Member, Ready
    from nbautoml.tune.session import Session

__all__ = ["Measured", "measure", "one_by_one"]

WARM_STEPS = 3
LEAST_STEPS = 5
# A way; a slow step is measured `LEAST_STEPS` times. A whole run of a small model on two cores takes
# a second: what is measured has to be far shorter.
SECONDS = 0.04
# A stack has to be this much faster: it is the more delicate way.
GAIN = 0.9


@dataclass(frozen=True)
class Measured:
    """Seconds a trial and step, both ways.

    Attributes:
        alone_s: one by one.
        stacked_s: as one; infinite when it cannot be done.
        width: trials in the stack that was measured.
        reason: why it cannot be done, or "".
    """

    alone_s: float
    stacked_s: float
    width: int
    reason: str = ""

    @property
    def is_stacked(self) -> bool:
        """Whether the stack is worth it."""
        return self.stacked_s < GAIN * self.alone_s

    def plan(self, *, max_width: int, n_workers: int, n_steps: int, device: str) -> PlanChosen:
        """The choice as an event, with what was measured."""
        if self.reason:
            return one_by_one(self.reason, n_workers, device)
        workers = _workers(n_workers)
        alone, stacked = (n_workers / (s * n_steps) for s in (self.alone_s, self.stacked_s))
        if self.is_stacked:
            text = (
                f"vectorized x{max_width} in {workers} on {device}: about {stacked:.3g} trials/s; "
                f"one by one {alone:.3g}"
            )
        else:
            text = (
                f"one by one in {workers} on {device}: about {alone:.3g} trials/s; "
                f"vectorized {stacked:.3g}"
            )
        details: dict[str, Any] = {
            "executor": "vectorized" if self.is_stacked else "process",
            "width": max_width if self.is_stacked else 1,
            "alone_s_per_step": self.alone_s,
            "stacked_s_per_step": self.stacked_s,
            "measured_width": self.width,
        }
        return PlanChosen(text=text, details=details)


def one_by_one(reason: str, n_workers: int, device: str) -> PlanChosen:
    """The plan where nothing can be stacked."""
    text = f"one by one in {_workers(n_workers)} on {device}: {reason}"
    return PlanChosen(text=text, details={"executor": "process", "width": 1, "reason": reason})


def _workers(n: int) -> str:
    return "1 worker" if n == 1 else f"{n} workers"


class _Watch:
    """A listener that lets some steps pass, and notes when each of them began."""

    def __init__(self) -> None:
        self.n_steps = 0
        self.began_at: list[float] = []

    @property
    def seconds_per_step(self) -> float:
        """Median: on a busy machine some steps wait for their turn."""
        pairs = itertools.pairwise(self.began_at)
        return statistics.median([late - early for early, late in pairs] or [0.0])

    def on_batch(self) -> None:
        from nbautoml.train import TrialCancelled

        now = time.perf_counter()
        self.n_steps += 1
        if self.n_steps <= WARM_STEPS:
            return
        self.began_at.append(now)
        if len(self.began_at) > LEAST_STEPS and now - self.began_at[0] > SECONDS:
            raise TrialCancelled

    def on_steps(self, steps: list[int], losses: list[float]) -> None:
        """Nothing is recorded."""

    def on_epoch(self, epoch: int, step: int, metrics: dict[str, float]) -> bool:
        """Steps only: an evaluation in between would count."""
        return self.n_steps >= WARM_STEPS + LEAST_STEPS + 1


def measure(members: Sequence[Ready], template: Ready, session: Session, device: str) -> Measured:
    """Train some steps of one member alone, and of all of them as one; nothing is recorded.

    Args:
        members: of one structure; that in the middle by size is trained alone.
        template: as wide as the widest.
        session: of the run.
        device: where.

    Their seeds decide their numbers, so that training them afterwards gives what it would have
    given.
    """
    by_size = sorted(members, key=lambda one: sum(t.numel() for t in one.start.values()))
    alone = _measure_alone(by_size[len(by_size) // 2].member, session, device)
    try:
        stacked = _measure_stack(members, template, session, device)
    except Exception as error:  # noqa: BLE001  whatever it is, one by one will tell it properly
        return Measured(alone, float("inf"), len(members), _reason(error))
    return Measured(alone, stacked, len(members))


def _measure_alone(member: Member, session: Session, device: str) -> float:
    from nbautoml.train import TrialCancelled, fit

    watch = _Watch()
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
    members: Sequence[Ready], template: Ready, session: Session, device: str
) -> float:
    from nbautoml.train.stacked import StackedFit

    stack = StackedFit(
        session.opened_data,
        objective=session.recipe.objectives[0],
        device=device,
        width=len(members),
        loss=session.loss,
    )
    watches = [_Watch() for _ in members]
    stack.shape_by(template)
    for one, watch in zip(members, watches, strict=True):
        member = dataclasses.replace(one.member, listener=watch)
        stack.add_ready(dataclasses.replace(one, member=member))
    for _ in stack.run():
        pass
    return watches[0].seconds_per_step / len(members)


def _reason(error: Exception) -> str:
    text = str(error).partition("\n")[0] or type(error).__name__
    return text if len(text) <= 160 else f"{text[:157]}..."
