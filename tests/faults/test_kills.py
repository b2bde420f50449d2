"""kill -9 at seeded moments: worker (F1), supervisor (F2, F10), the whole process tree (F8)."""

from __future__ import annotations

import os
import signal

import psutil
import pytest
from engine_runs import END_STATES, family, kill, state_of, supervisor_pid, until, wait_for_end
from fault_runs import (
    OBJECTIVE,
    check_nothing_lost,
    n_points,
    objective_words,
    pause_for,
    resume_and_time,
    rng,
    wait_until_gone,
)

from nbautoml.api.run import Run
from nbautoml.engine import client
from nbautoml.events import CancelTrial, Enqueue
from nbautoml.spec import Budget
from nbautoml.spec.recipe import Execution

pytestmark = pytest.mark.timeout(7200 if n_points(0) else 300)


def is_over(folder) -> bool:
    return state_of(folder) in END_STATES


N_EPOCHS = 60


def when_trained(folder, victim, epoch: int):
    """The trial's row once its attempt has come so far, or is over."""

    def found():
        row = rows_of(folder)[victim.number]
        is_same = (row.state, row.attempt) == (victim.state, victim.attempt)
        return row if row.epoch >= epoch or not is_same else None

    return until(found, what=f"epoch {epoch} of trial {victim.number}")


def rows_of(folder):
    with folder.reader() as reader:
        return reader.trials()


def running_trials(folder):
    return [row for row in rows_of(folder) if row.state == "running" and row.worker]


@pytest.mark.parametrize(
    "executor", ["process", pytest.param("vectorized", marks=pytest.mark.nightly)]
)
def test_f1_killed_workers_lose_nothing(runs, acked, figures, executor):
    goal, generator, n_kills, n_runs = n_points(3), rng(f"F1 {executor}"), 0, 0
    killed_at: list[float] = []
    while n_kills < goal:
        n_runs += 1
        acked.path.unlink(missing_ok=True)
        folder = runs.submit(
            fixed={"epochs": N_EPOCHS},
            budget=Budget(n_trials=6),
            execution=Execution(executor=executor, n_workers=2),
        )
        while not is_over(folder) and n_kills < goal:
            # A third kill of one trial is taken for the trial's own fault (memory, mostly).
            victims = [row for row in running_trials(folder) if row.attempt <= 2]
            if not victims:
                pause_for(0.1, lambda folder=folder: is_over(folder))
            else:
                victim = generator.choice(victims)
                victim = when_trained(folder, victim, generator.randint(0, N_EPOCHS))
                if victim.state == "running" and psutil.pid_exists(victim.worker):
                    kill(victim.worker)
                    n_kills += 1
                    killed_at.append(victim.epoch / N_EPOCHS)
                    until(
                        lambda folder=folder, victim=victim: (
                            is_over(folder)
                            or not any(
                                (row.number, row.attempt, row.worker)
                                == (victim.number, victim.attempt, victim.worker)
                                for row in running_trials(folder)
                            )
                        ),
                        what="the worker's death to be noticed",
                    )
        assert wait_for_end(folder) == "finished"
        rows = check_nothing_lost(folder, acked, 6)
        assert {row.state for row in rows} == {"complete"}
        with folder.reader() as reader:
            for row in rows:
                epochs = reader.points(trial=row.number, name="accuracy").epochs
                assert epochs == list(range(1, N_EPOCHS + 1))
    figures.add(f"F1 {executor}", kills=n_kills, runs=n_runs, lost=0, doubled=0, stuck=0)
    figures.add(f"F1 {executor}", killed_at_part_of_training=killed_at)


def test_f2_killed_supervisors_lose_nothing(runs, acked, light, figures):
    goal, generator, n_kills, n_acked, ready = n_points(3), rng("F2"), 0, 0, []
    while n_kills < goal:
        acked.path.unlink(missing_ok=True)
        folder = runs.submit(OBJECTIVE, **objective_words(40), execution=Execution(n_workers=2))
        while not is_over(folder) and n_kills < goal:
            processes = family(supervisor_pid(folder))
            pause_for(generator.uniform(0, 1.5), lambda: False)
            processes += family(processes[0].pid) if processes else []
            if not processes or is_over(folder):
                break
            kill(processes[0].pid)
            n_kills += 1
            wait_until_gone(processes)
            if state_of(folder) == "interrupted":
                ready.append(resume_and_time(runs, folder))
        assert wait_for_end(folder) == "finished"
        rows = check_nothing_lost(folder, acked, 40)
        assert {row.state for row in rows} == {"complete"}
        n_acked += len(rows)
    figures.add("F2", kills=n_kills, trials=n_acked, lost=0, doubled=0, stuck=0, ready_s=ready)


