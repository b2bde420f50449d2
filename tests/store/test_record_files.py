"""The record as a file: copied, read-only, damaged, hostile, on a full disk, read while written."""

from __future__ import annotations

import multiprocessing
import os
import random
import resource
import shutil
import signal
import sqlite3
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from nbautoml.errors import StoreError
from nbautoml.events import EpochEnded, LogLine, RunStateChanged, StepsDone, TrialEnded
from nbautoml.store import Home, Owner, RunFolder
from nbautoml.store.seal import put_seal, seal_path
from nbautoml.testing.store_events import started, tiny_recipe, whole_trial


def fill(folder: RunFolder, n_trials: int = 20, state: str = "finished") -> RunFolder:
    with folder.writer(Owner.this_process()) as writer:
        writer.create(folder.recipe())
        writer.apply([RunStateChanged(state="running")])
        writer.apply([event for n in range(n_trials) for event in whole_trial(n)])
        writer.apply([RunStateChanged(state=state)])
    return folder


def record_of(folder: RunFolder) -> Path:
    return folder.path / "record.db"


def read_all(folder: RunFolder):
    with folder.reader() as reader:
        return reader.changes()


def change(folder: RunFolder, sql: str) -> None:
    """What somebody else's program might do to the file."""
    seal_path(record_of(folder)).unlink(missing_ok=True)
    with sqlite3.connect(record_of(folder)) as connection:
        connection.executescript(sql)
    connection.close()


# -- made -----------------------------------------------------------------------------------


@pytest.mark.parametrize(("is_far", "form"), [(False, b"\x02\x02"), (True, b"\x01\x01")])
def test_a_record_is_made_whole_in_the_form_in_which_it_is_written(
    tmp_path, monkeypatch, is_far, form
):
    from nbautoml.store import records, sqlite_files

    monkeypatch.setattr(sqlite_files, "is_on_network", lambda path: is_far)
    texts = dict.fromkeys(("id", "name", "kind", "state", "message", "recipe", "plan"), "x")
    row = texts | {"plan_details": "{}", "created_at": 1.0, "n_trials": 0, "seq": 0}
    path = tmp_path / "record.db"
    records.make_sqlite_record(path, row)
    assert [found.name for found in tmp_path.iterdir()] == ["record.db"]
    assert path.read_bytes()[18:20] == form  # as SQLite's header says: rollback, or write-ahead log
    with sqlite3.connect(path) as connection:
        assert connection.execute("SELECT id, owner_pid, seq FROM run").fetchall() == [
            ("x", None, 0)
        ]
    connection.close()


def test_whoever_makes_a_run_owns_it_from_its_first_row(folder):
    with folder.writer(Owner.this_process()) as writer:
        writer.create(folder.recipe())
        with folder.reader() as reader:
            assert reader.run().owner_pid == os.getpid()
            assert reader.run().state == "queued"
        assert writer.seq == 0


# -- copied, moved, read-only ---------------------------------------------------------------


def test_finished_run_is_one_plain_sealed_file(folder):
    fill(folder)
    names = {path.name for path in folder.path.iterdir() if path.name.startswith("record")}
    assert names == {"record.db", "record.db.sha256"}


def test_what_became_no_record_is_not_sealed_and_the_error_is_ours(folder):
    fill(folder)
    seal_path(record_of(folder)).unlink()
    record_of(folder).write_bytes(b"no record at all" * 400)
    with pytest.raises(StoreError, match=r"record\.db") as caught:
        put_seal(record_of(folder))
    assert caught.value.hint
    assert not seal_path(record_of(folder)).exists()


def test_copy_of_a_finished_run_opens_elsewhere(folder, tmp_path):
    fill(folder)
    copy = RunFolder(shutil.copytree(folder.path, tmp_path / folder.id))
    assert read_all(copy) == read_all(folder)


def test_finished_run_opens_in_a_read_only_folder(as_nobody, folder):
    fill(folder)
    with as_nobody() as place:
        pass
    shutil.copytree(folder.path, place / folder.id)
    with as_nobody() as place:
        for path in (place, place / folder.id):
            path.chmod(0o555)
        assert len(read_all(RunFolder(place / folder.id)).trials) == 20


def test_run_copied_while_written_opens_in_a_read_only_folder(as_nobody, folder, writer):
    writer.apply([event for n in range(20) for event in whole_trial(n)])
    with as_nobody() as place:
        pass
    copy = place / folder.id
    copy.mkdir()
    for name in ("recipe.json", "record.db", "record.db-wal"):
        shutil.copy(folder.path / name, copy / name)
    with as_nobody():
        copy.chmod(0o555)
        found = read_all(RunFolder(copy))
        assert sorted(path.name for path in copy.iterdir()) == [
            "recipe.json", "record.db", "record.db-wal"
        ]  # fmt: skip
    assert len(found.trials) == 20
    assert len(found.points) == 120


