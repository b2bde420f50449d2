"""The header of a panel from the run's row, its recipe and its table."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from nbautoml.compress.limits import Limits, pick
from nbautoml.errors import RecipeError
from nbautoml.spec.recipe import Recipe
from nbautoml.store.rows import LogRow, RunRow, TrialRow
from nbautoml.widgets.aims import aims_of
from nbautoml.widgets.eta import NEWEST, estimate_eta
from nbautoml.widgets.labels import printable
from nbautoml.widgets.protocol import FINAL_STATES, Best, Header, LogEntry
from nbautoml.widgets.table import TrialTable

__all__ = ["header_of", "log_entry"]

_MAX_LINE = 500


def header_of(run: RunRow, recipe: Recipe, table: TrialTable, *, now: float) -> Header:
    """What stands above the table at ``now`` (seconds since 1970)."""
    objective = recipe.objectives[0] if recipe.objectives else None
    running = table.running()
    elapsed_s = _elapsed_s(run, table, now)
    header: Header = {
        "name": printable(recipe.name or run.name, _MAX_LINE),
        "kind": run.kind,
        "state": run.state,
        "message": printable(run.message),
        "metric": objective.metric if objective else "",
        "direction": objective.direction if objective else "minimize",
        "task": recipe.data.task if recipe.data else "",
        "data": printable(recipe.data.description, _MAX_LINE) if recipe.data else "",
        "device": _device(recipe, table, running),
        "plan": printable(run.plan, _MAX_LINE),
        "sampler": _chosen(run, "sampler", recipe.sampler),
        "stopper": _chosen(run, "stopper", recipe.stopper),
        "created_at": run.created_at or recipe.created_at,
        "started_at": run.started_at,
        "ended_at": run.ended_at,
        "eta_s": _eta_s(run, recipe, table, running, elapsed_s, now),
        "elapsed_s": round(elapsed_s, 3),
        "counts": table.counts,
        "n_trials": recipe.budget.n_trials,
        "wall_seconds": recipe.budget.wall_seconds,
        "best": _picked(recipe, table) if recipe.kind == "compress" else table.best,
    }
    if len(recipe.objectives) > 1:
        header["objectives"] = [printable(one.metric, 40) for one in recipe.objectives]
        header["aims"] = aims_of(recipe.objectives, run.plan_details)
        header["front"] = table.front
    return header


def _picked(recipe: Recipe, table: TrialTable) -> Best | None:
    """Of a compression the best is the smallest that keeps to the limits, not the most accurate."""
    try:
        limits = Limits.from_settings(recipe.settings)
    except RecipeError:  # a recipe that somebody else wrote
        return None
    found = pick(table.rows.values(), recipe.objectives, limits)
    return table.as_best(table.rows[found.number]) if found is not None else None


def _chosen(run: RunRow, what: str, asked: str) -> str:
    """What works here: of "auto", the choice that was recorded."""
    found = (run.plan_details or {}).get(what) if asked == "auto" else None
    return printable(found, 40) if isinstance(found, str) else asked


def log_entry(row: LogRow) -> LogEntry:
    """A line of the log as it is shown."""
    return {
        "time": row.time,
        "level": row.level,
        "text": printable(row.text, _MAX_LINE),
        "trial": row.trial,
    }


def _elapsed_s(run: RunRow, table: TrialTable, now: float) -> float:
    if run.started_at is None:
        return 0.0
    end = now
    if run.state in FINAL_STATES:
        # An owner that died wrote no end: then the last thing that a trial did is the end.
        last = max(
            (row.ended_at or row.started_at or 0.0 for row in table.rows.values()), default=0
        )
        end = run.ended_at or last or run.started_at
    return max(end - run.started_at, 0.0)


def _device(recipe: Recipe, table: TrialTable, running: list[TrialRow]) -> str:
    rows = running or [row for row in list(table.rows.values())[-20:] if row.device]
    devices = sorted({row.device for row in rows if row.device})
    return printable(", ".join(devices[:8]), _MAX_LINE) or recipe.execution.device


def _eta_s(
    run: RunRow,
    recipe: Recipe,
    table: TrialTable,
    running: list[TrialRow],
    elapsed_s: float,
    now: float,
) -> float | None:
    """Seconds that are left; None while the run doesn't run, or when nothing tells."""
    if run.state != "running":
        return None
    counts: Mapping[str, Any] = table.counts
    n_trials, wall = recipe.budget.n_trials, recipe.budget.wall_seconds
    n_begun = sum(counts.values()) - counts["waiting"]
    eta = estimate_eta(
        durations_s=table.durations_s(NEWEST),
        running_s=[max(now - (row.started_at or now), 0.0) for row in running],
        running_shares=[_share(row, recipe) for row in running],
        n_left=None if n_trials is None else max(n_trials - n_begun, 0),
        n_workers=max(len(running), recipe.execution.n_workers or 1),
        wall_left_s=None if wall is None else max(wall - elapsed_s, 0.0),
    )
    return None if eta is None else round(eta, 1)


def _share(row: TrialRow, recipe: Recipe) -> float:
    """How far a trial is through its epochs, 0 when nobody knows."""
    n_epochs = row.params.get("epochs", recipe.fixed.get("epochs"))
    if isinstance(n_epochs, bool) or not isinstance(n_epochs, (int, float)) or n_epochs <= 0:
        return 0.0
    return min(row.epoch / n_epochs, 1.0)
