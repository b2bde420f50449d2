"""How small LeNet-300-100 and LeNet-5 become on full MNIST without loss: ``make bench-compress``.

::

    python benchmarks/compressing.py [--only lenet300] [--seeds 3] [--quick] [--out out]

55,000 images to train on, 5,000 to choose epochs by, and the 10,000 of the test files for what is
reported alone. The network is trained on the images as they are. What is made of it learns from
changed copies of the images, too, and from a teacher: the same network, trained further with those
copies. Such a teacher is better than the network itself, and its accuracy is reported beside it: "no
loss" is no loss against the network that was compressed. Four figures a network:

* weights that are not zero after gradual pruning (biases are not counted, as in the papers; they
  stay, and they are in the size);
* bytes of all parameters then shared by k-means and entropy coded, against float32;
* latency in ONNX Runtime, batch 64 on one thread, of the network with fewer channels;
* what accuracy each costs, in points on the test files, negative where it is better.

LeNet-300-100 loses its channels for the latency and its weights for the size, each from the network
itself. LeNet-5's teacher loses half of its channels first, and the weights go from what is left, in
two steps. The network after the first, with 60 times fewer, is the one whose values are shared; the one
after the second, with 116 times fewer, is the one whose weights are counted. The latency is of the
network with half of the channels once it has lost some more: as it is, it is 4.3 times as fast on an
AMD EPYC, and 3.5 times on an Intel Xeon. So the three lines of its table are of three networks.

Why so, at 62x (LeNet-300-100, one seed, 80 passes, 98.24 % before, test accuracy): gradual pruning
alone 97.15, with a teacher that knows no more than the network 97.26, scores weighted by each
input's size 97.92, moved images alone 97.97, moved images and the better teacher 98.30. LeNet-5
(seed 0, validation accuracy, 99.30 before): four passes over distorted copies make a teacher of 99.62
where its epoch is chosen by accuracy, and one of 99.40 where the loss chooses: it is lowest after the
first pass, while the accuracy still rises. The narrower the network from which the weights go, the
better what is left learns in one pass while 118 times fewer are reached and one after it: validation
accuracy 98.82 from 16, 40 and 200 channels and neurons, 99.20 from 14, 32 and 120, 99.38 from 10, 24
and 65, which then had learnt for a pass of its own; 99.20 again from 8, 20 and 45. The average of the
weights over the last steps (0.998 of it kept in each) brings nothing: 99.38 with and without, and a
loss of 0.0360 and 0.0361, for the rate ends at nothing. Shared from the network with 118 times fewer,
32 values and no teacher, LeNet-5 was 349 to 356 times smaller at a loss of 0.01 to 0.10 points.

What others reached stands in ``reported.py``; ``--page`` writes the tables anew from what was
measured, without measuring.

The first network takes about 4 minutes a seed on one quiet core of an AMD EPYC, the second about 14 on
one of an Intel Xeon (150 s for the network itself, 150 for its teacher, 40 with fewer channels, 30
with fewer still, 170 for the first half of the pruning, 220 for the second, 50 with shared values);
``--stages FOLDER`` goes on where it was cut off;
``--quick`` a minute in all, and its figures mean nothing.
"""

from __future__ import annotations

import argparse
import copy
import dataclasses
import json
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
sys.path[:0] = [str(HERE), str(HERE.parent)]

import torch
from compressed_page import page
from mnist import MNIST, LeNet5, LeNet300, Rows, accuracy, distorted, images, moved
from pages import machine, versions
from torch import Tensor, nn

from nbautoml.compress import Bench, Pruning, Sharing, apply_techniques
from nbautoml.compress.sharing import share_values
from nbautoml.compress.sparse import Sieve, prune_gradually
from nbautoml.compress.training import Teaching, tune_module
from nbautoml.data import open_data, snapshot
from nbautoml.measure.coding import stored_size
from nbautoml.measure.counting import weight_bytes
from nbautoml.measure.exported import export_onnx, open_onnx
from nbautoml.measure.timing import as_callable, fixed_threads, take_turns
from nbautoml.spec.fit import FitSettings
from nbautoml.spec.objective import Objective


