"""Smaller networks beside Torch-Pruning, torchao and ONNX Runtime, each alone: ``make bench-rivals``.

::

    python benchmarks/rivals.py [--only MLP] [--trials 30] [--seeds 3] [--first-seed 0] [--out out]
    python benchmarks/rivals.py --merge a/rivals.json b/rivals.json [--out out]    # seeds of several runs

Four networks (`rival_nets`) are trained and then made smaller under one point of loss: by
`nbautoml.compress`, and by each rival alone in ten settings of its own or more (`rival_ways`).

* One fine-tuning has the same passes for everyone, by the same trainer. What a way spent in all is
  in the table.
* A model counts when it loses at most a point on the rows to choose by. Of those that count, each way's
  pick is the one with the smallest product of latency and size, the rule of nbautoml's own pick. What
  is lost on the rows that nobody saw is reported beside it, and nothing is chosen by it.
* Latency: 64 rows on one thread, in ONNX Runtime or compiled by inductor, whichever is that way's own
  (Torch-Pruning's best is timed in both). First each setting beside the original; in the end all
  picks take turns, call by call. Median and quartiles.
* The original's and the rivals' files are written by torch's exporter, ours by nbautoml's, which writes
  attention and recurrent layers with fewer nodes (`nbautoml.measure.attention`, `rewrites`).
* Size: of the ONNX file; of the tensors alone for what torchao makes, which no file could be below.

Two quiet cores take some thirteen minutes a seed. What is said of all seeds are medians, with the lowest and
the highest.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
sys.path[:0] = [str(HERE), str(HERE.parent)]
# No compiler processes beside what is timed.
os.environ.setdefault("TORCHINDUCTOR_COMPILE_THREADS", "1")

import torch
from figures import quartiles
from pages import machine, versions
from rival_nets import NETS, Net, Rows, parted
from rival_ways import BATCH, WAYS, Candidate, Job, Way, by_torch, compiled, exported

import nbautoml
from nbautoml.api.run import Run
from nbautoml.compress import Bench
from nbautoml.compress.onnx_module import OnnxModule
from nbautoml.data import open_data
from nbautoml.measure.exported import export_onnx
from nbautoml.measure.timing import fixed_threads, take_turns
from nbautoml.spec.fit import FitSettings
from nbautoml.spec.objective import Objective

MAX_DROP = 0.01
SLACK = 1e-6
PACKAGES = ("torch", "torchao", "torch-pruning", "onnxruntime", "mnist1d")


@dataclass(frozen=True, kw_only=True)
class Tried:
    """A setting that was judged: where `candidate` is None, `error` says why it failed."""

    setting: str
    candidate: Candidate | None = None
    ratio: float = float("nan")  # its latency over the original's in ONNX Runtime
    drop: float = float("nan")
    error: str = ""

    @property
    def counts(self) -> bool:
        return self.candidate is not None and self.drop <= MAX_DROP + SLACK

    @property
    def cost(self) -> float:
        """What a pick is the smallest in."""
        return self.ratio * self.candidate.n_bytes if self.candidate else float("inf")

    def about(self) -> dict[str, Any]:
        if self.candidate is None:
            return {"setting": self.setting, "error": self.error}
        return {
            "setting": self.setting, "runs_in": self.candidate.runs_in, "drop": self.drop,
            "n_bytes": self.candidate.n_bytes, "times_original": self.ratio,
        }  # fmt: skip


def accuracy(candidate: Candidate, rows: Rows) -> float:
    return float((candidate.answer(rows[0]).argmax(1) == rows[1]).double().mean())


def judged(candidate: Candidate, base: Candidate, valid: Rows) -> Tried:
    """Its drop on the rows to choose by, and its latency beside the original."""
    torch.compiler.reset()
    times = take_turns({"own": candidate.start(), "base": base.start()}, seconds=0.3)
    return Tried(
        setting=candidate.setting,
        candidate=candidate,
        ratio=statistics.median(times["own"]) / statistics.median(times["base"]),
        drop=accuracy(base, valid) - accuracy(candidate, valid),
    )


def tried(way: Way, job: Job, base: Candidate, valid: Rows) -> list[Tried]:
    """All settings of a way; a rival's failure is a row of the table."""
    found = []
    for name, make in way.items():
        try:
            found.append(judged(make(job), base, valid))
        except Exception as error:
            text = (str(error).strip().splitlines() or [""])[0]
            found.append(Tried(setting=name, error=f"{type(error).__name__}: {text}"[:200]))
        print("   ", found[-1].about(), flush=True)
    twin = picked(found)
    if twin is not None and twin.candidate is not None and twin.candidate.module is not None:
        own = twin.candidate
        again = compiled(own.setting, own.module, job, n_bytes=own.n_bytes)
        found.append(judged(again, base, valid))
        print("   ", found[-1].about(), flush=True)
    return found


