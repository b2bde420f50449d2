"""The front that a compression finds, by its hypervolume, beside random search and NSGA-II: ``make bench-fronts``.

::

    python benchmarks/fronts.py [--seconds 60] [--seeds 3] [--only MLP] [--out out]

Three samplers search the same space for the same seconds of the processor (on an idle machine those
of the clock), all in one worker: ``auto`` (known settings, then points
beside the front and a multi-objective TPE by turns, each good model in all forms of numbers),
``random`` and ``nsga2`` (told 60 models, so that its generations are of ten). Networks and data are
those of `rival_nets`; the searches take turns, and which goes first changes with the seed. All are
told the same limit, a drop of five points at most.

What a search says of its own front is flattered by luck: the best of many models on the same rows,
the shortest of many times. So each front is measured anew: accuracy on rows that no search saw,
latency of all its models and the original by turns, 64 rows on one thread.

The hypervolume is what a front dominates in three gains over the original: accuracy above five
points below the original's, and the logarithms of how much faster and how much smaller it is. A
model that is slower or larger than the original, or more than five points worse, adds nothing.
Figures are ratios to random search with the same seed.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import math
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
sys.path[:0] = [str(HERE), str(HERE.parent)]

import psutil
import torch
from pages import grid, machine, versions
from rival_nets import NETS, Net, Rows, parted

import nbautoml
from nbautoml.api.run import Run
from nbautoml.compress.keeping import ONNX
from nbautoml.measure import as_callable, fixed_threads, open_onnx, take_turns

WAYS = ("random", "nsga2", "auto")
NETWORKS = ("MLP, digits", "CNN, MNIST-1D")
MAX_DROP = 0.05  # accuracy that a model may lose and still count; every search is told
N_ROWS = 64
NSGA_MODELS = 60
POLL_S = 0.2

Gain = tuple[float, float, float]


@dataclass(frozen=True, kw_only=True)
class Found:
    """What came of a search.

    Attributes:
        volume: of its front, measured anew.
        told: of its front, as the search measured it.
        n_models: that it tried.
        n_kept: on its front within the limits.
        gains: of these, measured anew.
        seconds: of the processor that it took.
    """

    volume: float
    told: float
    n_models: int
    n_kept: int
    gains: list[Gain]
    seconds: float


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


def gain(base: Mapping[str, float], figures: Mapping[str, float]) -> Gain:
    """What a model gains over the original."""
    return (
        figures["accuracy"] - (base["accuracy"] - MAX_DROP),
        math.log(base["latency_ms"] / figures["latency_ms"]),
        math.log(base["size_bytes"] / figures["size_bytes"]),
    )


def measured_anew(run: Run, rows: Rows) -> list[Gain]:
    """Gains of the models on a run's front, by rows that it did not see and new times."""
    front = run.front
    lowest = run.trial(0).row.metrics["accuracy"] - MAX_DROP - 1e-9
    numbers = [0, *(int(n) for n in front["number"][front["accuracy"] >= lowest] if n)]
    with run.folder.reader() as reader:
        files = {
            number: (row.folder / row.path).read_bytes()
            for number in numbers
            for row in reader.artifacts(number)
            if row.kind == ONNX
        }
    opened = {number: open_onnx(data) for number, data in files.items()}
    inputs, targets = rows
    figures: dict[int, dict[str, float]] = {}
    with fixed_threads(1):
        calls = {str(n): as_callable(one, inputs[:N_ROWS]) for n, one in opened.items()}
        times = take_turns(calls, seconds=0.2)
    for number, one in opened.items():
        right = one(inputs)[0].argmax(1) == targets
        figures[number] = {
            "accuracy": float(right.float().mean()),
            "latency_ms": 1000 * statistics.median(times[str(number)]),
            "size_bytes": float(one.n_bytes),
        }
    return [gain(figures[0], found) for number, found in figures.items() if number]


def searched(
    model: Run, net: Net, way: str, seed: int, seconds: float, home: Path, rows: Rows
) -> Found:
    """What a search comes to in its time."""
    run = nbautoml.compress(
        model, sampler=way, time="1h", trials=NSGA_MODELS if way == "nsga2" else None,
        epochs=net.tune_epochs, seed=seed, rows=N_ROWS, max_drop=MAX_DROP, workers=1, home=home,
    )  # fmt: skip
    spent_s = stopped_after(run, seconds)
    done = run.trials[run.trials["state"] == "complete"].to_dict("records")
    base = next(row for row in done if row["number"] == 0)
    anew = measured_anew(run, rows)
    return Found(
        volume=hypervolume(anew),
        told=hypervolume([gain(base, row) for row in done if row["number"]]),
        n_models=len(done) - 1,
        n_kept=len(anew),
        gains=anew,
        seconds=spent_s,
    )


