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
from fault_runs import OBJECTIVE, Acked, check_nothing_lost, objective_words
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


def notarised(acked: Acked) -> None:
    """The supervisor that starts next tells this notary."""
    os.environ["NBAUTOML_TEST_ACKS"] = str(acked.path)
    os.environ["NBAUTOML_TEST_COMPUTED"] = str(acked.folder / "computed")


class LifeOfRuns(RuleBasedStateMachine):
    """Starts, pauses, resumes, stops and kills runs; what they say must stay possible."""

    sizes: ClassVar[list[dict[str, int]]] = []  # after each life
    told: ClassVar[Callable[[list[dict[str, int]]], None]]

    def __init__(self) -> None:
        super().__init__()
        self.place = tempfile.TemporaryDirectory(prefix="nbautoml-soak-")
        self.runs = Runs(Path(self.place.name))
        self.folders: list = []
        self.acks: list[Acked] = []  # a notary a run
        self.finished: dict[tuple[int, int], tuple[str, float | None]] = {}

    def teardown(self) -> None:
        for folder, acked in zip(self.folders, self.acks, strict=True):
            self.bring_to_its_end(folder, acked)
            with folder.reader() as reader:
                n_trials = len(reader.trials())
            check_nothing_lost(folder, acked, n_trials)
            DONE["brought_to_the_end"] += 1
            DONE["acknowledged"] += len(acked.ends())
        ending = [
            psutil.Process(child.pid) for child in client._started.children if child.poll() is None
        ]
        psutil.wait_procs(ending, timeout=60)
        client._reap()
        self.place.cleanup()
        gc.collect()
        self.sizes.append(size_of(psutil.Process()) | supervisors_were())
        self.told(self.sizes)

    def bring_to_its_end(self, folder, acked: Acked) -> None:
        """Whatever was done to it: a command that came last may still stop or pause it."""
        limit = time.monotonic() + 240
        while (state := peek(folder).state) != "finished":
            assert time.monotonic() < limit, f"{folder} stays {state}"
            if state == "paused":
                client.send(folder, Resume())
            elif state in {"interrupted", "stopped"}:
                notarised(acked)
                with contextlib.suppress(NbAutomlError):  # its supervisor may be ending
                    client.resume(self.runs.home, folder)
            time.sleep(0.3)

    def any_of(self, index: int):
        return self.folders[index % len(self.folders)] if self.folders else None

    @rule()
    def start(self) -> None:
        if len(self.folders) < 4:
            words = objective_words(60, execution=Execution(n_workers=1))
            place = Path(self.place.name) / f"notary {len(self.folders)}"
            place.mkdir()
            self.acks.append(Acked(place))
            notarised(self.acks[-1])
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
            notarised(self.acks[self.folders.index(folder)])
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
        with folder.reader() as reader:
            run = reader.run()
        processes = family(run.owner_pid) if run.owner_pid else []
        if processes and run.state in {"running", "paused"}:
            kill(processes[0].pid)
            _, alive = psutil.wait_procs(processes, timeout=30)
            assert not alive
            DONE["killed" if run.state == "running" else "killed_while_paused"] += 1

    @rule(index=st.integers(0, 9), wait_s=st.floats(0, 0.5))
    def kill_worker(self, index, wait_s) -> None:
        folder = self.any_of(index)
        if folder is None:
            return
        time.sleep(wait_s)
        with folder.reader() as reader:
            workers = {row.worker for row in reader.trials() if row.state == "running"}
        for worker in workers - {None}:
            if any(process.pid == worker for process in psutil.Process().children(recursive=True)):
                kill(worker)
                DONE["workers_killed"] += 1

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
                # One whose worker was killed three times has failed.
                killed = {row.number for row in rows if "SIGKILL" in row.error}
                others = [row for row in rows if row.number not in killed]
                assert {row.state for row in others} <= {"complete", "cancelled"}
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
    assert all(
        DONE[what]
        for what in ("started", "resumed", "killed", "told_to_pause", "brought_to_the_end")
    )
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
