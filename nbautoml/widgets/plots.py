"""Pictures of a run with matplotlib, for papers and slides: functions of a table, and nothing global.

Figures are made without pyplot, so a plot neither appears twice below a cell nor stays in memory
until somebody closes it; in a notebook the figure shows itself as the value of its cell.

A *table* is anything that gives a column by its name and whose columns are as long as each other: a
DataFrame, or a dictionary of lists.
"""

from __future__ import annotations

import io
import math
from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Protocol

from nbautoml.errors import NbAutomlError, nearest
from nbautoml.widgets.labels import one_line
from nbautoml.widgets.pictures import best_so_far

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

__all__ = [
    "Table",
    "plot_curves",
    "plot_front",
    "plot_history",
    "plot_importance",
    "plot_parallel",
    "plot_slice",
]

# Okabe and Ito (2008): told apart by colour-blind people.
_BLUE, _VERMILION, _GREY = "#0072B2", "#D55E00", "#8c8c8c"
_SEQUENTIAL = "viridis"  # even in lightness, and readable in grey
_MAX_LINES = 500


class Table(Protocol):
    """Columns by name."""

    def __getitem__(self, name: str, /) -> Iterable[Any]:
        """One column."""


def plot_history(
    trials: Table, *, metric: str = "value", direction: str = "minimize", title: str = ""
) -> Figure:
    """The value of each trial, and the best so far.

    Args:
        trials: columns ``number``, ``state``, ``value``.
        metric: what the value is, for the axis.
        direction: "minimize" or "maximize".
        title: above the plot.

    >>> trials = {"number": [0, 1], "state": ["complete", "complete"], "value": [0.5, 0.7]}
    >>> figure = plot_history(trials, metric="accuracy", direction="maximize")
    >>> figure.axes[0].get_ylabel()
    'accuracy'
    """
    rows = [row for row in _rows(trials, "number", "state", "value") if _is_number(row[2])]
    figure, ax = _figure(title)
    for states, label, colour, marker in (
        (("complete",), "complete", _BLUE, "o"),
        (("stopped_early", "failed", "cancelled", "running"), "stopped early", _GREY, "x"),
    ):
        shown = [(number, value) for number, state, value in rows if state in states]
        if shown:
            xs, ys = zip(*shown, strict=True)
            ax.scatter(xs, ys, s=18, color=colour, marker=marker, label=label)
    best = best_so_far(
        [value if state == "complete" else None for _, state, value in rows], direction
    )
    numbers = [number for number, _, _ in rows]
    heights = [math.nan if value is None else value for value in best]
    ax.step(numbers, heights, where="post", color=_VERMILION, linewidth=2, label="best so far")
    ax.set(xlabel="trial", ylabel=_text(metric))
    _whole_numbers(ax)
    _legend(ax)
    return figure


def plot_curves(
    points: Table,
    *,
    name: str,
    best: int | None = None,
    trials: Collection[int] | None = None,
    title: str = "",
) -> Figure:
    """One quantity over epochs (or over steps, when it is measured within epochs), a line a trial.

    Args:
        points: columns ``trial``, ``name``, ``step``, ``epoch``, ``value``, in order of time.
        name: the quantity.
        best: a trial to be drawn on top.
        trials: only these.
        title: above the plot.

    Raises:
        NbAutomlError: nothing of that name was measured; the hint names the nearest.
    """
    rows = list(_rows(points, "trial", "name", "step", "epoch", "value"))
    lines: dict[int, list[tuple[float, float]]] = {}
    is_by_epoch = any(row[1] == name and row[3] for row in rows)
    for trial, row_name, step, epoch, value in rows:
        if row_name == name and (trials is None or trial in trials):
            height = value if _is_number(value) else math.nan
            lines.setdefault(trial, []).append((epoch if is_by_epoch else step, height))
    if not lines:
        names = sorted({str(row[1]) for row in rows})
        near = nearest(name, names)
        raise NbAutomlError(
            f"there are no curves of {name!r}",
            hint=f"did you mean {near!r}?" if near else f"there are: {', '.join(names) or 'none'}",
        )
    figure, ax = _figure(title)
    few = len(lines) <= 10
    for trial in list(lines)[-_MAX_LINES:]:
        if trial != best:
            label = f"trial {trial}" if few else None
            colour = None if few else _BLUE
            ax.plot(
                *zip(*lines[trial], strict=True),
                color=colour,
                alpha=1 if few else 0.35,
                linewidth=1,
                label=label,
            )
    if best in lines:
        ax.plot(
            *zip(*lines[best], strict=True),
            color=_VERMILION,
            linewidth=2.2,
            label=f"trial {best}, the best",
        )
    ax.set(xlabel="epoch" if is_by_epoch else "step", ylabel=_text(name))
    _whole_numbers(ax)
    _legend(ax)
    return figure


