"""The front that a compression finds, by its hypervolume, beside random search and NSGA-II: ``make bench-fronts``.

::

    python benchmarks/fronts.py [--trials 24] [--seeds 3] [--out out]

Three samplers search the same space for the same number of models: ``auto`` (known settings, then a
multi-objective TPE with little fine-tuning, then those near the front with all of it), ``random`` and
``nsga2``. Two networks that were trained on the digits of scikit-learn. They take turns, seed by seed.

The hypervolume is what a front dominates in three gains over the original: accuracy above ten points
below the original's, and the logarithms of how much faster and how much smaller it is. A model that
is slower or larger than the original, or more than ten points worse, adds nothing. Figures are ratios
to random search with the same seed.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
sys.path[:0] = [str(HERE), str(HERE.parent)]

import torch
from pages import grid, machine, versions
from torch import nn

import nbautoml
from nbautoml.api.run import Run

WAYS = ("random", "nsga2", "auto")
FLOOR = 0.10  # accuracy that a model may lose and still count
EPOCHS = 6


class MLP(nn.Module):
    """Two hidden layers."""

    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            nn.Linear(64, 256), nn.ReLU(), nn.Linear(256, 256), nn.ReLU(), nn.Linear(256, 10)
        )

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Scores."""
        scores: torch.Tensor = self.layers(x)
        return scores


class CNN(nn.Module):
    """Two convolutions and two linear layers."""

    def __init__(self) -> None:
        super().__init__()
        self.conv1, self.conv2 = nn.Conv2d(1, 32, 3, padding=1), nn.Conv2d(32, 64, 3, padding=1)
        self.fc1, self.fc2 = nn.Linear(1024, 128), nn.Linear(128, 10)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Scores."""
        x = torch.relu(self.conv1(x.reshape(-1, 1, 8, 8)))
        x = torch.max_pool2d(torch.relu(self.conv2(x)), 2)
        scores: torch.Tensor = self.fc2(torch.relu(self.fc1(x.flatten(1))))
        return scores


NETWORKS = {"MLP": MLP, "CNN": CNN}


def hypervolume(points: Sequence[tuple[float, float, float]]) -> float:
    """Volume of all boxes between the origin and a point; negative points have none.

    >>> hypervolume([(1, 1, 1), (2, 1, 0.5), (-1, 9, 9)])
    1.5
    """
    inside = sorted((p for p in points if min(p) > 0), key=lambda p: -p[0])
    volume = 0.0
    for at, (x, _, _) in enumerate(inside):
        following = inside[at + 1][0] if at + 1 < len(inside) else 0.0
        volume += (x - following) * _area([p[1:] for p in inside[: at + 1]])
    return volume


def _area(points: Sequence[tuple[float, float]]) -> float:
    area = top = 0.0
    for x, y in sorted(points, key=lambda p: -p[0]):
        if y > top:
            area += x * (y - top)
            top = y
    return area


def gains(run: Run) -> list[tuple[float, float, float]]:
    """Of every model of a compression, over the original."""
    trials = run.trials
    done = trials[trials["state"] == "complete"]
    base = done[done["number"] == 0].iloc[0]
    return [
        (
            row["accuracy"] - (base["accuracy"] - FLOOR),
            math.log(base["latency_ms"] / row["latency_ms"]),
            math.log(base["size_bytes"] / row["size_bytes"]),
        )
        for _, row in done[done["number"] != 0].iterrows()
    ]


def searched(model: Run, way: str, seed: int, n_trials: int, home: Path) -> tuple[float, float]:
    """The hypervolume of a search, and its seconds."""
    begin = time.monotonic()
    run = nbautoml.compress(
        model, sampler=way, trials=n_trials, epochs=EPOCHS, seed=seed, max_drop=0.02, home=home
    ).wait()
    if run.state != "finished":
        raise RuntimeError(f"{way}, seed {seed}: {run.message}")
    return hypervolume(gains(run)), time.monotonic() - begin


def page(about: dict[str, Any]) -> str:
    """The summary as Markdown."""
    lines = [
        (
            f"Hypervolume of the front of {about['n_trials']} models, as a ratio to random search with the "
            f"same seed; median of {about['n_seeds']} seeds (lowest to highest), and seconds a search."
        ),
        "",
    ]
    rows = {
        name: [
            f"{row[way]['ratio']:.2f} ({row[way]['low']:.2f} to {row[way]['high']:.2f}), "
            f"{row[way]['seconds']:.0f} s"
            for way in WAYS
        ]
        for name, row in about["networks"].items()
    }
    lines += grid("network", list(WAYS), rows)
    return "\n".join([*lines, "", f"{about['machine']}; load {about['load']}."])


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--trials", type=int, default=24)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--out", type=Path, default=Path("out"))
    asked = parser.parse_args()
    load = os.getloadavg()[0]
    found: dict[str, dict[str, list[tuple[float, float]]]] = {
        name: {way: [] for way in WAYS} for name in NETWORKS
    }
    about: dict[str, Any] = {}
    with tempfile.TemporaryDirectory() as folder:
        home = Path(folder) / "home"
        models = {
            name: nbautoml.train(kind, data="digits", epochs=12, lr=0.002, home=home).wait()
            for name, kind in NETWORKS.items()
        }
        for seed in range(asked.seeds):
            for name, model in models.items():
                for way in WAYS:
                    found[name][way].append(searched(model, way, seed, asked.trials, home))
                    told = (f"{part:.3f}" for part in found[name][way][-1])
                    print(name, seed, way, *told, flush=True)
            # After every seed, so that what was measured stays when it is ended early.
            about = {
                "machine": machine(), "versions": versions(),
                "load": f"{load:.1f} to {os.getloadavg()[0]:.1f}", "n_trials": asked.trials,
                "n_seeds": seed + 1,
                "networks": {name: summary(each) for name, each in found.items()},
            }  # fmt: skip
            asked.out.mkdir(parents=True, exist_ok=True)
            body = json.dumps(about, indent=1) + "\n"
            (asked.out / "fronts.json").write_text(body, encoding="utf-8")
            (asked.out / "fronts.md").write_text(page(about) + "\n", encoding="utf-8")
    print(page(about))
    return 0


def summary(found: dict[str, list[tuple[float, float]]]) -> dict[str, Any]:
    """What the searches of one network came to, by way: ratios to chance with the same seed."""
    chance = [volume for volume, _ in found["random"]]
    summed: dict[str, Any] = {}
    for way, searches in found.items():
        ratios = [v / c if c else math.inf for (v, _), c in zip(searches, chance, strict=True)]
        summed[way] = {
            "ratio": statistics.median(ratios),
            "low": min(ratios),
            "high": max(ratios),
            "volumes": [volume for volume, _ in searches],
            "seconds": statistics.median(seconds for _, seconds in searches),
        }
    return summed


if __name__ == "__main__":
    raise SystemExit(main())