def picked(found: Iterable[Tried]) -> Tried | None:
    return min((one for one in found if one.counts), key=lambda one: one.cost, default=None)


def ours(run: Run, job: Job, n_trials: int, home: Path, seed: int) -> tuple[Candidate, int]:
    """The pick of `nbautoml.compress`, and all passes that it trained for."""
    small = nbautoml.compress(
        run, trials=n_trials, epochs=job.epochs, max_drop=MAX_DROP, rows=BATCH, seed=seed, home=home
    ).wait()
    if small.state != "finished":
        raise RuntimeError(f"nbautoml: {small.message}")
    print("   ", small.message, flush=True)
    for verdict in small.verdicts:
        print("       ", verdict, flush=True)
    model = small.best_model
    data = model.data if isinstance(model, OnnxModule) else export_onnx(model, job.example)
    params = {name: value for name, value in small.best.params.items() if value != "off"}
    return exported(_told_params(params), data, job), _passes(small)


def _passes(small: Run) -> int:
    """Of all its trials that trained."""
    trials = small.trials
    switches = [name for name in ("pruning", "low_rank", "distillation") if name in trials]
    is_trained = (trials[switches] != "off").any(axis=1)
    return int(trials["epochs"][is_trained].sum())


def _told_params(params: Mapping[str, Any]) -> str:
    said = (f"{v:.2g}" if isinstance(v, float) else str(v) for v in params.values())
    return ", ".join(f"{name} {value}" for name, value in zip(params, said, strict=True))


def compared(
    picks: Mapping[str, Candidate], rows: tuple[Rows, Rows, Rows]
) -> dict[str, dict[str, Any]]:
    """All picks in turns, with what they lose."""
    torch.compiler.reset()
    times = take_turns({name: one.start() for name, one in picks.items()}, seconds=1.5)
    base = picks["original"]
    about = {}
    for name, one in picks.items():
        low, high = quartiles(times[name])
        about[name] = {
            "setting": one.setting,
            "runs_in": one.runs_in,
            "n_bytes": one.n_bytes,
            "ms": 1000 * statistics.median(times[name]),
            "quartiles_ms": [1000 * low, 1000 * high],
            "n": len(times[name]),
            "valid_drop": accuracy(base, rows[1]) - accuracy(one, rows[1]),
            "test_drop": accuracy(base, rows[2]) - accuracy(one, rows[2]),
        }
    return about


