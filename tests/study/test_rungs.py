"""Successive halving by non-dominated rank: with one objective it is Optuna's rule, with two it is not."""

from __future__ import annotations

import random

import pytest

from nbautoml.errors import RecipeError
from nbautoml.spec import Float, Objective, Space
from nbautoml.study import Study
from nbautoml.study.rungs import Rungs, crowding, ranks
from nbautoml.study.stoppers import first_rung

SPACE = Space({"x": Float(0, 1)})
ACCURACY, SIZE = Objective("accuracy", "maximize"), Objective("n_parameters", "minimize")


def study(stopper, *objectives, **more):
    return Study(
        SPACE, objectives, sampler="random", stopper=stopper, seed=1, max_epochs=27, **more
    )


@pytest.mark.parametrize("stopper", ["asha", "hyperband"])
@pytest.mark.parametrize("direction", ["minimize", "maximize"])
@pytest.mark.parametrize("seed", range(5))
def test_with_one_objective_the_rule_is_optunas(stopper, direction, seed):
    """Many trials at a time, epochs in any order, equal values among them."""
    dice = random.Random(seed)
    theirs = study(stopper, Objective("value", direction))
    n_complete = 0
    ours = Rungs(
        [direction], first=1 if stopper == "hyperband" else first_rung(27), max_epochs=27,
        has_brackets=stopper == "hyperband", n_startup=4, count_complete=lambda: n_complete,
    )  # fmt: skip
    running = {theirs.ask()[0]: 0 for _ in range(6)}
    n_stopped = 0
    for _ in range(900):
        number = dice.choice(list(running))
        running[number] += 1
        epoch, value = running[number], round(dice.random(), 1)
        expected = theirs.report(number, epoch, value)
        assert ours.should_stop(number, epoch, [value]) == expected
        if expected or epoch == 27:
            n_stopped += expected
            n_complete += not expected
            theirs.tell(number, "stopped_early" if expected else "complete", value)
            del running[number]
            running[theirs.ask()[0]] = 0
    assert n_stopped > 20
    assert n_complete > 4


def test_a_trial_that_none_beats_in_all_objectives_goes_on():
    found = study("asha", ACCURACY, SIZE)
    for value in (0.5, 0.6, 0.7, 0.8):
        number, _ = found.ask()
        for epoch in range(1, 28):
            found.report(number, epoch, (value, 1000))
        found.tell(number, "complete", (value, 1000))
    rung = first_rung(27)
    small_but_worse, _ = found.ask()
    assert not found.report(small_but_worse, rung, (0.4, 10))
    large_and_worse, _ = found.ask()
    assert found.report(large_and_worse, rung, (0.4, 2000))


def test_a_trial_that_is_begun_again_stands_on_no_rung_meanwhile():
    rungs = Rungs(("minimize", "minimize"), first=1, eta=2)
    assert not rungs.should_stop(0, 1, (1.0, 1.0))
    rungs.forget(0)
    assert not rungs.should_stop(1, 1, (2.0, 2.0))
    assert not rungs.should_stop(0, 1, (1.0, 1.0))


def test_a_resumed_study_stops_whom_the_first_one_would_have_stopped():
    rows = [((0.9, 10.0), 5), ((0.8, 20.0), 5), ((0.7, 30.0), 5)]
    rungs = Rungs(("maximize", "minimize"), first=3)
    for number, (values, epoch) in enumerate(rows):
        rungs.should_stop(number, epoch, values)
    assert rungs.should_stop(9, 3, (0.1, 50.0))


def test_ranks_are_fronts_and_the_crowded_come_last():
    points = [(0.0, 4.0), (1.0, 2.0), (1.1, 1.9), (4.0, 0.0), (5.0, 5.0)]
    assert ranks(points) == [0, 0, 0, 0, 1]
    room = crowding(points[:4])
    assert room[1] < room[0]
    assert room[0] == room[3] == float("inf")


def test_other_stoppers_say_that_they_compare_one_value():
    with pytest.raises(RecipeError, match="median judges a trial by one value"):
        study("median", ACCURACY, SIZE)


def test_a_report_needs_one_value_an_objective():
    found = study("none", ACCURACY, SIZE)
    number, _ = found.ask()
    with pytest.raises(RecipeError, match="reports 1 values, but the run has 2 objectives"):
        found.report(number, 1, 0.5)
