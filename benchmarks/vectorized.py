"""Trials trained as one against trials one by one, in one process, taking turns.

Every way trains the same configurations from the same seeds on digits (1,437 rows, 10 epochs of
23 steps): an MLP 64-64-10 under Adam, learning rates of their own. Milliseconds a trial, all
included: building, taping, validation each epoch, best weights kept (the tight loop: training
and one validation at its end, nothing else).

* tight loop: what a careful person writes by hand: tensors, no loader, fused Adam;
* fit: `nbautoml.train.fit`, one trial after the other;
* vmap: `torch.func` (`vmap(grad)` over `functional_call`), one Adam step over the stack;
* stacked K: `nbautoml.train.stacked.StackedFit` of width K;
* 32, hashed: the same, dropout drawn by hash for all trials at once.

    python benchmarks/vectorized.py [--quick] [--threads 1] [--dropout 0.1] [--out out]
"""

from __future__ import annotations

import argparse
import json
import platform
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F  # noqa: N812
from torch import nn

sys.path.insert(0, str(Path(__file__).parents[1]))

from turns import Clock, alternate

from nbautoml.data import load_named, open_data, snapshot
from nbautoml.spec.fit import FitSettings
from nbautoml.spec.objective import Objective
from nbautoml.train.loop import fit
from nbautoml.train.result import Silent
from nbautoml.train.stacked import Member, StackedFit

EPOCHS, BATCH = 10, 64
ACCURACY = Objective("accuracy", "maximize")


def net(dropout: float, hidden: int = 64) -> nn.Module:
    return nn.Sequential(
        nn.Linear(64, hidden), nn.ReLU(), nn.Dropout(dropout), nn.Linear(hidden, 10)
    )


def configurations(n: int, dropout: float) -> list[Member]:
    return [
        Member(
            number=at,
            build=lambda: net(dropout),
            settings=FitSettings(
                optimizer="adam", lr=1e-3 * (1 + at % 10), batch_size=BATCH, epochs=EPOCHS
            ),
            seed=at,
            listener=Silent(),
        )
        for at in range(n)
    ]


def tight_loop(members: Sequence[Member], data: Any) -> list[float]:
    """Accuracies; the loop that everything is compared with."""
    (table, y), (valid_rows, y_valid) = data.train.all(), data.valid.all()
    found = []
    for member in members:
        torch.manual_seed(member.seed)
        model = member.build()
        optimizer = torch.optim.Adam(model.parameters(), lr=member.settings.lr, fused=True)
        for _ in range(EPOCHS):
            order = torch.randperm(len(table))
            for start in range(0, len(table), BATCH):
                rows = order[start : start + BATCH]
                optimizer.zero_grad()
                F.cross_entropy(model(table[rows]), y[rows]).backward()
                optimizer.step()
        model.eval()
        with torch.no_grad():
            found.append((model(valid_rows).argmax(1) == y_valid).float().mean().item())
    return found


def by_fit(members: Sequence[Member], data: Any) -> list[float]:
    return [
        fit(
            member.build, data, member.settings, objective=ACCURACY, seed=member.seed,
            device="cpu", listener=member.listener,
        ).value
        for member in members
    ]  # fmt: skip


def by_stack(
    members: Sequence[Member], data: Any, width: int, *, has_exact_dropout: bool = True
) -> list[float]:
    stack = StackedFit(
        data,
        objective=ACCURACY,
        device="cpu",
        width=width,
        has_exact_dropout=has_exact_dropout,
    )
    waiting, found = list(members), {}
    while waiting or stack.numbers:
        while waiting and stack.n_free:
            stack.add(waiting.pop(0))
        for number, result in stack.step_epoch():
            if isinstance(result, Exception):
                raise result
            found[number] = result.value
    return [found[member.number] for member in members]


