"""What the study costs beside training: ask and tell of 1,000 trials, ours and Optuna's own, in memory."""

from __future__ import annotations

import random
import time
from typing import Any

from figures import Figure, alternate


def ours_ms(sampler: str, n: int) -> float:
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
    begin = time.perf_counter()
    for _ in range(n):
        number, _ = study.ask()
        study.tell(number, "complete", [numbers.random()])
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


def measure(*, is_quick: bool) -> list[Figure]:
    n = 200 if is_quick else 1000
    goals = {"random": "<= 2 ms", "tpe": "no worse than Optuna's own"}
    return [
        Figure(
            f"ask and tell, {sampler}, mean of {n} trials",
            "ms",
            alternate(
                {
                    "nbautoml": lambda sampler=sampler: ours_ms(sampler, n),
                    "Optuna": lambda sampler=sampler: optuna_ms(sampler, n),
                },
                repeats=2 if is_quick else 3,
            ),
            goal,
        )
        for sampler, goal in goals.items()
    ]
