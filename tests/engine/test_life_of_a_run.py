"""The life of a run: submitted, trained in workers, commanded, ended, resumed."""

from __future__ import annotations

import os
import signal

import psutil
import pytest
from engine_runs import END_STATES, family, kill, state_of, supervisor_pid, until, wait_for_end

from nbautoml.engine import client
from nbautoml.errors import EngineError
from nbautoml.events import CancelTrial, Enqueue, Interrupt, Pause, Resume, Stop
from nbautoml.spec import Budget, Objective, Space
from nbautoml.spec.recipe import Execution, Target

SLOW = {"epochs": 4000}


def trials_of(folder):
    with folder.reader() as reader:
        return reader.trials()


def n_points(folder):
    with folder.reader() as reader:
        return len(reader.points().values)


def logs_of(folder):
    with folder.reader() as reader:
        return [line.text for line in reader.logs()]


def test_all_trials_complete_with_values_and_curves(runs):
    folder = runs.submit()
    assert wait_for_end(folder) == "finished"
    rows = trials_of(folder)
    assert [row.number for row in rows] == [0, 1, 2, 3]
    assert all(row.state == "complete" and row.value > 0.3 for row in rows)
    with folder.reader() as reader:
        for row in rows:
            assert reader.points(trial=row.number, name="accuracy").epochs == [1, 2]


def test_inline_gives_the_numbers_that_processes_give(runs):
    apart = runs.submit()
    inline = runs.submit(execution=Execution(executor="inline"))
    assert wait_for_end(apart) == wait_for_end(inline) == "finished"
    values = [[row.value for row in trials_of(folder)] for folder in (apart, inline)]
    assert values[0] == pytest.approx(values[1], abs=1e-9)


def test_one_worker_and_two_give_the_same_trials(runs):
    one, two = (runs.submit(execution=Execution(n_workers=n)) for n in (1, 2))
    assert wait_for_end(one) == wait_for_end(two) == "finished"
    found = [{row.number: (row.params, row.value) for row in trials_of(f)} for f in (one, two)]
    assert found[0] == found[1]


def test_weights_of_the_best_trial_are_kept_and_verified(runs):
    folder = runs.submit()
    wait_for_end(folder)
    best = max(trials_of(folder), key=lambda row: row.value)
    with folder.reader() as reader:
        kept = [row for row in reader.artifacts(trial=best.number) if row.kind == "weights"]
    from safetensors.torch import load

    from nbautoml.store import load_artifact

    assert "layers.0.weight" in load(load_artifact(kept[0]))


def test_pause_holds_the_trials_and_resume_lets_them_go_on(runs):
    folder = runs.submit(fixed=SLOW)
    until(lambda: n_points(folder) > 0, what="a first point")
    client.send(folder, Pause())
    until(lambda: state_of(folder) == "paused", what="the pause")
    until(lambda: n_points(folder) == n_points(folder), what="a look")
    client.send(folder, Resume())
    until(lambda: state_of(folder) == "running", what="going on")
    held = n_points(folder)
    until(lambda: n_points(folder) > held, what="more points")
    client.send(folder, Stop())
    assert wait_for_end(folder) == "stopped"


def test_stop_ends_the_run_and_keeps_the_curves(runs):
    folder = runs.submit(fixed=SLOW)
    until(lambda: n_points(folder) > 0, what="a first point")
    processes = family(supervisor_pid(folder))
    client.send(folder, Stop())
    assert wait_for_end(folder) == "stopped"
    assert {row.state for row in trials_of(folder)} <= {"cancelled", "complete"}
    assert n_points(folder) > 0
    _, alive = psutil.wait_procs(processes, timeout=15)
    assert not alive


def test_cancel_ends_one_trial_and_the_run_goes_on(runs):
    folder = runs.submit(fixed=SLOW, budget=Budget(n_trials=2), execution=Execution(n_workers=1))
    until(lambda: n_points(folder) > 0, what="a first point")
    client.send(folder, CancelTrial(trial=0))
    until(lambda: trials_of(folder)[0].state == "cancelled", what="the cancelled trial")
    until(lambda: len(trials_of(folder)) == 2, what="the next trial")
    client.send(folder, Stop())
    assert wait_for_end(folder) == "stopped"


def test_cancelling_a_trial_that_does_not_run_is_refused(runs):
    folder = runs.submit(fixed=SLOW, budget=Budget(n_trials=1))
    until(lambda: n_points(folder) > 0, what="a first point")
    asked = client.send(folder, CancelTrial(trial=77))

    def refusal():
        with folder.reader() as reader:
            return [c.refusal for c in reader.commands() if c.command_id == asked]

    assert "not running" in until(refusal, what="the answer")[0]
    client.send(folder, Stop())
    wait_for_end(folder)


