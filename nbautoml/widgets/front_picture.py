"""The front of several objectives as SVG: two of them against each other, the third as the size of the marks."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from nbautoml.spec.fronts import front_of
from nbautoml.widgets.labels import one_line, quantity_label
from nbautoml.widgets.protocol import Aim, Snapshot
from nbautoml.widgets.svg import BEST, GREY, PALETTE, Axis, Plot

__all__ = ["front_picture", "values_of"]

_MAX_DOTS = 1_000
_WIDE = 50  # so many times the least: then powers of ten tell values apart
_N_NUMBERS = 20
_REACH = 3.0  # so many quartile distances beyond the middle half a value counts as far off
_MIN_VALUES = 5  # fewer have no middle half


@dataclass(frozen=True)
class _Point:
    trial: int
    x: float
    y: float
    radius: float
    is_whole: bool


def front_picture(
    snapshot: Snapshot, *, across: int = 1, up: int = 0, width: int = 420, height: int = 240
) -> str | None:
    """Two objectives of each trial; None where there are not several, or no trial has both.

    The view holds the front within the limits and what is not far off, so that one broken model
    does not squeeze all others into a corner; those beyond the edge are triangles at it.

    Trials of the front are diamonds with their numbers. Those that none beats in these two alone
    are joined by steps: what is reached for sure between two of them. Others are dots, or crosses
    when they were stopped early. A square is what the run began with, dashed lines are limits.

    Args:
        snapshot: the run.
        across: place of the horizontal objective in ``header["aims"]``.
        up: place of the vertical one.
        width: of the picture in pixels.
        height: of the picture in pixels.
    """
    aims = snapshot["header"].get("aims", [])
    if max(across, up) >= len(aims):
        return None
    x, y = aims[across], aims[up]
    third = next((aim for at, aim in enumerate(aims) if at not in (across, up)), None)
    points = list(_points(snapshot, x, y, third))
    if not points:
        return None
    on_front = set(snapshot["header"].get("front", []))
    front = [point for point in points if point.trial in on_front]
    rest = [point for point in points if point.trial not in on_front][-_MAX_DOTS:]
    kept = [point for point in front if _is_within(point.x, x) and _is_within(point.y, y)]
    plot = Plot(
        width=width,
        height=height,
        x=_axis(x, [point.x for point in points], [point.x for point in kept]),
        y=_axis(y, [point.y for point in points], [point.y for point in kept], is_log=False),
        title=_title(x, y, third),
    )
    _draw_limits(plot, x, y)
    for point in rest:
        if _is_beyond(plot, point):  # at the edge, where it lies in no other way than by its side
            plot.shape(point.x, point.y, "triangle", GREY, radius=4.0)
        elif point.is_whole:
            plot.dot(point.x, point.y, PALETTE[0], radius=point.radius, opacity=0.55)
        else:
            plot.shape(point.x, point.y, "cross", GREY, radius=2.5)
    _draw_front(plot, front, x, y)
    if x["before"] is not None and y["before"] is not None:
        plot.shape(x["before"], y["before"], "square", GREY, radius=4.5, is_open=True)
        plot.note(x["before"], y["before"], "before", anchor="end")
    return plot.text()


def values_of(snapshot: Snapshot, aim: Aim) -> list[float | None]:
    """The values of one objective, by row."""
    trials = snapshot["trials"]
    if aim["key"] == snapshot["header"]["metric"]:
        return trials["value"]
    return trials["metrics"].get(aim["key"], [None] * len(trials["number"]))


def _points(snapshot: Snapshot, x: Aim, y: Aim, third: Aim | None) -> Iterator[_Point]:
    trials = snapshot["trials"]
    sizes = values_of(snapshot, third) if third else [None] * len(trials["number"])
    there = [value for value in sizes if value is not None]
    low, high = (min(there), max(there)) if there else (0.0, 0.0)
    columns = (
        trials["number"], trials["state"], values_of(snapshot, x), values_of(snapshot, y), sizes,
    )  # fmt: skip
    for number, state, across, up, size in zip(*columns, strict=True):
        if across is None or up is None or state not in ("complete", "stopped_early"):
            continue
        share = (size - low) / (high - low) if size is not None and high > low else 0.3
        yield _Point(number, across, up, 2.2 + 3.6 * share, state == "complete")


def in_view(values: Sequence[float], kept: Sequence[float]) -> list[float]:
    """The values that a view has to hold: ``kept``, and those that are not far off.

    For a little nothing is left out. The same rule stands in `js/src/state/front.ts`.

    >>> in_view([0.94, 0.95, 0.95, 0.96, 0.97, 0.1], [0.97])
    [0.94, 0.95, 0.95, 0.96, 0.97, 0.97]
    """
    every = [*values, *kept]
    if len(values) < _MIN_VALUES:
        return every
    ordered = sorted(values)
    first, third = (ordered[int(share * (len(ordered) - 1) + 0.5)] for share in (0.25, 0.75))
    reach = _REACH * (third - first)
    found = [*(v for v in ordered if first - reach <= v <= third + reach), *kept]
    return found if max(found) - min(found) < 0.6 * (max(every) - min(every)) else every


def _is_within(value: float, aim: Aim) -> bool:
    least, most = aim["least"], aim["most"]
    return (least is None or value >= least) and (most is None or value <= most)


def _is_beyond(plot: Plot, point: _Point) -> bool:
    return not (plot.x.low <= point.x <= plot.x.high and plot.y.low <= point.y <= plot.y.high)


def _axis(
    aim: Aim, values: Sequence[float], kept: Sequence[float], *, is_log: bool | None = None
) -> Axis:
    around = [v for v in (aim["least"], aim["most"], aim["before"]) if v is not None]
    found = in_view(values, [*kept, *around])
    low, high = min(found), max(found)
    if is_log is None:
        is_log = low > 0 and high / low >= _WIDE
    if is_log:
        powers = in_view(
            *([math.log(v) for v in some if v > 0] for some in (values, [*kept, *around]))
        )
        found = [math.exp(power) for power in powers]
    return Axis.around(found, label=_name(aim), is_log=is_log, unit=aim["unit"])


def _name(aim: Aim) -> str:
    return f"{one_line(aim['label'], 40)} ({'more' if aim['direction'] == 'maximize' else 'less'} is better)"


def _title(x: Aim, y: Aim, third: Aim | None) -> str:
    names = [one_line(aim["label"], 30) for aim in (y, x)]
    size = f", size: {one_line(third['label'], 30)}" if third else ""
    return f"{names[0]} against {names[1]}{size}"


def _draw_limits(plot: Plot, x: Aim, y: Aim) -> None:
    for value, sign in ((x["least"], "≥"), (x["most"], "≤")):
        if value is not None:
            plot.line([value, value], [plot.y.low, plot.y.high], GREY, width=1.2, dash="5 3")
            anchor = "end" if sign == "≥" else "start"  # beyond the limit, where marks are few
            plot.note(
                value, plot.y.low, f"{sign} {quantity_label(value, x['unit'])}", anchor=anchor
            )
    for value, sign in ((y["least"], "≥"), (y["most"], "≤")):
        if value is not None:
            plot.line([plot.x.low, plot.x.high], [value, value], GREY, width=1.2, dash="5 3")
            plot.note(plot.x.low, value, f"{sign} {quantity_label(value, y['unit'])}")


def _draw_front(plot: Plot, front: Sequence[_Point], x: Aim, y: Aim) -> None:
    signs = [-1 if aim["direction"] == "maximize" else 1 for aim in (x, y)]
    joined = front_of([(signs[0] * point.x, signs[1] * point.y) for point in front])
    seen = (front[at] for at in joined if not _is_beyond(plot, front[at]))
    line = sorted(seen, key=lambda point: point.x)
    corners: list[tuple[float, float]] = []
    for point in line:
        if corners:
            a, b = corners[-1]
            corners.append((point.x, b) if signs[0] > 0 else (a, point.y))
        corners.append((point.x, point.y))
    if len(corners) > 1:
        plot.line([a for a, _ in corners], [b for _, b in corners], BEST, width=1.5, opacity=0.8)
    is_joined = {point.trial for point in line}
    for point in front:
        is_open = point.trial not in is_joined
        kind = "triangle" if _is_beyond(plot, point) else "diamond"
        plot.shape(point.x, point.y, kind, BEST, radius=point.radius, is_open=is_open)
    taken: list[tuple[float, float]] = []
    for point in front[:_N_NUMBERS]:
        place = (plot.x.share(point.x) * plot.width, plot.y.share(point.y) * plot.height)
        if all(math.dist(place, other) > 18 for other in taken):
            plot.note(point.x, point.y, str(point.trial))
            taken.append(place)
