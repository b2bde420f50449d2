"""kill -9 at seeded moments: supervisor (F2, F10), the whole process tree (F8); and SIGTERM (F6)."""

from __future__ import annotations

import os
import signal
import time
from collections import Counter

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
from nbautoml.spec.recipe import Execution

pytestmark = pytest.mark.timeout(7200 if n_points(0) else 300)


def is_over(folder) -> bool:
    return state_of(folder) in END_STATES


def rows_of(folder):
    with folder.reader() as reader:
        return reader.trials()


def running_trials(folder):
    return [row for row in rows_of(folder) if row.state == "running" and row.worker]


@pytest.mark.timed
def test_f2_killed_supervisors_lose_nothing(runs, acked, light, figures):
    goal, generator, n_kills, n_acked, ready = n_points(3), rng("F2"), 0, 0, []
    while n_kills < goal:
        acked.clear()
        folder = runs.submit(OBJECTIVE, **objective_words(60), execution=Execution(n_workers=2))
        while not is_over(folder) and n_kills < goal:
            processes = family(supervisor_pid(folder))
            pause_for(generator.uniform(0, 1.0), lambda: False)
            processes += family(processes[0].pid) if processes else []
            if not processes or is_over(folder):
                break
            kill(processes[0].pid)
            n_kills += 1
            wait_until_gone(processes)
            if state_of(folder) == "interrupted":
                ready.append(resume_and_time(runs, folder))
        assert wait_for_end(folder) == "finished"
        rows = check_nothing_lost(folder, acked, 60)
        assert {row.state for row in rows} == {"complete"}
        n_acked += len(rows)
    figures.add("F2", kills=n_kills, trials=n_acked, lost=0, doubled=0, stuck=0)
    if ready:
        figures.within("F2", {"ready_s_max": 2.0}, ready_s=ready)


@pytest.mark.timed
@pytest.mark.nightly
def test_f2_a_warm_supervisor_takes_over_from_a_killed_one(runs, acked, light, figures):
    goal, generator, ready, n_acked = n_points(3), rng("F2 warm"), [], 0
    while len(ready) < goal:
        acked.clear()
        n_trials = 30_000  # more than there is time for before the last kill
        folder = runs.submit(
            OBJECTIVE, **objective_words(n_trials), execution=Execution(n_workers=2)
        )
        for _ in range(min(40, goal - len(ready))):
            client.preheat(runs.home)  # as %load_ext does
            processes = family(supervisor_pid(folder))
            wait_until_idle(psutil.Process(client._started.warm.pid))
            pause_for(generator.uniform(0, 0.5), lambda: False)
            processes += family(processes[0].pid)
            kill(processes[0].pid)
            wait_until_gone(processes)
            assert state_of(folder) == "interrupted"
            ready.append(resume_and_time(runs, folder))
        Run(folder, runs.home).stop()
        assert wait_for_end(folder) == "stopped"
        rows = rows_of(folder)
        told = [end["trial"] for end in acked.ends()]
        assert len(told) == len(set(told))
        # What waited when the run was stopped goes on waiting: a stopped run can be resumed.
        assert not [row.number for row in rows if row.state == "running"]
        for end in acked.ends():
            row = rows[end["trial"]]
            assert (row.state, row.values) == (end["state"], tuple(end["values"]))
        n_acked += sum(end["state"] == "complete" for end in acked.ends())
    figures.add("F2 warm", kills=len(ready), trials=n_acked, lost=0, doubled=0, stuck=0)
    figures.within("F2 warm", {"ready_s_max": 2.0, "ready_s_median": 0.5}, ready_s=ready)


def wait_until_idle(process: psutil.Process) -> None:
    """Until a warm supervisor has loaded what it loads, and waits to be told of a run."""
    before, n_idle = -1.0, 0
    while n_idle < 4:
        now = sum(process.cpu_times()[:2])
        is_ready = bool(process.children(recursive=True)) and now > 0.3
        n_idle = n_idle + 1 if is_ready and now == before else 0
        before = now
        time.sleep(0.1)


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


SITES = ("before-write", "before-commit", "after-commit")


@pytest.mark.nightly
def test_f10_a_supervisor_killed_around_the_finish_of_a_trial(
    runs, acked, light, monkeypatch, figures
):
    goal, generator, n_trials = n_points(6), rng("F10"), 60
    n_kills: Counter[str] = Counter()
    while n_kills.total() < goal:
        acked.clear()
        folder = None
        while n_kills.total() < goal:  # each life ends at a site of its own
            site = SITES[n_kills.total() % 3]
            monkeypatch.setenv("NBAUTOML_TEST_KILL", f"{site}:{generator.randint(1, 4)}")
            if folder is None:
                words = objective_words(n_trials, execution=Execution(n_workers=2))
                folder = runs.submit(OBJECTIVE, **words)
            else:
                client.resume(runs.home, folder)
            client._started.children[-1].wait(240)
            if state_of(folder) == "finished":
                break
            n_kills[site] += 1
        monkeypatch.delenv("NBAUTOML_TEST_KILL")
        if state_of(folder) == "interrupted":
            client.resume(runs.home, folder)
        until(lambda folder=folder: state_of(folder) == "finished", what="the end")
        rows = check_nothing_lost(folder, acked, n_trials)
        assert {row.state for row in rows} == {"complete"}
    figures.add("F10", kills=n_kills.total(), **n_kills, lost=0, doubled=0, stuck=0)


@pytest.mark.nightly
def test_f8_all_processes_of_a_run_killed_at_once(runs, acked, light, figures):
    goal, generator, n_kills = max(1, n_points(1) // 10), rng("F8"), 0
    folder = runs.submit(OBJECTIVE, **objective_words(400), execution=Execution(n_workers=2))
    while n_kills < goal and not is_over(folder):
        n_told = len(acked.ends())
        until(lambda n_told=n_told: len(acked.ends()) > n_told, what="finished trials")
        pause_for(generator.uniform(0, 0.5), lambda: False)
        processes = family(supervisor_pid(folder))
        for process in processes:
            os.kill(process.pid, signal.SIGSTOP)
        for process in processes:
            kill(process.pid)
        wait_until_gone(processes)
        assert state_of(folder) == "interrupted"
        n_kills += 1
        client.resume(runs.home, folder)
        until(lambda: state_of(folder) != "interrupted", what="going on")
    until(lambda: state_of(folder) == "finished", what="the end")
    check_nothing_lost(folder, acked, 400)
    assert n_kills == goal
    figures.add("F8", kills=n_kills, lost=0, doubled=0, stuck=0)


@pytest.mark.timed
@pytest.mark.nightly
def test_f6_sigterm_ends_the_supervisor_in_order(runs, acked, light, figures):
    folder = runs.submit(OBJECTIVE, **objective_words(200), execution=Execution(n_workers=2))
    until(lambda: len(acked.ends()) > 3, what="finished trials")
    processes = family(supervisor_pid(folder))
    child = next(c for c in client._started.children if c.pid == processes[0].pid)
    begin = time.perf_counter()
    os.kill(processes[0].pid, signal.SIGTERM)
    assert child.wait(30) == 143
    wait_until_gone(processes)
    assert state_of(folder) == "interrupted"
    figures.within("F6", {"all_ended_s_max": 5.0}, all_ended_s=[time.perf_counter() - begin])
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