def test_an_enqueued_point_is_tried_next(runs):
    folder = runs.submit(fixed=SLOW, budget=Budget(n_trials=2), execution=Execution(n_workers=1))
    until(lambda: n_points(folder) > 0, what="a first point")
    client.send(folder, Enqueue(params={"hidden": 9, "lr": 0.005}))
    client.send(folder, CancelTrial(trial=0))
    until(lambda: len(trials_of(folder)) == 2, what="the enqueued trial")
    assert trials_of(folder)[1].params == {"hidden": 9, "lr": 0.005}
    client.send(folder, Stop())
    wait_for_end(folder)


def test_interrupted_run_resumes_and_finishes_every_trial_once(runs):
    # One by one: in a stack all of them would end at about the same time.
    folder = runs.submit(
        fixed={"epochs": 60}, budget=Budget(n_trials=6), execution=Execution(executor="process")
    )
    until(lambda: any(row.state == "complete" for row in trials_of(folder)), what="a trial")
    client.send(folder, Interrupt())
    assert wait_for_end(folder) == "interrupted"
    before = {row.number: row.value for row in trials_of(folder) if row.state == "complete"}
    client.resume(runs.home, folder)
    until(lambda: state_of(folder) == "finished", what="the end")
    after = {row.number: row.value for row in trials_of(folder)}
    assert sorted(after) == list(range(6))
    assert before.items() <= after.items()


def test_a_finished_run_is_not_resumed(runs):
    folder = runs.submit(budget=Budget(n_trials=1))
    wait_for_end(folder)
    with pytest.raises(EngineError, match="nothing to resume"):
        client.resume(runs.home, folder)


def test_killed_worker_costs_a_new_attempt_not_the_trial(runs):
    folder = runs.submit(
        fixed={"epochs": 300}, budget=Budget(n_trials=1), execution=Execution(n_workers=1)
    )
    until(lambda: n_points(folder) > 0, what="a first point")
    row = trials_of(folder)[0]
    kill(row.worker)
    assert wait_for_end(folder) == "finished"
    row = trials_of(folder)[0]
    assert (row.state, row.attempt) == ("complete", 2)
    with folder.reader() as reader:
        assert reader.points(trial=0, name="accuracy").epochs == list(range(1, 301))


def test_killed_supervisor_leaves_an_interrupted_run_that_resumes(runs):
    folder = runs.submit(
        fixed={"epochs": 60}, budget=Budget(n_trials=6), execution=Execution(executor="process")
    )
    until(lambda: any(row.state == "complete" for row in trials_of(folder)), what="a trial")
    processes = family(supervisor_pid(folder))
    kill(processes[0].pid)
    _, alive = psutil.wait_procs(processes, timeout=15)
    assert not alive, "a worker outlived its supervisor"
    assert state_of(folder) == "interrupted"
    client.resume(runs.home, folder)
    until(lambda: state_of(folder) == "finished", what="the end")
    assert sorted(row.number for row in trials_of(folder)) == list(range(6))
    assert all(row.state == "complete" for row in trials_of(folder))


def test_sigterm_leaves_a_run_that_resumes(runs):
    folder = runs.submit(fixed=SLOW)
    until(lambda: n_points(folder) > 0, what="a first point")
    os.kill(supervisor_pid(folder), signal.SIGTERM)
    assert wait_for_end(folder) == "interrupted"
    assert {row.state for row in trials_of(folder)} <= {"waiting", "complete"}


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("raise ValueError('no good')", "ValueError: no good"),
        ("import sys; sys.exit(3)", "SystemExit: 3"),
        ("import os; os._exit(3)", "exit code 3"),
        ("import ctypes; ctypes.string_at(0)", "SIGSEGV"),
    ],
)
def test_a_model_that_misbehaves_fails_its_trial_with_the_reason(runs, line, said):
    source = f"""
    from torch import nn

    class Net(nn.Module):
        def __init__(self, hidden=4):
            super().__init__()
            self.layer = nn.Linear(64, 10)

        def forward(self, x):
            {line}
    """
    folder = runs.submit(source, budget=Budget(n_trials=2), execution=Execution(n_workers=1))
    assert wait_for_end(folder) == "failed"
    assert said in trials_of(folder)[0].error


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
    folder = runs.submit(source, budget=Budget(n_trials=50))
    assert wait_for_end(folder) == "failed"
    with folder.reader() as reader:
        assert "times in a row: ValueError: always" in reader.run().message
    assert len(trials_of(folder)) < 20


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