def plot_front(
    trials: Table, metrics: Sequence[str], *, front: Collection[int] = (), title: str = ""
) -> Figure:
    """The first of several values of each trial against each of the others, side by side.

    Args:
        trials: columns ``number``, ``state``, ``values``.
        metrics: what the values are.
        front: numbers of the trials that no other beats in all; drawn as one line, with numbers.
        title: above the plots.
    """
    rows = [
        row for row in _rows(trials, "number", "state", "values") if all(map(_is_number, row[2]))
    ]
    n_plots = max(len(metrics) - 1, 1)
    figure = _new_figure(figsize=(3.6 * n_plots + 1.6, 3.6), layout="constrained")
    best = sorted((row for row in rows if row[0] in front), key=lambda row: row[2])
    for at, ax in enumerate(figure.subplots(1, n_plots, sharey=True, squeeze=False).flat, start=1):
        for is_whole, label, colour, marker in (
            (True, "complete", _BLUE, "o"), (False, "stopped early", _GREY, "x"),
        ):  # fmt: skip
            shown = [row[2] for row in rows if (row[1] == "complete") is is_whole]
            if shown:
                xs, ys = [values[at] for values in shown], [values[0] for values in shown]
                ax.scatter(xs, ys, s=18, color=colour, marker=marker, label=label)
        xs, ys = [row[2][at] for row in best], [row[2][0] for row in best]
        ax.plot(xs, ys, "o-", color=_VERMILION, linewidth=1.2, label="none is better in all")
        for number, _, values in best:
            place = (values[at], values[0])
            ax.annotate(str(number), place, xytext=(4, 4), textcoords="offset points", fontsize=7)
        ax.set(xlabel=_text(metrics[at]), ylabel=_text(metrics[0]) if at == 1 else "")
        _quiet(ax)
    _legend(figure.axes[0])
    if title:
        figure.suptitle(_text(title))
    return figure


def plot_importance(
    importance: Mapping[str, float], *, metric: str = "", title: str = ""
) -> Figure:
    """How much each parameter decided, as bars.

    Args:
        importance: a share a parameter.
        metric: what they decided about.
        title: above the plot.
    """
    pairs = sorted(importance.items(), key=lambda pair: pair[1])
    figure, ax = _figure(title, height=max(2.0, 0.9 + 0.34 * len(pairs)))
    bars = ax.barh([_text(name) for name, _ in pairs], [share for _, share in pairs], color=_BLUE)
    ax.bar_label(bars, fmt="%.2f", padding=3)
    ax.set_xlabel(f"importance for {_text(metric)}" if metric else "importance")
    ax.margins(x=0.12)
    return figure


def plot_parallel(
    trials: Table,
    params: Sequence[str],
    *,
    metric: str = "value",
    direction: str = "minimize",
    log: Collection[str] = (),
    title: str = "",
) -> Figure:
    """Each trial as a line through its parameters; the better, the brighter and the further in front.

    Args:
        trials: columns ``value`` and one a parameter; a missing value leaves a gap.
        params: the parameters, from left to right.
        metric: what the value is.
        direction: "minimize" or "maximize".
        log: parameters on a logarithmic axis.
        title: above the plot.
    """
    import matplotlib as mpl
    from matplotlib.colors import Normalize

    rows = [row for row in _rows(trials, "value", *params) if _is_number(row[0])]
    sign = 1 if direction == "maximize" else -1
    rows.sort(key=lambda row: sign * row[0])
    scales = [
        _Scale([row[1 + i] for row in rows], is_log=name in log) for i, name in enumerate(params)
    ]
    figure, ax = _figure(title, width=max(6.4, 1.5 * len(params) + 1))
    values = [row[0] for row in rows] or [0.0, 1.0]
    colours = mpl.colormaps[_SEQUENTIAL if sign > 0 else f"{_SEQUENTIAL}_r"]
    norm = Normalize(min(values), max(values))
    for row in rows[-2_000:]:
        heights = [scale.height(value) for scale, value in zip(scales, row[1:], strict=True)]
        ax.plot(range(len(params)), heights, color=colours(norm(row[0])), linewidth=1, alpha=0.7)
    for place, scale in enumerate(scales):
        ax.axvline(place, color=_GREY, linewidth=0.8, zorder=0)
        for height, label in scale.marks():
            ax.annotate(
                label,
                (place, height),
                xytext=(3, 0),
                textcoords="offset points",
                fontsize=7,
                va="center",
                bbox={"color": "white", "alpha": 0.6, "pad": 0.5},
            )
    ax.set_xticks(range(len(params)), [_text(name) for name in params])
    ax.set_yticks([])
    for side in ("top", "right", "left", "bottom"):
        ax.spines[side].set_visible(False)
    figure.colorbar(mpl.cm.ScalarMappable(norm=norm, cmap=colours), ax=ax, label=_text(metric))
    return figure


