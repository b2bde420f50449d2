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

__all__ = ["Figure", "Goal", "Results", "alternate", "quartiles", "write"]

# Packages whose version changes a figure; those that are not installed are left out.
VERSIONS = (
    "torch", "optuna", "numpy", "sqlalchemy", "ipykernel", "ray", "keras", "keras-tuner",
    "lightning", "skorch",
)  # fmt: skip
METHOD = (
    "Ways take turns within one run of this program, so that what else the machine does meets all "
    "of them; median, middle half and number of repeats; ratios are medians of the ratios of "
    "neighbouring repeats"
)


@dataclass(frozen=True)
class Goal:
    """What one way should reach.

    Attributes:
        at_most: ours divided by the peer's; in the figure's unit where there is no peer.
        peer: the way that ours is divided by; "" compares with the number itself.
        way: which way is meant; the figure's first by default.
    """

    at_most: float
    peer: str = ""
    way: str = ""

    def text(self, unit: str) -> str:
        """As a person reads it."""
        if not self.peer:
            return f"<= {self.at_most:g} {unit}"
        if self.at_most < 1:
            return f"{1 / self.at_most:.3g}x faster than {self.peer}"
        return f"<= {self.at_most:g}x {self.peer}"


@dataclass(frozen=True)
class Figure:
    """Repeats of one quantity by several ways, smaller being better; the first way is ours.

    Attributes:
        name: what is measured.
        unit: of the values.
        ways: repeats by way.
        goals: what is to be reached.
        method: how it was measured, in a sentence or two.
        notes: what else a reader must know: a peer that is missing, where the time goes.
    """

    name: str
    unit: str
    ways: Mapping[str, Sequence[float]]
    goals: Sequence[Goal] = ()
    method: str = ""
    notes: Sequence[str] = ()

    def rows(self) -> list[dict[str, Any]]:
        """Median, quartiles and ratio to ours, a row a way."""
        ours = next(iter(self.ways.values()), ())
        made = []
        for way, values in self.ways.items():
            low, high = quartiles(values)
            made.append(
                {
                    "way": way,
                    "median": statistics.median(values),
                    "quartiles": [low, high],
                    "n": len(values),
                    "times_ours": ratio(values, ours),
                }
            )
        return made

    def verdicts(self) -> list[dict[str, Any]]:
        """A row a goal: what was to be reached, what was reached."""
        made = []
        for goal in self.goals:
            way = goal.way or next(iter(self.ways), "")
            if way not in self.ways or (goal.peer and goal.peer not in self.ways):
                made.append({"goal": goal.text(self.unit), "reached": None, "is_reached": None})
                continue
            if goal.peer:
                found = ratio(self.ways[way], self.ways[goal.peer])
                text = f"{found:.2f}x" if goal.at_most >= 1 else f"{1 / found:.1f}x faster"
            else:
                found = statistics.median(self.ways[way])
                text = f"{found:.3g} {self.unit}"
            made.append(
                {
                    "goal": goal.text(self.unit),
                    "reached": text,
                    "value": found,
                    "is_reached": found <= goal.at_most,
                }
            )
        return made

    def about(self) -> dict[str, Any]:
        """The figure as JSON."""
        return {
            "figure": self.name,
            "unit": self.unit,
            "method": self.method,
            "notes": list(self.notes),
            "rows": self.rows(),
            "goals": self.verdicts(),
        }


def ratio(values: Sequence[float], base: Sequence[float]) -> float:
    """Median of the ratios of neighbouring repeats; of the medians where they have no neighbours."""
    if len(values) == len(base):
        return statistics.median(
            value / own if own else float("inf") for value, own in zip(values, base, strict=True)
        )
    below = statistics.median(base)
    return statistics.median(values) / below if below else float("inf")


def quartiles(values: Sequence[float]) -> tuple[float, float]:
    """The middle half; the extremes of fewer than four values."""
    if len(values) < 4:
        return min(values), max(values)
    found = statistics.quantiles(values, n=4)
    return found[0], found[2]


def alternate(
    ways: Mapping[str, Callable[[], float]],
    *,
    repeats: int | Mapping[str, int],
    n_warm: int = 0,
) -> dict[str, list[float]]:
    """Values of each way, the ways taking turns, so that a busy machine is busy for all.

    Args:
        ways: each gives one value.
        repeats: of all, or by way where one is too slow for as many.
        n_warm: first turns that are not kept.
    """
    found: dict[str, list[float]] = {name: [] for name in ways}
    wanted = dict.fromkeys(ways, repeats) if isinstance(repeats, int) else dict(repeats)
    for turn in range(max(wanted.values()) + n_warm):
        for name, run in ways.items():
            if turn >= wanted[name] + n_warm:
                continue
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
    about = {
        "machine": machine(),
        "versions": versions(),
        "method": METHOD,
        "is_quick": results.is_quick,
        "seconds": {name: round(value, 1) for name, value in results.seconds.items()},
        "figures": [figure.about() for figure in results.figures],
    }
    out.mkdir(parents=True, exist_ok=True)
    (out / "results.json").write_text(json.dumps(about, indent=1) + "\n", encoding="utf-8")
    text = "\n".join(_page(about))
    (out / "results.md").write_text(text + "\n", encoding="utf-8")
    return text


def _page(about: Mapping[str, Any]) -> list[str]:
    listed = ", ".join(f"{name} {version}" for name, version in about["versions"].items())
    total = sum(about["seconds"].values())
    lines = ["# Measured", ""]
    if about["is_quick"]:
        lines += ["**A quick run: few repeats, small sizes. Not to be quoted.**", ""]
    lines += [f"{about['machine']}; {listed}. {about['method']}. {total:.0f} s in all.", ""]
    for figure in about["figures"]:
        lines += [f"## {figure['figure']}", ""]
        lines += [figure["method"], ""] if figure["method"] else []
        if figure["rows"]:
            lines += ["| way | median | middle half | n | times ours |", "|---|---|---|---|---|"]
        for row in figure["rows"]:
            low, high = row["quartiles"]
            lines.append(
                f"| {row['way']} | {row['median']:.4g} {figure['unit']} | {low:.4g} to {high:.4g} | "
                f"{row['n']} | {row['times_ours']:.2f} |"
            )
        lines.append("")
        for goal in figure["goals"]:
            word = {True: "reached", False: "**not reached**", None: "not measured"}[
                goal["is_reached"]
            ]
            shown = f": {goal['reached']}" if goal["reached"] else ""
            lines += [f"Goal {goal['goal']}: {word}{shown}.", ""]
        lines += [f"{note}\n" for note in figure["notes"]]
    return lines[:-1]


def versions() -> dict[str, str]:
    """Of Python and of the packages that are installed here."""
    found = {"python": platform.python_version()}
    for name in VERSIONS:
        try:
            found[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue
    return found


def machine() -> str:
    """The processor's name and how many cores may be used; no name of the machine itself."""
    name = platform.processor() or platform.machine()
    info = Path("/proc/cpuinfo")
    if info.exists():
        models = [line for line in info.read_text().splitlines() if line.startswith("model name")]
        name = models[0].partition(":")[2].strip() if models else name
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    return f"{name}, {cores} cores"
