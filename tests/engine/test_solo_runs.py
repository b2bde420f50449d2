"""Runs whose trials go one by one without autograd: the numbers of plain fits, and the same life."""

from __future__ import annotations

import pytest
from engine_runs import state_of, until, wait_for_end

from nbautoml.engine import client
from nbautoml.events import Interrupt
from nbautoml.spec import Budget, Float, Objective, Space
from nbautoml.spec.recipe import Execution

# Each forward pass leaves a mark: a module that is taped makes a few, a plain fit one a step and more.
CONVOLUTIONS = """
from pathlib import Path
from torch import nn

MARKS = Path("PLACE")

class Net(nn.Module):
    def __init__(self, dropout=0.1):
        super().__init__()
        self.layers = nn.Sequential(
            nn.Unflatten(1, (1, 8, 8)), nn.Conv2d(1, 4, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2),
            nn.Dropout(dropout), nn.Flatten(), nn.Linear(64, 10),
        )

    def forward(self, x):
        with MARKS.open("a") as file:
            file.write(".")
        return self.layers(x)
"""
N_TRIALS, N_STEPS = 6, 3 * 23


def submit(runs, place, executor="auto", epochs=3, **more):
    return runs.submit(
        CONVOLUTIONS.replace("PLACE", str(place)),
        space=Space({"lr": Float(1e-3, 3e-2, log=True)}),
        fixed={"epochs": epochs},
        budget=Budget(n_trials=N_TRIALS),
        sampler="random",
        stopper="none",
        execution=Execution(executor=executor, n_workers=1),
        **more,
    )


def trials_of(folder):
    with folder.reader() as reader:
        return reader.trials()


def test_convolutions_are_trained_by_their_tape_and_have_the_numbers_of_plain_fits(runs, tmp_path):
    taped, plain = submit(runs, tmp_path / "taped"), submit(runs, tmp_path / "plain", "inline")
    for folder in (taped, plain):
        assert wait_for_end(folder) == "finished"
    assert (tmp_path / "plain").stat().st_size > N_TRIALS * N_STEPS
    assert (tmp_path / "taped").stat().st_size < N_STEPS
    for ours, theirs in zip(trials_of(taped), trials_of(plain), strict=True):
        assert ours.params == theirs.params
        assert ours.value == pytest.approx(theirs.value, abs=0.006)  # two rows of 360
        assert ours.metrics["loss"] == pytest.approx(theirs.metrics["loss"], rel=5e-3)


def test_a_size_that_is_an_objective_is_counted(runs, tmp_path):
    sizes = (Objective("accuracy", "maximize"), Objective("n_parameters", "minimize"))
    folder = submit(runs, tmp_path / "marks", objectives=sizes)
    assert wait_for_end(folder) == "finished"
    assert {row.values[1] for row in trials_of(folder)} == {40 + 650}


def test_an_interrupted_trial_goes_on_where_it_was(runs, tmp_path):
    whole = submit(runs, tmp_path / "whole", epochs=25)
    assert wait_for_end(whole) == "finished"
    halved = submit(runs, tmp_path / "halved", epochs=25)
    until(lambda: any(row.epoch > 5 for row in trials_of(halved)), what="some epochs")
    client.send(halved, Interrupt(reason="test"))
    until(lambda: state_of(halved) == "interrupted", what="the interruption")
    client.resume(runs.home, halved)
    until(lambda: state_of(halved) == "finished", what="the end")
    for ours, theirs in zip(trials_of(halved), trials_of(whole), strict=True):
        assert ours.value == pytest.approx(theirs.value, abs=1e-6)
        assert ours.best_epoch == theirs.best_epoch
