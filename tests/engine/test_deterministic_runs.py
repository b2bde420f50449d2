"""`--deterministic` on real workers: one or four, one by one or stacked, whole or killed in between."""

from __future__ import annotations

import pytest
from engine_runs import kill, supervisor_pid, until, wait_for_end

from nbautoml.engine import client
from nbautoml.spec import Budget, Choice, Float, Space
from nbautoml.spec.recipe import Execution

MODULE = """
from torch import nn

class Net(nn.Module):
    def __init__(self, dropout=0.2):
        super().__init__()
        self.layers = nn.Sequential(
            nn.Linear(64, 24), nn.BatchNorm1d(24), nn.ReLU(), nn.Dropout(dropout), nn.Linear(24, 10)
        )

    def forward(self, x):
        return self.layers(x)
"""
ASKED = {
    "space": Space(
        {
            "lr": Float(1e-5, 3e-2, log=True),
            "dropout": Float(0.0, 0.5),
            "optimizer": Choice("sgd", "adam"),
        }
    ),
    "fixed": {"epochs": 6, "batch_size": 128},
    "sampler": "tpe",
    "stopper": "asha",
}


def submit(runs, n_workers, executor="auto", n_trials=22):
    execution = Execution(executor=executor, n_workers=n_workers, deterministic=True)
    return runs.submit(MODULE, **ASKED, budget=Budget(n_trials=n_trials), execution=execution)


def table(folder):
    """Numbers, parameters, states, values and curves."""
    with folder.reader() as reader:
        rows = [(r.number, dict(r.params), r.state, r.values) for r in reader.trials()]
        points = reader.points()
    curves = sorted(zip(points.trials, points.names, points.steps, points.values, strict=True))
    return rows, curves


def test_one_worker_four_workers_and_a_killed_supervisor_give_the_identical_table(runs):
    one, four = submit(runs, 1), submit(runs, 4)
    killed = submit(runs, 2)

    def n_ended():
        with killed.reader() as reader:
            return sum(row.is_finished for row in reader.trials())

    for n in (3, 11):
        until(lambda n=n: n_ended() >= n, what=f"{n} trials")
        kill(supervisor_pid(killed))
        wait_for_end(killed)
        client.resume(runs.home, killed)
        until(lambda: n_ended() > 0, what="the record")
    for folder in (one, four):
        assert wait_for_end(folder) == "finished"
    until(lambda: n_ended() == 22, what="the end")
    rows, _ = table(one)
    assert {state for _, _, state, _ in rows} == {"complete", "stopped_early"}
    assert table(four) == table(one)
    assert table(killed) == table(one)


@pytest.mark.slow
def test_stacks_give_the_same_table_to_rounding(runs):
    alone, one, four = submit(runs, 2), submit(runs, 1, "vectorized"), submit(runs, 4, "vectorized")
    for folder in (alone, one, four):
        assert wait_for_end(folder) == "finished"
    assert table(four) == table(one)
    for found, expected in zip(table(one)[0], table(alone)[0], strict=True):
        assert found[:3] == expected[:3]
        assert found[3] == pytest.approx(expected[3], abs=0.003)  # one row of 360
