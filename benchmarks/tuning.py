"""Whole runs: trials a second of ours, and of the loop that Optuna's documentation shows for PyTorch.

Same model, data, split sizes, batch size, epochs and range; random search, no early stopping. Ours
counts from the call to the end of the run, with a warm runner, as in a notebook.
"""

from __future__ import annotations

import tempfile
import time
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from figures import Figure, alternate
from models import Cnn, Mlp, digits, mnist
from torch import Tensor, nn

BATCH = 64


def plain_objective(net: Callable[[], nn.Module], data: tuple[Tensor, Tensor], epochs: int) -> Any:
    """As in Optuna's own example for PyTorch: DataLoaders, a loop, a report an epoch."""
    from torch.utils.data import DataLoader, TensorDataset, random_split

    def objective(trial: Any) -> float:
        lr = trial.suggest_float("lr", 1e-4, 1e-1, log=True)
        whole = TensorDataset(*data)
        n_valid = len(whole) // 5
        train, valid = random_split(
            whole, [len(whole) - n_valid, n_valid], torch.Generator().manual_seed(0)
        )
        loader = DataLoader(train, batch_size=BATCH, shuffle=True)
        check = DataLoader(valid, batch_size=BATCH)
        model = net()
        optimizer = torch.optim.Adam(model.parameters(), lr=lr)
        accuracy = 0.0
        for epoch in range(epochs):
            model.train()
            for x, y in loader:
                optimizer.zero_grad()
                loss = nn.functional.cross_entropy(model(x), y)
                loss.backward()
                optimizer.step()
            model.eval()
            correct = 0
            with torch.no_grad():
                for x, y in check:
                    correct += int((model(x).argmax(dim=1) == y).sum())
            accuracy = correct / n_valid
            trial.report(accuracy, epoch)
        return accuracy

    return objective


def by_optuna(net: Any, data: Any, epochs: int, n_trials: int, n_jobs: int) -> float:
    import optuna

    optuna.logging.set_verbosity(optuna.logging.ERROR)
    torch.set_num_threads(1)
    study = optuna.create_study(direction="maximize", sampler=optuna.samplers.RandomSampler(seed=0))
    begin = time.perf_counter()
    study.optimize(plain_objective(net, data, epochs), n_trials=n_trials, n_jobs=n_jobs)
    return (time.perf_counter() - begin) / n_trials * 1000


def by_us(net: Any, data: Any, epochs: int, n_trials: int, home: Path, executor: str) -> float:
    import nbautoml
    from nbautoml.engine import client
    from nbautoml.store import Home

    client.preheat(Home(home))
    time.sleep(6)  # a person reads the notebook meanwhile
    begin = time.perf_counter()
    run = nbautoml.tune(
        net,
        data=data,
        space={"lr": nbautoml.Float(1e-4, 1e-1, log=True)},
        trials=n_trials,
        epochs=epochs,
        batch_size=BATCH,
        optimizer="adam",
        sampler="random",
        stopper="none",
        executor=executor,
        home=home,
    )
    run.wait(poll=0.02)
    spent = time.perf_counter() - begin
    if run.state != "finished":
        raise RuntimeError(f"the run is {run.state}: {run.message}")
    return spent / n_trials * 1000


def measure(*, is_quick: bool) -> list[Figure]:
    warnings.simplefilter("ignore")
    jobs: list[tuple[str, Any, Any, int, int, int, str]] = [
        ("a trial of 64, digits MLP, 10 epochs", Mlp, digits(), 10, 64, 5, ">= 12x Optuna's loop"),
    ]
    images = mnist(10_000)
    if images is not None:
        name = "a trial of 8, CNN on 10,000 MNIST images, 1 epoch"
        jobs.append((name, Cnn, images, 1, 8, 3, ">= 2.2x Optuna's loop"))
    found = []
    with tempfile.TemporaryDirectory() as place:
        home = Path(place)
        for name, net, data, epochs, n_trials, repeats, goal in jobs:
            ways = {
                f"nbautoml, executor {executor}": (
                    lambda executor=executor, net=net, data=data, epochs=epochs, n=n_trials: by_us(
                        net, data, epochs, n, home, executor
                    )
                )
                for executor in ("auto", "process")
            }
            for n_jobs in (1, 2):
                ways[f"Optuna and a plain loop, n_jobs={n_jobs}"] = (
                    lambda n_jobs=n_jobs, net=net, data=data, epochs=epochs, n=n_trials: by_optuna(
                        net, data, epochs, n, n_jobs
                    )
                )
            values = alternate(ways, repeats=1 if is_quick else repeats)
            found.append(Figure(name, "ms", values, goal))
    return found
