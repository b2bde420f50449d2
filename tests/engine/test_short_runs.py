"""Runs whose trials are over after a step or two: the plan is made all the same."""

from __future__ import annotations

import pytest
from engine_runs import wait_for_end

from nbautoml.spec import Budget, Float, Space
from nbautoml.spec.recipe import Execution

CELL = """
from torch import nn

class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.layers = nn.Sequential(nn.Linear(64, 16), nn.ReLU(), nn.Linear(16, 10))

    def forward(self, x):
        return self.layers(x)
"""


@pytest.mark.parametrize(
    ("n_trials", "expected"), [(12, "too short to compare"), (150, "trials/s")]
)
def test_trials_of_one_step_are_planned_too(runs, n_trials, expected):
    folder = runs.submit(
        CELL,
        space=Space({"lr": Float(1e-3, 3e-2, log=True)}),
        fixed={"epochs": 1, "batch_size": 2048},
        budget=Budget(n_trials=n_trials),
        execution=Execution(n_workers=1),
    )
    assert wait_for_end(folder) == "finished"
    with folder.reader() as reader:
        states, run = {row.state for row in reader.trials()}, reader.run()
    assert states == {"complete"}
    assert expected in run.plan
    assert run.plan_details["executor"] == "vectorized"
    if "trials/s" in expected:
        assert run.plan_details["planning_s"] > 0
        assert run.plan_details["bytes_per_trial"] > 0
