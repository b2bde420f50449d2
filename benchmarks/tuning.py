"""Whole runs: milliseconds a trial of ours and of four peers, same model, data, split sizes, epochs.

The same learning rates for everybody (`peers.rates`), no early stopping. Ours counts from the call to
the end of the run (processes handed the run, data stored, planning, record, all of it), with a warm
runner, as in a notebook whose `%load_ext` was a while ago; the first run of a process, which loads what a
call needs, is made before.
"""

from __future__ import annotations

import statistics
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import peers
from figures import Figure, Goal
from models import Cnn, Mlp, digits, mnist
from ours import finished, warmed
from peers import SEED, Job, rates
from turns import Clock, alternate

OPTUNA = "Optuna and a plain loop"
RAY, KERAS = "Ray Tune", "Keras Tuner, Keras on torch"
# They have no goal, and a repeat of Ray's takes a quarter of a minute, most of it to start processes.
N_RAY, N_KERAS = 2, 3


@dataclass(frozen=True, kw_only=True)
class Sizes:
    """Trials a repeat; fewer suffice where each takes as long, and nothing is started first."""

    ours: int
    optuna: int
    ray: int
    keras: int


def by_us(job: Job, n_trials: int, home: Path, executor: str) -> float:
    """Milliseconds a trial, in a home of its own: none remembers another's plan."""
    import nbautoml

    home = Path(tempfile.mkdtemp(dir=home))
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
        enqueue=[{"lr": rate} for rate in rates(n_trials)],
        seed=SEED,
        stopper="none",
        executor=executor,
        device=job.device,
        home=home,
    )
    finished(run)
    return (time.perf_counter() - begin) / n_trials * 1000


def measure(*, is_quick: bool, clock: Clock) -> Iterator[Figure]:
    try:
        with tempfile.TemporaryDirectory() as place:
            by_us(Job(Mlp, digits(), epochs=1), 2, Path(place), "process")
            yield _mlp(Path(place), clock, is_quick=is_quick)
            images = mnist(10_000)
            name = "tuning: a trial, CNN on 10,000 MNIST images"
            if images is None:
                note = "MNIST is missing here: NBAUTOML_MNIST names the folder of its four files."
                yield Figure(name, "ms", {}, [Goal(1 / 2.2, OPTUNA)], notes=[note])
            else:
                yield _cnn(name, images, Path(place), clock, is_quick=is_quick)
    finally:
        peers.stop_ray()


def _mlp(home: Path, clock: Clock, *, is_quick: bool) -> Figure:
    n = 16 if is_quick else 64
    return _figure(
        f"tuning: a trial of {n}, MLP on digits",
        Job(Mlp, digits(), epochs=10),
        Sizes(ours=n, optuna=n // 4, ray=n, keras=2),
        home,
        clock,
        executors=("auto", "process"),
        goals=[Goal(1 / 12, f"{OPTUNA}, n_jobs=1"), Goal(1 / 12, f"{OPTUNA}, n_jobs=2")],
        is_quick=is_quick,
    )


def _cnn(name: str, images: Any, home: Path, clock: Clock, *, is_quick: bool) -> Figure:
    n = 4 if is_quick else 8
    return _figure(
        f"{name}, {n} trials",
        Job(Cnn, images, epochs=1),
        Sizes(ours=n, optuna=n, ray=n, keras=2),
        home,
        clock,
        executors=("auto",),
        goals=[Goal(1 / 2.2, f"{OPTUNA}, n_jobs=1"), Goal(1 / 2.2, f"{OPTUNA}, n_jobs=2")],
        is_quick=is_quick,
    )


def _figure(
    name: str,
    job: Job,
    sizes: Sizes,
    home: Path,
    clock: Clock,
    *,
    executors: Sequence[str],
    goals: list[Goal],
    is_quick: bool,
) -> Figure:
    ways: dict[str, Any] = {
        f"nbautoml, executor {executor}": lambda executor=executor: by_us(
            job, sizes.ours, home, executor
        )
        for executor in executors
    }
    for n_jobs in (1, 2):
        ways[f"{OPTUNA}, n_jobs={n_jobs}"] = lambda n_jobs=n_jobs: peers.by_optuna(
            job, sizes.optuna, n_jobs
        )
    repeats = 1 if is_quick else 5
    wanted = dict.fromkeys(ways, repeats)
    notes = peers.missing(Ray_Tune="ray", Keras_Tuner="keras_tuner")
    if not any("Ray" in note for note in notes):
        ways[RAY] = lambda: peers.by_ray(job, sizes.ray)
        wanted[RAY] = min(repeats, N_RAY)
        notes.append(
            f"Ray itself took {peers.start_ray():.1f} s to start, once before this figure's turns; "
            "that is not in the figure, nor is ours (a runner that %load_ext has started). The "
            "processes that Ray Tune starts for its trials are, and are kept from trial to trial."
        )
    if not any("Keras" in note for note in notes):
        ways[KERAS] = lambda: peers.by_keras_tuner(job, sizes.keras)
        wanted[KERAS] = min(repeats, N_KERAS)
    values = alternate(ways, repeats=wanted, clock=clock)
    notes.insert(0, _rates(values))
    return Figure(name, "ms", values, goals, method=_method(job, sizes), notes=notes)


def _rates(values: Mapping[str, Sequence[float]]) -> str:
    rates = [f"{way} {1000 / statistics.median(own):.3g}" for way, own in values.items()]
    return f"Trials a second: {'; '.join(rates)}."


def _method(job: Job, sizes: Sizes) -> str:
    return (
        f"{job.epochs} epoch{'s' * (job.epochs > 1)} of {len(job.data[0]) * 4 // 5:,} rows in "
        f"batches of {job.batch}, Adam, validation after each; the same learning rates for all, "
        f"drawn once. Trials a repeat: nbautoml {sizes.ours}, Optuna {sizes.optuna}, Ray Tune "
        f"{sizes.ray}, Keras Tuner {sizes.keras}; two at once in Ray Tune and nbautoml."
    )