def test_run_copied_without_its_log_reads_what_the_file_holds(as_nobody, folder, writer):
    writer.apply(whole_trial(0))
    with sqlite3.connect(record_of(folder)) as connection:
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")  # what is in the log goes to the file
    connection.close()
    expected = read_all(folder)
    writer.apply(whole_trial(1))
    with as_nobody() as place:
        pass
    copy = place / folder.id
    copy.mkdir()
    for name in ("recipe.json", "record.db"):
        shutil.copy(folder.path / name, copy / name)
    with as_nobody():
        copy.chmod(0o555)
        found = read_all(RunFolder(copy))
    assert found.run.name == "digits"
    assert found.trials == expected.trials
    assert found.points == expected.points


def test_read_only_record_refuses_a_writer_with_a_hint(as_nobody, folder):
    fill(folder, state="interrupted")
    with as_nobody() as place:
        pass
    shutil.copytree(folder.path, place / folder.id)
    with as_nobody():
        (place / folder.id).chmod(0o555)
        with pytest.raises(StoreError, match="read-only") as caught:
            RunFolder(place / folder.id).writer(Owner.this_process())
        assert caught.value.hint


@pytest.mark.parametrize("what", ["record.db", "recipe.json", "."])
def test_file_or_folder_of_somebody_else_is_an_error_in_words(as_nobody, folder, what):
    if os.geteuid() != 0:
        pytest.skip("only root can leave a file that its reader may not open")
    fill(folder, state="interrupted")
    with as_nobody() as place:
        pass
    home = Home(place / "home")
    copy = RunFolder(shutil.copytree(folder.path, home.runs_dir / folder.id))
    with as_nobody():  # all is theirs now
        (copy.path / what).chmod(0)  # and nobody's at all, as if root had written it
        openings = [copy.recipe, copy.reader, lambda: copy.writer(Owner.this_process())]
        openings = {"recipe.json": openings[:1], "record.db": openings[1:], ".": openings}[what]
        for opening in openings:
            with pytest.raises(StoreError) as caught:
                opening()
            assert str(copy.path) in caught.value.message
            assert caught.value.hint
        assert all(info.problem for info in home.runs())
        (copy.path / what).chmod(0o700)


def test_linked_record_is_refused(folder, tmp_path):
    fill(folder)
    shutil.move(record_of(folder), tmp_path / "elsewhere.db")
    record_of(folder).symlink_to(tmp_path / "elsewhere.db")
    with pytest.raises(StoreError, match="links"):
        folder.reader()
    with pytest.raises(StoreError, match="links"):
        folder.writer(Owner.this_process())


def test_resumed_run_breaks_its_seal_and_gets_a_new_one(folder):
    fill(folder, state="interrupted")
    before = seal_path(record_of(folder)).read_text()
    with folder.reader() as reader, folder.writer(Owner.this_process()) as writer:
        assert not seal_path(record_of(folder)).exists()
        writer.apply([RunStateChanged(state="running"), *whole_trial(99)])
        assert reader.trials()[-1].number == 99
        writer.apply([RunStateChanged(state="finished")])
    fill(folder, n_trials=0)
    assert seal_path(record_of(folder)).read_text() != before
    assert read_all(folder).trials[-1].number == 99


def test_reader_that_stays_does_not_keep_the_writer_from_ending(folder):
    with folder.writer(Owner.this_process()) as writer:
        writer.create(folder.recipe())
        reader = folder.reader()
        writer.apply([*whole_trial(0), RunStateChanged(state="finished")])
    with reader:
        assert reader.run().state == "finished"
    assert not seal_path(record_of(folder)).exists()
    assert read_all(folder).run.state == "finished"


# -- damaged, foreign, hostile --------------------------------------------------------------


@pytest.mark.parametrize(
    "content", [b"", b"hello", b"x" * 5000, b"SQLite format 3\x00" + b"x" * 99]
)
def test_file_that_is_no_record_is_refused(folder, content):
    record_of(folder).write_bytes(content)
    for opening in (folder.reader, lambda: folder.writer(Owner.this_process())):
        with pytest.raises(StoreError, match="record"):
            opening()


def test_other_sqlite_file_is_refused(folder):
    change(folder, "CREATE TABLE photos (id INTEGER)")
    with pytest.raises(StoreError, match="no record of nbautoml"):
        folder.reader()


@pytest.mark.parametrize("version", ["0002", "9999", "1f2e3d", ""])
def test_newer_record_is_refused_politely(folder, version):
    fill(folder)
    change(folder, f"UPDATE alembic_version SET version_num = '{version}'")
    for opening in (folder.reader, lambda: folder.writer(Owner.this_process())):
        with pytest.raises(StoreError, match="this nbautoml knows up to") as caught:
            opening()
        assert "upgrade" in caught.value.hint


