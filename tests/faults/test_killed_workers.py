"""Workers that are killed (F1), killed beside a checkpoint (F10), and put to sleep (F7)."""

from __future__ import annotations

import os
import random
import re
import signal
import time
from collections import defaultdict
from dataclasses import dataclass

import psutil
import pytest
from engine_runs import END_STATES, kill, state_of, until, wait_for_end
from fault_runs import (
    OBJECTIVE,
    check_nothing_lost,
    n_points,
    objective_words,
    pause_for,
    rng,
)

from nbautoml.engine import client
from nbautoml.engine.loop import MAX_REQUEUES
from nbautoml.events import CancelTrial
from nbautoml.spec import Budget
from nbautoml.spec.recipe import Execution
from nbautoml.store import RunFolder, TrialRow

pytestmark = pytest.mark.timeout(7200 if n_points(0) else 300)

N_EPOCHS = 60
FIXED = {"epochs": N_EPOCHS, "batch_size": 128}
_GOES_ON = re.compile("goes on after epoch ([0-9]+), from its checkpoint")


@dataclass(frozen=True)
class Kill:
    """One bullet: at which epoch the trial was, and which checkpoint of it the record knew."""

    time: float
    trial: int
    attempt: int
    epoch: int
    kept: int


class Hunt:
    """Kills the workers of one run, each when one of its trials comes to an epoch drawn before."""

    def __init__(self, folder: RunFolder, generator: random.Random) -> None:
        self.folder, self._random = folder, generator
        self.kills: list[Kill] = []
        self._aims: dict[int, tuple[int, int]] = {}  # worker -> trial, epoch
        self._dead: set[int] = set()
        # A trial whose worker is killed three times without a checkpoint between is taken for the
        # cause (memory, mostly): trial -> kills since, and the newest checkpoint then.
        self._struck: dict[int, tuple[int, int]] = defaultdict(lambda: (0, 0))

    def look(self) -> None:
        """Shoot who has come so far."""
        with self.folder.reader() as reader:
            rows, artifacts = reader.trials(), reader.artifacts()
        kept: dict[int | None, int] = defaultdict(int)
        for row in artifacts:
            if row.kind == "checkpoint":
                kept[row.trial] = max(kept[row.trial], int(row.details["epoch"]))
        by_worker: dict[int, list[TrialRow]] = defaultdict(list)
        for row in rows:
            if row.state == "running" and row.worker and row.worker not in self._dead:
                by_worker[row.worker].append(row)
        for worker, running in by_worker.items():
            if self._may_fall(running, kept) and psutil.pid_exists(worker):
                self._aim(worker, running, kept)

    def _may_fall(self, running: list[TrialRow], kept: dict[int | None, int]) -> bool:
        for row in running:
            n, before = self._struck[row.number]
            if kept[row.number] > before:
                self._struck[row.number] = (0, kept[row.number])
            elif n > 0:
                return False
        return True

    def _aim(self, worker: int, running: list[TrialRow], kept: dict[int | None, int]) -> None:
        by_number = {row.number: row for row in running}
        if self._aims.get(worker, (-1, 0))[0] not in by_number:  # new, or its trial is over
            chosen = self._random.choice(running)
            first = min(chosen.epoch, N_EPOCHS - 1)  # all epochs may be done, and its end not told
            self._aims[worker] = (chosen.number, self._random.randint(first, N_EPOCHS - 1))
        number, epoch = self._aims[worker]
        if by_number[number].epoch < epoch:
            return
        victim = by_number[number]
        self.kills.append(Kill(time.time(), number, victim.attempt, victim.epoch, kept[number]))
        kill(worker)
        self._dead.add(worker)
        for row in running:
            n, before = self._struck[row.number]
            self._struck[row.number] = (n + 1, before)

    def redone(self) -> list[int]:
        """Epochs that were trained again after each kill; nobody went back before a checkpoint."""
        with self.folder.reader() as reader:
            lines, rows = reader.logs(), reader.trials()
        assert not [line.text for line in lines if "is not used" in line.text]
        found = [
            (line.time, line.trial, int(match[1]))
            for line in lines
            if (match := _GOES_ON.search(line.text))
        ]
        redone = []
        for shot in self.kills:
            if rows[shot.trial].attempt == shot.attempt:
                continue  # it was over before the bullet came
            later = [e for at, trial, e in found if trial == shot.trial and at > shot.time]
            if shot.kept:
                assert later, f"{shot} did not go on from a checkpoint"
                assert later[0] >= shot.kept
            redone.append(max(0, shot.epoch - (later[0] if later else 0)))
        return redone


