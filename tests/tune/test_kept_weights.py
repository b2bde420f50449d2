"""Whose weights are kept: those of the trial that will be the best must be among them."""

from __future__ import annotations

from types import SimpleNamespace

import pytest

from nbautoml.events import Task, TrialEnded
from nbautoml.spec import Objective
from nbautoml.tune.driver import TuneDriver
from nbautoml.tune.stacks import _Worker
from nbautoml.tune.work import _should_keep

HIGH, LOW = Objective("accuracy", "maximize"), Objective("loss", "minimize")


@pytest.mark.parametrize(
    ("objective", "value", "is_kept"),
    [(HIGH, 0.9, True), (HIGH, 0.8, True), (HIGH, 0.7, False), (LOW, 0.9, False), (LOW, 0.8, True)],
)
def test_who_is_as_good_as_the_best_is_kept_too(objective, value, is_kept):
    session = SimpleNamespace(recipe=SimpleNamespace(objectives=(objective,)))
    task = Task(handler="nbautoml.tune.work:train_modules", trials=(), payload={"best": 0.8})
    assert _should_keep([value], task, session) == is_kept


def test_a_trial_that_was_stopped_is_not_the_best():
    recipe = SimpleNamespace(objectives=(HIGH,))
    driver = object.__new__(TuneDriver)
    driver._recipe, driver._best, driver._n_good = recipe, None, 0
    worker = object.__new__(_Worker)
    worker._session, worker._best = SimpleNamespace(recipe=recipe), None
    for state, value in (("complete", 0.7), ("stopped_early", 0.9), ("complete", 0.8)):
        driver._note_value(state, value)
        worker._note_best(TrialEnded(trial=0, state=state, values=[value]))
    assert (driver._best, worker._best, driver._n_good) == (0.8, 0.8, 3)