def plot_slice(
    trials: Table,
    params: Sequence[str],
    *,
    metric: str = "value",
    log: Collection[str] = (),
    title: str = "",
) -> Figure:
    """The value against each parameter, side by side; darker dots are later trials.

    Args:
        trials: columns ``number``, ``value`` and one a parameter.
        params: the parameters.
        metric: what the value is.
        log: parameters on a logarithmic axis.
        title: above the plots.
    """
    rows = [row for row in _rows(trials, "number", "value", *params) if _is_number(row[1])]
    n_columns = min(max(len(params), 1), 4)
    n_rows = math.ceil(max(len(params), 1) / n_columns)
    figure = _new_figure(figsize=(2.5 * n_columns + 0.8, 2.5 * n_rows), layout="constrained")
    grid = figure.subplots(n_rows, n_columns, sharey=True, squeeze=False)
    newest = max((row[0] for row in rows), default=0) or 1
    for place, ax in enumerate(grid.flat):
        if place >= len(params):
            ax.set_visible(False)
            continue
        pairs = [
            (row[2 + place], row[1], row[0] / newest) for row in rows if _is_there(row[2 + place])
        ]
        is_text = any(not _is_number(value) for value, _, _ in pairs)
        xs = [_text(value) if is_text else value for value, _, _ in pairs]
        ax.scatter(
            xs,
            [pair[1] for pair in pairs],
            c=[pair[2] for pair in pairs],
            cmap="Blues",
            vmin=-0.4,
            vmax=1,
            s=20,
            edgecolors=_GREY,
            linewidths=0.3,
        )
        if params[place] in log and not is_text:
            ax.set_xscale("log")
        ax.set_xlabel(_text(params[place]))
        _quiet(ax)
        if place % n_columns == 0:
            ax.set_ylabel(_text(metric))
    if title:
        figure.suptitle(_text(title))
    return figure


class _Scale:
    """Brings the values of one parameter to 0 to 1."""

    def __init__(self, values: Sequence[Any], *, is_log: bool) -> None:
        there = [value for value in values if _is_there(value)]
        self._names = [] if all(map(_is_number, there)) else sorted({str(v) for v in there})
        self._is_log = is_log and not self._names and all(value > 0 for value in there)
        numbers = [] if self._names else [self._scaled(value) for value in there]
        self._low, self._high = (min(numbers), max(numbers)) if numbers else (0.0, 1.0)

    def _scaled(self, value: float) -> float:
        return math.log10(value) if self._is_log else float(value)

    def height(self, value: Any) -> float:
        if not _is_there(value):
            return math.nan
        if self._names:
            return self._names.index(str(value)) / max(len(self._names) - 1, 1)
        span = self._high - self._low
        return (self._scaled(value) - self._low) / span if span else 0.5

    def marks(self) -> list[tuple[float, str]]:
        if self._names:
            return [(self.height(name), _text(name)) for name in self._names]
        middle = (self._low + self._high) / 2
        found = {0.0: self._low, 0.5: middle, 1.0: self._high}
        return [(at, f"{10**v if self._is_log else v:.3g}") for at, v in found.items()]


def _rows(table: Table, *names: str) -> Iterable[tuple[Any, ...]]:
    return zip(*(list(table[name]) for name in names), strict=True)


def _is_number(value: Any) -> bool:
    try:
        return not isinstance(value, (str, bool)) and math.isfinite(value)
    except TypeError:
        return False


def _is_there(value: Any) -> bool:
    return value is not None and value == value and str(value) != "<NA>"  # noqa: PLR0124 - NaN


def _text(value: Any) -> str:
    """Text without what matplotlib would take for mathematics."""
    return one_line(value, 40).replace("$", r"\$")


def _figure(title: str, *, width: float = 6.4, height: float = 3.6) -> tuple[Figure, Axes]:
    figure = _new_figure(figsize=(width, height), layout="constrained")
    ax = figure.subplots()
    _quiet(ax)
    if title:
        ax.set_title(_text(title))
    return figure, ax


def _new_figure(**options: Any) -> Figure:
    """A figure that shows itself in a notebook, also where pyplot never ran."""
    from matplotlib.figure import Figure

    class RunFigure(Figure):
        def _repr_png_(self) -> bytes:
            buffer = io.BytesIO()
            self.savefig(buffer, format="png", dpi=144)
            return buffer.getvalue()

    return RunFigure(**options)


def _quiet(ax: Axes) -> None:
    ax.spines[["top", "right"]].set_visible(False)
    ax.grid(visible=True, axis="y", color="0.9", linewidth=0.8)
    ax.set_axisbelow(True)


def _whole_numbers(ax: Axes) -> None:
    from matplotlib.ticker import MaxNLocator

    ax.xaxis.set_major_locator(MaxNLocator(integer=True))


def _legend(ax: Axes) -> None:
    if ax.get_legend_handles_labels()[0]:
        ax.legend(loc="best", frameon=False, fontsize="small")
