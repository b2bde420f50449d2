"""What recording costs, against Optuna's storages in the same run.

Measured, each several times on fresh records, with peers taking turns:

* a point: `Writer.apply` of 100 points a call, spread over all points;
* a trial's bookkeeping: plan, start, 10 epochs each written on its own, end (with its fsync), when
  the record holds 0, 100, 1000, 5000 trials already. Peers: `create_new_trial`, one
  `set_trial_param` a parameter, 10 `set_trial_intermediate_value`, `set_trial_state_values`;
* opening a run of 10,000 trials of 10 epochs: `RunFolder.reader()` in a process that has loaded the
  code, then everything that a panel needs (`changes()`: all trials, all points, log).
  Peers: a new storage object and `get_all_trials`.

    python benchmarks/record.py [--quick] [--out out]
"""

from __future__ import annotations

import argparse
import importlib.metadata
import json
import os
import platform
import random
import shutil
import sqlite3
import statistics
import sys
import tempfile
import time
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[1]))

from nbautoml.events import (
    EpochEnded,
    Event,
    RunStateChanged,
    StepsDone,
    TrialEnded,
    TrialPlanned,
    TrialStarted,
)
from nbautoml.store import Home, Owner, RunFolder, Writer
from nbautoml.testing.store_contract import tiny_recipe

N_EPOCHS = 10
PARAMS = {
    "lr": 0.01,
    "dropout": 0.25,
    "hidden": 64,
    "optimizer": "adam",
    "batch_size": 64,
    "wd": 0.0,
}
SEED = 0


@contextmanager
def our_run() -> Iterator[tuple[RunFolder, Writer]]:
    """A run with its writer, in a folder that goes away."""
    place = Path(tempfile.mkdtemp(prefix="bench-record-"))
    folder = Home(place / "home").create_run(tiny_recipe("bench"), None)
    try:
        with folder.writer(Owner.this_process()) as writer:
            writer.create(folder.recipe())
            writer.apply([RunStateChanged(state="running")])
            yield folder, writer
    finally:
        shutil.rmtree(place)


def life(number: int) -> list[list[Event]]:
    """A trial's events, as the calls that would write them one by one."""
    epochs = [
        [EpochEnded(trial=number, epoch=e, step=e * 21, metrics={"accuracy": 0.5 + e / 100})]
        for e in range(1, N_EPOCHS + 1)
    ]
    return [
        [TrialPlanned(trial=number, params=PARAMS)],
        [TrialStarted(trial=number, worker=1)],
        *epochs,
        [TrialEnded(trial=number, state="complete", values=[0.6], metrics={"accuracy": 0.6})],
    ]


def filled(writer: Writer, first: int, last: int) -> None:
    """Trials that are there already, written in large transactions."""
    for start in range(first, last, 500):
        numbers = range(start, min(start + 500, last))
        writer.apply([event for n in numbers for call in life(n) for event in call])


def time_points(n_points: int, per_call: int = 100) -> float:
    """Milliseconds a point."""
    with our_run() as (_, writer):
        writer.apply(life(0)[0] + life(0)[1])
        calls = [
            [
                StepsDone(
                    trial=0,
                    name="step_loss",
                    steps=list(range(at, at + per_call)),
                    values=[random.random() for _ in range(per_call)],
                )
            ]
            for at in range(0, n_points, per_call)
        ]
        begin = time.perf_counter()
        for call in calls:
            writer.apply(call)
        return (time.perf_counter() - begin) / n_points * 1000


def time_our_trials(n_before: int, n_timed: int) -> float:
    """Milliseconds of bookkeeping a trial, with so many trials in the record."""
    with our_run() as (_, writer):
        filled(writer, 0, n_before)
        begin = time.perf_counter()
        for number in range(n_before, n_before + n_timed):
            for call in life(number):
                writer.apply(call)
        return (time.perf_counter() - begin) / n_timed * 1000