@pytest.mark.parametrize(
    "executor", ["process", pytest.param("vectorized", marks=pytest.mark.nightly)]
)
def test_f1_killed_workers_lose_nothing(runs, acked, eager, figures, executor):
    goal, generator, n_runs = n_points(3), rng(f"F1 {executor}"), 0
    kills: list[Kill] = []
    redone: list[int] = []
    disturbed: list[dict[int, list[float]]] = []
    n_trials = 6 if goal < 20 else 24
    while len(kills) < goal:
        n_runs += 1
        acked.clear()
        folder = runs.submit(
            fixed=FIXED,
            budget=Budget(n_trials=n_trials),
            execution=Execution(executor=executor, n_workers=2),
        )
        hunt = Hunt(folder, generator)
        while state_of(folder) not in END_STATES and len(kills) + len(hunt.kills) < goal:
            hunt.look()
            time.sleep(0.03)
        assert wait_for_end(folder) == "finished"
        rows = check_nothing_lost(folder, acked, n_trials)
        assert {row.state for row in rows} == {"complete"}
        with folder.reader() as reader:
            for row in rows:
                epochs = reader.points(trial=row.number, name="accuracy").epochs
                assert epochs == list(range(1, N_EPOCHS + 1))
        kills += hunt.kills
        redone += hunt.redone()
        disturbed.append(numbers_of(folder))
    if executor == "process":  # to the last digit; a stack's mates may be others after a kill
        folder = runs.submit(
            fixed=FIXED,
            budget=Budget(n_trials=n_trials),
            execution=Execution(executor=executor, n_workers=2),
        )
        assert wait_for_end(folder) == "finished"
        undisturbed = numbers_of(folder)
        for found in disturbed:
            assert found == undisturbed
    parts = [shot.epoch / N_EPOCHS for shot in kills]
    n_kept = sum(shot.kept > 0 for shot in kills)
    figures.add(f"F1 {executor}", kills=len(kills), runs=n_runs, lost=0, doubled=0, stuck=0)
    figures.add(f"F1 {executor}", killed_at_part_of_training=parts, went_on_from_checkpoint=n_kept)
    figures.add(f"F1 {executor}", epochs_trained_again=redone)


def numbers_of(folder: RunFolder) -> dict[int, list[float]]:
    """What each trial measured, epoch by epoch, and its value."""
    with folder.reader() as reader:
        return {
            row.number: [*reader.points(trial=row.number, name="loss").values, row.value]
            for row in reader.trials()
        }


MURDEROUS = """
def objective(trial):
    import os, signal, time
    x = trial.suggest_float("x", -5, 5)
    if trial.number == 1:
        os.kill(os.getpid(), signal.SIGKILL)
    time.sleep(0.02)
    return x
"""


@pytest.mark.parametrize("n_workers", [1, 2])
def test_f1_a_trial_that_is_killed_three_times_has_failed_and_the_others_go_on(
    runs, acked, light, n_workers
):
    words = objective_words(6, execution=Execution(n_workers=n_workers))
    folder = runs.submit(MURDEROUS, **words)
    assert wait_for_end(folder) == "finished"
    with folder.reader() as reader:
        rows, lines = reader.trials(), [line.text for line in reader.logs()]
    assert [row.state for row in rows] == ["complete", "failed", *["complete"] * 4]
    assert rows[1].attempt == MAX_REQUEUES + 1
    assert "SIGKILL" in rows[1].error
    assert sum("trial 1 is run again" in line for line in lines) == MAX_REQUEUES
    assert [row.attempt for row in rows if row.number != 1] == [1] * 5
    told = [end["trial"] for end in acked.ends()]
    assert sorted(told) == list(range(6))


