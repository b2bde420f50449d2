"""What every chapter gives: a figure, ours beside its peers, with spread; and how they are written."""

from __future__ import annotations

import importlib.metadata
import json
import os
import platform
import statistics
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

__all__ = ["Figure", "alternate", "write"]

VERSIONS = ("torch", "optuna", "sqlalchemy", "numpy", "ipykernel")


@dataclass(frozen=True)
class Figure:
    """Repeats of one quantity by several ways, smaller being better; the first way is ours.

    Attributes:
        name: what is measured.
        unit: of the values.
        ways: repeats by way.
        goal: what is to be reached, in words.
    """

    name: str
    unit: str
    ways: Mapping[str, Sequence[float]]
    goal: str = ""

    def rows(self) -> list[dict[str, Any]]:
        """Median, quartiles and ratio to ours, a row a way."""
        base = statistics.median(next(iter(self.ways.values())))
        made = []
        for way, values in self.ways.items():
            low, high = quartiles(values)
            made.append(
                {
                    "figure": self.name,
                    "way": way,
                    "unit": self.unit,
                    "median": statistics.median(values),
                    "quartiles": [low, high],
                    "n": len(values),
                    "times_ours": statistics.median(values) / base if base else None,
                    "goal": self.goal,
                }
            )
        return made


def quartiles(values: Sequence[float]) -> tuple[float, float]:
    """The middle half; the extremes of fewer than four values."""
    if len(values) < 4:
        return min(values), max(values)
    found = statistics.quantiles(values, n=4)
    return found[0], found[2]


def alternate(
    ways: Mapping[str, Callable[[], float]], *, repeats: int, n_warm: int = 0
) -> dict[str, list[float]]:
    """Values of each way, the ways taking turns, so that a busy machine is busy for all."""
    found: dict[str, list[float]] = {name: [] for name in ways}
    for turn in range(repeats + n_warm):
        for name, run in ways.items():
            value = run()
            if turn >= n_warm:
                found[name].append(value)
    return found


@dataclass
class Results:
    """All figures of a run of benchmarks."""

    figures: list[Figure] = field(default_factory=list)
    seconds: dict[str, float] = field(default_factory=dict)
    is_quick: bool = False


def write(results: Results, out: Path) -> str:
    """Write results.json and results.md; returns the table."""
    rows = [row for figure in results.figures for row in figure.rows()]
    about = {
        "machine": machine(),
        "versions": {
            "python": platform.python_version(),
            **{name: importlib.metadata.version(name) for name in VERSIONS},
        },
        "method": "ways take turns in one run; median and quartiles of n repeats",
        "is_quick": results.is_quick,
        "seconds": {name: round(value, 1) for name, value in results.seconds.items()},
        "rows": rows,
    }
    out.mkdir(parents=True, exist_ok=True)
    (out / "results.json").write_text(json.dumps(about, indent=1) + "\n", encoding="utf-8")
    lines = [
        f"{about['machine']}; "
        + ", ".join(f"{name} {version}" for name, version in about["versions"].items())
        + f". {about['method'].capitalize()}.",
        "",
        "| figure | way | median | middle half | n | times ours | goal |",
        "|---|---|---|---|---|---|---|",
    ]
    for row in rows:
        low, high = row["quartiles"]
        ratio = "" if row["times_ours"] is None else f"{row['times_ours']:.2f}"
        lines.append(
            f"| {row['figure']} | {row['way']} | {row['median']:.4g} {row['unit']} | "
            f"{low:.4g} to {high:.4g} | {row['n']} | {ratio} | {row['goal']} |"
        )
    table = "\n".join(lines)
    (out / "results.md").write_text(table + "\n", encoding="utf-8")
    return table


def machine() -> str:
    """The processor's name and how many cores may be used; no name of the machine itself."""
    name = platform.processor() or platform.machine()
    info = Path("/proc/cpuinfo")
    if info.exists():
        models = [line for line in info.read_text().splitlines() if line.startswith("model name")]
        name = models[0].partition(":")[2].strip() if models else name
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    return f"{name}, {cores} cores"
