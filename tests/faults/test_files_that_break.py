"""Files that are damaged, swapped or cannot be written (F23, F25), and clocks that jump (F30)."""

from __future__ import annotations

import contextlib
import dataclasses
import errno
import itertools
import json
import os
import random
import shutil
import sqlite3
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
from engine_runs import supervisor_pid, until, wait_for_end
from fault_runs import OBJECTIVE, check_nothing_lost, n_points, objective_words, rng

from nbautoml.engine.times import TrialTimes
from nbautoml.errors import NbAutomlError
from nbautoml.events import Checkpoint, Pause, TrialEnded, TrialSpec, TrialStarted
from nbautoml.spec.recipe import Execution
from nbautoml.store import Home, Owner, RunFolder, save_artifact
from nbautoml.store.owner import HEARTBEAT_EVERY_S
from nbautoml.testing.store_events import started, tiny_recipe, whole_trial
from nbautoml.train.state import CannotKeep, FitState, put_weights_
from nbautoml.tune.checkpoints import Checkpoints

# -- checkpoints ------------------------------------------------------------------------------


class Heard:
    """What a handler is given, as far as checkpoints need it."""

    def __init__(self, folder: RunFolder) -> None:
        self.run_folder, self.events = folder.path, []

    def emit(self, event):
        self.events.append(event)


def state_of(trial: TrialSpec, epoch: int, run: str, n: int = 40) -> FitState:
    identity = {"run": run, "number": trial.number, "seed": trial.seed}
    identity["params"] = dict(trial.params)
    return FitState(
        epoch=epoch,
        step=10 * epoch,
        spent_s=1.0,
        judge={"value": 0.5, "best_epoch": epoch, "metrics": {}},
        module={"weight": torch.arange(float(n)) + epoch},
        identity=identity,
    )


def kept(folder: RunFolder, trial: TrialSpec, epoch: int, run: str = "", n: int = 40) -> Checkpoint:
    state = state_of(trial, epoch, run or folder.id, n)
    written = save_artifact(
        folder, state.to_bytes(), "checkpoint", trial.number, suffix=".safetensors"
    )
    return Checkpoint(
        path=written.path,
        sha256=written.sha256,
        n_bytes=written.n_bytes,
        epoch=epoch,
        step=10 * epoch,
    )


@pytest.fixture
def folder(tmp_path: Path) -> RunFolder:
    return Home(tmp_path / "home").create_run(tiny_recipe(), None)


@pytest.fixture
def trial() -> TrialSpec:
    return TrialSpec(number=0, params={"lr": 0.1}, seed=7)


def first_start(folder: RunFolder, trial: TrialSpec, *checkpoints: Checkpoint):
    """The state that the trial goes on from, and what was said."""
    heard = Heard(folder)
    spec = TrialSpec(**{**vars(trial), "checkpoints": checkpoints})
    state = next(Checkpoints(spec, heard).starts())
    return state, " ".join(getattr(event, "reason", "") for event in heard.events)


def flipped(data: bytes, generator: random.Random) -> bytes:
    at, bit = generator.randrange(len(data)), generator.randrange(8)
    return data[:at] + bytes([data[at] ^ (1 << bit)]) + data[at + 1 :]


