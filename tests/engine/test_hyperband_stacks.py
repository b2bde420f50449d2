"""Hyperband over a stack, from the cell's recipe to the record: rungs, room for others, the same numbers."""

from __future__ import annotations

import math

import pytest
from engine_runs import trials_of, wait_for_end

from nbautoml.spec import Budget, Float, Space
from nbautoml.spec.recipe import Execution
from nbautoml.study.rungs import Rungs
from nbautoml.tune.stacking import MAX_WIDTH

SOURCE = """
from torch import nn

class Net(nn.Module):
    def __init__(self, dropout=0.1):
        super().__init__()
        self.layers = nn.Sequential(
            nn.Linear(64, 16), nn.ReLU(), nn.Dropout(dropout), nn.Linear(16, 10)
        )

    def forward(self, x):
        return self.layers(x)
"""
N_TRIALS, EPOCHS = 48, 9  # more than a stack holds; rungs after epochs 1 and 3
ASKED = {
    "space": Space({"lr": Float(1e-5, 3e-2, log=True), "dropout": Float(0.0, 0.5)}),
    "fixed": {"epochs": EPOCHS, "batch_size": 256},
    "budget": Budget(n_trials=N_TRIALS),
    "sampler": "random",
    "stopper": "hyperband",
}


@pytest.fixture(scope="module")
def stacked(shared):
    folder = shared.submit(SOURCE, **ASKED, execution=Execution(executor="vectorized", n_workers=1))
    assert wait_for_end(folder) == "finished"
    return folder


@pytest.fixture(scope="module")
def alone(shared):
    """The same trials one by one, none of them stopped."""
    asked = {**ASKED, "stopper": "none"}
    folder = shared.submit(SOURCE, **asked, execution=Execution(executor="inline"))
    assert wait_for_end(folder) == "finished"
    return folder


def told(folder, name):
    """(trial, epoch, value) in the order in which they were recorded."""
    with folder.reader() as reader:
        points = reader.points(name=name)
    return list(zip(points.trials, points.epochs, points.values, strict=True))


def curves(folder, name):
    found = {}
    for trial, _, value in told(folder, name):
        found.setdefault(trial, []).append(value)
    return found


def test_hyperband_stops_whom_its_rungs_stop_and_nobody_who_is_through(stacked):
    rungs = Rungs(("maximize",), max_epochs=EPOCHS, has_brackets=True, least=4)
    ends = {
        trial: epoch
        for trial, epoch, value in told(stacked, "accuracy")
        if rungs.should_stop(trial, epoch, (value,)) or epoch == EPOCHS
    }
    rows = trials_of(stacked)
    assert {row.number: row.epoch for row in rows} == ends
    assert {1, 3, EPOCHS} <= set(ends.values())
    # Between rungs end those alone that a rung let pass because too few had stood there: three each.
    n_rungs = 2 + 1  # of the brackets that have any
    assert sum(epoch not in {1, 3, EPOCHS} for epoch in ends.values()) <= 3 * n_rungs
    for row in rows:
        assert row.state == ("complete" if row.epoch == EPOCHS else "stopped_early")


def test_who_is_stopped_makes_room_in_the_stack(stacked):
    rounds = [set()]
    for trial, _, _ in told(stacked, "accuracy"):
        if trial in rounds[-1]:
            rounds.append(set())
        rounds[-1].add(trial)
    width = MAX_WIDTH["cpu"]
    last = next(at for at, trials in enumerate(rounds) if N_TRIALS - 1 in trials)
    assert [len(trials) for trials in rounds[:last]] == [width] * last
    assert 0 < last < EPOCHS - 1  # nobody of the first could have made all epochs
    with stacked.reader() as reader:
        assert not [line.text for line in reader.logs() if "one by one" in line.text]


def test_each_trial_has_the_curve_of_the_same_trial_alone(stacked, alone):
    ours, theirs = curves(stacked, "train_loss"), curves(alone, "train_loss")
    assert sorted(ours) == sorted(theirs) == list(range(N_TRIALS))
    for trial, losses in ours.items():
        assert losses == pytest.approx(theirs[trial][: len(losses)], rel=1e-4), f"trial {trial}"
    for one, other in zip(trials_of(stacked), trials_of(alone), strict=True):
        assert one.params == other.params
        assert math.isfinite(one.value)


def test_deterministic_hyperband_stops_the_same_trials_in_stacks_and_alone(shared):
    asked = {**ASKED, "budget": Budget(n_trials=24)}
    tables = []
    for executor in ("vectorized", "process"):
        execution = Execution(executor=executor, n_workers=2, deterministic=True)
        folder = shared.submit(SOURCE, **asked, execution=execution)
        assert wait_for_end(folder) == "finished"
        tables.append(trials_of(folder))
    for one, other in zip(*tables, strict=True):
        assert (one.params, one.state, one.epoch) == (other.params, other.state, other.epoch)
        assert one.value == pytest.approx(other.value, rel=5e-3)
    assert {row.state for row in tables[0]} == {"complete", "stopped_early"}
