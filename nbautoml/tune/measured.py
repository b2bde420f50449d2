"""What the planner has measured, and what follows: the fastest way, in a line for people."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from nbautoml.events import PlanChosen

__all__ = ["GAIN", "Measured", "one_by_one", "undecided"]

# A stack has to be this much faster: it is the more delicate way.
GAIN = 0.9


@dataclass(frozen=True, kw_only=True)
class Measured:
    """Seconds a trial and step, each way.

    Attributes:
        alone_s: one by one.
        stacked_s: as one, by the number of trials; empty when it was not tried or cannot be done.
        reason: why there is nothing to choose, or "".
        earlier_run: the run that measured it, where that was not this one.
        limit: trials that a stack may have; a stack that was timed before it was full is no
            narrower for it.
        planning_s: seconds that went into steps that were timed and thrown away.
        trial_bytes: memory that a trial takes in a stack, as estimated; 0 where no stack was thought of.
    """

    alone_s: float
    stacked_s: Mapping[int, float] = field(default_factory=dict)
    reason: str = ""
    earlier_run: str = ""
    limit: int = 0
    planning_s: float = 0.0
    trial_bytes: int = 0

    @property
    def width(self) -> int:
        """The fastest number of trials, of those timed, to train as one; 1 is one by one."""
        if not self.stacked_s:
            return 1
        width = min(self.stacked_s, key=lambda n: self.stacked_s[n])
        return width if self.stacked_s[width] < GAIN * self.alone_s else 1

    @property
    def stack_width(self) -> int:
        """How many trials a stack should have; 1 trains one by one."""
        width = self.width
        return self.limit if 1 < width < self.limit and width == max(self.stacked_s) else width

    def plan(self, *, n_workers: int, n_steps: int, device: str) -> PlanChosen:
        """The choice as an event, with what was measured.

        Args:
            n_workers: that train at the same time.
            n_steps: of a trial.
            device: where.
        """
        if self.reason:
            return one_by_one(self.reason, n_workers, device, planning_s=self.planning_s)
        ways = {1: self.alone_s, **self.stacked_s}
        rates = {n: n_workers / (seconds * n_steps) for n, seconds in ways.items()}
        chosen, width = self.width, self.stack_width
        others = [f"{_way(n)} {rates[n]:.3g}" for n in ways if n != chosen]
        at = f" at x{chosen}" if width != chosen else ""
        text = (
            f"{_way(width)} in {_workers(n_workers)} on {device}: about {rates[chosen]:.3g} "
            f"trials/s{at}" + "".join(f"; {other}" for other in others)
        )
        details: dict[str, Any] = {
            "executor": "vectorized" if chosen > 1 else "process",
            "width": width,
            "alone_s_per_step": self.alone_s,
            "stacked_s_per_step": {str(n): s for n, s in self.stacked_s.items()},
            "planning_s": self.planning_s,
            "bytes_per_trial": self.trial_bytes,
            "limit": self.limit,
        }
        if self.earlier_run:
            text += f"; measured in run {self.earlier_run}"
            details["measured_in"] = self.earlier_run
        return PlanChosen(text=text, details=details)


def one_by_one(reason: str, n_workers: int, device: str, *, planning_s: float = 0.0) -> PlanChosen:
    """The plan where nothing can be stacked."""
    text = f"one by one in {_workers(n_workers)} on {device}: {reason}"
    details = {"executor": "process", "width": 1, "planning_s": planning_s}
    return PlanChosen(text=text, details={**details, "reason": reason})


def undecided(width: int, n_workers: int, device: str) -> PlanChosen:
    """The plan where trials were over before their steps told which way is faster."""
    reason = "the trials are too short to compare it with others"
    text = f"{_way(width)} in {_workers(n_workers)} on {device}: {reason}"
    return PlanChosen(
        text=text, details={"executor": "vectorized", "width": width, "reason": reason}
    )


def _way(width: int) -> str:
    return "one by one" if width == 1 else f"vectorized x{width}"


def _workers(n: int) -> str:
    return "1 worker" if n == 1 else f"{n} workers"
