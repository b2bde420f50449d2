"""How figures are written: results.json, results.md from it, and the README's table from that.

::

    python benchmarks/pages.py        # benchmarks/results.json -> results.md beside it, README's table

`make bench-record` copies what `make bench` wrote into benchmarks/ and calls this.
"""

from __future__ import annotations

import argparse
import importlib.metadata
import json
import os
import platform
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from figures import told

__all__ = ["Results", "page", "readme_with", "recorded", "write"]

HERE = Path(__file__).resolve().parent
README = HERE.parent / "README.md"
BEGIN, END = "<!-- measured: make bench-record writes this -->", "<!-- measured ends -->"
# Packages whose version changes a figure; those that are not installed are left out.
VERSIONS = (
    "torch", "optuna", "numpy", "sqlalchemy", "ipykernel", "ray", "keras", "keras-tuner",
    "lightning", "skorch",
)  # fmt: skip
METHOD = (
    "Ways take turns within one run of this program, so that what else the machine does meets all "
    "of them; median, middle half (below four repeats: all) and number of repeats; ratios are "
    "medians of the ratios of neighbouring repeats, or of the medians where one way has fewer"
)
WORDS = {True: "reached", False: "**not reached**", None: "not measured"}


@dataclass
class Results:
    """All figures of a run of benchmarks, as `figures.Figure.about` tells them.

    Attributes:
        figures: in their order.
        seconds: by chapter.
        load: of the machine, one minute's average, before the first chapter and after the last.
        is_quick: small sizes, few repeats.
        device: what they were taken on, beside the processor.
    """

    figures: list[Mapping[str, Any]] = field(default_factory=list)
    seconds: dict[str, float] = field(default_factory=dict)
    load: list[float] = field(default_factory=list)
    is_quick: bool = False
    device: str = ""


def write(results: Results, out: Path, name: str = "results") -> str:
    """Write results.json and results.md, or another name; returns the table."""
    about = {
        "machine": "; ".join(filter(None, (results.device, machine()))),
        "versions": versions(),
        "method": METHOD,
        "load": [round(value, 2) for value in results.load],
        "is_quick": results.is_quick,
        "seconds": {name: round(value, 1) for name, value in results.seconds.items()},
        "figures": results.figures,
    }
    out.mkdir(parents=True, exist_ok=True)
    (out / f"{name}.json").write_text(json.dumps(about, indent=1) + "\n", encoding="utf-8")
    text = page(about)
    (out / f"{name}.md").write_text(text, encoding="utf-8")
    return text


def page(about: Mapping[str, Any]) -> str:
    """All of results.json as Markdown."""
    lines = ["# Measured", ""]
    if about["is_quick"]:
        lines += ["**A quick run: few repeats, small sizes. Not to be quoted.**", ""]
    total = sum(about["seconds"].values())
    lines += [f"{_conditions(about)} {about['method']}. {total:.0f} s in all.", ""]
    for figure in about["figures"]:
        lines += _section(figure)
    return "\n".join(lines).rstrip("\n") + "\n"


def grid(corner: str, columns: Sequence[str], rows: Mapping[str, Sequence[str]]) -> list[str]:
    """A table in Markdown, by lines.

    >>> grid("way", ["a", "b"], {"x": ["1", "2"]})
    ['| way | a | b |', '|---|---|---|', '| x | 1 | 2 |']
    """
    head = ["| " + " | ".join([corner, *columns]) + " |", "|---|" + "---|" * len(columns)]
    return [*head, *("| " + " | ".join([name, *cells]) + " |" for name, cells in rows.items())]


def _conditions(about: Mapping[str, Any]) -> str:
    listed = ", ".join(f"{name} {version}" for name, version in about["versions"].items())
    load = " and ".join(f"{value:.1f}" for value in about["load"])
    told = f" Load average before and after: {load}." if load else ""
    return f"{about['machine']}; {listed}.{told}"


def _section(figure: Mapping[str, Any]) -> list[str]:
    lines = [f"## {figure['figure']}", ""]
    lines += [figure["method"], ""] if figure["method"] else []
    if figure["rows"]:
        lines += ["| way | median | middle half | n | times ours |", "|---|---|---|---|---|"]
        for row in figure["rows"]:
            low, high = row["quartiles"]
            lines.append(
                f"| {row['way']} | {row['median']:.4g} {figure['unit']} | {low:.4g} to {high:.4g} "
                f"| {row['n']} | {row['times_ours']:.2f} |"
            )
        lines.append("")
    for goal in figure["goals"]:
        shown = f": {goal['reached']}" if goal["reached"] else ""
        lines += [f"Goal {goal['goal']}: {WORDS[goal['is_reached']]}{shown}.", ""]
    for note in figure["notes"]:
        lines += [note, ""]
    return lines


def readme_table(about: Mapping[str, Any] | None) -> str:
    """What the README shows: each figure that has a goal, ours beside the peers."""
    if about is None:
        return "No figures are recorded in this version."
    quick = " **A quick run, not to be quoted.**" if about["is_quick"] else ""
    where = "[benchmarks/results.md](benchmarks/results.md)"
    lines = [
        f"{_conditions(about)} Medians; spread, method and the rest: {where}.{quick}",
        "",
        "| figure | nbautoml | beside it | goal |",
        "|---|---|---|---|",
    ]
    for figure in about["figures"]:
        if not figure["goals"]:
            continue
        unit = figure["unit"]
        shown = [f"{row['way']} {told(row['median'])} {unit}" for row in figure["rows"]]
        goals = [
            f"{goal['goal']}: {WORDS[goal['is_reached']]}"
            + (f" ({goal['reached']})" if goal["reached"] else "")
            for goal in figure["goals"]
        ]
        first = f"{told(figure['rows'][0]['median'])} {unit}" if figure["rows"] else ""
        lines.append(
            f"| {figure['figure']} | {first} | {'; '.join(shown[1:])} | {'; '.join(goals)} |"
        )
    return "\n".join(lines)


def recorded() -> dict[str, Any] | None:
    """What benchmarks/results.json says; None where there is none."""
    path = HERE / "results.json"
    return json.loads(path.read_text(encoding="utf-8")) if path.exists() else None


def readme_with(about: Mapping[str, Any] | None, text: str) -> str:
    """The README with its table written anew.

    Args:
        about: what `recorded` gives.
        text: of the README.

    Raises:
        ValueError: it has no place for the table.
    """
    before, begin, rest = text.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not begin or not end:
        raise ValueError(f"README.md has no place for the table: {BEGIN} ... {END}")
    return f"{before}{BEGIN}\n{readme_table(about)}\n{END}{after}"


def versions(packages: Sequence[str] = VERSIONS) -> dict[str, str]:
    """Of Python and of those packages that are installed here."""
    found = {"python": platform.python_version()}
    for name in packages:
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


def main(words: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--take", type=Path, help="results.json to copy into benchmarks/ first")
    asked = parser.parse_args(words)
    if asked.take is not None:
        shutil.copyfile(asked.take, HERE / "results.json")
    about = recorded()
    if about is not None:
        (HERE / "results.md").write_text(page(about), encoding="utf-8")
    README.write_text(readme_with(about, README.read_text(encoding="utf-8")), encoding="utf-8")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