def time_our_open(n_trials: int, repeats: int) -> dict[str, list[float]]:
    """Milliseconds to open, to list as `%automl runs` does, and to read all."""
    found: dict[str, list[float]] = {"open": [], "open and read all": [], "list": [], "first": []}
    with our_run() as (folder, writer):
        filled(writer, 0, n_trials)
        for _ in range(repeats):
            begin = time.perf_counter()
            with folder.reader() as reader:
                found["open"].append((time.perf_counter() - begin) * 1000)
                everything = reader.changes()
                found["open and read all"].append((time.perf_counter() - begin) * 1000)
            assert len(everything.trials) == n_trials
            assert len(everything.points) == n_trials * N_EPOCHS
            begin = time.perf_counter()
            Home(folder.path.parents[1]).runs()
            found["list"].append((time.perf_counter() - begin) * 1000)
        writer.apply([RunStateChanged(state="finished")])
        writer.close()
        begin = time.perf_counter()
        with folder.reader() as reader:
            reader.changes()
        found["first"].append((time.perf_counter() - begin) * 1000)
    return found


# -- peers ----------------------------------------------------------------------------------


def make_rdb(place: Path) -> Any:
    from optuna.storages import RDBStorage

    return RDBStorage(f"sqlite:///{place / 'optuna.db'}")


def make_journal(place: Path) -> Any:
    from optuna.storages import JournalStorage
    from optuna.storages.journal import JournalFileBackend

    return JournalStorage(JournalFileBackend(str(place / "optuna.log")))


PEERS: dict[str, Callable[[Path], Any]] = {"optuna RDB": make_rdb, "optuna journal": make_journal}


def distributions() -> dict[str, Any]:
    from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution

    return {
        "lr": FloatDistribution(1e-5, 1e-1, log=True),
        "dropout": FloatDistribution(0, 0.5),
        "hidden": IntDistribution(16, 256),
        "optimizer": CategoricalDistribution(["sgd", "adam"]),
        "batch_size": IntDistribution(16, 256),
        "wd": FloatDistribution(0, 0.1),
    }


def peer_trial(storage: Any, study_id: int, kinds: dict[str, Any]) -> None:
    from optuna.trial import TrialState

    trial = storage.create_new_trial(study_id)
    for name, value in PARAMS.items():
        kind = kinds[name]
        storage.set_trial_param(trial, name, kind.to_internal_repr(value), kind)
    for epoch in range(N_EPOCHS):
        storage.set_trial_intermediate_value(trial, epoch, 0.5)
    storage.set_trial_state_values(trial, TrialState.COMPLETE, [0.6])


def frozen(kinds: dict[str, Any]) -> Any:
    from optuna.trial import TrialState, create_trial

    return create_trial(
        state=TrialState.COMPLETE,
        value=0.6,
        params=PARAMS,
        distributions=kinds,
        intermediate_values=dict.fromkeys(range(N_EPOCHS), 0.5),
    )


@contextmanager
def peer_study(name: str, n_before: int) -> Iterator[tuple[Any, int, Path, dict[str, Any]]]:
    from optuna.study import StudyDirection

    place, kinds = Path(tempfile.mkdtemp(prefix="bench-record-")), distributions()
    storage = PEERS[name](place)
    study_id = storage.create_new_study([StudyDirection.MAXIMIZE], "bench")
    template = frozen(kinds)
    for _ in range(n_before):
        storage.create_new_trial(study_id, template_trial=template)
    try:
        yield storage, study_id, place, kinds
    finally:
        shutil.rmtree(place)


def time_peer_trials(name: str, n_before: int, n_timed: int) -> float:
    with peer_study(name, n_before) as (storage, study_id, _, kinds):
        begin = time.perf_counter()
        for _ in range(n_timed):
            peer_trial(storage, study_id, kinds)
        return (time.perf_counter() - begin) / n_timed * 1000


def time_peer_open(name: str, n_trials: int) -> float:
    with peer_study(name, n_trials) as (_, study_id, place, _):
        begin = time.perf_counter()
        storage = PEERS[name](place)
        trials = storage.get_all_trials(study_id)
        assert len(trials) == n_trials
        return (time.perf_counter() - begin) * 1000


