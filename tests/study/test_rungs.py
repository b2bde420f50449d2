"""Successive halving by non-dominated rank: with one objective it is Optuna's rule, with two it is not."""

from __future__ import annotations

import random

import optuna
import pytest
from optuna.pruners import HyperbandPruner, SuccessiveHalvingPruner
from optuna.trial import TrialState

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


@pytest.mark.parametrize("has_brackets", [False, True])
@pytest.mark.parametrize("direction", ["minimize", "maximize"])
@pytest.mark.parametrize("seed", range(5))
def test_with_one_objective_the_rule_is_optunas(has_brackets, direction, seed):
    """Many trials at a time, epochs in any order, equal values among them."""
    dice = random.Random(seed)
    pruner = (
        HyperbandPruner(min_resource=1, max_resource=27, reduction_factor=3)
        if has_brackets
        else SuccessiveHalvingPruner(min_resource=3, reduction_factor=3)
    )
    theirs = optuna.create_study(direction=direction, study_name="nbautoml", pruner=pruner)
    ours = Rungs(
        [direction], first=1 if has_brackets else 3, max_epochs=27, has_brackets=has_brackets
    )
    running = [theirs.ask() for _ in range(6)]
    epochs = dict.fromkeys(range(6), 0)
    n_stopped = n_complete = 0
    for _ in range(900):
        trial = dice.choice(running)
        epochs[trial.number] += 1
        epoch, value = epochs[trial.number], round(dice.random(), 1)
        trial.report(value, epoch)
        expected = trial.should_prune()
        assert ours.should_stop(trial.number, epoch, [value]) == expected
        if expected or epoch == 27:
            n_stopped += expected
            n_complete += not expected
            state = TrialState.PRUNED if expected else TrialState.COMPLETE
            theirs.tell(trial, None if expected else value, state=state)
            running.remove(trial)
            running.append(theirs.ask())
            epochs[running[-1].number] = 0
    assert n_stopped > 20
    assert n_complete > 0


@pytest.mark.parametrize("stopper", ["asha", "hyperband"])
def test_the_study_stops_by_the_rungs(stopper):
    """Many trials side by side; the study's own numbers, values and direction reach the rungs."""
    dice = random.Random(0)
    found = study(stopper, ACCURACY)
    rungs = Rungs(
        ["maximize"], first=1 if stopper == "hyperband" else first_rung(27), max_epochs=27,
        has_brackets=stopper == "hyperband", least=4,
    )  # fmt: skip
    running = {found.ask()[0]: 0 for _ in range(12)}
    n_stopped = 0
    for _ in range(600):
        number = dice.choice(list(running))
        running[number] += 1
        epoch, value = running[number], dice.random()
        should_stop = found.report(number, epoch, value)
        assert should_stop == rungs.should_stop(number, epoch, [value])
        if should_stop or epoch == 27:
            n_stopped += should_stop
            found.tell(number, "stopped_early" if should_stop else "complete", value)
            del running[number]
            running[found.ask()[0]] = 0
    assert n_stopped > 20


def test_of_a_dozen_that_train_side_by_side_a_third_is_left_after_the_first_rung():
    """Nobody is complete yet: a rung that many have reached need not wait for that."""
    found = study("asha", ACCURACY)
    numbers = [found.ask()[0] for _ in range(12)]
    rung = first_rung(27)
    for epoch in range(1, rung):
        assert not any(found.report(number, epoch, 0.1 * number) for number in numbers)
    stopped = [number for number in reversed(numbers) if found.report(number, rung, 0.1 * number)]
    assert stopped == list(range(8, -1, -1))


def test_a_rung_stops_nobody_before_a_few_stood_there():
    rungs = Rungs(["minimize"], first=1, least=4)
    assert [rungs.should_stop(n, 1, [float(n)]) for n in range(5)] == [False] * 3 + [True] * 2
    assert not rungs.should_stop(0, 3, [9.0])


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


def test_a_trial_that_passed_for_want_of_others_is_measured_when_they_have_come():
    rungs = Rungs(["maximize"], first=3, max_epochs=27, least=4)
    assert not rungs.should_stop(0, 3, [0.1])
    assert not rungs.should_stop(0, 4, [0.9])  # nobody else has come so far
    assert not any(rungs.should_stop(number, 3, [0.8]) for number in (1, 2))
    assert not rungs.should_stop(0, 5, [0.9])
    assert not rungs.should_stop(3, 3, [0.7 + 0.2])
    assert rungs.should_stop(0, 6, [0.9])  # by what it was at the rung
    assert rungs.should_stop(0, 6, [0.9])  # and whenever it is asked again


def test_a_trial_that_passed_for_want_of_others_and_is_ahead_of_them_goes_on():
    rungs = Rungs(["minimize"], first=1, max_epochs=9, least=4)
    for number, loss in enumerate([0.1, 0.5, 0.6, 0.7]):
        rungs.should_stop(number, 1, [loss])
    assert not rungs.should_stop(0, 2, [9.0])
    assert rungs.should_stop(1, 2, [0.0])


def test_in_rounds_nobody_is_measured_by_a_trial_of_the_same_round():
    rungs = Rungs(["maximize"], first=1, max_epochs=9, least=2, is_in_rounds=True)
    assert not any(rungs.should_stop(number, 1, [number]) for number in range(4))
    assert not any(rungs.should_stop(number, 2, [number]) for number in range(4))
    rungs.settle_before(4)
    assert rungs.should_stop(4, 1, [0.5])
