"""Disks that fill, vanish, refuse and cannot be written (F22, F23, F24, F29)."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from engine_runs import END_STATES, Runs, family, state_of, supervisor_pid, until, wait_for_end
from fault_runs import (
    OBJECTIVE,
    check_nothing_lost,
    n_points,
    objective_words,
    pause_for,
    rng,
    wait_until_gone,
)

from nbautoml.engine import client
from nbautoml.errors import NbAutomlError, StoreError
from nbautoml.events import Stop
from nbautoml.spec import Budget
from nbautoml.spec.recipe import Execution
from nbautoml.store import Home, load_artifact
from nbautoml.testing.store_events import tiny_recipe, whole_trial

pytestmark = pytest.mark.timeout(7200 if n_points(0) else 300)


class SmallDisk:
    """A disk of a few megabytes, to be filled and freed."""

    def __init__(self, path: Path) -> None:
        self.path, self._ballast = path, path / "ballast"

    def fill(self, leave_bytes: int = 0) -> None:
        handle = os.open(self._ballast, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
        try:
            for size in (65536, 4096):
                with contextlib.suppress(OSError):
                    while True:
                        os.write(handle, b"x" * size)
        finally:
            os.close(handle)
        if leave_bytes:
            os.truncate(self._ballast, max(0, self._ballast.stat().st_size - leave_bytes))

    def free(self) -> None:
        self._ballast.unlink(missing_ok=True)


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[SmallDisk]:
    """A tmpfs of 128 MB: a record of thousands of trials does not fill it itself."""
    place = tmp_path / "disk"
    place.mkdir()
    words = ["mount", "-t", "tmpfs", "-o", "size=128m,mode=0700", "tmpfs", str(place)]
    if shutil.which("mount") is None or subprocess.run(words, capture_output=True).returncode:
        pytest.skip("only root can mount a small disk (the store's tests fill one in another way)")
    yield SmallDisk(place)
    subprocess.run(["umount", "-l", str(place)], check=True)


@pytest.fixture
def runs(disk: SmallDisk) -> Iterator[Runs]:
    yield (made := Runs(disk.path))
    for child in client._started.children:
        if child.poll() is None:
            for process in family(child.pid):
                process.kill()
            child.wait()
    assert made


def n_ended(folder) -> int:
    with folder.reader() as reader:
        return sum(row.ended_at is not None for row in reader.trials())


def held_at(folder) -> int:
    """Wait until no trial ends any more (the log lies on the full disk, too); how many ended."""
    while True:
        before = n_ended(folder)
        if not pause_for(2.0, lambda before=before: n_ended(folder) > before):
            return before


def test_f22_a_run_waits_while_the_disk_is_full_and_goes_on(runs, disk, acked, light):
    folder = runs.submit(OBJECTIVE, **objective_words(60), execution=Execution(n_workers=2))
    until(lambda: n_ended(folder) > 2, what="finished trials")
    disk.fill()
    held = held_at(folder)
    assert [row.number for row in read_trials(folder)]  # readable meanwhile
    disk.free()
    assert wait_for_end(folder) == "finished"
    check_nothing_lost(folder, acked, 60)
    with folder.reader() as reader:
        told = [line.text for line in reader.logs() if "could not be written" in line.text]
    assert held < 60
    assert told


@pytest.mark.nightly
def test_f22_a_disk_that_fills_again_and_again_costs_a_run_nothing(
    runs, disk, acked, light, figures
):
    n_trials = 200_000  # more than there is time for
    goal, generator = n_points(4), rng("F22")
    folder = runs.submit(OBJECTIVE, **objective_words(n_trials), execution=Execution(n_workers=2))
    until(lambda: n_ended(folder) > 2, what="finished trials")
    for _ in range(goal):
        disk.fill(leave_bytes=4096 * generator.randint(0, 40))
        pause_for(generator.uniform(0.1, 1.5), lambda: False)
        disk.free()
        before = n_ended(folder)
        until(lambda before=before: n_ended(folder) > before, what="going on")
        assert before < n_trials
    client.send(folder, Stop())
    assert wait_for_end(folder) == "stopped"
    rows, told = read_trials(folder), [end["trial"] for end in acked.ends()]
    assert len(told) == len(set(told))
    assert [row.number for row in rows] == list(range(len(rows)))
    assert not [row.number for row in rows if row.state == "running"]
    for end in acked.ends():
        row = rows[end["trial"]]
        assert (row.state, list(row.values)) == (end["state"], end["values"])
    assert max(row.attempt for row in rows) == 1
    with folder.reader() as reader:
        n_held = sum("could not be written" in line.text for line in reader.logs())
    assert n_held > 0
    figures.add("F22 run", full=goal, held=n_held, trials=len(told), lost=0, doubled=0, stuck=0)


def read_trials(folder):
    with folder.reader() as reader:
        return reader.trials()


@pytest.mark.nightly
def test_f22_checkpoints_that_meet_a_full_disk_cost_a_training_nothing(
    runs, disk, acked, eager, figures
):
    goal, generator, n_trials, n_full, n_refused = n_points(4), rng("F22 torch"), 6, 0, 0
    n_held = n_kept = 0
    while n_full < goal:
        acked.clear()
        folder = runs.submit(
            fixed={"epochs": 60, "batch_size": 128},
            budget=Budget(n_trials=n_trials),
            execution=Execution(n_workers=2),
        )
        while n_full < goal and state_of(folder) not in END_STATES:
            before = n_artifacts(folder)
            until(
                lambda folder=folder, before=before: (
                    n_artifacts(folder) > before or state_of(folder) in END_STATES
                ),
                what="a checkpoint",
            )
            # The record may find a page where a checkpoint of 30 KB finds none.
            disk.fill(leave_bytes=4096 * generator.randint(0, 7))
            pause_for(generator.uniform(0.2, 1.0), lambda: False)
            disk.free()
            n_full += 1
        assert wait_for_end(folder) == "finished"
        rows = check_nothing_lost(folder, acked, n_trials)
        assert {(row.state, row.attempt) for row in rows} == {("complete", 1)}
        with folder.reader() as reader:
            artifacts, lines = reader.artifacts(), [line.text for line in reader.logs()]
        for artifact in artifacts:
            assert load_artifact(artifact)  # whole, with the record's sha256
        assert {path.name for path in folder.artifacts_dir.iterdir()} == {
            artifact.path for artifact in artifacts
        }
        n_kept += len(artifacts)
        n_refused += sum("no checkpoint after epoch" in line for line in lines)
        n_held += sum("could not be written" in line for line in lines)
        shutil.rmtree(folder.path)
    assert n_kept > 0
    assert n_refused + n_held > 0
    figures.add(
        "F22 checkpoints", full=goal, refused=n_refused, held=n_held, lost=0, doubled=0, stuck=0
    )


def n_artifacts(folder) -> int:
    with folder.reader() as reader:
        return max((row.id for row in reader.artifacts()), default=0)


@pytest.mark.nightly
@pytest.mark.parametrize("how", ["command", "SIGTERM"])
def test_f22_an_order_to_end_is_obeyed_while_the_disk_is_full(runs, disk, acked, light, how):
    folder = runs.submit(OBJECTIVE, **objective_words(500), execution=Execution(n_workers=2))
    until(lambda: n_ended(folder) > 2, what="finished trials")
    processes = family(supervisor_pid(folder))
    disk.fill()
    held_at(folder)
    if how == "command":
        disk.free()  # a command needs a block, too
        client.send(folder, Stop())
        disk.fill()
    else:
        os.kill(processes[0].pid, signal.SIGTERM)
    wait_until_gone(processes)
    disk.free()
    assert state_of(folder) == "interrupted"
    client.resume(runs.home, folder)
    until(lambda: state_of(folder) == "running", what="going on")
    client.send(folder, Stop())
    assert wait_for_end(folder) == "stopped"
    for end in acked.ends():
        assert read_trials(folder)[end["trial"]].state == end["state"]


@pytest.mark.nightly
def test_f22_a_disk_that_fills_at_each_of_many_writes(disk, figures):
    home, n_full, n_folders = Home(disk.path / "home"), 0, 0
    for free in range(200):
        disk.fill(leave_bytes=4096 * (free % 40) + 4096 * 8 * (free // 40))
        try:
            folder = home.create_run(tiny_recipe(f"run_{free}"), None)
            from nbautoml.store import Owner

            with folder.writer(Owner.this_process()) as writer:
                writer.create(folder.recipe())
                for number in range(3):
                    writer.apply(whole_trial(number))
        except StoreError:
            n_full += 1
        disk.free()
        for info in home.runs():
            assert not info.problem
            found = home.find(info.id)
            with found.reader() as reader:
                reader.changes()
            n_folders += 1
            shutil.rmtree(found.path)
    figures.add("F22 store", writes_that_met_a_full_disk=n_full, corrupt=0, readable=n_folders)
    assert n_full > 50
    assert n_folders > 20


@pytest.mark.nightly
@pytest.mark.parametrize("victim", ["run", "home"])
def test_f24_a_run_whose_folder_is_removed_ends_and_says_why(tmp_path, acked, light, victim):
    runs = Runs(tmp_path)
    folder = runs.submit(OBJECTIVE, **objective_words(3000), execution=Execution(n_workers=2))
    until(lambda: n_ended(folder) > 2, what="finished trials")
    processes = family(supervisor_pid(folder))
    shutil.rmtree(folder.path if victim == "run" else runs.home.path, ignore_errors=True)
    wait_until_gone(processes)
    with pytest.raises(NbAutomlError, match="not there"):
        state_of(folder)


@pytest.mark.nightly
def test_f24_a_home_that_cannot_be_written_is_an_error_at_the_start(tmp_path):
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(NbAutomlError, match="home") as caught:
        Home(tmp_path / "file" / "home").create_run(tiny_recipe(), None)
    assert "file" in str(caught.value)


@pytest.mark.nightly
def test_f29_a_network_disk_gets_no_write_ahead_log(tmp_path, monkeypatch):
    from nbautoml.store import Owner, sqlite_files

    monkeypatch.setattr(sqlite_files, "is_on_network", lambda path: True)
    folder = Home(tmp_path / "home").create_run(tiny_recipe(), None)
    with folder.writer(Owner.this_process()) as writer:
        writer.create(folder.recipe())
        writer.apply(whole_trial(0))
        assert not (folder.path / "record.db-wal").exists()
        with folder.reader() as reader:
            assert [row.number for row in reader.trials()] == [0]