def stopped_after(run: Run, seconds: float) -> float:
    """Stop a run when its supervisor and workers have computed so long; returns how long it was."""
    spent_s = 0.0
    while run.state in {"queued", "running"} and spent_s < seconds:
        time.sleep(POLL_S)
        with contextlib.suppress(psutil.Error), run.folder.reader() as reader:
            owner = reader.run().owner_pid
            if owner is not None:
                supervisor = psutil.Process(owner)
                family = [supervisor, *supervisor.children(recursive=True)]
                spent_s = sum(sum(one.cpu_times()[:2]) for one in family)
    if run.state == "running":
        run.stop()
    run.wait()
    if run.state not in {"finished", "stopped"}:
        raise RuntimeError(f"{run.name}: {run.state}, {run.message}")
    return spent_s


def page(about: Mapping[str, Any]) -> str:
    """The summary as Markdown."""
    head = (
        f"Hypervolume of the front after {about['seconds']:g} seconds of the processor, as a ratio to random "
        "search with the same seed: median of all seeds (lowest to highest). Accuracy on rows that no search "
        "saw, latency measured anew. Then the ratio as the searches themselves measured, and the models "
        "that they tried."
    )
    lines = [head, ""]
    rows = {
        f"{name}, {row['n_seeds']} seed{'s' * (row['n_seeds'] > 1)}": [
            f"**{row[way]['ratio']:.2f}** ({row[way]['low']:.2f} to {row[way]['high']:.2f}); "
            f"{row[way]['told']:.2f}; {row[way]['n_models']:.0f}"
            for way in WAYS
        ]
        for name, row in about["networks"].items()
    }
    lines += grid("network", list(WAYS), rows)
    versions_told = ", ".join(f"{name} {version}" for name, version in about["versions"].items())
    return "\n".join([*lines, "", f"{about['machine']}; {versions_told}; load {about['load']}."])


def summary(found: Mapping[str, Sequence[Found]]) -> dict[str, Any]:
    """What the searches of one network came to, by way: ratios to chance with the same seed."""
    summed: dict[str, Any] = {"n_seeds": len(found["random"])}
    for way, searches in found.items():
        pairs = list(zip(searches, found["random"], strict=True))
        ratios = [_ratio(one.volume, chance.volume) for one, chance in pairs]
        summed[way] = {
            "ratio": statistics.median(ratios),
            "low": min(ratios),
            "high": max(ratios),
            "told": statistics.median(_ratio(one.told, chance.told) for one, chance in pairs),
            "n_models": statistics.median(one.n_models for one in searches),
            "searches": [asdict(one) for one in searches],
        }
    return summed


def _ratio(volume: float, chance: float) -> float:
    return volume / chance if chance else math.inf


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seconds", type=float, default=60)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--first-seed", type=int, default=0)
    parser.add_argument("--only", default="", help="networks whose name holds this")
    parser.add_argument("--out", type=Path, default=Path("out"))
    asked = parser.parse_args()
    torch.set_num_threads(1)
    load = os.getloadavg()[0]
    names = [name for name in NETWORKS if asked.only in name]
    found: dict[str, dict[str, list[Found]]] = {name: {way: [] for way in WAYS} for name in names}
    about: dict[str, Any] = {}
    with tempfile.TemporaryDirectory() as folder:
        home = Path(folder) / "home"
        for seed in range(asked.first_seed, asked.first_seed + asked.seeds):
            for name in names:
                net = NETS[name]
                train, valid, test = parted(net, seed)
                model = nbautoml.train(
                    net.build, data=(*train, *valid), epochs=net.epochs, lr=net.lr,
                    optimizer="adam", schedule="cosine", seed=seed, home=home,
                ).wait()  # fmt: skip
                for way in (*WAYS[seed % 3 :], *WAYS[: seed % 3]):
                    one = searched(model, net, way, seed, asked.seconds, home, test)
                    found[name][way].append(one)
                    told = f"{one.volume:.3f} {one.told:.3f} {one.n_models} {one.seconds:.0f} s"
                    print(name, seed, way, told, flush=True)
                # After every network, so that what was measured stays when it is ended early.
                about = {
                    "machine": machine(), "versions": versions(),
                    "load": f"{load:.1f} to {os.getloadavg()[0]:.1f}", "seconds": asked.seconds,
                    "max_drop": MAX_DROP,
                    "networks": {name: summary(each) for name, each in found.items() if each["auto"]},
                }  # fmt: skip
                asked.out.mkdir(parents=True, exist_ok=True)
                body = json.dumps(about, indent=1) + "\n"
                (asked.out / "fronts.json").write_text(body, encoding="utf-8")
                (asked.out / "fronts.md").write_text(page(about) + "\n", encoding="utf-8")
    print(page(about))
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