@pytest.mark.nightly
def test_f2_a_warm_supervisor_takes_over_from_a_killed_one(runs, acked, light, figures):
    generator, ready = rng("F2 warm"), []
    folder = runs.submit(OBJECTIVE, **objective_words(4000), execution=Execution(n_workers=2))
    for _ in range(max(3, n_points(3) // 10)):
        client.preheat(runs.home)  # as %load_ext does
        processes = family(supervisor_pid(folder))
        pause_for(generator.uniform(2.5, 4), lambda: False)
        processes += family(processes[0].pid)
        kill(processes[0].pid)
        wait_until_gone(processes)
        assert state_of(folder) == "interrupted"
        ready.append(resume_and_time(runs, folder))
    Run(folder, runs.home).stop()
    assert wait_for_end(folder) == "stopped"
    for end in acked.ends():
        if end["state"] == "complete":
            assert rows_of(folder)[end["trial"]].values == tuple(end["values"])
    figures.add("F2 warm", kills=len(ready), lost=0, ready_s=ready)


SLOW = """
def objective(trial):
    import time
    x = trial.suggest_float("x", -5, 5)
    time.sleep(0 if trial.number else 600)
    return x
"""


@pytest.mark.nightly
def test_a_point_whose_enqueueing_was_acknowledged_outlives_the_supervisor(runs, acked, light):
    words = objective_words(3, execution=Execution(n_workers=1))
    folder = runs.submit(SLOW, **words)
    until(lambda: running_trials(folder), what="trial 0")
    for x in (1.25, 2.5, 3.75):
        client.send(folder, Enqueue(params={"x": x}))
    until(lambda: len(answers_of(folder)) == 3, what="the acknowledgements")
    assert [answer[:3] for answer in answers_of(folder)] == ["", "", "all"]  # 0 is the third
    processes = family(supervisor_pid(folder))
    kill(processes[0].pid)
    wait_until_gone(processes)
    client.resume(runs.home, folder)
    until(lambda: running_trials(folder), what="trial 0 again")
    client.send(folder, CancelTrial(trial=0))
    until(lambda: state_of(folder) == "finished", what="the end")
    assert [row.value for row in rows_of(folder)[1:]] == [1.25, 2.5]


BUSY = """
def objective(trial):
    import ctypes, os, subprocess
    x = trial.suggest_float("x", -5, 5)
    child = subprocess.Popen(["sleep", "600"])
    if os.fork() == 0:
        ctypes.PyDLL(None).sleep(600)
    open({place!r}, "w").write(str(child.pid))
    ctypes.PyDLL(None).sleep(600)
    return x
"""


def test_f2_a_busy_trial_and_all_it_started_end_with_a_killed_supervisor(
    runs, acked, light, tmp_path
):
    place = tmp_path / "child"
    folder = runs.submit(BUSY.format(place=str(place)), **objective_words(1))
    until(lambda: place.exists() and place.read_text(), what="trial 0")
    processes = family(supervisor_pid(folder))
    assert int(place.read_text()) in {process.pid for process in processes}
    assert len(processes) >= 5  # with the forkserver, the worker, and its two children
    kill(processes[0].pid)
    wait_until_gone(processes)


def answers_of(folder) -> list[str]:
    with folder.reader() as reader:
        return [row.refusal for row in reader.commands()]


@pytest.mark.nightly
@pytest.mark.parametrize("site", ["before-write", "before-commit", "after-commit"])
def test_f10_a_supervisor_killed_around_the_finish_of_a_trial(
    runs, acked, light, monkeypatch, figures, site
):
    generator = rng(f"F10 {site}")
    monkeypatch.setenv("NBAUTOML_TEST_KILL", f"{site}:{generator.randint(2, 6)}")
    folder = runs.submit(OBJECTIVE, **objective_words(12), execution=Execution(n_workers=1))
    until(lambda: state_of(folder) == "interrupted", what="the supervisor to die")
    monkeypatch.delenv("NBAUTOML_TEST_KILL")
    client.resume(runs.home, folder)
    until(lambda: state_of(folder) == "finished", what="the end")
    check_nothing_lost(folder, acked, 12)
    figures.add(f"F10 {site}", kills=1, lost=0, doubled=0, stuck=0)


@pytest.mark.nightly
def test_f8_all_processes_of_a_run_killed_at_once(runs, acked, light):
    folder = runs.submit(OBJECTIVE, **objective_words(40), execution=Execution(n_workers=2))
    until(lambda: len(acked.ends()) > 3, what="finished trials")
    processes = family(supervisor_pid(folder))
    for process in processes:
        os.kill(process.pid, signal.SIGSTOP)
    for process in processes:
        kill(process.pid)
    wait_until_gone(processes)
    assert state_of(folder) == "interrupted"
    client.resume(runs.home, folder)
    until(lambda: state_of(folder) == "finished", what="the end")
    check_nothing_lost(folder, acked, 40)


@pytest.mark.nightly
def test_f6_sigterm_ends_the_supervisor_in_order(runs, acked, light):
    folder = runs.submit(OBJECTIVE, **objective_words(200), execution=Execution(n_workers=2))
    until(lambda: len(acked.ends()) > 3, what="finished trials")
    processes = family(supervisor_pid(folder))
    child = next(c for c in client._started.children if c.pid == processes[0].pid)
    os.kill(processes[0].pid, signal.SIGTERM)
    assert child.wait(30) == 143
    wait_until_gone(processes)
    assert state_of(folder) == "interrupted"
    with folder.reader() as reader:
        assert "SIGTERM" in reader.run().message
        assert not [row for row in reader.trials() if row.state == "running"]


@pytest.mark.nightly
def test_f7_a_supervisor_that_was_asleep_is_not_replaced_and_goes_on(runs, acked, light):
    folder = runs.submit(OBJECTIVE, **objective_words(30), execution=Execution(n_workers=2))
    until(lambda: len(acked.ends()) > 3, what="finished trials")
    pid = supervisor_pid(folder)
    os.kill(pid, signal.SIGSTOP)
    try:
        assert state_of(folder) == "running"
        from nbautoml.errors import StoreError
        from nbautoml.store import Owner

        with pytest.raises(StoreError, match="being written by process"):
            folder.writer(Owner.this_process())
    finally:
        os.kill(pid, signal.SIGCONT)
    assert wait_for_end(folder) == "finished"
    check_nothing_lost(folder, acked, 30)