def measured(name: str, net: Net, home: Path, n_trials: int, seed: int) -> dict[str, Any]:
    """A network: trained, made smaller by all, all compared."""
    begin = time.monotonic()
    rows = parted(net, seed)
    train, valid, test = rows
    run = nbautoml.train(
        net.build, data=(*train, *valid), epochs=net.epochs, lr=net.lr, optimizer="adam",
        schedule="cosine", seed=seed, home=home,
    ).wait()  # fmt: skip
    module = run.best_model
    bench = Bench(
        data=open_data(run.recipe.data, run.home.data_dir),
        objective=Objective("accuracy", "maximize"),
        settings=FitSettings(optimizer="adam", lr=net.lr, schedule="cosine"),
        seed=seed,
    )
    job = Job(module=module, bench=bench, epochs=net.tune_epochs, inputs=train[0])
    base = exported("as it was trained", by_torch(module, job.example), job)
    print(f"{name}: {accuracy(base, valid):.4f} and {accuracy(base, test):.4f}", flush=True)
    picks, all_tried, spent = {"original": base}, {}, {}
    with fixed_threads(1):
        picks["nbautoml"], spent["nbautoml"] = ours(run, job, n_trials, home, seed)
        for way, settings in WAYS.items():
            print("  ", way, flush=True)
            all_tried[way] = tried(settings, job, base, valid)
            best = picked(all_tried[way])
            if best is not None and best.candidate is not None:
                picks[way] = best.candidate
        about = compared(picks, rows)
    return {
        "accuracy": {"valid": accuracy(base, valid), "test": accuracy(base, test)},
        "n_rows": [len(part[1]) for part in rows],
        "tune_epochs": net.tune_epochs,
        "passes": spent,
        "ways": about,
        "tried": {way: [one.about() for one in found] for way, found in all_tried.items()},
        "verdicts": verdicts(about),
        "seconds": time.monotonic() - begin,
    }


def verdicts(about: Mapping[str, Mapping[str, Any]]) -> dict[str, dict[str, Any]]:
    """Ours beside each rival that had a model within the limit.

    >>> figures = {"ms": 1.0, "n_bytes": 10}
    >>> verdicts({"nbautoml": figures, "torchao": {"ms": 2.0, "n_bytes": 5}})["torchao"]
    {'faster': 2.0, 'smaller': 0.5, 'is_reached': False}
    """
    own = about["nbautoml"]
    return {
        way: {
            "faster": about[way]["ms"] / own["ms"],
            "smaller": about[way]["n_bytes"] / own["n_bytes"],
            "is_reached": about[way]["ms"] > own["ms"] and about[way]["n_bytes"] > own["n_bytes"],
        }
        for way in WAYS
        if way in about
    }


def page(about: Mapping[str, Any]) -> str:
    """The table as Markdown."""
    versions_told = ", ".join(f"{name} {version}" for name, version in about["versions"].items())
    head = (
        f"{about['machine']}; {versions_told}; load {about['load']}. Within {MAX_DROP:.0%} of accuracy on "
        "the rows to choose by; 64 rows, one thread, all picks by turns: median (quartiles). Loss in "
        "points on the rows to choose by and on the rows that nobody saw. Size: of the ONNX file, or of "
        "the tensors alone where it is compiled."
    )
    told = ", ".join(about["seeds"])
    goal = (
        f"Ours beside each, as times faster and times smaller; the goal is both above 1. Seeds {told}: "
        "median (lowest to highest)."
    )
    lines = [head, "", goal, ""]
    names = list(dict.fromkeys(name for networks in about["seeds"].values() for name in networks))
    lines += ["| network | " + " | ".join(WAYS) + " |", "|---|" + "---|" * len(WAYS)]
    for name in names:
        found = [
            networks[name]["verdicts"] for networks in about["seeds"].values() if name in networks
        ]
        cells = [_told_of_all([one.get(way) for one in found]) for way in WAYS]
        lines.append(f"| {name} | {' | '.join(cells)} |")
    for seed, networks in about["seeds"].items():
        lines += ["", f"## Seed {seed}", "", *_of_seed(networks)]
    return "\n".join(lines)


def _told_of_all(verdicts: Sequence[Mapping[str, Any] | None]) -> str:
    """What one rival comes to in all seeds."""
    known = [row for row in verdicts if row is not None]
    if len(known) < 2:
        return _told(known[0] if known else None)
    faster, smaller = ([row[name] for row in known] for name in ("faster", "smaller"))
    n_reached = sum(row["is_reached"] for row in known) + len(verdicts) - len(known)
    word = (
        "reached"
        if n_reached == len(verdicts)
        else f"**reached in {n_reached} of {len(verdicts)}**"
    )
    return (
        f"{statistics.median(faster):.2f}x ({min(faster):.2f} to {max(faster):.2f}) faster, "
        f"{statistics.median(smaller):.2f}x ({min(smaller):.2f} to {max(smaller):.2f}) smaller: {word}"
    )


