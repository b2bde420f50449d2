"""What a run that goes on is told, and does: paused, its trials cancelled, a point tried next, stopped."""

from __future__ import annotations

import psutil
import pytest
from engine_runs import family, n_points, state_of, supervisor_pid, trials_of, until, wait_for_end

from nbautoml.engine import client
from nbautoml.events import CancelTrial, Enqueue, Pause, Resume, Stop
from nbautoml.spec import Budget
from nbautoml.spec.recipe import Execution


@pytest.fixture(scope="module")
def started(shared):
    """A run that goes on until somebody ends it, one trial after another."""
    folder = shared.submit(
        fixed={"epochs": 100_000},
        budget=Budget(n_trials=50),
        execution=Execution(executor="process", n_workers=1),
    )
    yield folder
    client.send(folder, Stop())
    wait_for_end(folder)


@pytest.fixture
def going(started):
    """It, with a trial that trains."""
    until(lambda: running(started) and running(started).epoch > 0, what="a trial that trains")
    assert state_of(started) == "running"
    return started


def running(folder):
    """The trial that is trained now."""
    return next((row for row in trials_of(folder) if row.state == "running"), None)


def cancel(folder, number):
    """Cancel a trial, and wait for the next one."""
    client.send(folder, CancelTrial(trial=number))
    until(lambda: trials_of(folder)[number].state == "cancelled", what="the cancelled trial")
    return until(lambda: running(folder), what="the next trial")


def test_pause_holds_the_trials_and_resume_lets_them_go_on(going):
    client.send(going, Pause())
    until(lambda: state_of(going) == "paused", what="the pause")
    until(lambda: n_points(going) == n_points(going), what="a look")
    client.send(going, Resume())
    until(lambda: state_of(going) == "running", what="going on")
    held = n_points(going)
    until(lambda: n_points(going) > held, what="more points")
    assert running(going).attempt == 1


def test_cancel_ends_one_trial_and_the_run_goes_on(going):
    number = running(going).number
    assert cancel(going, number).number == number + 1
    assert state_of(going) == "running"


def test_cancelling_a_trial_that_does_not_run_is_refused(going):
    asked = client.send(going, CancelTrial(trial=77))

    def refusal():
        with going.reader() as reader:
            return [c.refusal for c in reader.commands() if c.command_id == asked]

    assert "not running" in until(refusal, what="the answer")[0]


def test_an_enqueued_point_is_tried_next(going):
    client.send(going, Enqueue(params={"hidden": 9, "lr": 0.005}))
    assert cancel(going, running(going).number).params == {"hidden": 9, "lr": 0.005}


def test_stop_ends_the_run_and_keeps_the_curves(going):
    processes = family(supervisor_pid(going))
    client.send(going, Stop())
    assert wait_for_end(going) == "stopped"
    assert {row.state for row in trials_of(going)} == {"cancelled"}
    assert n_points(going) > 0
    _, alive = psutil.wait_procs(processes, timeout=15)
    assert not alive
