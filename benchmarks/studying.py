"""What the study costs beside training: ask, tell and record of 1,000 trials, ours and Optuna's own."""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Iterator
from typing import Any

from figures import Figure, Goal
from record import our_run
from turns import Clock, alternate

MEMORY = "Optuna, in memory"


def ours_ms(sampler: str, n: int, *, is_recorded: bool) -> float:
    """Milliseconds a trial; recorded: planned, started and ended in a record on disk, one by one."""
    from nbautoml.events import TrialEnded, TrialPlanned, TrialStarted
    from nbautoml.spec import Choice, Float, Int, Objective, Space
    from nbautoml.study import Study

    space = Space(
        {
            "lr": Float(1e-4, 1e-1, log=True),
            "hidden": Int(8, 128),
            "optimizer": Choice("sgd", "adam"),
        }
    )
    study = Study(space, (Objective("accuracy", "maximize"),), sampler=sampler, n_trials=n)
    numbers = random.Random(0)
    with our_run() as (_, writer):
        begin = time.perf_counter()
        for _ in range(n):
            number, params = study.ask()
            value = numbers.random()
            if is_recorded:
                writer.apply([TrialPlanned(trial=number, params=params)])
                writer.apply([TrialStarted(trial=number, worker=1)])
                writer.apply([TrialEnded(trial=number, state="complete", values=[value])])
            study.tell(number, "complete", [value])
        return (time.perf_counter() - begin) / n * 1000


def optuna_ms(sampler: str, n: int) -> float:
    import optuna

    optuna.logging.set_verbosity(optuna.logging.ERROR)
    kinds: dict[str, Any] = {
        "random": optuna.samplers.RandomSampler,
        "tpe": optuna.samplers.TPESampler,
    }
    study = optuna.create_study(direction="maximize", sampler=kinds[sampler](seed=0))
    numbers = random.Random(0)
    begin = time.perf_counter()
    for _ in range(n):
        trial = study.ask()
        trial.suggest_float("lr", 1e-4, 1e-1, log=True)
        trial.suggest_int("hidden", 8, 128)
        trial.suggest_categorical("optimizer", ["sgd", "adam"])
        study.tell(trial, numbers.random())
    return (time.perf_counter() - begin) / n * 1000


def measure(*, is_quick: bool, clock: Clock) -> Iterator[Figure]:
    n = 200 if is_quick else 1000
    for sampler in ("random", "tpe"):
        bare, recorded = "nbautoml, ask and tell", "nbautoml, ask, tell and record"
        ways: dict[str, Callable[[], float]] = {
            bare: lambda sampler=sampler: ours_ms(sampler, n, is_recorded=False),
            recorded: lambda sampler=sampler: ours_ms(sampler, n, is_recorded=True),
            MEMORY: lambda sampler=sampler: optuna_ms(sampler, n),
        }
        goal = Goal(2.0, way=recorded) if sampler == "random" else Goal(1.0, MEMORY)
        yield Figure(
            f"studying: a trial's bookkeeping, {sampler}, mean of {n:,}",
            "ms",
            alternate(ways, repeats=2 if is_quick else 5, clock=clock),
            [goal],
            method="Three dimensions. Recorded: into a record on disk, each event on its own.",
        )
