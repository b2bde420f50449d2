"""One fit, beside a tight loop written by hand, Lightning and skorch; and many as one: see `vectorized`."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import peers
import torch
import vectorized
from figures import Figure, Goal
from models import Cnn, Mlp, digits, mnist
from peers import Job
from turns import Clock, alternate

LR = 3e-3
TIGHT = "tight loop"


def tight_fit(job: Job) -> float:
    """What a careful person writes: tensors, no loader, fused Adam; validation after each epoch."""
    x, y, x_valid, y_valid = (part.to(job.device) for part in job.split())
    torch.manual_seed(0)
    model = job.net().to(job.device)
    optimizer = torch.optim.Adam(model.parameters(), lr=LR, fused=True)
    accuracy = 0.0
    for _ in range(job.epochs):
        model.train()
        order = torch.randperm(len(x), device=job.device)
        for start in range(0, len(x), job.batch):
            rows = order[start : start + job.batch]
            optimizer.zero_grad()
            torch.nn.functional.cross_entropy(model(x[rows]), y[rows]).backward()
            optimizer.step()
        model.eval()
        with torch.no_grad():
            right = sum(
                (model(part).argmax(1) == own).sum()
                for part, own in zip(x_valid.split(256), y_valid.split(256), strict=True)
            )
            accuracy = float(right) / len(y_valid)
    return accuracy


def our_fit(job: Job, data: Any) -> float:
    from nbautoml.spec.fit import FitSettings
    from nbautoml.spec.objective import Objective
    from nbautoml.train.loop import fit
    from nbautoml.train.result import Silent

    found = fit(
        job.net,
        data,
        FitSettings(optimizer="adam", lr=LR, batch_size=job.batch, epochs=job.epochs),
        objective=Objective("accuracy", "maximize"),
        seed=0,
        device=job.device,
        listener=Silent(),
    )
    return float(found.value)


def timed(train: Callable[[], float], least: float) -> float:
    """Milliseconds; a fit that learnt nothing is not to be timed."""
    begin = time.perf_counter()
    accuracy = train()
    spent = (time.perf_counter() - begin) * 1000
    if accuracy < least:
        raise RuntimeError(f"the fit reached an accuracy of {accuracy:.3f} only")
    return spent


def measure(*, is_quick: bool, clock: Clock) -> Iterator[Figure]:
    torch.set_num_threads(1)
    repeats = 3 if is_quick else 15
    notes = peers.missing(Lightning="lightning", skorch="skorch")
    extra: dict[str, Any] = {}
    goals = [Goal(1.03, TIGHT)]
    if not any("Lightning" in note for note in notes):
        extra["Lightning"] = peers.fit_by_lightning
        goals.append(Goal(1 / 1.5, "Lightning"))
    if not any("skorch" in note for note in notes):
        extra["skorch"] = peers.fit_by_skorch
        goals.append(Goal(1 / 1.5, "skorch"))
    name = "fit: MLP on digits, 10 epochs"
    yield _figure(name, Job(Mlp, digits(), 10), extra, goals, repeats, notes, clock)
    images = mnist(4096)
    name = "fit: CNN on 4,096 MNIST images, 2 epochs"
    if images is None:
        note = "MNIST is missing here: NBAUTOML_MNIST names the folder of its four files."
        yield Figure(name, "ms", {}, goals[:1], notes=[note])
    else:
        job = Job(Cnn, images, 2)
        yield _figure(name, job, {}, goals[:1], min(repeats, 7), [], clock)
    yield _stacked(clock, is_quick=is_quick)


def _figure(
    name: str,
    job: Job,
    extra: dict[str, Any],
    goals: list[Goal],
    repeats: int,
    notes: list[str],
    clock: Clock,
) -> Figure:
    from nbautoml.data import open_data, snapshot

    with tempfile.TemporaryDirectory() as place:
        data = open_data(snapshot(job.split(), home_data=Path(place)), Path(place))
        ways: dict[str, Callable[[], float]] = {
            "nbautoml": lambda: timed(lambda: our_fit(job, data), 0.8),
            TIGHT: lambda: timed(lambda: tight_fit(job), 0.8),
        }
        for peer, fit in extra.items():
            ways[peer] = lambda fit=fit: timed(lambda: fit(job, LR), 0.8)
        values = alternate(ways, repeats=repeats, n_warm=1, clock=clock)
    method = (
        f"{len(job.data[0]) * 4 // 5:,} rows in batches of {job.batch}, Adam, one thread; "
        "validation after each epoch. nbautoml also keeps the best epoch's weights."
    )
    return Figure(name, "ms", values, goals, method=method, notes=notes)


def _stacked(clock: Clock, *, is_quick: bool) -> Figure:
    size: dict[str, Any] = {"n_trials": 32, "repeats": 2, "widths": (16, 32)} if is_quick else {}
    ways = vectorized.measure(**size, dropout=0.0, clock=clock)["ways"]
    values = {name: own["values"] for name, own in ways.items()}
    stacked = [name for name in ways if name.startswith("stacked")]
    best = min(stacked, key=lambda name: ways[name]["median"])
    return Figure(
        "fit: a trial among many, one hidden layer on digits",
        "ms",
        {
            f"nbautoml, {best} wide": values[best],
            "nbautoml, one by one": values["fit"],
            "tight loop, validation only at its end": values["tight loop"],
            "torch.func.vmap, bare": values["vmap"],
        },
        method="One thread; milliseconds a trial, see benchmarks/vectorized.py.",
    )