# -- report ---------------------------------------------------------------------------------


def measured(values: list[float]) -> dict[str, Any]:
    return {
        "value": statistics.median(values),
        "unit": "ms",
        "method": "median",
        "n": len(values),
        "values": values,
        "spread": [min(values), max(values)],
    }


def run(*, is_quick: bool) -> dict[str, Any]:
    repeats, n_timed, n_points = (2, 10, 2_000) if is_quick else (5, 40, 10_000)
    before = [0, 100, 1000] if is_quick else [0, 100, 1000, 5000]
    n_open = 1_000 if is_quick else 10_000
    random.seed(SEED)
    rows: dict[str, Any] = {}
    rows["point, nbautoml"] = measured([time_points(n_points) for _ in range(repeats)])
    for n in before:
        ours, peers = [], {name: [] for name in PEERS}
        for _ in range(repeats if n < 5000 else 2):
            ours.append(time_our_trials(n, n_timed))
            for name, found in peers.items():
                # Filling a peer with 5000 trials takes minutes: fewer timed trials suffice.
                found.append(time_peer_trials(name, n, max(5, n_timed // 4)))
        rows[f"trial at {n}, nbautoml"] = measured(ours)
        for name, found in peers.items():
            rows[f"trial at {n}, {name}"] = measured(found)
    opened = time_our_open(n_open, repeats)
    rows[f"open {n_open} trials, nbautoml"] = measured(opened["open"])
    rows[f"open and read all {n_open} trials, nbautoml"] = measured(opened["open and read all"])
    rows[f"open and read all {n_open} trials, sealed, nbautoml"] = measured(opened["first"])
    rows[f"list a run of {n_open} trials, nbautoml"] = measured(opened["list"])
    for name in PEERS:
        rows[f"open and read all {n_open} trials, {name}"] = measured(
            [time_peer_open(name, n_open) for _ in range(1 if not is_quick else repeats)]
        )
    for name, row in rows.items():
        what, _, who = name.rpartition(", ")
        base = rows.get(f"{what}, nbautoml")
        if who in PEERS and base:
            row["ratio to nbautoml"] = row["value"] / base["value"]
    return rows


def main(words: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--quick", action="store_true", help="small sizes, seconds")
    parser.add_argument("--out", type=Path, default=Path("out"))
    asked = parser.parse_args(words)
    warnings.simplefilter("ignore")
    import optuna

    optuna.logging.set_verbosity(optuna.logging.ERROR)
    begin = time.perf_counter()
    rows = run(is_quick=asked.quick)
    about = {
        "benchmark": "record",
        "is_quick": asked.quick,
        "seed": SEED,
        "machine": {"cpu": platform.processor() or platform.machine(), "n_cpus": os.cpu_count()},
        "versions": {
            "python": platform.python_version(),
            "sqlite": sqlite3.sqlite_version,
            **{name: importlib.metadata.version(name) for name in ("sqlalchemy", "optuna")},
        },
        "took_s": time.perf_counter() - begin,
        "rows": rows,
    }
    width = max(map(len, rows))
    lines = [f"{'':{width}}  {'median ms':>10}  {'from .. to':>19}  n  x nbautoml"]
    for name, row in rows.items():
        low, high = row["spread"]
        ratio = f"{row['ratio to nbautoml']:10.1f}" if "ratio to nbautoml" in row else ""
        lines.append(
            f"{name:{width}}  {row['value']:10.4f}  {low:8.3f} .. {high:8.3f}  {row['n']}  {ratio}"
        )
    table = "\n".join(lines)
    asked.out.mkdir(parents=True, exist_ok=True)
    (asked.out / "record.json").write_text(json.dumps(about, indent=1), encoding="utf-8")
    (asked.out / "record.txt").write_text(table + "\n", encoding="utf-8")
    print(table)
    return 0


if __name__ == "__main__":
    sys.exit(main())
