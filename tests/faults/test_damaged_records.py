"""Records whose files were damaged, mixed up or lost (F26): refused, or what they tell is true."""

from __future__ import annotations

import random
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from fault_runs import rng

from nbautoml.errors import StoreError
from nbautoml.events import RunStateChanged
from nbautoml.store import Home, Owner, RunFolder
from nbautoml.store.reader import Changes
from nbautoml.testing.store_events import started, tiny_recipe, whole_trial

PAGE = 4096
LOG, INDEX = "record.db-wal", "record.db-shm"


@pytest.fixture
def place(tmp_path: Path) -> Path:
    return tmp_path / "copies"


def copied(folder: RunFolder, place: Path) -> RunFolder:
    """The run's files as they lie there at this moment: what a kill would leave."""
    target = place / str(len(list(place.iterdir())) if place.exists() else 0) / folder.id
    return RunFolder(shutil.copytree(folder.path, target))


@pytest.fixture
def killed(tmp_path, place) -> Iterator[tuple[RunFolder, Changes, RunFolder]]:
    """A run as a killed writer left it; what it held; and the same run some trials earlier."""
    folder = Home(tmp_path / "home").create_run(tiny_recipe(), None)
    with folder.writer(Owner.this_process()) as writer:
        writer.create(folder.recipe())
        writer.apply([event for n in range(10) for event in whole_trial(n)])
        before = copied(folder, place)
        for number in range(10, 40):
            writer.apply(whole_trial(number))
        writer.apply(started(40))
        with folder.reader() as reader:
            found = reader.changes()
        yield copied(folder, place), found, before


def told(folder: RunFolder) -> Changes | None:
    """What the files tell; None when they are refused."""
    try:
        with folder.reader() as reader:
            return reader.changes()
    except StoreError:
        return None


def check_true(found: Changes, expected: Changes) -> None:
    """What was finished is as it was, point by point; what is missing is missing at the end."""
    trials = {trial.number: trial for trial in expected.trials}
    for trial in found.trials:
        if trial.ended_at is not None:
            assert trial == trials[trial.number]
        else:
            assert trial.value is None
    numbers = [trial.number for trial in found.trials]
    assert numbers == list(range(len(numbers)))
    assert set(rows_of(found)) <= set(rows_of(expected))


def rows_of(changes: Changes) -> Iterator[tuple[object, ...]]:
    """The points, a row each."""
    columns = [value for value in vars(changes.points).values() if isinstance(value, list)]
    return zip(*columns, strict=True)


def goes_on(folder: RunFolder) -> None:
    """A new owner takes the run over and brings it to its end."""
    with folder.writer(Owner.this_process()) as writer:
        writer.apply([RunStateChanged(state="running"), *whole_trial(100)])
        writer.apply([RunStateChanged(state="finished")])
    with folder.reader() as reader:
        assert reader.trials()[-1].number == 100


def finished(tmp_path: Path) -> RunFolder:
    folder = Home(tmp_path / "other").create_run(tiny_recipe(), None)
    with folder.writer(Owner.this_process()) as writer:
        writer.create(folder.recipe())
        writer.apply([event for n in range(10) for event in whole_trial(n)])
        writer.apply([RunStateChanged(state="finished")])
    return folder


def test_f26_a_page_of_zeros_in_a_finished_record_is_found(tmp_path):
    folder = finished(tmp_path)
    path = folder.path / "record.db"
    good = path.read_bytes()
    for at in range(0, len(good), PAGE):
        if any(good[at : at + PAGE]):
            path.write_bytes(good[:at] + bytes(PAGE) + good[at + PAGE :])
            assert told(folder) is None, at
    path.write_bytes(good)
    assert len(told(folder).trials) == 10


def test_f26_a_page_of_zeros_in_an_open_record_changes_no_number(killed, place):
    folder, expected, _ = killed
    for name in ("record.db", LOG):
        good = (folder.path / name).read_bytes()
        for at in range(0, len(good), PAGE):
            copy = copied(folder, place)
            (copy.path / name).write_bytes(good[:at] + bytes(PAGE) + good[at + PAGE :])
            found = told(copy)
            if found is not None:
                check_true(found, expected)


@pytest.mark.parametrize("whose", ["its own of before", "another run's", "zeros", "noise"])
def test_f26_a_stale_index_of_the_log_changes_no_number(killed, tmp_path, whose):
    folder, expected, before = killed
    index = folder.path / INDEX
    size = index.stat().st_size
    made: dict[str, Callable[[], bytes]] = {
        "its own of before": (before.path / INDEX).read_bytes,
        "another run's": lambda: other_index(tmp_path),
        "zeros": lambda: bytes(size),
        "noise": lambda: random.Random(0).randbytes(size),
    }
    index.write_bytes(made[whose]())
    found = told(folder)
    assert found is not None
    check_true(found, expected)
    assert len(found.trials) == 41
    goes_on(folder)


def other_index(tmp_path: Path) -> bytes:
    other = Home(tmp_path / "other").create_run(tiny_recipe(), None)
    with other.writer(Owner.this_process()) as writer:
        writer.create(other.recipe())
        writer.apply(whole_trial(7))
        return (other.path / INDEX).read_bytes()


def test_f26_a_log_that_was_deleted_after_a_kill_leaves_what_the_file_holds(killed):
    folder, expected, _ = killed
    (folder.path / LOG).unlink()
    found = told(folder)
    assert found is not None
    check_true(found, expected)
    goes_on(folder)


def test_f26_the_log_of_another_moment_changes_no_number(killed):
    folder, expected, before = killed
    shutil.copy(before.path / LOG, folder.path / LOG)
    found = told(folder)
    if found is not None:
        check_true(found, expected)


@pytest.mark.nightly
@pytest.mark.timeout(1800)
@pytest.mark.parametrize("name", ["record.db", LOG])
def test_f26_a_thousand_flipped_bits_in_file_or_log_change_no_number(killed, place, figures, name):
    folder, expected, _ = killed
    path, generator, n_refused, n_less = folder.path / name, rng(f"F26 {name}"), 0, 0
    good = {path.name: path.read_bytes() for path in folder.path.glob("record.db*")}
    for _ in range(1000):
        bad = bytearray(good[name])
        bad[generator.randrange(len(bad))] ^= 1 << generator.randrange(8)
        for file, data in {**good, name: bytes(bad)}.items():
            (folder.path / file).write_bytes(data)
        found = told(folder)
        n_refused += found is None
        if found is not None:
            check_true(found, expected)
            n_less += len(found.trials) < len(expected.trials)
    assert path.exists()
    assert n_refused + n_less > 0
    figures.add(f"F26 {name}", flipped_bits=1000, refused=n_refused, cut_short=n_less, wrong=0)