@dataclass(frozen=True, kw_only=True)
class Plan:
    """What is done to a network.

    Attributes:
        times: the network has this many times fewer weights afterwards; the goal is below.
        base_epochs: passes of the network itself, over the images as they are.
        teacher_epochs: passes of its teacher; this and what follows are passes over all images and
            their changed copies, so each is five times as long.
        ramp_epochs: passes while weights go.
        tune_epochs: passes with those that are left.
        stored_times: where it is above 0, weights go in two steps, each of ``ramp_epochs``; after
            the first there are this many times fewer, and these are shared. Else those that are
            left in the end are.
        stored_tune_epochs: passes between the two steps, with the weights that are left.
        n_clusters: shared values a layer.
        share_epochs: passes that train them.
        is_sharing_taught: the teacher is heard in these passes, too.
        channels: share of channels that goes; layers with a share of their own stand in ``ratios``.
        channel_epochs: passes after that.
        ratios: shares of layers.
        fast_ratios: shares of layers that go from that network once more, for the latency; where
            there are none, the latency is its own.
        changed: makes the changed copies; `moved` or `distorted`.
        is_narrow_first: the teacher loses its channels, and weights go from what is left of it;
            else both go from the network itself, each for itself.
        criterion: which weights go first.
        is_regrowing: whether they may come back.
        is_mixed: all but the network itself is trained in mixed precision.
        chosen_by: the metric of the validation rows by which an epoch is the best, of all but the
            network itself, which the loss decides.
    """

    build: Callable[[], nn.Module]
    times: float
    goals: dict[str, float]
    base_epochs: int
    teacher_epochs: int
    ramp_epochs: int
    tune_epochs: int
    n_clusters: int
    share_epochs: int
    channels: float
    channel_epochs: int
    stored_times: float = 0.0
    stored_tune_epochs: int = 0
    is_sharing_taught: bool = False
    ratios: dict[str, float] = dataclasses.field(default_factory=dict)
    fast_ratios: dict[str, float] = dataclasses.field(default_factory=dict)
    changed: Callable[[Rows], Rows]
    is_narrow_first: bool = False
    criterion: str = "l2"
    is_regrowing: bool = True
    is_mixed: bool = False
    chosen_by: str = "loss"


PLANS = {
    "lenet300": Plan(
        build=LeNet300, times=62, goals={"weights": 60, "stored": 80, "latency": 4},
        base_epochs=20, teacher_epochs=8, ramp_epochs=12, tune_epochs=4, n_clusters=16,
        share_epochs=2, channels=0.8, channel_epochs=4, changed=moved,
    ),
    "lenet5": Plan(
        build=LeNet5, times=116, goals={"weights": 115, "stored": 120, "latency": 4},
        base_epochs=10, teacher_epochs=3, ramp_epochs=2, tune_epochs=6, stored_times=60,
        stored_tune_epochs=3, n_clusters=64, share_epochs=2, is_sharing_taught=True,
        channels=0.7, channel_epochs=1, changed=distorted, is_narrow_first=True,
        ratios={"layers.0": 0.5, "layers.3": 0.52, "layers.7": 0.87},
        fast_ratios={"layers.0": 0.2, "layers.3": 0.34, "layers.7": 0.0}, is_mixed=True, chosen_by="accuracy",
    ),
}  # fmt: skip


def n_nonzero(module: nn.Module) -> tuple[int, int]:
    """Weights that are not zero, and all of them; biases are left out."""
    weights = [weight.detach() for weight in module.parameters() if weight.ndim > 1]
    return sum(int((w != 0).sum()) for w in weights), sum(w.numel() for w in weights)


def latencies(modules: dict[str, nn.Module], example: Tensor) -> dict[str, float]:
    """Milliseconds a batch in ONNX Runtime, medians of calls in turns on one thread."""
    with fixed_threads(1):
        sessions = {
            name: as_callable(open_onnx(export_onnx(module, example)), example)
            for name, module in modules.items()
        }
        times = take_turns(sessions, seconds=2.0)
    return {name: 1000 * statistics.median(values) for name, values in times.items()}


