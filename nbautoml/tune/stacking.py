"""How many trials a task gets: whether a run's trials may be trained as one, and how wide.

Handlers find out what is faster while the first stacks train (`nbautoml.tune.planner`), all at the same
time; the first tells by a `PlanChosen`, and from then on all tasks follow. With a sampler that
learns the first tasks are small: were they trained one by one after all, too many would be drawn blindly.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from nbautoml.study.rounds import BLIND

if TYPE_CHECKING:
    from nbautoml.events import PlanChosen
    from nbautoml.spec.recipe import Recipe

__all__ = ["MAX_WIDTH", "STACK_HANDLER", "Stacking", "may_tape"]

STACK_HANDLER = "nbautoml.tune.stacks:train_stacks"
# Wider stacks leave a CPU's caches: 64 and 128 were no faster than 32. On an H200 256 small MLPs take
# 1.0 ms a trial, 64 of them 1.8 and 16 3.4 (small CNNs 4.9, 7.3, 10.5); its memory and the planner
# decide below this.
MAX_WIDTH = {"cpu": 32, "mps": 32, "cuda": 256}
# What the first tasks get, where the sampler learns: enough to see what a stack gains. On a CPU no
# stack gets more then: of 200 trials 25 a worker were drawn before any had shown much. Time to 97 %
# on digits over a wide space, one worker, 9 seeds: 2.3 s with 25, 2.1 with 12, 1.3 with 8; of 100
# trials (3 seeds) 47 to 55 were above 97 % with 8, 44 to 48 with 12, in about the same time.
FIRST = 8
LEAST_TRIALS = 4  # fewer are over before another way has paid
# A sampler that learns has seen nothing of the trials that run: a stack may hold this share of all.
LEARNING_SHARE = 8


def may_tape(recipe: Recipe, n_trials: int | None) -> bool:
    """Whether a run's modules may be trained by what a tape says of them, several as one or one by one.

    Objectives and estimators have no tape; for a few trials nobody looks for the fastest way, and those of
    ``--deterministic`` go one by one as they are, unless stacks are asked for.

    Args:
        recipe: of the run.
        n_trials: of the run, where that is known.
    """
    execution = recipe.execution
    return (
        recipe.kind == "tune"
        and recipe.target.role == "module"
        and execution.executor
        in ({"vectorized"} if execution.deterministic else {"auto", "vectorized"})
        and (n_trials is None or n_trials >= LEAST_TRIALS)
    )


@dataclass
class Stacking:
    """The width of a run's stacks.

    Attributes:
        width: most trials in a stack; 1 trains one by one.
        is_asked: the user asked for stacks; else the first tasks measure.
        is_blind: nothing is learnt from the trials that came before.
        is_decided: what is faster is known.
        n_workers: workers that share the trials.
        is_fixed: every task gets as many trials, however many workers there are.
        n_trials: of the run, where that is known.
        is_under_way: a task was told to measure for the whole run.
    """

    width: int
    is_asked: bool = False
    is_blind: bool = False
    is_decided: bool = False
    n_workers: int = 1
    is_fixed: bool = False
    n_trials: int | None = None
    is_under_way: bool = False

    @classmethod
    def of(
        cls, recipe: Recipe, sampler: str, n_trials: int | None, round_size: int | None = None
    ) -> Stacking:
        """What is possible for a recipe before anything was measured.

        One by one: objectives and estimators. In rounds nothing may hang on a measurement,
        and all stacks have the same width: see `nbautoml.study.rounds`.
        """
        executor = recipe.execution.executor
        # Where the workers measure, they know their device.
        is_cpu = executor == "vectorized" and not recipe.execution.device.startswith("cuda")
        width = MAX_WIDTH["cpu" if is_cpu else "cuda"]
        if sampler not in BLIND:
            width = min(width, max(2, (n_trials or 8 * LEARNING_SHARE) // LEARNING_SHARE))
        if not may_tape(recipe, n_trials):
            width = 1
        elif round_size:
            width = max(4, round_size // 4)
        return cls(
            width=width,
            is_asked=executor == "vectorized",
            is_blind=sampler in BLIND,
            is_decided=width == 1,
            is_fixed=round_size is not None,
            n_trials=n_trials,
        )

    @property
    def is_possible(self) -> bool:
        """Whether tasks go to the handler that knows stacks."""
        return self.width > 1

    def note_workers(self, n_free: int) -> None:
        """Before anything is handed out all workers are free."""
        self.n_workers = max(self.n_workers, n_free)

    def share(self, n_left: float, n_free: int) -> int:
        """How many trials the next task gets, so that all workers have about the same."""
        is_whole = self.is_decided or self.is_asked or self.is_blind
        width = self.width if is_whole else min(self.width, FIRST)
        if n_left == math.inf or self.is_fixed:
            return width
        return max(1, min(width, math.ceil(n_left / max(1, n_free))))

    def payload(self) -> Mapping[str, Any]:
        """What the handler is told."""
        if not self.is_possible:
            return {}
        is_open = not self.is_decided and not self.is_asked and not self.is_under_way
        self.is_under_way = True
        return {
            "width": self.width,
            "measure": not self.is_asked,
            "is_blind": self.is_blind,
            "is_open": is_open,
            "n_workers": self.n_workers,
            "n_trials": self.n_trials,
        }

    def learn(self, plan: PlanChosen) -> None:
        """A handler has measured."""
        width = plan.details.get("width")
        if self.is_possible and isinstance(width, int):
            self.width, self.is_decided = max(1, min(width, self.width)), True
