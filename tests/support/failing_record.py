"""A record written while its file's calls fail, one after another; started under failing_calls.c.

Prints one JSON object: for each call and error how often it failed, and what was wrong afterwards.

    LD_PRELOAD=libfailing.so python failing_record.py FOLDER LIBRARY SEED LIMIT
"""

from __future__ import annotations

import ctypes
import errno
import json
import random
import shutil
import sys
from pathlib import Path
from typing import Any

from nbautoml.errors import NbAutomlError
from nbautoml.events import RunStateChanged
from nbautoml.store import Home, Owner, RunFolder
from nbautoml.testing.store_events import tiny_recipe, whole_trial

CALLS = ("pwrite", "fsync", "ftruncate", "open", "unlink", "pread")
ERRORS = ("EIO", "EDQUOT", "ENOSPC")
N_TRIALS = 12


class Disk:
    """The calls of this process, and which of them fails."""

    def __init__(self, library: str) -> None:
        self._library = ctypes.CDLL(library)

    def arm(self, call: str, nth: int, how_many: int, error: str) -> None:
        self._library.arm(call.encode(), nth, how_many, getattr(errno, error))

    def disarm(self) -> int:
        return int(self._library.disarm())


def write(folder: RunFolder, disk: Disk, told: list[str]) -> None:
    """A whole run, tried again as the supervisor does; the disk is mended at the second error."""
    n_done, n_tries = 0, 0
    while n_done <= N_TRIALS:
        try:
            with folder.writer(Owner.this_process()) as writer:
                writer.create(folder.recipe())
                writer.recover()
                writer.apply([RunStateChanged(time=1.0, state="running")])
                while n_done <= N_TRIALS:
                    n_done = step(writer, n_done, told)
        except NbAutomlError as error:
            told.append(error.message)
            n_tries += 1
            if n_tries > 1:
                disk.disarm()
            assert n_tries < 10, told


def tried(folder: RunFolder, disk: Disk, told: list[str]) -> list[str]:
    """Errors that are none of ours, and so not in words."""
    try:
        write(folder, disk, told)
    except Exception as problem:
        return [repr(problem)[:500]]
    return []


def step(writer: Any, n_done: int, told: list[str]) -> int:
    """One trial, or the end; the writer is kept for a second try, as it is in the run's loop."""
    last = n_done == N_TRIALS
    events = [RunStateChanged(time=2.0, state="finished")] if last else whole_trial(n_done)
    try:
        writer.apply(events)
    except NbAutomlError as error:
        told.append(error.message)
        writer.apply(events)
    return n_done + 1


def wrongs(folder: RunFolder) -> list[str]:
    """What the record says that it should not."""
    try:
        with folder.reader() as reader:
            run, rows = reader.run(), reader.trials()
            points = [len(reader.points(trial=row.number).values) for row in rows]
    except NbAutomlError as problem:
        return [str(problem)]
    found = [] if run.state == "finished" else [f"the run is {run.state}"]
    if [row.number for row in rows] != list(range(N_TRIALS)):
        found.append(f"trials {[row.number for row in rows]}")
    if any(row.state != "complete" or row.value is None for row in rows):
        found.append(f"states {[(row.state, row.value) for row in rows]}")
    if len(set(points)) != 1:
        found.append(f"numbers of points {points}")
    return found


def main(place: Path, library: str, seed: str, limit: int) -> dict[str, Any]:
    disk, home, generator = Disk(library), Home(place), random.Random(seed)
    found: dict[str, Any] = {"failed": {}, "wrong": [], "said": set()}
    for call in CALLS:
        n_failed = 0
        for nth in range(1, limit + 1):
            error = ERRORS[nth % len(ERRORS)]
            folder, told = home.create_run(tiny_recipe(f"r{nth}"), None), []
            disk.arm(call, nth, generator.choice((1, 2, 1000)), error)
            wrong = tried(folder, disk, told)
            n_calls = disk.disarm()
            wrong += wrongs(folder)
            found["wrong"] += [[call, error, nth, text] for text in wrong]
            found["said"] |= {text.partition("record.db")[2].partition(": ")[2] for text in told}
            shutil.rmtree(folder.path)
            if n_calls < nth:
                break  # it is called less often
            n_failed += 1
        found["failed"][call] = n_failed
    found["said"] = sorted(found["said"])
    return found


if __name__ == "__main__":
    where, lib, said_seed, at_most = sys.argv[1:]
    print(json.dumps(main(Path(where), lib, said_seed, int(at_most))))