@dataclass(frozen=True)
class Stages:
    """Weights of what was trained already, in a folder: a measurement that was cut off goes on.

    Whoever changes a plan empties the folder.
    """

    folder: Path | None
    names: str

    def do(self, name: str, module: nn.Module, train: Callable[[], object]) -> None:
        """Train a module in place, or give it the weights that it had after that."""
        if self.folder is None:
            train()
            return
        path = self.folder / f"{self.names}-{name}.pt"
        if path.exists():
            module.load_state_dict(torch.load(path))
            return
        train()
        self.folder.mkdir(parents=True, exist_ok=True)
        torch.save(module.state_dict(), path)


def measure(
    plan: Plan, seed: int, rows: tuple[Rows, Rows, Rows], place: Path, stages: Stages
) -> dict[str, float]:
    """All figures of one seed; what the validation rows say is printed as it goes."""
    train, valid, test = rows
    settings = FitSettings(optimizer="adam", lr=1e-3, batch_size=128, schedule="cosine")
    by_loss, by_accuracy = Objective("loss", "minimize"), Objective("accuracy", "maximize")

    def bench_on(some: Rows, objective: Objective, *, is_mixed: bool = False) -> Bench:
        data = open_data(snapshot((*some, *valid), home_data=place), place)
        own = dataclasses.replace(settings, amp=is_mixed)
        return Bench(data=data, objective=objective, settings=own, seed=seed)

    begin = time.perf_counter()

    def judged(name: str, made: nn.Module) -> float:
        told = f"{accuracy(made, valid):.2f} % of the validation rows"
        print(f"  {time.perf_counter() - begin:.0f} s: {name}: {told}", flush=True)
        return accuracy(made, test)

    torch.manual_seed(seed)
    module = plan.build()

    def train_it() -> None:
        tune_module(module, bench_on(train, by_loss), epochs=plan.base_epochs)

    stages.do("itself", module, train_it)
    before = judged("the network itself", module)

    objective = by_loss if plan.chosen_by == "loss" else by_accuracy
    bench = bench_on(plan.changed(train), objective, is_mixed=plan.is_mixed)
    teacher = copy.deepcopy(module)
    stages.do(
        "teacher",
        teacher,
        lambda: tune_module(teacher, bench, epochs=plan.teacher_epochs, lr=2 * settings.lr),
    )
    teaching = Teaching(teacher=teacher, temperature=2.0, weight=0.7)
    found = {"accuracy": before, "teacher accuracy": judged("its teacher", teacher)}

    pruning = Pruning(plan.channels, scope="layer", ratios=plan.ratios, n_rounds=3, epochs=0)
    narrow = apply_techniques(teacher if plan.is_narrow_first else module, [pruning], bench).module

    def tune_channels(made: nn.Module) -> None:
        tune_module(made, bench, epochs=plan.channel_epochs, lr=2 * settings.lr, teaching=teaching)

    stages.do("narrow", narrow, lambda: tune_channels(narrow))
    fast = narrow
    found["latency drop"] = before - judged("with fewer channels", narrow)
    if plan.fast_ratios:
        further = Pruning(plan.channels, scope="layer", ratios=plan.fast_ratios, epochs=0)
        fast = apply_techniques(narrow, [further], bench).module
        stages.do("fast", fast, lambda: tune_channels(fast))
        found["latency drop"] = before - judged("with fewer still, for the latency", fast)
    ms = latencies({"before": module, "after": fast}, test[0][:64])
    found |= {"latency": ms["before"] / ms["after"]}
    found |= {f"ms {name}": value for name, value in ms.items()}

    sparse = copy.deepcopy(narrow if plan.is_narrow_first else module)
    n = n_nonzero(module)[1]

    def prune(times: float, epochs: int) -> None:
        sieve = Sieve(sparsity=1 - n / times / n_nonzero(sparse)[1], criterion=plan.criterion)
        prune_gradually(
            sparse,
            bench,
            sieve,
            ramp_epochs=plan.ramp_epochs,
            epochs=epochs,
            lr=2.5 * settings.lr,
            is_regrowing=plan.is_regrowing,
            teaching=teaching,
        )

    shared = sparse
    if plan.stored_times:
        first = (plan.stored_times, plan.stored_tune_epochs)
        stages.do("half-sparse", sparse, lambda: prune(*first))
        judged(f"with {plan.stored_times:g} times fewer weights", sparse)
        shared = copy.deepcopy(sparse)
    stages.do("sparse", sparse, lambda: prune(plan.times, plan.tune_epochs))
    found["weights"] = n / n_nonzero(sparse)[0]
    found["weights drop"] = before - judged("with fewer weights", sparse)

    sharing = Sharing(plan.n_clusters, epochs=plan.share_epochs)
    heard = teaching if plan.is_sharing_taught else None
    stages.do("shared", shared, lambda: share_values(shared, bench, sharing, teaching=heard))
    found["stored"] = weight_bytes(module) / stored_size(shared.state_dict()).value
    found["stored drop"] = before - judged("with shared weights", shared)
    return found


