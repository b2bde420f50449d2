"""Long runs: nothing grows, and whatever is done to runs at random, their states stay possible.

``make test-soak``. Environment: NBAUTOML_SOAK_TRIALS (2000), NBAUTOML_SOAK_S (60; an hour: 3600).
"""

from __future__ import annotations

import os
import tempfile
import time
from pathlib import Path

import psutil
import pytest
from engine_runs import END_STATES, Runs, family, kill, state_of, supervisor_pid, until
from fault_runs import OBJECTIVE, objective_words
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule, run_state_machine_as_test

from nbautoml.engine import client
from nbautoml.errors import NbAutomlError
from nbautoml.events import Pause, Resume, Stop
from nbautoml.spec.recipe import Execution
from nbautoml.store.peek import peek

pytestmark = [pytest.mark.nightly, pytest.mark.timeout(6 * 3600)]

N_TRIALS = int(os.environ.get("NBAUTOML_SOAK_TRIALS", "2000"))
SOAK_S = float(os.environ.get("NBAUTOML_SOAK_S", "60"))
SHORT = "def objective(trial):\n    return trial.suggest_float('x', -5, 5) ** 2\n"


def size_of(process: psutil.Process) -> dict[str, int]:
    return {
        "memory": process.memory_info().rss,
        "threads": process.num_threads(),
        "files": process.num_fds(),
        "processes": len(process.children(recursive=True)),
    }


def test_two_thousand_trials_leave_the_supervisor_as_it_was(runs, acked, light, figures):
    words = objective_words(N_TRIALS, execution=Execution(n_workers=1), sampler="random")
    folder = runs.submit(SHORT, **words)
    supervisor = psutil.Process(supervisor_pid(folder))
    early = N_TRIALS // 10
    until(lambda: peek(folder).n_finished > early, what="the first tenth", wait_s=600)
    before, after = size_of(supervisor), {}

    def is_over() -> bool:
        if peek(folder).n_finished < N_TRIALS * 0.98:
            after.update(size_of(supervisor))
        return state_of(folder) in END_STATES

    until(is_over, what="the end", wait_s=3000)
    figures.add("soak trials", trials=N_TRIALS, **{f"{k}_before": v for k, v in before.items()})
    figures.add("soak trials", **{f"{k}_after": v for k, v in after.items()})
    assert state_of(folder) == "finished"
    assert peek(folder).n_finished == N_TRIALS
    assert after["memory"] < before["memory"] + 40e6 + 20_000 * N_TRIALS
    assert after["threads"] == before["threads"]
    assert after["files"] <= before["files"] + 2
    assert after["processes"] <= before["processes"] + 1


class LifeOfRuns(RuleBasedStateMachine):
    """Starts, pauses, resumes, stops and kills runs; what they say must stay possible."""

    def __init__(self) -> None:
        super().__init__()
        self.place = tempfile.TemporaryDirectory(prefix="nbautoml-soak-")
        self.runs = Runs(Path(self.place.name))
        self.folders: list = []
        self.finished: dict[tuple[int, int], tuple[str, float | None]] = {}

    def teardown(self) -> None:
        for folder in self.folders:
            if peek(folder).state in {"running", "paused"}:
                for process in family(supervisor_pid(folder)):
                    process.kill()
        client._reap()
        self.place.cleanup()

    def any_of(self, index: int):
        return self.folders[index % len(self.folders)] if self.folders else None

    @rule()
    def start(self) -> None:
        if len(self.folders) < 4:
            words = objective_words(60, execution=Execution(n_workers=1))
            self.folders.append(self.runs.submit(OBJECTIVE, **words))
            supervisor_pid(self.folders[-1])

    @rule(index=st.integers(0, 9), word=st.sampled_from([Pause, Resume, Stop]))
    def command(self, index, word) -> None:
        folder = self.any_of(index)
        if folder is not None and peek(folder).state in {"running", "paused"}:
            client.send(folder, word())

    @rule(index=st.integers(0, 9))
    def resume(self, index) -> None:
        folder = self.any_of(index)
        if folder is not None and peek(folder).state in {"interrupted", "stopped"}:
            try:
                client.resume(self.runs.home, folder)
            except NbAutomlError:
                return
            until(lambda: peek(folder).state in {"running", "finished"}, what="going on")

    @rule(index=st.integers(0, 9), wait_s=st.floats(0, 0.5))
    def kill_supervisor(self, index, wait_s) -> None:
        folder = self.any_of(index)
        if folder is None or peek(folder).state not in {"running", "paused"}:
            return
        time.sleep(wait_s)
        processes = family(supervisor_pid(folder)) if peek(folder).state == "running" else []
        if processes:
            kill(processes[0].pid)
            _, alive = psutil.wait_procs(processes, timeout=30)
            assert not alive

    @rule(wait_s=st.floats(0, 1.0))
    def wait(self, wait_s) -> None:
        time.sleep(wait_s)

    @invariant()
    def what_is_finished_stays_and_numbers_are_whole(self) -> None:
        for place, folder in enumerate(self.folders):
            with folder.reader() as reader:
                run, rows = reader.run(), reader.trials()
            assert [row.number for row in rows] == list(range(len(rows)))
            if run.state == "finished":
                assert {row.state for row in rows} <= {"complete", "cancelled"}
            for row in rows:
                key, now = (place, row.number), (row.state, row.value)
                if key in self.finished:
                    assert self.finished[key] == now, "a finished trial changed"
                elif row.ended_at is not None:
                    self.finished[key] = now


def test_states_stay_possible_whatever_is_done_to_runs(acked, light, figures):
    until_s, n_rounds = time.monotonic() + SOAK_S, 0
    machine = settings(
        max_examples=1,
        stateful_step_count=40,
        deadline=None,
        database=None,
        suppress_health_check=list(HealthCheck),
    )
    before = size_of(psutil.Process())
    while n_rounds == 0 or time.monotonic() < until_s:
        run_state_machine_as_test(LifeOfRuns, settings=machine)
        n_rounds += 1
    after = size_of(psutil.Process())
    figures.add("soak states", seconds=SOAK_S, rounds=n_rounds)
    assert after["processes"] <= before["processes"]
    assert after["files"] <= before["files"] + 4
    assert after["threads"] <= before["threads"] + 1
