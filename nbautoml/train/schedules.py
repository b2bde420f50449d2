"""How the learning rate goes over a fit: pure functions of the step, no scheduler objects.

A factor in [0, 1] multiplies the learning rate. Being a function of the step and not of a
scheduler's history, it needs nothing saved to resume, and a stack of fits computes one
factor a fit.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping

from nbautoml.errors import RecipeError, nearest

__all__ = ["SCHEDULES", "lr_factor"]

# As torch's StepLR is used most: a tenth, at each third of the fit.
STEP_GAMMA, STEP_PARTS = 0.1, 3
# torch's OneCycleLR defaults.
CYCLE_RISE, CYCLE_DIV, CYCLE_FINAL_DIV = 0.3, 25.0, 1e4


def lr_factor(schedule: str | None, warmup: float, step: int, n_steps: int) -> float:
    """What the learning rate is multiplied with at a step.

    Args:
        schedule: None (constant) or a name in `SCHEDULES`.
        warmup: share of the steps over which the rate first rises linearly from zero; the
            schedule then runs over the remaining steps. "onecycle" rises by itself: there it
            is the share of the rise (0.3 when zero).
        step: counts from 1.
        n_steps: steps of the whole fit.

    Raises:
        RecipeError: no such schedule.

    >>> [round(lr_factor("cosine", 0.0, step, 4), 3) for step in (1, 2, 3, 4)]
    [1.0, 0.854, 0.5, 0.146]
    >>> [lr_factor(None, 0.5, step, 4) for step in (1, 2, 3, 4)]
    [0.5, 1.0, 1.0, 1.0]
    """
    done = step - 1
    if schedule == "onecycle":
        return _onecycle(done, n_steps, warmup or CYCLE_RISE)
    n_warm = round(warmup * n_steps)
    if done < n_warm:
        return (done + 1) / n_warm
    if schedule is None:
        return 1.0
    shape = SCHEDULES.get(schedule)
    if shape is None:
        near = nearest(schedule, SCHEDULES)
        raise RecipeError(
            f"schedule {schedule!r} is not known",
            hint=f"did you mean {near!r}?" if near else "one of: " + ", ".join(SCHEDULES),
        )
    return shape(done - n_warm, n_steps - n_warm)


def cosine(done: int, n_steps: int) -> float:
    """Half a cosine from 1 to 0.

    Source: Loshchilov and Hutter, SGDR, section 3 (one period, no restart).
    """
    return 0.5 * (1.0 + math.cos(math.pi * done / n_steps))


def linear(done: int, n_steps: int) -> float:
    """A straight line from 1 to 0."""
    return 1.0 - done / n_steps


def stairs(done: int, n_steps: int) -> float:
    """A tenth of the rate after each third of the steps."""
    return STEP_GAMMA ** (done // math.ceil(n_steps / STEP_PARTS))


def onecycle(done: int, n_steps: int) -> float:
    """Up from a 25th in 30 % of the steps, then down to next to nothing, both as cosines.

    Source: Smith and Topin, Super-Convergence; figures and shape as torch's OneCycleLR.
    """
    return _onecycle(done, n_steps, CYCLE_RISE)


def _onecycle(done: int, n_steps: int, rise: float) -> float:
    low, end = 1.0 / CYCLE_DIV, 1.0 / (CYCLE_DIV * CYCLE_FINAL_DIV)
    top = rise * n_steps - 1.0
    last = n_steps - 1.0
    if done <= top:
        return _between(low, 1.0, done / top) if top > 0 else 1.0
    return _between(1.0, end, (done - top) / (last - top)) if last > top else 1.0


def _between(start: float, end: float, share: float) -> float:
    return end + (start - end) / 2.0 * (1.0 + math.cos(math.pi * share))


SCHEDULES: Mapping[str, Callable[[int, int], float]] = {
    "cosine": cosine,
    "linear": linear,
    "step": stairs,
    "onecycle": onecycle,
}
