"""Records to measure: ours with its writer, and studies in Optuna's storages; see `recording`."""

from __future__ import annotations

import random
import shutil
import sys
import tempfile
import time
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
from nbautoml.testing.store_events import tiny_recipe

N_EPOCHS = 10
PARAMS = {
    "lr": 0.01,
    "dropout": 0.25,
    "hidden": 64,
    "optimizer": "adam",
    "batch_size": 64,
    "wd": 0.0,
}


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


def book_ours(writer: Writer, first: int, n: int) -> float:
    """Milliseconds of bookkeeping a trial, for n more trials from a number on."""
    begin = time.perf_counter()
    for number in range(first, first + n):
        for call in life(number):
            writer.apply(call)
    return (time.perf_counter() - begin) / n * 1000


def open_ours(folder: RunFolder, n_trials: int) -> tuple[float, float]:
    """Milliseconds to open a record, and to open it and read all that a panel needs."""
    begin = time.perf_counter()
    with folder.reader() as reader:
        opened = (time.perf_counter() - begin) * 1000
        everything = reader.changes()
        spent = (time.perf_counter() - begin) * 1000
    if len(everything.trials) < n_trials or len(everything.points) < n_trials * N_EPOCHS:
        raise RuntimeError(f"the record has {len(everything.trials)} of {n_trials} trials")
    return opened, spent


def list_ours(folder: RunFolder) -> float:
    """Milliseconds to list the runs, as `%automl runs` does."""
    begin = time.perf_counter()
    Home(folder.path.parents[1]).runs()
    return (time.perf_counter() - begin) * 1000


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


def book_peer(storage: Any, study_id: int, kinds: dict[str, Any], n: int) -> float:
    """Milliseconds of bookkeeping a trial, for n more trials."""
    begin = time.perf_counter()
    for _ in range(n):
        peer_trial(storage, study_id, kinds)
    return (time.perf_counter() - begin) / n * 1000


def open_peer(name: str, study_id: int, place: Path, n_trials: int) -> float:
    """Milliseconds of a new storage object and all trials."""
    begin = time.perf_counter()
    trials = PEERS[name](place).get_all_trials(study_id)
    spent = (time.perf_counter() - begin) * 1000
    if len(trials) < n_trials:
        raise RuntimeError(f"{name} has {len(trials)} of {n_trials} trials")
    return spent
