"""Pictures of a run with matplotlib: history, curves, importance, parallel coordinates, slices."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from nbautoml.api.studies import trials_with_curves
from nbautoml.errors import NbAutomlError, nearest
from nbautoml.spec import Choice, Dimension

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from nbautoml.api.run import Run
    from nbautoml.store import TrialRow

__all__ = ["curves", "history", "importance", "parallel", "slices"]

_GREY, _BEST = "0.75", "tab:blue"
_MAX_LINES = 300


def history(run: Run, ax: Axes | None) -> Axes:
    """The value of each trial, and the best so far."""
    rows = _valued(run)
    objective = run.recipe.objectives[0]
    best, line = rows[0].value or 0.0, []
    for row in rows:
        value = row.value if row.value is not None else math.nan
        best = value if objective.is_better(value, best) else best
        line.append(best)
    ax = _axes(ax)
    numbers = [row.number for row in rows]
    values = [math.nan if row.value is None else row.value for row in rows]
    ax.scatter(numbers, values, s=14, color=_GREY, label="trial")
    ax.step(numbers, line, where="post", color=_BEST, label="best so far")
    ax.set(xlabel="trial", ylabel=objective.metric, title=run.name)
    ax.legend(loc="best", frameon=False)
    return ax


def curves(run: Run, name: str | None, ax: Axes | None) -> Axes:
    """One quantity over epochs (or steps, when it has no epochs), a line a trial."""
    wanted = name or run.recipe.objectives[0].metric
    with run.folder.reader() as reader:
        points = reader.points(name=wanted)
        if not len(points):
            known = sorted(set(reader.points().names))
            near = nearest(wanted, known)
            guess = f"did you mean {near!r}? " if near else ""
            raise NbAutomlError(
                f"run {run.name!r} has no curves of {wanted!r}",
                hint=f"{guess}It has: {', '.join(known) or 'none yet'}",
            )
    is_by_epoch = any(points.epochs)
    lines: dict[int, tuple[list[float], list[float]]] = {}
    for trial, epoch, step, value in zip(
        points.trials, points.epochs, points.steps, points.values, strict=True
    ):
        xs, ys = lines.setdefault(trial, ([], []))
        xs.append(epoch if is_by_epoch else step)
        ys.append(value)
    best = _best_number(run)
    ax = _axes(ax)
    for trial in list(lines)[-_MAX_LINES:]:
        if trial != best:
            ax.plot(*lines[trial], color=_GREY, linewidth=1)
    if best in lines:
        ax.plot(*lines[best], color=_BEST, linewidth=2, label=f"trial {best}, the best")
        ax.legend(loc="best", frameon=False)
    ax.set(xlabel="epoch" if is_by_epoch else "step", ylabel=wanted, title=run.name)
    return ax


def importance(run: Run, ax: Axes | None) -> Axes:
    """How much each parameter decides whether a trial is among the best (PED-ANOVA)."""
    from nbautoml.study import importances

    found = importances(
        trials_with_curves(run.folder, run.recipe), run.recipe.objectives[0], run.recipe.space
    )
    if not found:
        raise NbAutomlError(
            f"the trials of run {run.name!r} do not tell yet which parameter matters",
            hint="it takes four trials with a value, and a parameter that varied",
        )
    shares = sorted(found.items(), key=lambda item: item[1])
    ax = _axes(ax)
    bars = ax.barh([name for name, _ in shares], [share for _, share in shares], color=_BEST)
    ax.bar_label(bars, fmt="%.2f", padding=3)
    ax.set(xlabel=f"importance for {run.recipe.objectives[0].metric}", title=run.name)
    ax.margins(x=0.15)
    return ax


def parallel(run: Run, ax: Axes | None) -> Axes:
    """Each trial as a line through its parameters, each brought to 0 to 1; colour is the value."""
    import matplotlib as mpl
    import numpy as np

    rows = _valued(run)
    names = _names(run, rows)
    columns = [_Scale(name, run.recipe.space.get(name), rows) for name in names]
    values = [row.value or 0.0 for row in rows]
    norm = mpl.colors.Normalize(min(values), max(values))
    colours = mpl.colormaps["viridis"]
    # The better ones are drawn last, on top.
    sign = 1 if run.recipe.objectives[0].direction == "maximize" else -1
    ax = _axes(ax, width=max(6.4, 1.3 * len(names)))
    for row in sorted(rows, key=lambda row: sign * (row.value or 0.0)):
        heights = [column.height(row) for column in columns]
        ax.plot(np.arange(len(names)), heights, color=colours(norm(row.value or 0.0)), linewidth=1)
    for place, column in enumerate(columns):
        for height, label in column.labels():
            ax.annotate(label, (place, height), fontsize=7, ha="center", va="bottom")
        ax.axvline(place, color="0.85", linewidth=0.8, zorder=0)
    ax.set_xticks(range(len(names)), names)
    ax.set_yticks([])
    ax.set_title(run.name)
    scale = mpl.cm.ScalarMappable(norm=norm, cmap=colours)
    ax.figure.colorbar(scale, ax=ax, label=run.recipe.objectives[0].metric)
    return ax


def slices(run: Run, wanted: Sequence[str]) -> Sequence[Axes]:
    """The value against each parameter, side by side."""
    import matplotlib.pyplot as plt

    rows = _valued(run)
    known = _names(run, rows)
    for name in wanted:
        if name not in known:
            near = nearest(name, known)
            raise NbAutomlError(
                f"{name!r} is no parameter that varied in run {run.name!r}",
                hint=f"did you mean {near!r}?" if near else "those are: " + ", ".join(known),
            )
    names = list(wanted) or known
    figure, grid = plt.subplots(
        1,
        len(names),
        sharey=True,
        squeeze=False,
        figsize=(2.6 * len(names) + 0.6, 2.8),
        layout="constrained",
    )
    for ax, name in zip(grid[0], names, strict=True):
        dimension = run.recipe.space.get(name)
        shown = [row for row in rows if name in row.params]
        xs: list[Any] = [row.params[name] for row in shown]
        if isinstance(dimension, Choice) or any(not _is_number(x) for x in xs):
            xs = [str(x) for x in xs]
        elif getattr(dimension, "log", False):
            ax.set_xscale("log")
        dots = ax.scatter(
            xs,
            [row.value for row in shown],
            c=[row.number for row in shown],
            cmap="Blues",
            edgecolors="0.4",
            linewidths=0.4,
            s=22,
        )
        ax.set_xlabel(name)
    grid[0][0].set_ylabel(run.recipe.objectives[0].metric)
    figure.colorbar(dots, ax=list(grid[0]), label="trial")
    return list(grid[0])


class _Scale:
    """Brings one parameter's values to 0 to 1."""

    def __init__(self, name: str, dimension: Dimension | None, rows: Sequence[TrialRow]) -> None:
        self._name = name
        values = [row.params[name] for row in rows if name in row.params]
        self._is_log = bool(getattr(dimension, "log", False))
        self._options: list[str] = []
        self._low = self._high = 0.0
        if isinstance(dimension, Choice):
            self._options = [str(option) for option in dimension.options]
        elif all(_is_number(value) for value in values):
            numbers = [self._scaled(value) for value in values]
            self._low, self._high = min(numbers), max(numbers)
        else:
            self._options = sorted({str(value) for value in values})

    def _scaled(self, value: float) -> float:
        return math.log10(value) if self._is_log and value > 0 else float(value)

    def height(self, row: TrialRow) -> float:
        """Where the trial's line crosses; NaN, a gap, where the parameter was not active."""
        if self._name not in row.params:
            return math.nan
        value = row.params[self._name]
        if self._options:
            return self._options.index(str(value)) / max(len(self._options) - 1, 1)
        span = self._high - self._low
        return (self._scaled(value) - self._low) / span if span else 0.5

    def labels(self) -> list[tuple[float, str]]:
        """Texts at the axis."""
        if self._options:
            n = max(len(self._options) - 1, 1)
            return [(place / n, option[:12]) for place, option in enumerate(self._options)]
        ends = [10**self._low, 10**self._high] if self._is_log else [self._low, self._high]
        return [(0.0, f"{ends[0]:.3g}"), (1.0, f"{ends[1]:.3g}")]


def _axes(ax: Axes | None, *, width: float = 6.4) -> Axes:
    if ax is not None:
        return ax
    import matplotlib.pyplot as plt

    _, made = plt.subplots(figsize=(width, 3.6), layout="constrained")
    return made


def _valued(run: Run) -> list[TrialRow]:
    with run.folder.reader() as reader:
        rows = [row for row in reader.trials() if _is_number(row.value)]
    if not rows:
        raise NbAutomlError(
            f"run {run.name!r} has no trial with a value yet; it is {run.state}",
            hint=f"{run.name}.wait() waits for it",
        )
    return rows


def _names(run: Run, rows: Sequence[TrialRow]) -> list[str]:
    names = list(run.recipe.space) or list(dict.fromkeys(n for row in rows for n in row.params))
    if not names:
        raise NbAutomlError(
            f"nothing varied in run {run.name!r}", hint="plot_curves() shows its curves"
        )
    return names


def _best_number(run: Run) -> int:
    try:
        return run.best.number
    except NbAutomlError:
        return -1


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value)
