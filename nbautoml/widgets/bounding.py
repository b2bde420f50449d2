"""Making a snapshot fit: fewer rows, points and lines until the saved text is small enough."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from typing import Any

from nbautoml.widgets.curves import MAX_POINTS, thinned
from nbautoml.widgets.protocol import Delta, Line, Saved, Snapshot, Trials
from nbautoml.widgets.table import TrialTable

__all__ = ["fit_delta", "fit_snapshot", "saved_bytes", "to_saved"]

# Rows come first, but a run with ten thousand of them still shows its curves.
_SHARE_OF_CURVES = 0.3
_POINTS_A_LINE = (MAX_POINTS, 60, 40, 25, 16, 10, 6)


def to_saved(snapshot: Snapshot) -> Saved:
    """What the output of a cell holds: see `Saved`."""
    return {
        "v": snapshot["v"],
        "run": snapshot["run"],
        "taken_at": snapshot["taken_at"],
        "text": _compact(snapshot),
    }


def saved_bytes(value: Any) -> int:
    """Bytes that a value takes inside a saved snapshot: JSON text within a JSON text."""
    return len(json.dumps(_compact(value), ensure_ascii=False).encode("utf-8", "replace"))


def fit_snapshot(
    head: Snapshot, table: TrialTable, lines: Sequence[Line], limit_bytes: int | None
) -> Snapshot:
    """The snapshot with as many rows and curves as fit.

    Args:
        head: everything but rows and curves.
        table: all rows.
        lines: all curves that would be shown, the most important first.
        limit_bytes: for `saved_bytes` of what is returned; None for no limit.
    """
    numbers = sorted(table.rows)
    if limit_bytes is None:
        return _filled(head, table.columnar(numbers), lines, 0)
    head = _slim_head(head, limit_bytes)
    room = limit_bytes - saved_bytes(head)
    for_curves = min(saved_bytes(list(lines)), int(room * _SHARE_OF_CURVES))
    trials = _fit_trials(head, table, numbers, room - for_curves)
    n_left_out = table.n_trials - len(trials["number"])
    room -= saved_bytes(trials)
    kept = next((some for some in _fewer(lines) if saved_bytes(some) <= room), [])
    return _filled(head, trials, kept, n_left_out)


def fit_delta(delta: Delta, limit_bytes: int) -> bool:
    """Thin the lines of a delta until it fits.

    Returns:
        False when it does not fit even without lines: then a snapshot is smaller.
    """
    lines = delta["lines"]
    delta["lines"] = []
    room = limit_bytes - len(_compact(delta))
    if room < 0:
        return False
    for n in (None, 100, 20, 5):
        some = lines if n is None else [thinned(line, n) | _begins(line) for line in lines]
        if len(_compact(some)) <= room:
            delta["lines"] = some
            return True
    # A piece that is missing leaves a hole, not a wrong curve: the browser asks for what it draws.
    return True


def _begins(line: Line) -> Any:
    return {"begins": line.get("begins", True)}


def _filled(head: Snapshot, trials: Trials, lines: Sequence[Line], n_left_out: int) -> Snapshot:
    filled = head.copy()
    filled["trials"] = trials
    filled["curves"] = {**head["curves"], "lines": list(lines)}
    filled["n_trials_left_out"] = n_left_out
    return filled


def _slim_head(head: Snapshot, limit_bytes: int) -> Snapshot:
    """The head, without most of its log and columns where it alone would fill the room."""
    if saved_bytes(head) <= limit_bytes // 3:
        return head
    slim = head.copy()
    slim["log"] = [{**entry, "text": entry["text"][:200]} for entry in head["log"][-10:]]
    n_columns = len(head["columns"])
    while saved_bytes(slim) > limit_bytes // 3 and n_columns > 1:
        n_columns //= 2
        slim["columns"] = head["columns"][:n_columns]
        best = head["header"]["best"]
        if best is not None:
            shown = {column["key"] for column in slim["columns"]}
            params = {name: value for name, value in best["params"].items() if name in shown}
            slim["header"] = {**head["header"], "best": {**best, "params": params}}
    return slim


def _fit_trials(head: Snapshot, table: TrialTable, numbers: list[int], room: int) -> Trials:
    """The table, with its best, running and newest rows only where it does not fit whole."""
    columns = head["columns"]
    sample = table.columnar(numbers[-200:], columns=columns)
    fixed = saved_bytes(table.columnar([], columns=columns))
    each = max((saved_bytes(sample) - fixed) / max(len(sample["number"]), 1), 1.0)
    n = min(len(numbers), int(max(room - fixed, 0) / each * 1.2) + 1)
    order = numbers if n == len(numbers) else _by_importance(table, numbers)
    while n > 0:
        trials = table.columnar(sorted(order[:n]), columns=columns)
        size = saved_bytes(trials)
        if size <= room:
            return trials
        if n == len(numbers):
            order = _by_importance(table, numbers)
        n = min(n - 1, int(n * (room - fixed) / max(size - fixed, 1) * 0.99))
    return table.columnar([], columns=columns)


def _by_importance(table: TrialTable, numbers: list[int]) -> list[int]:
    """The best one, the front, the running ones, then in turn the next best and the next newest."""
    ranked = table.ranked()
    running = [row.number for row in table.running()]
    order = dict.fromkeys([*ranked[:1], *table.front_if_any, *running])
    newest = iter(reversed(numbers))
    for number in ranked:
        order.setdefault(number)
        order.setdefault(next(newest))
    order.update(dict.fromkeys(newest))
    return list(order)


def _fewer(lines: Sequence[Line]) -> Iterator[list[Line]]:
    """Fewer and fewer points, then fewer and fewer lines."""
    for n in _POINTS_A_LINE:
        yield [thinned(line, n) for line in lines]
    n_lines = len(lines) // 2
    while n_lines:
        yield [thinned(line, 20) for line in lines[:n_lines]]
        n_lines //= 2


def _compact(value: Any) -> str:
    return json.dumps(value, separators=(",", ":"), ensure_ascii=False)
