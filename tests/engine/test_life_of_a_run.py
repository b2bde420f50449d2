"""The life of a run: submitted, trained in workers, commanded, ended, resumed."""

from __future__ import annotations

import os
import signal

import psutil
import pytest
from engine_runs import (
    END_STATES,
    family,
    kill,
    n_points,
    state_of,
    supervisor_pid,
    trials_of,
    until,
    wait_for_end,
)  # fmt: skip

from nbautoml.engine import client
from nbautoml.engine.inline import InlinePool
from nbautoml.errors import EngineError
from nbautoml.events import Interrupt
from nbautoml.spec import Budget, Choice, Objective, Space
from nbautoml.spec.recipe import Execution, Target

SLOW = {"epochs": 4000}


def logs_of(folder):
    with folder.reader() as reader:
        return [line.text for line in reader.logs()]


INLINE = Execution(executor="inline")


@pytest.fixture(scope="module")
def finished(shared):
    """Four trials by two workers."""
    folder = shared.submit(execution=Execution(n_workers=2))
    assert wait_for_end(folder) == "finished"
    return folder


def test_all_trials_complete_with_values_and_curves(finished):
    rows = trials_of(finished)
    assert [row.number for row in rows] == [0, 1, 2, 3]
    assert all(row.state == "complete" and row.value > 0.3 for row in rows)
    with finished.reader() as reader:
        for row in rows:
            assert reader.points(trial=row.number, name="accuracy").epochs == [1, 2]


def test_all_is_written_and_sealed_before_workers_are_waited_for(runs, tmp_path, monkeypatch):
    sealed = []
    close = InlinePool.close

    def watched(self, *, grace_s):
        sealed.append(bool(list(tmp_path.rglob("record.db.sha256"))))
        close(self, grace_s=grace_s)

    monkeypatch.setattr(InlinePool, "close", watched)
    assert wait_for_end(runs.submit(execution=INLINE)) == "finished"
    assert sealed == [True]


def test_inline_gives_the_numbers_that_processes_give(finished, runs):
    inline = runs.submit(execution=INLINE)
    assert wait_for_end(inline) == "finished"
    values = [[row.value for row in trials_of(folder)] for folder in (finished, inline)]
    assert values[0] == pytest.approx(values[1], abs=1e-9)


def test_one_worker_and_two_give_the_same_trials(finished, runs):
    one = runs.submit(execution=Execution(n_workers=1))
    assert wait_for_end(one) == "finished"
    found = [{row.number: (row.params, row.value) for row in trials_of(f)} for f in (one, finished)]
    assert found[0] == found[1]


def test_weights_of_the_best_trial_are_kept_and_verified(finished):
    best = max(trials_of(finished), key=lambda row: row.value)
    with finished.reader() as reader:
        kept = [row for row in reader.artifacts(trial=best.number) if row.kind == "weights"]
    from safetensors.torch import load

    from nbautoml.store import load_artifact

    assert "layers.0.weight" in load(load_artifact(kept[0]))


def test_a_finished_run_is_not_resumed(finished, shared):
    with pytest.raises(EngineError, match="nothing to resume"):
        client.resume(shared.home, finished)


def test_interrupted_run_resumes_and_finishes_every_trial_once(runs):
    # One by one: in a stack all of them would end at about the same time.
    folder = runs.submit(
        fixed={"epochs": 60}, budget=Budget(n_trials=4), execution=Execution(executor="process")
    )
    until(lambda: any(row.state == "complete" for row in trials_of(folder)), what="a trial")
    client.send(folder, Interrupt())
    assert wait_for_end(folder) == "interrupted"
    before = {row.number: row.value for row in trials_of(folder) if row.state == "complete"}
    client.resume(runs.home, folder)
    until(lambda: state_of(folder) == "finished", what="the end")
    after = {row.number: row.value for row in trials_of(folder)}
    assert sorted(after) == list(range(4))
    assert before.items() <= after.items()


def test_killed_worker_costs_a_new_attempt_not_the_trial(runs):
    folder = runs.submit(
        fixed={"epochs": 100, "batch_size": 128},
        budget=Budget(n_trials=1),
        execution=Execution(n_workers=1),
    )
    until(lambda: n_points(folder) > 0, what="a first point")
    row = trials_of(folder)[0]
    kill(row.worker)
    assert wait_for_end(folder) == "finished"
    row = trials_of(folder)[0]
    assert (row.state, row.attempt) == ("complete", 2)
    with folder.reader() as reader:
        assert reader.points(trial=0, name="accuracy").epochs == list(range(1, 101))


