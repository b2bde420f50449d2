"""What a browser does with a delta, in Python: the reference that `js/` is tested against, by the same fixtures."""

from __future__ import annotations

import copy
from typing import Any

from nbautoml.widgets.protocol import Delta, Line, Snapshot, Trials

__all__ = ["apply_delta"]

_PLAIN = ("state", "value", "epoch", "duration_s")
_N_LOG = 50


def apply_delta(snapshot: Snapshot, delta: Delta) -> Snapshot | None:
    """The snapshot brought up to date; the one that was given stays as it is.

    Returns:
        The new snapshot (or the given one, when the delta is old news), None for a gap.
    """
    if delta["base"] != snapshot["seq"]:
        return snapshot if delta["seq"] <= snapshot["seq"] else None
    new = copy.deepcopy(snapshot)
    new["seq"], new["taken_at"], new["header"] = delta["seq"], delta["taken_at"], delta["header"]
    if "columns" in delta:
        new["columns"] = delta["columns"]
    curves = new["curves"]
    if "names" in delta:
        curves["names"] = delta["names"]
    if "step_names" in delta:
        curves["step_names"] = delta["step_names"]
    restarted = set(delta["restarted"])
    curves["lines"] = [line for line in curves["lines"] if line["trial"] not in restarted]
    _merge_rows(new["trials"], delta["trials"], new["columns"])
    _append(curves["lines"], delta["lines"])
    new["log"] = (new["log"] + delta["log"])[-_N_LOG:]
    return new


def _merge_rows(trials: Any, news: Trials, columns: Any) -> None:
    """Replace rows by number, add new ones; rows stay in the order of their numbers."""
    for group in ("params", "metrics"):
        keys = [column["key"] for column in columns if f"{column['group']}s" == group]
        for key in keys:
            trials[group].setdefault(key, [None] * len(trials["number"]))
    places = {number: place for place, number in enumerate(trials["number"])}
    for index, number in enumerate(news["number"]):
        place = places.get(number)
        if place is None:
            place = places[number] = len(trials["number"])
            for column in _columns(trials):
                column.append(None)
        trials["number"][place] = number
        for name in _PLAIN:
            trials[name][place] = news[name][index]  # type: ignore[literal-required]
        for group in ("params", "metrics"):
            for key, column in trials[group].items():
                values = news[group].get(key)  # type: ignore[literal-required]
                column[place] = None if values is None else values[index]
        trials["error"].pop(str(number), None)
    trials["error"].update(news["error"])
    order = sorted(range(len(trials["number"])), key=trials["number"].__getitem__)
    for column in _columns(trials):
        column[:] = [column[place] for place in order]


def _columns(trials: Any) -> list[list[Any]]:
    plain = [trials["number"], *(trials[name] for name in _PLAIN)]
    return [*plain, *trials["params"].values(), *trials["metrics"].values()]


def _append(lines: list[Line], pieces: list[Line]) -> None:
    """Add pieces to the lines that are held; begin a line only with its first points."""
    held = {(line["trial"], line["name"]): line for line in lines}
    for piece in pieces:
        key = (piece["trial"], piece["name"])
        line = held.get(key)
        if line is not None:
            line["x"] = line["x"] + piece["x"]
            line["y"] = line["y"] + piece["y"]
        elif piece.get("begins", True):
            line = {"trial": key[0], "name": key[1], "x": piece["x"], "y": piece["y"]}
            held[key] = line
            lines.append(line)