@pytest.mark.parametrize(
    "sql",
    [
        "CREATE VIEW spy AS SELECT * FROM trial",
        "CREATE TRIGGER t AFTER UPDATE ON run BEGIN DELETE FROM trial; END",
        "CREATE VIRTUAL TABLE v USING fts5(x)",
        "ALTER TABLE trial RENAME TO old; CREATE VIEW trial AS SELECT * FROM old",
    ],
    ids=["view", "trigger", "virtual", "replaced"],
)
def test_record_with_what_runs_by_itself_is_refused(folder, sql):
    fill(folder)
    change(folder, sql)
    for opening in (folder.reader, lambda: folder.writer(Owner.this_process())):
        with pytest.raises(StoreError, match="do not trust"):
            opening()


@pytest.mark.parametrize(
    "sql",
    [
        "DROP TABLE trial",
        "ALTER TABLE trial DROP COLUMN params",
        "UPDATE trial SET params = '{' WHERE number = 3",
        "UPDATE trial SET params = 'x', state = 'running' WHERE number = 3",
        "UPDATE trial SET state = 'running', objective_values = '[\"x\"]' WHERE number = 3",
        "UPDATE trial SET metrics = '7' WHERE number = 3",
        "UPDATE trial SET value = 0.9 WHERE number = 3",
        "UPDATE trial SET checksum = NULL",
        "UPDATE trial SET number = x'00ff' WHERE number = 3",
        "UPDATE run SET plan_details = 'x'",
    ],
)
def test_changed_rows_are_noticed_and_named(folder, sql):
    fill(folder)
    change(folder, sql)
    with pytest.raises(StoreError):
        read_all(folder)


def test_every_flipped_bit_in_a_finished_run_is_found(folder):
    fill(folder)
    path, rng = record_of(folder), random.Random(0)
    good = path.read_bytes()
    for _ in range(200):
        bad = bytearray(good)
        bad[rng.randrange(len(bad))] ^= 1 << rng.randrange(8)
        path.write_bytes(bad)
        with pytest.raises(StoreError, match="damaged"):
            read_all(folder)
    path.write_bytes(good)
    assert len(read_all(folder).trials) == 20


def test_flipped_bits_in_an_open_run_never_change_a_result(folder):
    fill(folder)
    seal_path(record_of(folder)).unlink()
    path, rng = record_of(folder), random.Random(1)
    good, expected = path.read_bytes(), read_all(folder).trials
    n_found = 0
    for _ in range(300):
        bad = bytearray(good)
        bad[rng.randrange(len(bad))] ^= 1 << rng.randrange(8)
        path.write_bytes(bad)
        try:
            found = read_all(folder).trials
        except StoreError:
            n_found += 1
        else:
            seen = {trial.number: trial for trial in found}
            assert all(seen[t.number] == t for t in expected if t.number in seen)
    assert n_found > 30


def test_every_truncation_is_found(folder):
    fill(folder)
    path, rng = record_of(folder), random.Random(2)
    good = path.read_bytes()
    for is_sealed in (True, False):
        if not is_sealed:
            seal_path(path).unlink()
        for _ in range(50):
            path.write_bytes(good[: rng.randrange(len(good))])
            with pytest.raises(StoreError):
                read_all(folder)


def test_log_laid_beside_a_sealed_record_is_refused(folder, home):
    fill(folder)
    other = home.create_run(tiny_recipe("other"), None)
    with other.writer(Owner.this_process()) as writer:
        writer.create(other.recipe())
        writer.apply(whole_trial(0))
        shutil.copy(other.path / "record.db-wal", folder.path / "record.db-wal")
    with pytest.raises(StoreError, match="damaged"):
        folder.reader()


# -- full disk ------------------------------------------------------------------------------