def test_killed_supervisor_leaves_an_interrupted_run_that_resumes(runs):
    folder = runs.submit(
        fixed={"epochs": 60}, budget=Budget(n_trials=4), execution=Execution(executor="process")
    )
    until(lambda: any(row.state == "complete" for row in trials_of(folder)), what="a trial")
    processes = family(supervisor_pid(folder))
    kill(processes[0].pid)
    _, alive = psutil.wait_procs(processes, timeout=15)
    assert not alive, "a worker outlived its supervisor"
    assert state_of(folder) == "interrupted"
    client.resume(runs.home, folder)
    until(lambda: state_of(folder) == "finished", what="the end")
    assert sorted(row.number for row in trials_of(folder)) == list(range(4))
    assert all(row.state == "complete" for row in trials_of(folder))


def test_sigterm_leaves_a_run_that_resumes(runs):
    folder = runs.submit(fixed=SLOW)
    until(lambda: n_points(folder) > 0, what="a first point")
    os.kill(supervisor_pid(folder), signal.SIGTERM)
    assert wait_for_end(folder) == "interrupted"
    assert {row.state for row in trials_of(folder)} <= {"waiting", "complete"}


SAID = {
    "raises": "ValueError: no good",
    "exits": "SystemExit: 3",
    "ends its process": "exit code 3",
    "crashes": "SIGSEGV",
}


def test_a_model_that_misbehaves_fails_its_trial_with_the_reason(runs):
    source = """
    import ctypes, os, sys
    from torch import nn

    class Net(nn.Module):
        def __init__(self, how):
            super().__init__()
            self.how, self.layer = how, nn.Linear(64, 10)

        def forward(self, x):
            if self.how == "raises":
                raise ValueError("no good")
            if self.how == "exits":
                sys.exit(3)
            if self.how == "ends its process":
                os._exit(3)
            ctypes.string_at(0)
    """
    folder = runs.submit(
        source,
        space=Space({"how": Choice(*SAID)}),
        sampler="brute",
        budget=Budget(n_trials=len(SAID)),
        execution=Execution(n_workers=1),
    )
    assert wait_for_end(folder) == "failed"
    errors = {row.params["how"]: row.error for row in trials_of(folder)}
    assert errors.keys() == SAID.keys()
    for how, said in SAID.items():
        assert said in errors[how]


def test_the_same_error_three_times_ends_the_run_with_one_message(runs):
    source = """
    from torch import nn

    class Net(nn.Module):
        def __init__(self, hidden=4):
            super().__init__()
            self.layer = nn.Linear(64, 10)

        def forward(self, x):
            raise ValueError("always")
    """
    # One worker: where a second one holds a stack that it has not looked at yet, as many trials as are
    # in it may yet do better, and as many may fail before the run ends.
    folder = runs.submit(source, budget=Budget(n_trials=50), execution=Execution(n_workers=1))
    assert wait_for_end(folder) == "failed"
    with folder.reader() as reader:
        assert "times in a row: ValueError: always" in reader.run().message
    begun = [row for row in trials_of(folder) if row.started_at is not None]
    assert {row.state for row in begun} == {"failed"}
    assert len(begun) < 20  # the rest was drawn, as a stack takes many, and not trained


def test_prints_of_the_model_reach_the_log_and_are_bounded(runs):
    source = """
    from torch import nn

    class Net(nn.Module):
        def __init__(self, hidden=4):
            super().__init__()
            self.layer = nn.Linear(64, 10)
            for i in range(5000):
                print("line", i, "of the model")

        def forward(self, x):
            return self.layer(x)
    """
    folder = runs.submit(source, budget=Budget(n_trials=1))
    assert wait_for_end(folder) == "finished"
    texts = logs_of(folder)
    assert any("of the model" in text for text in texts)
    assert any("left out" in text for text in texts)
    assert len(texts) < 400


def test_a_trial_over_its_time_fails_and_the_next_one_runs(runs):
    folder = runs.submit(
        fixed=SLOW,
        budget=Budget(n_trials=2, trial_seconds=0.5),
        execution=Execution(n_workers=1),
    )
    assert wait_for_end(folder) == "failed"
    assert [row.error for row in trials_of(folder)] == ["took longer than 0.5 s"] * 2


