"""Whole runs: milliseconds a trial of ours and of four peers, same model, data, split sizes, epochs.

Random search over the learning rate, no early stopping. Ours counts from the call to the end of
the run (processes handed the run, data stored, planning, record, all of it), with a warm runner,
as in a notebook whose `%load_ext` was a while ago.
"""

from __future__ import annotations

import tempfile
import time
from pathlib import Path
from typing import Any

import peers
from figures import Figure, Goal, alternate
from models import Cnn, Mlp, digits, mnist
from ours import finished, warmed
from peers import Job

EXECUTORS = ("auto", "process")
OPTUNA = "Optuna and a plain loop"
# Fewer trials suffice for those that take seconds each; what is told is the time of one.
N_SLOW = 8


def by_us(job: Job, n_trials: int, home: Path, executor: str) -> float:
    import nbautoml

    warmed(home)
    begin = time.perf_counter()
    run = nbautoml.tune(
        job.net,
        data=job.data,
        space={"lr": nbautoml.Float(1e-4, 1e-1, log=True)},
        trials=n_trials,
        epochs=job.epochs,
        batch_size=job.batch,
        optimizer="adam",
        sampler="random",
        stopper="none",
        executor=executor,
        home=home,
    )
    finished(run)
    return (time.perf_counter() - begin) / n_trials * 1000


def measure(*, is_quick: bool) -> list[Figure]:
    with tempfile.TemporaryDirectory() as place:
        found = [_mlp(Path(place), is_quick=is_quick)]
        images = mnist(10_000)
        name = "tuning: a trial, CNN on 10,000 MNIST images"
        if images is None:
            note = "MNIST is missing here: NBAUTOML_MNIST names the folder of its four files."
            found.append(Figure(name, "ms", {}, [Goal(1 / 2.2, OPTUNA)], notes=[note]))
        else:
            found.append(_cnn(name, images, Path(place), is_quick=is_quick))
    peers.stop_ray()
    return found


def _mlp(home: Path, *, is_quick: bool) -> Figure:
    n = 16 if is_quick else 64
    return _figure(
        f"tuning: a trial of {n}, MLP on digits",
        Job(Mlp, digits(), epochs=10),
        n,
        home,
        goals=[Goal(1 / 12, f"{OPTUNA}, n_jobs=1"), Goal(1 / 12, f"{OPTUNA}, n_jobs=2")],
        repeats=1 if is_quick else 5,
    )


def _cnn(name: str, images: Any, home: Path, *, is_quick: bool) -> Figure:
    n = 4 if is_quick else 8
    return _figure(
        f"{name}, {n} trials",
        Job(Cnn, images, epochs=1),
        n,
        home,
        goals=[Goal(1 / 2.2, f"{OPTUNA}, n_jobs=1"), Goal(1 / 2.2, f"{OPTUNA}, n_jobs=2")],
        repeats=1 if is_quick else 5,
    )


def _figure(name: str, job: Job, n: int, home: Path, *, goals: list[Goal], repeats: int) -> Figure:
    ways: dict[str, Any] = {
        f"nbautoml, executor {executor}": lambda executor=executor: by_us(job, n, home, executor)
        for executor in EXECUTORS
    }
    wanted = dict.fromkeys(ways, repeats)
    for n_jobs in (1, 2):
        way = f"{OPTUNA}, n_jobs={n_jobs}"
        ways[way] = lambda n_jobs=n_jobs: peers.by_optuna(job, n, n_jobs)
        wanted[way] = repeats
    n_slow, few = min(n, N_SLOW), min(repeats, 2)
    notes = peers.missing(Ray_Tune="ray", Keras_Tuner="keras_tuner")
    if not any("Ray" in note for note in notes):
        ways["Ray Tune, 2 at once"] = lambda: peers.by_ray(job, n_slow)
        wanted["Ray Tune, 2 at once"] = few
    if not any("Keras" in note for note in notes):
        ways["Keras Tuner, Keras on torch"] = lambda: peers.by_keras_tuner(job, n_slow)
        wanted["Keras Tuner, Keras on torch"] = few
    method = (
        f"{job.epochs} epoch{'s' * (job.epochs > 1)} of {len(job.data[0]) * 4 // 5:,} rows in "
        f"batches of {job.batch}, Adam, validation after each; random search over the learning "
        f"rate. Ray Tune and Keras Tuner: {n_slow} trials a repeat; starting Ray is not counted"
    )
    return Figure(
        name, "ms", alternate(ways, repeats=wanted), goals, method=method + ".", notes=notes
    )