@pytest.mark.nightly
def test_f10_a_worker_killed_between_the_name_of_a_checkpoint_and_its_row(
    runs, acked, eager, monkeypatch, tmp_path, figures
):
    goal, n_kills, n_trials = n_points(3), 0, 8
    shots = tmp_path / "shots"
    monkeypatch.setenv("NBAUTOML_TEST_SHOTS", str(shots))
    while n_kills < goal:
        acked.clear()
        shots.touch()
        folder = runs.submit(
            fixed=FIXED,
            budget=Budget(n_trials=n_trials),
            execution=Execution(n_workers=2),
        )

        def are_enough(folder=folder, left=goal - n_kills):
            return state_of(folder) in END_STATES or len(lines_of(shots)) >= left

        until(are_enough, what="the bullets", wait_s=3600)
        fired = lines_of(shots)
        shots.unlink()  # nobody shoots any more
        assert wait_for_end(folder) == "finished"
        rows = check_nothing_lost(folder, acked, n_trials)
        assert {row.state for row in rows} == {"complete"}
        with folder.reader() as reader:
            named = {row.path for row in reader.artifacts()}
            for row in rows:
                epochs = reader.points(trial=row.number, name="accuracy").epochs
                assert epochs == list(range(1, N_EPOCHS + 1))
        assert {path.name for path in folder.artifacts_dir.iterdir()} == named
        n_kills += len(fired)
    figures.add("F10 checkpoint", kills=n_kills, lost=0, doubled=0, stuck=0, left_over_files=0)


def lines_of(path) -> list[str]:
    return path.read_text(encoding="utf-8").splitlines() if path.exists() else []


def one_running(folder) -> TrialRow:
    def found():
        with folder.reader() as reader:
            running = [row for row in reader.trials() if row.state == "running" and row.worker]
        return running[0] if running else None

    return until(found, what="a running trial")


@pytest.mark.nightly
def test_f7_a_worker_that_was_asleep_ends_its_trial_once(runs, acked, light, figures):
    asleep_s = 60.0 if n_points(0) >= 200 else 3.0
    folder = runs.submit(OBJECTIVE, **objective_words(40), execution=Execution(n_workers=2))
    victim = one_running(folder)
    os.kill(victim.worker, signal.SIGSTOP)
    try:
        assert not pause_for(asleep_s, lambda: state_of(folder) != "running")
        with folder.reader() as reader:
            rows = reader.trials()
        # The other worker has done what there was to do; nobody took the trial for lost.
        asleep = [row for row in rows if row.worker == victim.worker and row.ended_at is None]
        assert [row.attempt for row in asleep] == [1]
    finally:
        os.kill(victim.worker, signal.SIGCONT)
    assert wait_for_end(folder) == "finished"
    rows = check_nothing_lost(folder, acked, 40)
    assert {(row.state, row.attempt) for row in rows} == {("complete", 1)}
    figures.add("F7 worker", asleep_s=asleep_s, lost=0, doubled=0)


@pytest.mark.nightly
def test_f7_a_trial_cancelled_while_its_worker_sleeps_is_over(runs, acked, light):
    folder = runs.submit(OBJECTIVE, **objective_words(20), execution=Execution(n_workers=2))
    worker = one_running(folder).worker
    os.kill(worker, signal.SIGSTOP)

    def asleep():
        with folder.reader() as reader:
            return [r.number for r in reader.trials() if r.worker == worker and not r.ended_at]

    number = until(asleep, what="the trial that sleeps")[0]
    client.send(folder, CancelTrial(trial=number))
    assert wait_for_end(folder) == "finished"
    rows = check_nothing_lost(folder, acked, 20)
    assert rows[number].state == "cancelled"
    assert {row.state for row in rows if row.number != number} == {"complete"}
    assert not psutil.pid_exists(worker)
