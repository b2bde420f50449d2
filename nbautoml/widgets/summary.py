"""A snapshot in words: the sentences and the table that every static rendering shows."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any, Literal

from nbautoml.widgets.curves import thinned
from nbautoml.widgets.labels import (
    duration_label,
    one_line,
    quantity_label,
    unit_of,
    value_label,
)
from nbautoml.widgets.protocol import FINAL_STATES, Column, Header, Snapshot

__all__ = [
    "FRONT_MARK",
    "best_first",
    "cells",
    "facts",
    "front_line",
    "front_marks",
    "limits_line",
    "progress_line",
    "shown_columns",
    "sparklines",
    "taken_at_label",
]

FRONT_MARK = "◆"
_BARS = "▁▂▃▄▅▆▇█"

_GROUPS: dict[str, Literal["params", "metrics"]] = {"param": "params", "metric": "metrics"}
_RANK = {"complete": 0, "stopped_early": 1, "running": 2, "waiting": 3, "failed": 4, "cancelled": 5}
_STATE_WORDS = {"stopped_early": "stopped early"}


def progress_line(header: Header) -> str:
    """Where the run stands, in one line.

    The parts: state, trials done, the best value, the time.
    """
    counts: Any = header["counts"]
    n_done = sum(counts[state] for state in ("complete", "stopped_early", "failed", "cancelled"))
    n_all = header["n_trials"] or sum(counts.values())
    parts = [one_line(_STATE_WORDS.get(header["state"], header["state"]), 20)]
    parts.append(f"{n_done} of {n_all} trials" if n_all != 1 else f"{n_done} of 1 trial")
    best = header["best"]
    if best is not None:
        metric = one_line(header["metric"], 40) or "value"
        value = quantity_label(best["value"], unit_of(header["metric"]))
        parts.append(f"best {metric} {value} (trial {best['trial']})")
    if header["started_at"] is not None:
        parts.append(duration_label(header["elapsed_s"]))
    if header["eta_s"] is not None:
        parts.append(f"about {duration_label(header['eta_s'])} left")
    return " · ".join(parts)


def facts(header: Header) -> list[tuple[str, str]]:
    """What else the header knows: pairs of a word and a line; empty ones are left out."""
    counts: Any = header["counts"]
    unusual = [
        f"{counts[state]} {_STATE_WORDS.get(state, state)}"
        for state in ("running", "waiting", "stopped_early", "failed", "cancelled")
        if counts[state]
    ]
    found = [
        ("message", header["message"]),
        ("trials", ", ".join(unusual)),
        ("data", header["data"]),
        ("device", header["device"]),
        ("plan", header["plan"]),
        ("front", front_line(header)),
        ("limits", limits_line(header)),
    ]
    return [(word, one_line(line, 300)) for word, line in found if line]


def front_line(header: Header) -> str:
    """Which trials are on the front, where there are several objectives."""
    front, names = header.get("front", []), header.get("objectives", [])
    if not front:
        return ""
    shown = ", ".join(str(number) for number in front[:20])
    more = f" and {len(front) - 20} more" if len(front) > 20 else ""
    word = "trial" if len(front) == 1 else "trials"
    them = "it" if len(front) == 1 else "them"
    return f"{word} {shown}{more}: no other beats {them} in all of {', '.join(names)}"


def limits_line(header: Header) -> str:
    """The limits that were asked for, and what the model had before.

    Both only where the record has them.
    """
    parts = []
    for aim in header.get("aims", []):
        sides = [
            f"{sign} {quantity_label(value, aim['unit'])}"
            for sign, value in (("≥", aim["least"]), ("≤", aim["most"]))
            if value is not None
        ]
        if aim["before"] is not None:
            sides.append(f"before: {quantity_label(aim['before'], aim['unit'])}")
        if sides:
            parts.append(f"{aim['label']} {', '.join(sides)}")
    return "; ".join(parts)


def taken_at_label(snapshot: Snapshot) -> str:
    """When the snapshot was taken; a run that was going on then may have gone on since."""
    moment = datetime.fromtimestamp(snapshot["taken_at"], UTC)
    label = f"as of {moment:%Y-%m-%d %H:%M:%S} UTC"
    return (
        label if snapshot["header"]["state"] in FINAL_STATES else f"{label}, while it was going on"
    )


def best_first(snapshot: Snapshot) -> list[int]:
    """Places of the rows: those with results, best first; then what runs, waits, failed."""
    trials, header = snapshot["trials"], snapshot["header"]
    sign = -1.0 if header["direction"] == "maximize" else 1.0

    def key(place: int) -> tuple[int, float, int]:
        value = trials["value"][place]
        state = trials["state"][place]
        rank = _RANK.get(state, 6)
        if value is None:
            rank = max(rank, 2)
        return rank, 0.0 if value is None else sign * value, trials["number"][place]

    return sorted(range(len(trials["number"])), key=key)


def sparklines(snapshot: Snapshot, places: Sequence[int], width: int = 10) -> list[str]:
    """The objective's curve of each row in a few characters: the picture that no sanitiser drops.

    All share one scale. Empty where nothing was measured.
    """
    trials, metric = snapshot["trials"], snapshot["curves"]["metric"]
    found = {
        line["trial"]: thinned(line, width)["y"]
        for line in snapshot["curves"]["lines"]
        if line["name"] == metric
    }
    rows = [found.get(trials["number"][place], []) for place in places]
    values = [value for row in rows for value in row if value is not None]
    low, high = (min(values), max(values)) if values else (0.0, 0.0)
    scale = (len(_BARS) - 1) / (high - low) if high > low else 0.0
    return [
        "".join(_BARS[round((v - low) * scale)] if v is not None else " " for v in row)
        for row in rows
    ]


def shown_columns(snapshot: Snapshot, limit: int = 12) -> list[Column]:
    """What a static table has room for: objectives beside the first one, then parameters."""
    others = snapshot["header"].get("objectives", [])[1:]
    columns = snapshot["columns"]
    own = [column for column in columns if column["group"] == "metric" and column["key"] in others]
    return own + [column for column in columns if column["group"] == "param"][:limit]


def cells(snapshot: Snapshot, place: int, columns: list[Column]) -> list[str]:
    """The texts of one row: trial, state, value, time, and the parameters."""
    trials = snapshot["trials"]
    number, state = trials["number"][place], trials["state"][place]
    duration = trials["duration_s"][place]
    return [
        str(number),
        _STATE_WORDS.get(state, one_line(state, 20)),
        quantity_label(trials["value"][place], unit_of(snapshot["header"]["metric"])),
        duration_label(duration),
        *(_cell(trials, place, column) for column in columns),
    ]


def _cell(trials: Any, place: int, column: Column) -> str:
    value = trials[_GROUPS[column["group"]]].get(column["key"], {place: None})[place]
    unit = column.get("unit", "")
    return quantity_label(value, unit) if unit else value_label(value)


def front_marks(snapshot: Snapshot, places: Sequence[int]) -> list[str]:
    """A mark for each row that is on the front, "" for the others; empty where there is no front."""
    header = snapshot["header"]
    if len(header.get("aims", [])) < 2:
        return []
    front = set(header.get("front", []))
    return [FRONT_MARK if snapshot["trials"]["number"][place] in front else "" for place in places]