def _of_seed(networks: Mapping[str, Any]) -> list[str]:
    lines = [
        "| network | way | ms | KB | loss, points | runs in | setting |",
        "|---|---|---|---|---|---|---|",
    ]
    for name, found in networks.items():
        for at, (way, row) in enumerate(found["ways"].items()):
            low, high = row["quartiles_ms"]
            lines.append(
                f"| {'' if at else name} | {way} | {row['ms']:.4f} ({low:.4f} to {high:.4f}) | {row['n_bytes'] / 1000:.1f} "
                f"| {100 * row['valid_drop']:.2f}, {100 * row['test_drop']:.2f} | {row['runs_in']} "
                f"| {row['setting']} |"
            )
    lines += ["", "| network | " + " | ".join(WAYS) + " |", "|---|" + "---|" * len(WAYS)]
    for name, found in networks.items():
        cells = [_told(found["verdicts"].get(way)) for way in WAYS]
        lines.append(f"| {name} | " + " | ".join(cells) + " |")
    for name, found in networks.items():
        for way, all_tried in found["tried"].items():
            failed = [f"{one['setting']} ({one['error']})" for one in all_tried if one.get("error")]
            if failed:
                lines += ["", f"Failed, {name}, {way}: {'; '.join(failed)}"]
    return lines


def _told(row: Mapping[str, Any] | None) -> str:
    if row is None:
        return "none of its settings keeps within the limit"
    reached = "reached" if row["is_reached"] else "**not reached**"
    return f"{row['faster']:.2f}x faster, {row['smaller']:.2f}x smaller: {reached}"


def merged(files: Sequence[Path]) -> dict[str, Any]:
    """Seeds of several runs on one machine as one.

    Raises:
        ValueError: they were made on several machines, or with other versions.
    """
    abouts = [json.loads(file.read_text(encoding="utf-8")) for file in files]
    together = {**abouts[0], "seeds": {}, "load": ", ".join(str(one["load"]) for one in abouts)}
    for one in abouts:
        for name in ("machine", "versions", "n_trials"):
            if one[name] != together[name]:
                raise ValueError(f"{name} differ: {one[name]} and {together[name]}")
        together["seeds"].update(one["seeds"])
    together["seeds"] = dict(sorted(together["seeds"].items(), key=lambda pair: int(pair[0])))
    return together


def write(about: Mapping[str, Any], out: Path) -> None:
    """Write rivals.json and rivals.md."""
    out.mkdir(parents=True, exist_ok=True)
    (out / "rivals.json").write_text(json.dumps(about, indent=1) + "\n", encoding="utf-8")
    (out / "rivals.md").write_text(page(about) + "\n", encoding="utf-8")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--only", default="", help="networks whose name holds this")
    parser.add_argument("--trials", type=int, default=30)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--first-seed", type=int, default=0)
    parser.add_argument("--merge", type=Path, nargs="+", metavar="JSON", help="measures nothing")
    parser.add_argument("--out", type=Path, default=Path("out"))
    asked = parser.parse_args()
    if asked.merge:
        about = merged(asked.merge)
        write(about, asked.out)
        print(page(about))
        return 0
    torch.set_num_threads(1)
    seeds: dict[str, dict[str, Any]] = {}
    about = {
        "machine": machine(), "versions": versions(PACKAGES), "load": f"{os.getloadavg()[0]:.1f}",
        "n_trials": asked.trials, "seeds": seeds,
    }  # fmt: skip
    with tempfile.TemporaryDirectory() as folder:
        os.environ["TORCHINDUCTOR_CACHE_DIR"] = f"{folder}/compiled"
        for seed in range(asked.first_seed, asked.first_seed + asked.seeds):
            networks = seeds[str(seed)] = {}
            for name, net in NETS.items():
                if asked.only not in name:
                    continue
                home = Path(folder) / f"home{seed}"
                networks[name] = measured(name, net, home, asked.trials, seed)
                # After every network: what was measured stays when the rest is stopped.
                write(about, asked.out)
    print(page(about))
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
