"""One trial, and tables of trials and curves, as a user of a `Run` gets them."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from nbautoml.errors import NbAutomlError
from nbautoml.spec.fronts import front_of_trials
from nbautoml.widgets.labels import number_label, value_label

if TYPE_CHECKING:
    import pandas as pd

    from nbautoml.spec.objective import Objective
    from nbautoml.store import Points, TrialRow

__all__ = ["OF_STUDIES", "TrialView", "best_row", "curves_frame", "trials_frame"]

# How a run calls what Optuna's studies have under these names.
OF_STUDIES: Mapping[str, str] = {
    "best_params": "best.params",
    "best_value": "best.value",
    "best_trial": "best",
    "best_trials": "front",
    "trials_dataframe": "trials",
    "get_trials": "trials",
}
# A trial that was stopped early is the best only while no whole one has a value.
_VALUED = ("complete", "stopped_early")


@dataclass(frozen=True)
class TrialView:
    """One trial as its record states it.

    Attributes:
        row: everything about it.
        metric: name of what it is judged by.
    """

    row: TrialRow
    metric: str
    _curves: Callable[[int], pd.DataFrame]

    @property
    def number(self) -> int:
        """Its number in the run, from 0."""
        return self.row.number

    @property
    def value(self) -> float | None:
        """The value of the (first) objective; None while there is none."""
        return self.row.value

    @property
    def values(self) -> tuple[float, ...]:
        """One value an objective."""
        return self.row.values

    @property
    def params(self) -> dict[str, Any]:
        """What was tried, by name; only what was active."""
        return dict(self.row.params)

    @property
    def metrics(self) -> dict[str, float]:
        """All metrics, of the best epoch."""
        return dict(self.row.metrics)

    @property
    def state(self) -> str:
        """waiting, running, complete, stopped_early, failed or cancelled."""
        return self.row.state

    @property
    def error(self) -> str:
        """Why it failed, in one line; empty when it did not."""
        return self.row.error

    @property
    def traceback(self) -> str:
        """The user's frames of the error; empty when it did not fail."""
        return self.row.traceback

    @property
    def duration_s(self) -> float | None:
        """Seconds from start to end; None before it ended."""
        return self.row.duration_s

    @property
    def curves(self) -> pd.DataFrame:
        """Everything that was measured in it: see `Run.curves`."""
        return self._curves(self.number)

    def __repr__(self) -> str:
        value = f", {self.metric} {number_label(self.value)}" if self.value is not None else ""
        params = "".join(f", {name}={value_label(v)}" for name, v in self.row.params.items())
        error = f", {self.error}" if self.error else ""
        return f"Trial({self.number}, {self.state}{value}{params}{error})"


def best_row(rows: Iterable[TrialRow], objective: Objective) -> TrialRow | None:
    """The best trial: of the whole ones if any has a value, else of those stopped early."""
    found = [row for row in rows if row.state in _VALUED and _is_number(row.value)]
    whole = [row for row in found if row.state == "complete"] or found
    best: TrialRow | None = None
    for row in whole:
        if best is None or objective.is_better(row.value or 0.0, best.value or 0.0):
            best = row
    return best


def no_best(name: str, state: str, rows: Sequence[TrialRow]) -> NbAutomlError:
    """Why there is no best trial, and what to do."""
    failed = [row for row in rows if row.state == "failed"]
    if not rows or any(row.state in {"waiting", "running"} for row in rows):
        return NbAutomlError(
            f"no trial of run {name!r} is complete yet; the run is {state}",
            hint=f"{name}.wait() waits for the run, {name} shows how far it is"
            if state in {"queued", "running"}
            else f"go on with %automl resume {name}",
        )
    if failed:
        return NbAutomlError(
            f"no trial of run {name!r} is complete: {len(failed)} of {len(rows)} failed, the last "
            f"with: {failed[-1].error}",
            hint=f"{name}.trial({failed[-1].number}).traceback shows the line",
        )
    states = ", ".join(sorted({row.state for row in rows}))
    return NbAutomlError(
        f"no trial of run {name!r} is complete; its {len(rows)} trials are {states}",
        hint="start it again with more time, or with --stopper none",
    )


def trials_frame(rows: Sequence[TrialRow], objectives: Sequence[Objective] = ()) -> pd.DataFrame:
    """One row a trial: number, state, value, duration_s, then each parameter and each metric.

    With several objectives, ``on_front`` after these says whether no other trial is better in all.

    A metric that is called like a parameter, or like one of the first four, gets the prefix
    ``metric_``; a parameter that is called like one of the four gets ``param_``.
    """
    import pandas as pd

    columns: dict[str, list[Any]] = {
        "number": [row.number for row in rows],
        "state": [row.state for row in rows],
        "value": [math.nan if row.value is None else row.value for row in rows],
        "duration_s": [math.nan if row.duration_s is None else row.duration_s for row in rows],
    }
    if len(objectives) > 1:
        front = {row.number for row in front_of_trials(rows, objectives)}
        columns["on_front"] = [row.number in front for row in rows]
    _add(columns, "param_", [row.params for row in rows], None)
    _add(columns, "metric_", [row.metrics for row in rows], math.nan)
    return pd.DataFrame(columns)


def _add(
    columns: dict[str, list[Any]], prefix: str, found: Sequence[Mapping[str, Any]], missing: Any
) -> None:
    names = dict.fromkeys(name for item in found for name in item)
    taken = set(columns)
    for name in names:
        column = f"{prefix}{name}" if name in taken else name
        columns[column] = [item.get(name, missing) for item in found]


def curves_frame(points: Points) -> pd.DataFrame:
    """One row a measured value: trial, name, epoch (0 inside an epoch), step, value."""
    import pandas as pd

    return pd.DataFrame(
        {
            "trial": points.trials,
            "name": points.names,
            "epoch": points.epochs,
            "step": points.steps,
            "value": points.values,
        }
    )


def _is_number(value: float | None) -> bool:
    return value is not None and not math.isnan(value)
