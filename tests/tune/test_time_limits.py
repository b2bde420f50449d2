"""`--timeout-per-trial`: whose time runs, and when it stands still."""

from __future__ import annotations

import time
from types import SimpleNamespace

import pytest

from nbautoml.events import RunControl, Task, TrialSpec
from nbautoml.spec import Budget, Objective
from nbautoml.spec.recipe import Execution
from nbautoml.train import TimeOverError
from nbautoml.tune.stacking import Stacking
from nbautoml.tune.work import Reporter

LIMIT_S = 1.5
TRIAL = TrialSpec(number=0, params={}, seed=0)
SESSION = SimpleNamespace(
    recipe=SimpleNamespace(objectives=(Objective("accuracy", "maximize"),)),
    counts_parameters=False,
    split=lambda params: ({}, {}),
)


class Holding:
    """A run that holds its trials for a while, as one that is paused does."""

    def __init__(self, seconds):
        self.seconds = seconds

    def check(self, trial):
        time.sleep(self.seconds)
        return RunControl.GO_ON


def reporter(context, **how):
    task = Task(handler="", trials=(TRIAL,), limit_s=LIMIT_S)
    return Reporter(TRIAL, task, SESSION, context, **how)


def test_time_stands_still_while_the_run_holds_a_trial():
    held = reporter(Holding(LIMIT_S + 0.2))
    held.on_batch()  # longer than the limit, all of it held
    held.note_spent(LIMIT_S)
    with pytest.raises(TimeOverError):
        held.on_batch()


def test_a_trial_over_its_time_ends_at_its_next_batch():
    late = reporter(Holding(0.0))
    late.note_spent(1.01 * LIMIT_S)
    with pytest.raises(TimeOverError, match=r"took longer than 1.5 s"):
        late.on_batch()


def test_in_a_stack_the_wall_clock_decides_nothing():
    one, alone = reporter(Holding(0.0), has_clock=False), reporter(Holding(0.0))
    for each in (one, alone):
        each.note_spent(100 * LIMIT_S)
    one.on_batch()
    with pytest.raises(TimeOverError):
        alone.on_batch()


def test_trials_with_a_time_limit_may_share_a_stack():
    recipe = SimpleNamespace(
        kind="tune",
        target=SimpleNamespace(role="module"),
        budget=Budget(n_trials=64, trial_seconds=5.0),
        execution=Execution(executor="vectorized"),
    )
    assert Stacking.of(recipe, "random", 64).width > 1
