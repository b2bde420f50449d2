"""Pictures of a run: its tables, drawn by `nbautoml.widgets.plots`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from nbautoml.api.studies import trials_with_curves
from nbautoml.errors import NbAutomlError, nearest
from nbautoml.spec.fronts import front_of_trials
from nbautoml.widgets import plots

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from nbautoml.api.run import Run
    from nbautoml.store import TrialRow

__all__ = ["curves", "front", "history", "importance", "parallel", "slices"]


def history(run: Run) -> Figure:
    """The value of each trial, and the best so far."""
    return plots.plot_history(_table(run), title=run.name, **_objective(run))


def curves(run: Run, name: str | None) -> Figure:
    """One quantity over epochs (or steps, when it has no epochs), a line a trial."""
    wanted = name or run.recipe.objectives[0].metric
    with run.folder.reader() as reader:
        points = reader.points(name=wanted)
        known = [] if len(points) else sorted(set(reader.points().names))
    if not len(points):
        near = nearest(wanted, known)
        guess = f"did you mean {near!r}? " if near else ""
        raise NbAutomlError(
            f"run {run.name!r} has no curves of {wanted!r}",
            hint=f"{guess}It has: {', '.join(known) or 'none yet'}",
        )
    table: dict[str, Sequence[Any]] = {
        "trial": points.trials,
        "name": points.names,
        "step": points.steps,
        "epoch": points.epochs,
        "value": points.values,
    }
    return plots.plot_curves(table, name=wanted, best=_best_number(run), title=run.name)


def importance(run: Run) -> Figure:
    """How much each parameter decides whether a trial is among the best (PED-ANOVA)."""
    from nbautoml.study import importances

    objective = run.recipe.objectives[0]
    found = importances(trials_with_curves(run.folder, run.recipe), objective, run.recipe.space)
    if not found:
        raise NbAutomlError(
            f"the trials of run {run.name!r} do not tell yet which parameter matters",
            hint="it takes four trials with a value, and a parameter that varied",
        )
    return plots.plot_importance(found, metric=objective.metric, title=run.name)


def parallel(run: Run) -> Figure:
    """Each trial as a line through its parameters; colour is the value."""
    table = _table(run)
    names, log = _names(run, table)
    return plots.plot_parallel(table, names, log=log, title=run.name, **_objective(run))


def front(run: Run) -> Figure:
    """The first objective of each trial against the others."""
    objectives = run.recipe.objectives
    if len(objectives) == 1:
        raise NbAutomlError(
            f"run {run.name!r} has one objective, {objectives[0].metric}, and so no front",
            hint="plot_history() shows its trials and the best",
        )
    with run.folder.reader() as reader:
        rows = [row for row in reader.trials() if len(row.values) == len(objectives)]
    if not rows:
        raise _without_values(run)
    table: dict[str, Sequence[Any]] = {
        "number": [row.number for row in rows],
        "state": [row.state for row in rows],
        "values": [row.values for row in rows],
    }
    best = [row.number for row in front_of_trials(rows, objectives)]
    return plots.plot_front(table, [one.metric for one in objectives], front=best, title=run.name)


def slices(run: Run, wanted: Sequence[str]) -> Figure:
    """The value against each parameter, side by side."""
    table = _table(run)
    known, log = _names(run, table)
    for name in wanted:
        if name not in known:
            near = nearest(name, known)
            raise NbAutomlError(
                f"{name!r} is no parameter that varied in run {run.name!r}",
                hint=f"did you mean {near!r}?" if near else "those are: " + ", ".join(known),
            )
    metric = run.recipe.objectives[0].metric
    return plots.plot_slice(table, list(wanted) or known, metric=metric, log=log, title=run.name)


def _table(run: Run) -> dict[str, list[Any]]:
    """Columns of the trials that have a value: number, state, value, and one a parameter."""
    with run.folder.reader() as reader:
        rows: list[TrialRow] = [row for row in reader.trials() if row.value is not None]
    if not rows:
        raise _without_values(run)
    params = list(run.recipe.space) or list(dict.fromkeys(n for row in rows for n in row.params))
    # Parameters may have the names of the other columns, and give way to them.
    return {name: [row.params.get(name) for row in rows] for name in params} | {
        "number": [row.number for row in rows],
        "state": [row.state for row in rows],
        "value": [row.value for row in rows],
    }


def _without_values(run: Run) -> NbAutomlError:
    return NbAutomlError(
        f"run {run.name!r} has no trial with a value yet; it is {run.state}",
        hint=f"{run.name}.wait() waits for it",
    )


def _names(run: Run, table: dict[str, list[Any]]) -> tuple[list[str], list[str]]:
    """Parameters that varied, and those of them on a logarithmic scale."""
    names = [name for name in table if name not in {"number", "state", "value"}]
    if not names:
        raise NbAutomlError(
            f"nothing varied in run {run.name!r}", hint="plot_curves() shows its curves"
        )
    space = run.recipe.space
    return names, [name for name in names if getattr(space.get(name), "log", False)]


def _objective(run: Run) -> dict[str, str]:
    objective = run.recipe.objectives[0]
    return {"metric": objective.metric, "direction": objective.direction}


def _best_number(run: Run) -> int | None:
    try:
        return run.best.number
    except NbAutomlError:
        return None
