"""Time until some trial has a validation accuracy of 97 % on digits: ours with ASHA, Optuna with Hyperband.

The space is wide on purpose (most of its points are bad), so that what counts is how soon bad
trials are left. Seeds differ between repeats and are the same for both; the spread is large, as it
is in life.
"""

from __future__ import annotations

import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from figures import Figure, Goal
from models import digits
from ours import warmed
from peers import Job, plain_fit
from torch import Tensor, nn
from turns import Clock, alternate

TARGET = 0.97
EPOCHS = 27
MOST_TRIALS = 200
PEER = "Optuna, HyperbandPruner and a plain loop"
OPTIMIZERS = {
    "sgd": torch.optim.SGD,
    "adam": torch.optim.Adam,
    "rmsprop": torch.optim.RMSprop,
}


class Net(nn.Module):
    """One hidden layer; its width and dropout vary."""

    def __init__(self, hidden: int = 32, dropout: float = 0.0) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            nn.Linear(64, hidden), nn.ReLU(), nn.Dropout(dropout), nn.Linear(hidden, 10)
        )

    def forward(self, x: Tensor) -> Tensor:
        return self.layers(x)


def by_us(job: Job, seed: int, home: Path) -> float:
    """Seconds from the call to the first such value in the record, in a home of its own."""
    import nbautoml
    from nbautoml import Choice, Float, Int

    home = Path(tempfile.mkdtemp(dir=home))
    warmed(home)
    begin = time.perf_counter()
    run = nbautoml.tune(
        Net,
        data=job.split(),
        space={
            "lr": Float(1e-5, 1.0, log=True),
            "hidden": Int(4, 128, log=True),
            "dropout": Float(0.0, 0.8),
            "optimizer": Choice(*OPTIMIZERS),
            "batch_size": Choice(16, 64, 256),
        },
        momentum=0.0,  # of RMSprop, as torch's own default, which the peer has
        trials=MOST_TRIALS,
        epochs=job.epochs,
        stopper="asha",
        seed=seed,
        home=home,
    )
    spent = _watch(run, begin)
    run.stop()
    run.wait(poll=0.02)
    return spent


def _watch(run: Any, begin: float) -> float:
    """Looked at more often than every 20 ms, the record took a quarter of a core from the run."""
    with run.folder.reader() as reader:
        seen, looks = 0, 0
        while True:
            looks += 1
            is_over = looks % 50 == 0 and run.state not in {"queued", "running"}
            found = reader.points(seen, name="accuracy")
            seen = max(found.ids, default=seen)
            if any(value >= TARGET for value in found.values):
                return time.perf_counter() - begin
            if is_over:
                raise RuntimeError(f"no trial of {MOST_TRIALS} reached {TARGET}: {run.message}")
            time.sleep(0.02)


def by_optuna(job: Job, seed: int) -> float:
    """Seconds from the call to the first such value."""
    import optuna

    optuna.logging.set_verbosity(optuna.logging.ERROR)
    torch.set_num_threads(1)
    torch.manual_seed(seed)
    study = optuna.create_study(
        direction="maximize",
        sampler=optuna.samplers.TPESampler(seed=seed),
        pruner=optuna.pruners.HyperbandPruner(max_resource=EPOCHS),
    )
    begin = time.perf_counter()
    reached: list[float] = []

    def objective(trial: optuna.Trial) -> float:
        lr = trial.suggest_float("lr", 1e-5, 1.0, log=True)
        hidden = trial.suggest_int("hidden", 4, 128, log=True)
        dropout = trial.suggest_float("dropout", 0.0, 0.8)
        optimizer = trial.suggest_categorical("optimizer", list(OPTIMIZERS))
        batch = trial.suggest_categorical("batch_size", [16, 64, 256])

        def report(epoch: int, accuracy: float) -> None:
            trial.report(accuracy, epoch)
            if accuracy >= TARGET:
                reached.append(time.perf_counter() - begin)
                study.stop()
                raise optuna.TrialPruned
            if trial.should_prune():
                raise optuna.TrialPruned

        return plain_fit(
            job,
            lr,
            report,
            batch=batch,
            make_optimizer=OPTIMIZERS[optimizer],
            net=lambda: Net(hidden, dropout),
        )

    study.optimize(objective, n_trials=MOST_TRIALS)
    if not reached:
        raise RuntimeError(f"no trial of {MOST_TRIALS} reached {TARGET}")
    return reached[0]


def measure(*, is_quick: bool, clock: Clock) -> Iterator[Figure]:
    job = Job(Net, digits(), epochs=EPOCHS)
    seeds = iter(range(1000))
    current = {"seed": 0}

    with tempfile.TemporaryDirectory() as place:

        def ours() -> float:
            current["seed"] = next(seeds)
            return by_us(job, current["seed"], Path(place))

        ways = {"nbautoml, ASHA": ours, PEER: lambda: by_optuna(job, current["seed"])}
        values = alternate(ways, repeats=2 if is_quick else 9, n_warm=1, clock=clock)
    yield Figure(
        f"halving: time to {TARGET:.0%} validation accuracy on digits",
        "s",
        values,
        [Goal(1 / 5, PEER)],
        method=(
            f"Learning rate over five orders of magnitude, hidden width 4 to 128, dropout 0 to "
            f"0.8, three optimisers, three batch sizes; at most {EPOCHS} epochs a trial; other "
            "seeds in each repeat; a first turn of both, in which this process loads what it needs, "
            "is not kept. Ours counts from the call, with a warm runner, to the value's being in "
            "the record, at which it looks every 20 ms."
        ),
    )