def test_a_hanging_trial_is_killed(runs):
    source = """
    import time
    from torch import nn

    class Net(nn.Module):
        def __init__(self, hidden=4):
            super().__init__()
            time.sleep(600)
    """
    folder = runs.submit(source, budget=Budget(n_trials=1, trial_seconds=0.5))
    assert wait_for_end(folder) == "failed"
    assert "took longer than 0.5 s" in trials_of(folder)[0].error


def test_when_the_time_is_over_running_trials_keep_their_value(runs):
    folder = runs.submit(fixed=SLOW, budget=Budget(n_trials=100, wall_seconds=2.0))
    assert wait_for_end(folder) == "finished"
    rows = trials_of(folder)
    assert {row.state for row in rows} == {"stopped_early"}
    assert all(row.value is not None for row in rows)


def test_an_objective_in_optunas_words_is_tuned(runs):
    source = """
    def objective(trial):
        x = trial.suggest_float("x", -5, 5)
        kind = trial.suggest_categorical("kind", ["a", "b"])
        for step in range(1, 4):
            trial.report((x - 2) ** 2 + (kind == "b") + 1 / step, step)
        return (x - 2) ** 2 + (kind == "b")
    """
    folder = runs.submit(
        source,
        data=None,
        space=Space({}),
        fixed={},
        target=Target(role="objective", symbol="objective", capsule_hash=""),
        objectives=(Objective(metric="value", direction="minimize"),),
        budget=Budget(n_trials=12),
        sampler="tpe",
    )
    assert wait_for_end(folder) == "finished"
    rows = trials_of(folder)
    assert all(set(row.params) == {"x", "kind"} for row in rows)
    for row in rows:
        expected = (row.params["x"] - 2) ** 2 + (row.params["kind"] == "b")
        assert row.value == pytest.approx(expected)


def test_an_objective_whose_process_ends_has_its_parameters_and_nothing_is_warned_of(runs):
    source = """
    import os

    def objective(trial):
        x = trial.suggest_float("x", -1, 1)
        if trial.number == 1:
            os._exit(3)
        return x
    """
    folder = runs.submit(
        source,
        data=None,
        space=Space(),
        fixed={},
        target=Target(role="objective", symbol="objective", capsule_hash=""),
        objectives=(Objective(metric="value", direction="minimize"),),
        budget=Budget(n_trials=4),
    )
    assert wait_for_end(folder) == "finished"
    rows = trials_of(folder)
    assert [row.state for row in rows] == ["complete", "failed", "complete", "complete"]
    assert all(list(row.params) == ["x"] for row in rows)
    with folder.reader() as reader:
        assert not [line.text for line in reader.logs() if "left out" in line.text]


def test_an_estimator_is_tuned_by_cross_validation(runs):
    source = "from sklearn.tree import DecisionTreeClassifier as Net\n"
    from nbautoml.spec import Int

    folder = runs.submit(
        source,
        data="wine",
        space=Space({"max_depth": Int(1, 6)}),
        fixed={},
        target=Target(role="estimator", symbol="Net", capsule_hash=""),
        budget=Budget(n_trials=4),
    )
    assert wait_for_end(folder) == "finished"
    assert max(row.value for row in trials_of(folder)) > 0.8


def test_nan_loss_fails_the_trial_with_its_step_and_the_others_go_on(runs):
    source = """
    import torch
    from torch import nn

    class Net(nn.Module):
        def __init__(self, hidden=4):
            super().__init__()
            self.layer = nn.Linear(64, 10)
            self.is_bad = hidden < 20
            self.n = 0

        def forward(self, x):
            self.n += 1
            bad = self.is_bad and self.n > 5
            return self.layer(x) * (float("nan") if bad else 1.0)
    """
    folder = runs.submit(source, budget=Budget(n_trials=6), sampler="qmc")
    assert wait_for_end(folder) == "finished"
    rows = trials_of(folder)
    bad = [row for row in rows if row.params["hidden"] < 20]
    assert bad
    assert all(row.state == "failed" and "step 6" in row.error for row in bad)
    assert all(row.state == "complete" for row in rows if row not in bad)


def test_end_states_cover_all_that_a_run_can_end_in():
    from nbautoml.events.facts import RUN_STATES

    assert set(RUN_STATES) - END_STATES == {"queued", "running", "paused"}
