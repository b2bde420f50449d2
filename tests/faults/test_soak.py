"""Long runs: nothing grows, and whatever is done to runs at random, their states stay possible.

``make test-soak``. Environment: NBAUTOML_SOAK_TRIALS (2000), NBAUTOML_SOAK_S (60; an hour: 3600).
"""

from __future__ import annotations

import contextlib
import gc
import os
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import ClassVar

import psutil
import pytest
from engine_runs import END_STATES, Runs, family, kill, state_of, supervisor_pid, until
from fault_runs import OBJECTIVE, objective_words
from hypothesis import HealthCheck, Phase, settings
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
N_WARM_ROUNDS = 6  # the sizes of these are those to stay at
DONE: Counter[str] = Counter()  # what the state machine has done
SEEN: dict[int, dict[str, int]] = {}  # supervisors of a round and how large they were
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


def greatest(sizes: list[dict[str, int]]) -> dict[str, int]:
    """Of some rounds, the greatest of each size."""
    return {name: max(size[name] for size in sizes) for name in sizes[0]}


def supervisors_were() -> dict[str, int]:
    """The greatest of a round's supervisors, which are then forgotten."""
    seen = list(SEEN.values())
    SEEN.clear()
    return {
        f"supervisor_{name}": max((size[name] for size in seen), default=0)
        for name in ("memory", "threads", "files", "processes")
    }


class LifeOfRuns(RuleBasedStateMachine):
    """Starts, pauses, resumes, stops and kills runs; what they say must stay possible."""

    sizes: ClassVar[list[dict[str, int]]] = []  # after each life
    told: ClassVar[Callable[[list[dict[str, int]]], None]]

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
        ending = [
            psutil.Process(child.pid) for child in client._started.children if child.poll() is None
        ]
        psutil.wait_procs(ending, timeout=60)
        client._reap()
        self.place.cleanup()
        gc.collect()
        self.sizes.append(size_of(psutil.Process()) | supervisors_were())
        self.told(self.sizes)

    def any_of(self, index: int):
        return self.folders[index % len(self.folders)] if self.folders else None

    @rule()
    def start(self) -> None:
        if len(self.folders) < 4:
            words = objective_words(60, execution=Execution(n_workers=1))
            self.folders.append(self.runs.submit(OBJECTIVE, **words))
            DONE["started"] += 1
            supervisor_pid(self.folders[-1])

    @rule(index=st.integers(0, 9), word=st.sampled_from([Pause, Resume, Stop]))
    def command(self, index, word) -> None:
        folder = self.any_of(index)
        if folder is not None and peek(folder).state in {"running", "paused"}:
            client.send(folder, word())
            DONE[f"told_to_{word.__name__.lower()}"] += 1

    @rule(index=st.integers(0, 9))
    def resume(self, index) -> None:
        folder = self.any_of(index)
        if folder is not None and peek(folder).state in {"interrupted", "stopped"}:
            try:
                client.resume(self.runs.home, folder)
            except NbAutomlError:
                return
            until(lambda: peek(folder).state in {"running", "finished"}, what="going on")
            DONE["resumed"] += 1

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
            DONE["killed"] += 1

    @rule(wait_s=st.floats(0, 1.0))
    def wait(self, wait_s) -> None:
        time.sleep(wait_s)

    @invariant()
    def what_is_finished_stays_and_numbers_are_whole(self) -> None:
        for place, folder in enumerate(self.folders):
            with folder.reader() as reader:
                run, rows = reader.run(), reader.trials()
            with contextlib.suppress(psutil.Error):  # it may have ended
                if run.state == "running" and run.owner_pid:
                    SEEN[run.owner_pid] = size_of(psutil.Process(run.owner_pid))
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
    begin = time.monotonic()
    machine = settings(
        max_examples=4,  # the first of a call is always the plainest: it starts runs, no more
        stateful_step_count=40,
        phases=[Phase.generate],
        deadline=None,
        database=None,
        suppress_health_check=list(HealthCheck),
    )

    def told(sizes: list[dict[str, int]]) -> None:
        # After each round: what an hour has found must not be lost with its last minute.
        early, late = greatest(sizes[:N_WARM_ROUNDS]), greatest(sizes[-N_WARM_ROUNDS:])
        figures.add("soak states", seconds=round(time.monotonic() - begin), rounds=len(sizes))
        figures.add("soak states", **DONE)
        figures.add("soak states", **{f"{k}_before": v for k, v in early.items()})
        figures.add("soak states", **{f"{k}_after": v for k, v in late.items()})

    LifeOfRuns.told = staticmethod(told)
    while len(LifeOfRuns.sizes) < 2 * N_WARM_ROUNDS or time.monotonic() - begin < SOAK_S:
        run_state_machine_as_test(LifeOfRuns, settings=machine)
    assert all(DONE[what] for what in ("started", "resumed", "killed", "told_to_pause"))
    early = greatest(LifeOfRuns.sizes[:N_WARM_ROUNDS])
    late = greatest(LifeOfRuns.sizes[-N_WARM_ROUNDS:])
    # Hypothesis and the reader's caches fill in the first rounds.
    assert late["memory"] <= early["memory"] + 40e6
    assert late["processes"] <= early["processes"]
    assert late["files"] <= early["files"] + 4
    assert late["threads"] <= early["threads"] + 1
    assert late["supervisor_threads"] <= early["supervisor_threads"] + 1
    assert late["supervisor_files"] <= early["supervisor_files"] + 8
    assert late["supervisor_memory"] <= early["supervisor_memory"] + 40e6