def test_f25_every_damage_of_a_checkpoint_is_found_and_the_one_before_is_used(
    folder, trial, figures
):
    generator = rng("F25")
    newest, before = kept(folder, trial, 2), kept(folder, trial, 1)
    path = folder.artifacts_dir / newest.path
    whole = path.read_bytes()
    n_flips, n_cuts = n_points(200), max(100, n_points(100) // 2)
    damaged = [flipped(whole, generator) for _ in range(n_flips)]
    damaged += [whole[: generator.randrange(len(whole))] for _ in range(n_cuts)]
    for data in damaged:
        path.write_bytes(data)
        state, said = first_start(folder, trial, newest, before)
        assert state is not None
        assert state.epoch == 1
        assert torch.equal(state.module["weight"], torch.arange(40.0) + 1)
        assert "epoch 2 is not used" in said
    path.write_bytes(whole)
    assert first_start(folder, trial, newest, before)[0].epoch == 2
    figures.add("F25", flipped_bits=n_flips, truncations=n_cuts, undetected=0)


def test_f25_a_checkpoint_that_is_another_trials_is_refused(folder, trial):
    other = TrialSpec(number=1, params={"lr": 0.2}, seed=8)
    swapped, before = kept(folder, other, 2), kept(folder, trial, 1)
    state, said = first_start(folder, trial, swapped, before)
    assert state.epoch == 1
    assert "it is of another run or trial" in said


def test_f25_another_runs_checkpoint_of_an_equal_trial_is_refused(folder, trial):
    other = Home(folder.path.parents[1]).create_run(tiny_recipe("other"), None)
    theirs = kept(other, trial, 2)  # number, seed and parameters are equal
    (folder.artifacts_dir / theirs.path).write_bytes(
        (other.artifacts_dir / theirs.path).read_bytes()
    )
    state, said = first_start(folder, trial, theirs, kept(folder, trial, 1))
    assert state.epoch == 1
    assert "it is of another run or trial" in said


class Layer(torch.nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.weight = torch.nn.Parameter(torch.zeros(40))


def test_f25_a_checkpoint_of_another_architecture_is_rejected_and_the_one_before_is_used(
    folder, trial
):
    heard, module = Heard(folder), Layer()
    shelf = (kept(folder, trial, 3, n=41), kept(folder, trial, 2))
    checkpoints = Checkpoints(TrialSpec(**{**vars(trial), "checkpoints": shelf}), heard)
    used = None
    for state in checkpoints.starts():
        try:
            put_weights_(module, state)
        except CannotKeep as error:
            checkpoints.reject(error)
            refused_at = module.weight.detach().clone()
        else:
            used = state
            break
    assert not refused_at.any()  # nothing was changed
    assert used.epoch == 2
    assert torch.equal(module.weight, torch.arange(40.0) + 2)
    said = " ".join(getattr(event, "reason", "") for event in heard.events)
    assert "epoch 3 is not used: weight is float32 (41,) in the file" in said


def test_f25_a_checkpoint_under_the_name_of_another_trials_is_refused(folder, trial):
    other = TrialSpec(number=1, params={"lr": 0.2}, seed=8)
    mine, theirs = kept(folder, trial, 2), kept(folder, other, 2)
    mine_path, their_path = (folder.artifacts_dir / item.path for item in (mine, theirs))
    mine_path.write_bytes(their_path.read_bytes())
    state, said = first_start(folder, trial, mine)
    assert state is None
    assert "starts anew" in said


# -- calls of the system that fail ------------------------------------------------------------

NUMBERS = itertools.count()
JOBS = {
    "a file of a run": lambda folder: save_artifact(folder, b"x" * 5000, "weights", 0),
    "a copy": lambda folder: save_artifact(folder, folder.path / "recipe.json", "recipe"),
    "a command": lambda folder: folder.inbox.drop(Pause()),
    "a run": lambda folder: home_of(folder).create_run(
        tiny_recipe(f"run_{next(NUMBERS)}"), None, {"model.bin": b"y" * 5000}
    ),
}
# What each job asks of the system, all of which must be told when it fails. A command is not synced.
ASKS = {
    "a file of a run": {"open", "write", "fsync", "replace"},
    "a copy": {"open", "write", "fsync", "replace"},
    "a command": {"open", "write", "replace"},
    "a run": {"open", "write", "fsync", "replace", "mkdir"},
}


# Only what changes something: a run that cannot be read is no hindrance for another, and `mkdir`
# of a folder that is there already is Python's way of asking for it.
COUNTS = {
    "open": lambda place, flags, *_: flags & (os.O_WRONLY | os.O_RDWR) or Path(place).is_dir(),
    "mkdir": lambda place, *_: not Path(place).is_dir(),
}


class FailingCalls:
    """Makes the n-th call of one kind fail; a write takes half of its data first, as a full disk does."""

    def __init__(self, name: str, nth: int, error: OSError) -> None:
        self.name, self.nth, self.error = name, nth, error
        self.n_called = 0

    def patch(self, monkeypatch: pytest.MonkeyPatch) -> None:
        if self.name == "write":
            real_open = os.fdopen
            monkeypatch.setattr(
                os, "fdopen", lambda *words, **more: FailingFile(real_open(*words, **more), self)
            )
            return
        real = getattr(os, self.name)

        def call(place, *words, **more):
            if self.name not in COUNTS or COUNTS[self.name](place, *words):
                self.count()
            return real(place, *words, **more)

        monkeypatch.setattr(os, self.name, call)

    def count(self) -> None:
        self.n_called += 1
        if self.n_called == self.nth:
            raise self.error


class FailingFile:
    """A file object whose `write` may fail."""

    def __init__(self, file, calls: FailingCalls) -> None:
        self._file, self._calls = file, calls

    def write(self, data):
        try:
            self._calls.count()
        except OSError:
            self._file.write(data[: len(data) // 2])
            raise
        return self._file.write(data)

    def __getattr__(self, name):
        return getattr(self._file, name)

    def __enter__(self):
        return self

    def __exit__(self, *error):
        self._file.close()


def files_of(folder: RunFolder) -> dict[str, bytes]:
    root = folder.path.parents[1]
    return {
        str(path.relative_to(root)): path.read_bytes()
        for path in root.rglob("*")
        if path.is_file() and path.name not in {"owner.lock", "names.lock"}
    }


@pytest.mark.parametrize("code", ["EIO", "EDQUOT", "EROFS", "ENOSPC"])
@pytest.mark.parametrize("job", JOBS)
def test_f23_a_call_that_fails_is_an_error_in_words_and_leaves_nothing_half_made(folder, job, code):
    for ready in JOBS.values():
        ready(folder)  # keys and folders that are made once, and what must stay as it is
    failed, number = set(), getattr(errno, code)
    for name in ("open", "write", "fsync", "replace", "mkdir"):
        for nth in range(1, 200):
            before, n_runs = files_of(folder), len(home_of(folder).runs())
            calls = FailingCalls(name, nth, OSError(number, os.strerror(number)))
            with pytest.MonkeyPatch.context() as patched:
                calls.patch(patched)
                said = told_by(lambda: JOBS[job](folder))
            if calls.n_called < nth:
                break  # it calls it less often
            assert said is not None, f"call {nth} of {name} failed, and nobody was told"
            assert said.hint, said.message
            failed.add(name)
            after = files_of(folder)
            assert {path: after.get(path) for path in before} == before
            assert not [path for path in after if path.endswith(".tmp")]
            assert len(home_of(folder).runs()) == n_runs
            assert not [info.problem for info in home_of(folder).runs() if info.problem]
    assert failed == ASKS[job]


def home_of(folder: RunFolder) -> Home:
    return Home(folder.path.parents[1])


def told_by(job) -> NbAutomlError | None:
    try:
        job()
    except NbAutomlError as error:
        return error
    return None


SUPPORT = Path(__file__).parents[1] / "support"


def built(source: str, place: Path) -> Path:
    """A library that is loaded before libc."""
    compiler, library = shutil.which("gcc"), place / f"{source}.so"
    if compiler is None:
        pytest.skip("gcc builds what makes libc's calls fail, or slow")
    flags = ["-shared", "-fPIC", "-O1", "-o", str(library)]
    subprocess.run([compiler, *flags, str(SUPPORT / source), "-ldl"], check=True)
    return library


@pytest.mark.nightly
def test_f23_a_disk_that_is_slow_loses_nothing_and_nobody_is_taken_for_dead(
    runs, acked, light, tmp_path, monkeypatch, figures
):
    sync_s, n_trials = 0.5, 20
    library = built("slow_calls.c", tmp_path)
    with monkeypatch.context() as around:
        around.setenv("LD_PRELOAD", str(library))
        around.setenv("SLOW_SYNC_US", str(int(sync_s * 1e6)))
        around.setenv("SLOW_WRITE_US", "5000")
        execution = Execution(n_workers=2)
        folder = runs.submit(OBJECTIVE, **objective_words(n_trials), execution=execution)
    pid = until(lambda: supervisor_pid(folder), what="a supervisor")
    assert str(library) in Path(f"/proc/{pid}/maps").read_text(encoding="utf-8")
    assert wait_for_end(folder) == "finished"
    rows = check_nothing_lost(folder, acked, n_trials)
    assert {(row.state, row.attempt) for row in rows} == {("complete", 1)}
    figures.add("F23 slow disk", sync_s=sync_s, trials=n_trials, lost=0, doubled=0, stuck=0)


@pytest.mark.nightly
@pytest.mark.timeout(1800)
def test_f23_calls_that_fail_inside_sqlite_lose_nothing_and_are_told_in_words(tmp_path, figures):
    library = built("failing_calls.c", tmp_path)
    words = [str(SUPPORT / "failing_record.py"), str(tmp_path / "home"), str(library), "F23"]
    done = subprocess.run(
        [sys.executable, *words, str(n_points(6))],
        env={**os.environ, "LD_PRELOAD": str(library)},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert found["wrong"] == []
    assert min(found["failed"].values()) >= 3
    assert all(found["said"])
    figures.add("F23 SQLite", **{f"failed_{k}": v for k, v in found["failed"].items()}, lost=0)


# -- clocks that jump -------------------------------------------------------------------------


def heartbeat_of(folder: RunFolder) -> float:
    with contextlib.closing(sqlite3.connect(folder.path / "record.db")) as connection:
        return float(connection.execute("SELECT heartbeat FROM run").fetchone()[0])


@pytest.mark.parametrize("jump_s", [-3600.0, 86_400.0])
def test_f30_a_clock_that_jumps_changes_no_order_and_no_owner(folder, monkeypatch, jump_s):
    wall, steady, later = time.time, time.monotonic, HEARTBEAT_EVERY_S + 1
    with folder.writer(Owner.this_process()) as writer:
        writer.create(folder.recipe())
        writer.apply(whole_trial(0))
        monkeypatch.setattr(time, "time", lambda: wall() + jump_s)
        monkeypatch.setattr(time, "monotonic", lambda: steady() + later)  # six seconds later
        writer.apply([*whole_trial(1), *started(2)])
        assert heartbeat_of(folder) == pytest.approx(wall() + jump_s, abs=30)
        monkeypatch.setattr(time, "monotonic", lambda: steady() + 2 * later)
        before = heartbeat_of(folder)
        writer.beat()
        assert heartbeat_of(folder) > before  # the lease goes on also where nothing is written
        with folder.reader() as reader:
            rows, run = reader.trials(), reader.run()
        assert run.state != "interrupted"
        assert [row.number for row in rows] == [0, 1, 2]
        assert [row.seq for row in rows] == sorted(row.seq for row in rows)
        monkeypatch.setattr(time, "time", wall)
        monkeypatch.setattr(time, "monotonic", lambda: steady() + 3 * later)
        writer.beat()
        assert heartbeat_of(folder) == pytest.approx(wall(), abs=30)
        with folder.reader() as reader:
            assert reader.run().state != "interrupted"
            assert json.dumps(reader.trials()[1].value) == json.dumps(rows[1].value)


@pytest.mark.parametrize("jump_s", [-3600.0, 86_400.0, 0.0])
def test_f30_a_trial_takes_what_has_passed_whatever_the_clock_says(jump_s):
    clock = {"wall": 1e9, "steady": 50.0}
    times = TrialTimes(lambda: clock["wall"], lambda: clock["steady"])
    begun = times.stamp(TrialStarted(trial=0, worker=1))
    clock = {"wall": 1e9 + jump_s + 20, "steady": 70.0}
    # The worker's own stamp, sent a moment before.
    ended = times.stamp(TrialEnded(trial=0, state="complete", time=clock["wall"] - 0.05))
    assert ended.time - begun.time == pytest.approx(20, abs=0.1)
    clock = {"wall": clock["wall"] + 10, "steady": 80.0}
    assert times.stamp(TrialStarted(trial=1, worker=1)).time == clock["wall"]


def test_f30_no_time_is_less_than_none_and_a_zone_changes_none(folder, monkeypatch):
    with folder.writer(Owner.this_process()) as writer:
        writer.create(folder.recipe())
        writer.apply(whole_trial(0))
    with folder.reader() as reader:
        row = reader.trials()[0]
    assert dataclasses.replace(row, started_at=20.0, ended_at=10.0).duration_s == 0.0
    monkeypatch.setenv("TZ", "Pacific/Apia")  # a summer time of another kind, thirteen hours off
    time.tzset()
    try:
        with folder.reader() as reader:
            assert reader.trials()[0] == row
            assert reader.run().state != "interrupted"
    finally:
        monkeypatch.undo()
        time.tzset()
