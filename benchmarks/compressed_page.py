"""What ``compressing.py`` found as a page in Markdown."""

from __future__ import annotations

import statistics
from typing import Any

from reported import reported

__all__ = ["against_teacher", "page"]

TITLES = {
    "weights": "fewer non-zero weights",
    "stored": "smaller, shared and entropy coded",
    "latency": "faster in ONNX Runtime, batch 64, 1 thread",
}


def page(about: dict[str, Any]) -> str:
    """The tables in Markdown, and what somebody noted of how they came about."""
    lines = [
        "# Compression",
        "",
        f"{about['machine']}; {', '.join(f'{k} {v}' for k, v in about['versions'].items())}. "
        "Medians over seeds, with the range; drops in points of test accuracy, against the network "
        "itself (on which the goals are) and against its teacher, both below zero where it is better."
        + (" Quick: these figures mean nothing." if about["is_quick"] else ""),
    ]
    for name, found in about["networks"].items():
        figures = found["figures"]
        lines += ["", f"## {name}, {found['n_seeds']} seeds, {found['seconds']:.0f} s", ""]
        own, its = (_told(figures[key], ".2f") for key in ("accuracy", "teacher accuracy"))
        lines += [
            f"Test accuracy {own} %; its teacher's, trained with changed copies of the images, too, {its} %.",
            "",
        ]
        lines += [
            "| | times | drop, points | drop against the teacher | goal | reached |",
            "|---|---|---|---|---|---|",
        ]
        for key, title in TITLES.items():
            goal = found["goals"][key]
            lines.append(
                f"| {title} | {_told(figures[key], '.1f')} | {_told(figures[key + ' drop'], '.2f')} "
                f"| {_told(against_teacher(figures, key), '.2f')} "
                f"| >= {goal['goal']}x at <= {goal['most_drop']:g} "
                f"| {'yes' if goal['is_reached'] else 'no'} |"
            )
    lines += ["", *reported(TITLES)]
    if about.get("note"):
        lines += ["", about["note"]]
    return "\n".join(lines)


def against_teacher(figures: dict[str, Any], key: str) -> dict[str, Any]:
    """Points that a network lies below its teacher, where its drop is below the network itself.

    >>> own = {"accuracy": {"values": [98.0]}, "teacher accuracy": {"values": [98.5]}}
    >>> against_teacher({**own, "weights drop": {"values": [-0.25]}}, "weights")["median"]
    0.25
    """
    columns = [figures[name]["values"] for name in ("teacher accuracy", "accuracy", f"{key} drop")]
    values = [teacher - own + drop for teacher, own, drop in zip(*columns, strict=True)]
    return {
        "median": statistics.median(values),
        "range": [min(values), max(values)],
        "values": values,
    }


def _told(row: dict[str, Any], form: str) -> str:
    low, high = row["range"]
    return f"{row['median']:{form}} ({low:{form}} to {high:{form}})"
