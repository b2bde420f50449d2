"""Memory of a run's processes after 200 trials against after 20 of the same model."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from figures import Figure, Goal
from models import Mlp, digits
from ours import family, finished
from turns import Clock, alternate

FEW = "after 20 trials"
SETTLED = 5


def megabytes(processes: list[Any]) -> float:
    """What they hold for themselves, and their share of what they hold together (PSS)."""
    import psutil

    total = 0.0
    for process in processes:
        try:
            held = process.memory_full_info()
        except psutil.NoSuchProcess:
            continue
        total += getattr(held, "pss", 0) or held.uss
    return total / 2**20


def held(n_trials: int, home: Path) -> dict[str, float]:
    """Megabytes of supervisor and workers around the 20th trial and around the last ones.

    Each is the median of a few looks: what a worker holds goes up and down within a trial.
    """
    import psutil

    import nbautoml

    before = set(psutil.Process().children())
    run = nbautoml.tune(
        Mlp,
        data=digits(),
        space={"lr": nbautoml.Float(1e-4, 1e-1, log=True)},
        trials=n_trials,
        epochs=10,
        batch_size=64,
        sampler="random",
        stopper="none",
        home=home,
    )
    looks: list[tuple[int, float]] = []
    while (info := run.info).state in {"queued", "running"}:
        own = [child for child in psutil.Process().children() if child not in before]
        looks.append((info.n_finished, megabytes(family(own))))
        time.sleep(0.05)
    finished(run)
    return {
        FEW: _around([mb for n, mb in looks if 20 <= n <= n_trials // 2]),
        "last": _around([mb for n, mb in looks if n < n_trials][::-1]),
    }


def _around(looks: list[float]) -> float:
    few = sorted(looks[:SETTLED])
    if not few:
        raise RuntimeError("the run was over before it could be looked at")
    return few[len(few) // 2]


def measure(*, is_quick: bool, clock: Clock) -> Iterator[Figure]:
    n = 60 if is_quick else 200
    last = f"after {n} trials"
    kept: dict[str, float] = {}
    with tempfile.TemporaryDirectory() as place:

        def run_once() -> float:
            kept.update(held(n, Path(place)))
            return kept["last"]

        ways = {last: run_once, FEW: lambda: kept[FEW]}
        values = alternate(ways, repeats=2 if is_quick else 5, clock=clock)
    yield Figure(
        "memory: a run's processes, MLP on digits",
        "MB",
        values,
        [Goal(1.05, FEW)],
        method=(
            "Supervisor and workers of one run (proportional set size where the system tells "
            "it), the median of five looks around the 20th and the last trials."
        ),
    )
