"""The pictures of a run as SVG: curves, history, and each parameter against the objective."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from nbautoml.widgets.curves import thinned
from nbautoml.widgets.labels import one_line
from nbautoml.widgets.protocol import Column, Line, Snapshot
from nbautoml.widgets.svg import BEST, GREY, PALETTE, Axis, Plot

__all__ = ["best_so_far", "curves_picture", "history_picture", "slice_picture"]

_MAX_DOTS = 2_000


def curves_picture(
    snapshot: Snapshot,
    name: str = "",
    *,
    width: int = 420,
    height: int = 200,
    max_lines: int = 100,
    max_points: int = 100,
) -> str | None:
    """All trials' curves of one quantity, the best trial's on top; None when there are none.

    Args:
        snapshot: the run.
        name: the quantity; the objective's by default, or the first that has curves.
        width: of the picture in pixels.
        height: of the picture in pixels.
        max_lines: so many lines at most.
        max_points: of a line.
    """
    all_lines = snapshot["curves"]["lines"]
    name = name or snapshot["curves"]["metric"]
    lines = [line for line in all_lines if line["name"] == name]
    if not lines:
        return None
    best = snapshot["header"]["best"]
    number = best["trial"] if best else None
    lines = sorted(lines[:max_lines], key=lambda line: line["trial"] == number)
    lines = [thinned(line, max_points) for line in lines]
    is_step = name in snapshot["curves"]["step_names"]
    x = Axis.around(
        (value for line in lines for value in line["x"]),
        label="step" if is_step else "epoch",
        is_whole=True,
    )
    title = f"{one_line(name, 60)} by {x.label}"
    plot = Plot(width=width, height=height, x=x, y=_robust_axis(lines, number, name), title=title)
    for line in lines:
        is_best = line["trial"] == number
        plot.line(
            line["x"],
            line["y"],
            BEST if is_best else PALETTE[0],
            width=2.0 if is_best else 1.0,
            opacity=1.0 if is_best or len(lines) < 4 else 0.45,
        )
    return plot.text()


def _robust_axis(lines: Sequence[Line], best: int | None, name: str) -> Axis:
    """The axis of the values, without the few wild ones that would flatten all the others."""
    values = sorted(
        value for line in lines for value in line["y"] if value is not None and math.isfinite(value)
    )
    if len(values) < 20:
        return Axis.around(values, label=name)
    quarter, half, three = (values[int(len(values) * share)] for share in (0.25, 0.5, 0.75))
    reach = 6 * max(three - quarter, abs(half) * 1e-3)
    shown = [value for value in values if quarter - reach <= value <= three + reach]
    shown += [v for line in lines if line["trial"] == best for v in line["y"] if v is not None]
    return Axis.around(shown, label=name)


def best_so_far(values: Sequence[float | None], direction: str) -> list[float | None]:
    """The best value up to each place.

    >>> best_so_far([3.0, None, 5.0, 4.0], "maximize")
    [3.0, 3.0, 5.0, 5.0]
    """
    better = max if direction == "maximize" else min
    best: float | None = None
    found: list[float | None] = []
    for value in values:
        if value is not None:
            best = value if best is None else better(best, value)
        found.append(best)
    return found


def history_picture(snapshot: Snapshot, *, width: int = 420, height: int = 200) -> str | None:
    """The value of each trial, and the best one so far; None when no trial has a value."""
    trials, header = snapshot["trials"], snapshot["header"]
    pairs = [
        (number, value, state)
        for number, value, state in zip(
            trials["number"], trials["value"], trials["state"], strict=True
        )
        if value is not None
    ]
    if not pairs:
        return None
    values = [value for _, value, _ in pairs]
    line: Line = {"trial": -1, "name": header["metric"], "x": [], "y": list(values)}
    plot = Plot(
        width=width,
        height=height,
        x=Axis.around((number for number, _, _ in pairs), label="trial", is_whole=True),
        y=_robust_axis([line], None, header["metric"]),
        title=f"{one_line(header['metric'] or 'value', 40)} of each trial, and the best so far",
    )
    for number, value, state in pairs[-_MAX_DOTS:]:
        is_whole = state == "complete"
        plot.dot(number, value, PALETTE[0] if is_whole else GREY, radius=2.5, opacity=0.6)
    whole = [value if state == "complete" else None for _, value, state in pairs]
    best = best_so_far(whole, header["direction"])
    plot.line([number for number, _, _ in pairs], best, BEST, width=2.0, is_stepped=True)
    return plot.text()


def slice_picture(
    snapshot: Snapshot, column: Column, *, width: int = 300, height: int = 180, is_log: bool = False
) -> str | None:
    """One parameter against the objective, a dot a trial; None when there is nothing to draw."""
    trials, header = snapshot["trials"], snapshot["header"]
    values = trials["params"].get(column["key"], [])
    pairs: list[tuple[Any, float]] = [
        (value, score)
        for value, score in zip(values, trials["value"], strict=False)
        if value is not None and score is not None
    ][-_MAX_DOTS:]
    if not pairs:
        return None
    label = column["label"]
    if column["kind"] == "text":
        names = tuple(dict.fromkeys(str(value) for value, _ in pairs))[:12]
        places = {name: float(place) for place, name in enumerate(names)}
        pairs = [(places[str(v)], score) for v, score in pairs if str(v) in places]
        x = Axis(low=-0.5, high=len(names) - 0.5, names=names)
    else:
        x = Axis.around((float(value) for value, _ in pairs), is_log=is_log)
    line: Line = {"trial": -1, "name": "", "x": [], "y": [score for _, score in pairs]}
    y = _robust_axis([line], None, header["metric"])
    plot = Plot(width=width, height=height, x=x, y=y, title=one_line(label, 40))
    for value, score in pairs:
        plot.dot(float(value), score, PALETTE[0], radius=2.5, opacity=0.5)
    best = header["best"]
    if best is not None and column["key"] in best["params"]:
        at = best["params"][column["key"]]
        place = places.get(str(at)) if column["kind"] == "text" else at
        if isinstance(place, (int, float)):
            plot.dot(float(place), best["value"], BEST, radius=4.5)
    return plot.text()