@contextmanager
def file_size_limit(n_bytes: int) -> Iterator[None]:
    """Files of this process cannot grow over the limit: the disk is full for them."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    before = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (n_bytes, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
        signal.signal(signal.SIGXFSZ, before)


def test_full_disk_loses_nothing_and_the_same_events_go_through_later(folder, writer):
    writer.apply(whole_trial(0))
    size = (folder.path / "record.db-wal").stat().st_size
    much = StepsDone(trial=1, name="x", steps=list(range(5000)), values=[0.5] * 5000)
    events = [*started(1), much, TrialEnded(trial=1, state="complete", values=[1.0])]
    with file_size_limit(size + 20_000):
        for _ in range(3):
            with pytest.raises(StoreError, match="disk") as caught:
                writer.apply(events)
            assert "free some space" in caught.value.hint
        assert [trial.number for trial in read_all(folder).trials] == [0]
    seq = writer.seq
    writer.apply(events)
    found = read_all(folder)
    assert [trial.value for trial in found.trials] == [0.0, 1.0]
    assert len(found.points) == 6 + 5000
    assert found.run.seq == seq + len(events)


def test_disk_that_fills_at_any_size_corrupts_nothing(folder, writer):
    rng, done = random.Random(3), 0
    for number in range(60):
        events = whole_trial(number)
        size = (folder.path / "record.db-wal").stat().st_size
        with file_size_limit(size + rng.randrange(12_000)):
            try:
                writer.apply(events)
            except StoreError:
                done += 1
                continue
    assert done > 5
    n_trials = len(read_all(folder).trials)
    assert n_trials == 60 - done
    writer.close()
    assert len(read_all(folder).trials) == n_trials


def test_new_run_on_a_full_disk_leaves_nothing_half_made(home, folder):
    with folder.writer(Owner.this_process()) as writer:
        with file_size_limit(10_000), pytest.raises(StoreError, match="disk"):
            writer.create(folder.recipe())
        assert not record_of(folder).exists()
        writer.create(folder.recipe())
    assert read_all(folder).run.name == "digits"


# -- many at once ---------------------------------------------------------------------------


def test_reader_in_a_thread_sees_only_whole_transactions(folder, writer):
    over, seen, wrong = threading.Event(), set(), []

    def tail():
        with folder.reader() as reader:
            cursor = None
            while True:
                is_last = over.is_set()
                now = reader.changes(cursor)
                cursor = now.cursor
                seen.update(trial.number for trial in now.trials)
                if len(now.points) != 6 * len(now.trials):
                    wrong.append(now)
                if is_last:
                    return

    threads = [threading.Thread(target=tail) for _ in range(2)]
    for thread in threads:
        thread.start()
    for number in range(150):
        writer.apply(whole_trial(number))
    over.set()
    for thread in threads:
        thread.join()
    assert not wrong
    assert seen == set(range(150))


def test_one_reader_serves_many_threads(folder, writer):
    writer.apply([event for n in range(50) for event in whole_trial(n)])
    found = []
    with folder.reader() as reader:
        threads = [
            threading.Thread(target=lambda: found.append(len(reader.changes().trials)))
            for _ in range(8)
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert found == [50] * 8


def _open_and_count(path: Path, gate, answers) -> None:
    folder = RunFolder(path)
    gate.wait()
    try:
        with folder.writer(Owner.this_process()) as writer:
            writer.create(folder.recipe())
            writer.apply([LogLine(text="mine")])
            gate.wait()
            answers.put("wrote")
    except StoreError as error:
        gate.wait()
        with folder.reader() as reader:
            answers.put(f"refused: {error.message}; {reader.run().name}")


def test_of_eight_processes_at_a_new_record_one_writes_and_all_read(folder):
    context = multiprocessing.get_context("spawn")
    gate, answers = context.Barrier(8), context.Queue()
    processes = [
        context.Process(target=_open_and_count, args=(folder.path, gate, answers)) for _ in range(8)
    ]
    for process in processes:
        process.start()
    found = sorted(answers.get(timeout=60) for _ in processes)
    for process in processes:
        process.join()
    assert [answer.partition(":")[0] for answer in found] == ["refused"] * 7 + ["wrote"]
    assert all(answer.endswith("; digits") for answer in found[:7])
    assert all("being written by process" in answer for answer in found[:7])
    assert len(read_all(folder).logs) == 1


def test_writer_that_was_overtaken_writes_nothing_more(folder, home, writer):
    """As on a network disk whose locks do not reach across machines."""
    writer.apply(started(0))
    with sqlite3.connect(record_of(folder)) as other:
        other.execute("UPDATE run SET owner_pid = owner_pid + 1")
    other.close()
    with pytest.raises(StoreError, match="took the run over"):
        writer.apply([EpochEnded(trial=0, epoch=1, step=1, metrics={"a": 1.0})])
    with pytest.raises(StoreError, match="took the run over"):
        writer.apply([TrialEnded(trial=0, state="complete", values=[1.0])])
    assert read_all(folder).trials[0].state == "running"


def test_owner_that_lives_keeps_its_run_though_the_lock_is_free(folder, home):
    with folder.writer(Owner.this_process()) as writer:
        writer.create(folder.recipe())
        (folder.path / "owner.lock").unlink()
        with pytest.raises(StoreError, match="which is alive"):
            folder.writer(Owner(1, 0.0, "box"))


def test_home_lists_while_a_run_is_written(home: Home, folder, writer):
    writer.apply([RunStateChanged(state="running"), *whole_trial(0), *started(1)])
    (info,) = home.runs()
    assert (info.state, info.n_trials, info.n_finished) == ("running", 2, 1)