def by_vmap(members: Sequence[Member], data: Any) -> list[float]:
    """What `torch.func` offers, without anything of ours."""
    (table, y), (valid_rows, y_valid) = data.train.all(), data.valid.all()
    models = [member.build() for member in members]
    weights, buffers = torch.func.stack_module_state(models)
    shell, n = models[0].to("meta"), len(models)
    rates = torch.tensor([member.settings.lr for member in members])

    def loss_of(own: Any, own_buffers: Any, x: torch.Tensor, target: torch.Tensor) -> Any:
        return F.cross_entropy(torch.func.functional_call(shell, (own, own_buffers), (x,)), target)

    gradient = torch.func.vmap(torch.func.grad(loss_of), randomness="different")
    state = [
        (value, torch.zeros_like(value), torch.zeros_like(value)) for value in weights.values()
    ]
    step = 0
    for _ in range(EPOCHS):
        order = torch.stack([torch.randperm(len(table)) for _ in members])
        for start in range(0, len(table), BATCH):
            rows = order[:, start : start + BATCH]
            step += 1
            found = gradient(weights, buffers, table[rows], y[rows])
            with torch.no_grad():
                for (value, first, second), grad in zip(state, found.values(), strict=True):
                    first.lerp_(grad, 0.1)
                    second.mul_(0.999).addcmul_(grad, grad, value=0.001)
                    scale = rates / (1 - 0.9**step)
                    below = (second / (1 - 0.999**step)).sqrt_().add_(1e-8)
                    value.sub_(first / below * scale.view(n, *(1,) * (value.ndim - 1)))
    shell.eval()
    with torch.no_grad():
        outputs = torch.func.vmap(
            lambda own, own_buffers: torch.func.functional_call(
                shell, (own, own_buffers), (valid_rows,)
            )
        )(weights, buffers)
    found_values: list[float] = (outputs.argmax(2) == y_valid).float().mean(1).tolist()
    return found_values


def measure(
    n_trials: int = 64,
    *,
    repeats: int = 5,
    widths: Sequence[int] = (16, 32, 64),
    dropout: float = 0.1,
    threads: int = 1,
    clock: Clock | None = None,
) -> dict[str, Any]:
    """Milliseconds a trial of every way: median and spread over alternating repeats.

    Args:
        n_trials: trained by the stacks; the ways that train one by one take the first few.
        repeats: turns of each way.
        widths: of the stacks.
        dropout: of the module.
        threads: of torch.
        clock: of the chapter.
    """
    torch.set_num_threads(threads)
    with tempfile.TemporaryDirectory() as home:
        data = open_data(snapshot(load_named("digits"), home_data=Path(home)), Path(home))
        members = configurations(n_trials, dropout)
        few = members[:8]
        ways: dict[str, tuple[Sequence[Member], Callable[[], list[float]]]] = {
            "tight loop": (few, lambda: tight_loop(few, data)),
            "fit": (few, lambda: by_fit(few, data)),
            "vmap": (members, lambda: by_vmap(members, data)),
            **{
                f"stacked {width}": (members, lambda width=width: by_stack(members, data, width))
                for width in widths
            },
            "32, hashed": (
                members,
                lambda: by_stack(members, data, 32, has_exact_dropout=False),
            ),
        }
        accuracies: dict[str, float] = {}

        def timed(name: str) -> float:
            trained, run = ways[name]
            begin = time.perf_counter()
            found = run()
            spent = (time.perf_counter() - begin) / len(trained) * 1000
            accuracies[name] = statistics.mean(found[: len(few)])
            return spent

        turns = {name: (lambda name=name: timed(name)) for name in ways}
        times = alternate(turns, repeats=repeats, n_warm=1, clock=clock)
    base = statistics.median(times["tight loop"])
    return {
        "unit": "ms a trial",
        "n_trials": n_trials,
        "dropout": dropout,
        "threads": threads,
        "repeats": repeats,
        "torch": torch.__version__,
        "machine": f"{platform.machine()}, {platform.system()}",
        "ways": {
            name: {
                "median": round(statistics.median(own), 2),
                "low": round(min(own), 2),
                "high": round(max(own), 2),
                "values": own,
                "times_faster_than_tight_loop": round(base / statistics.median(own), 2),
                "mean_accuracy_of_first_8": round(accuracies[name], 4),
            }
            for name, own in times.items()
        },
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n", maxsplit=1)[0])
    parser.add_argument("--quick", action="store_true", help="32 trials, 2 repeats")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--dropout", type=float, default=0.1)
    parser.add_argument("--out", type=Path, help="folder for vectorized.json")
    given = parser.parse_args()
    size = {"n_trials": 32, "repeats": 2, "widths": (16, 32)} if given.quick else {}
    found = measure(**size, dropout=given.dropout, threads=given.threads)  # type: ignore[arg-type]
    for name, own in found["ways"].items():
        print(
            f"{name:12} {own['median']:8.2f} ms  ({own['low']:.2f} to {own['high']:.2f})  "
            f"{own['times_faster_than_tight_loop']:5.2f}x  accuracy {own['mean_accuracy_of_first_8']}"
        )
    if given.out is not None:
        given.out.mkdir(parents=True, exist_ok=True)
        (given.out / "vectorized.json").write_text(json.dumps(found, indent=1) + "\n")


if __name__ == "__main__":
    main()