MOST_DROP = {"weights": 0.0, "stored": 0.0, "latency": 0.5}  # points


def summary(plan: Plan, by_seed: list[dict[str, float]]) -> dict[str, Any]:
    """Medians and ranges over seeds, and whether the goals are reached at the loss allowed."""
    rows = {
        name: {
            "median": statistics.median(values),
            "range": [min(values), max(values)],
            "values": values,
        }
        for name in by_seed[0]
        for values in [[found[name] for found in by_seed]]
    }
    goals = {
        name: {
            "goal": goal,
            "most_drop": MOST_DROP[name],
            "is_reached": rows[name]["median"] >= goal
            and rows[f"{name} drop"]["median"] <= MOST_DROP[name],
        }
        for name, goal in plan.goals.items()
    }
    return {"n_seeds": len(by_seed), "figures": rows, "goals": goals}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--only", action="append", choices=list(PLANS), help="only this network")
    parser.add_argument("--seeds", type=int, default=3, help="how many")
    parser.add_argument("--first", type=int, default=0, help="the first of them")
    parser.add_argument("--stages", type=Path, help="folder of what was trained already")
    parser.add_argument("--quick", action="store_true", help="a few images and epochs")
    parser.add_argument("--out", type=Path, default=Path("out"))
    parser.add_argument("--page", type=Path, metavar="JSON", help="write its page anew, only that")
    asked = parser.parse_args()
    if asked.page:
        text = page(json.loads(asked.page.read_text(encoding="utf-8"))) + "\n"
        asked.page.with_suffix(".md").write_text(text, encoding="utf-8")
        return 0
    if not MNIST.is_dir():
        print("MNIST is missing here: NBAUTOML_MNIST names the folder of its four files.")
        return 1
    rows = images(2000 if asked.quick else None)
    networks: dict[str, Any] = {}
    about = {
        "machine": machine(),
        "versions": versions(),
        "is_quick": asked.quick,
        "networks": networks,
    }
    asked.out.mkdir(parents=True, exist_ok=True)
    for name in asked.only or PLANS:
        plan, begin = PLANS[name], time.perf_counter()
        if asked.quick:
            short = {key: 2 for key in vars(plan) if key.endswith("_epochs")}
            plan = dataclasses.replace(plan, **short)
        by_seed: list[dict[str, float]] = []
        for seed in range(asked.first, asked.first + (1 if asked.quick else asked.seeds)):
            with tempfile.TemporaryDirectory() as place:
                stages = Stages(asked.stages, f"{name}-{seed}")
                by_seed.append(measure(plan, seed, rows, Path(place), stages))
            told = {key: round(value, 2) for key, value in by_seed[-1].items()}
            print(name, seed, told, flush=True)
            networks[name] = summary(plan, by_seed) | {"seconds": time.perf_counter() - begin}
            # Written after every seed: what was measured stays when the rest is stopped.
            text = json.dumps(about, indent=1) + "\n"
            (asked.out / "compressing.json").write_text(text, encoding="utf-8")
            (asked.out / "compressing.md").write_text(page(about) + "\n", encoding="utf-8")
    print(page(about))
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
