"""The trial table of a run, kept current row by row, and written down by column."""

from __future__ import annotations

import bisect
from collections import Counter
from collections.abc import Iterable, Sequence
from typing import Any

from nbautoml.events.facts import TRIAL_STATES
from nbautoml.spec.choice import Choice
from nbautoml.spec.fronts import front_of_trials
from nbautoml.spec.ranges import Int
from nbautoml.spec.recipe import Recipe
from nbautoml.store.rows import Page, TrialRow
from nbautoml.widgets.decimate import six_digits
from nbautoml.widgets.labels import printable, unit_of
from nbautoml.widgets.protocol import Best, Column, Counts, Trials

__all__ = ["TrialTable", "empty_trials", "rows_held"]

_MAX_TEXT = 200
_MAX_ERROR = 300
_N_EACH = 3_000  # of the best and of the newest: a message has room for no more


def rows_held(recipe: Recipe) -> int | None:
    """How many of the best trials, and of the newest, a table holds; None: all of a run's trials.

    A trial of the front, or what a compression picks, may be any of them.
    """
    return None if recipe.kind == "compress" or len(recipe.objectives) > 1 else _N_EACH


def empty_trials() -> Trials:
    """A table without rows."""
    return {
        "number": [],
        "state": [],
        "value": [],
        "epoch": [],
        "duration_s": [],
        "params": {},
        "metrics": {},
        "error": {},
    }


class TrialTable:
    """The rows of a run that may be shown, its columns, and what the header counts.

    Of very many rows it holds the open ones, the best and the newest: more than fit into a panel.
    Where the others count too (for a front, for the pick of a compression, for a report) it holds all.

    Args:
        recipe: gives the columns of the parameters, and what is better.
        page: the run's trials to begin with.
        should_hold_all: whoever asks needs every row.
    """

    def __init__(
        self, recipe: Recipe, page: Page | None = None, *, should_hold_all: bool = False
    ) -> None:
        self._n_each = None if should_hold_all else rows_held(recipe)
        self.rows: dict[int, TrialRow] = {}
        self._ended: list[tuple[float, float]] = []  # when trials ended by themselves, and how long
        self._counts: Counter[str] = Counter()
        self._objectives = recipe.objectives
        self._kinds: dict[str, str] = {name: _kind_of(item) for name, item in recipe.space.items()}
        self._metrics: dict[str, None] = {item.metric: None for item in recipe.objectives}
        self._best: TrialRow | None = None
        self._front: list[int] | None = None  # None until somebody asks, or since a trial ended
        if page is not None:
            self.update(page.trials)
            self._counts = Counter(page.counts)

    def update(self, rows: Iterable[TrialRow]) -> bool:
        """Take whole rows that replace what was known.

        Returns:
            Whether the columns changed.
        """
        before = (dict(self._kinds), len(self._metrics))
        for row in rows:
            known = self.rows.get(row.number)
            if known is not None:
                self._counts[known.state] -= 1
            self.rows[row.number] = row
            self._counts[row.state] += 1
            for name, value in row.params.items():
                self._kinds[name] = _wider(self._kinds.get(name), value)
            self._metrics.update(dict.fromkeys(row.metrics))
            self._settle(row, known)
        return before != (self._kinds, len(self._metrics))

    def _settle(self, row: TrialRow, known: TrialRow | None) -> None:
        """A trial that ended counts for the best and for the estimate, once."""
        if not row.is_finished or (known is not None and known.is_finished):
            return
        if row.state != "cancelled" and row.duration_s is not None and row.ended_at is not None:
            bisect.insort(self._ended, (row.ended_at, row.duration_s))
        self._front = None
        if row.value is not None and self._beats(row, self._best):
            self._best = row

    def trim(self) -> None:
        """Let go of rows that are neither open nor among the best or newest; they stay counted."""
        n_each = self._n_each
        if n_each is None or len(self.rows) <= 4 * n_each:
            return
        kept = {number for number, row in self.rows.items() if not row.is_finished}
        kept.update(self.ranked()[:n_each], sorted(self.rows)[-n_each:])
        self.rows = {number: self.rows[number] for number in sorted(kept)}
        del self._ended[:-n_each]

    def _beats(self, row: TrialRow, best: TrialRow | None) -> bool:
        if best is None or best.value is None or row.value is None:
            return True
        # A trial that was stopped early is the best only while no whole one has a value.
        is_whole, was_whole = row.state == "complete", best.state == "complete"
        if is_whole != was_whole:
            return is_whole
        if row.value == best.value:
            return row.number < best.number
        if not self._objectives:
            return row.value < best.value
        return self._objectives[0].is_better(row.value, best.value)

    def durations_s(self, newest: int) -> list[float]:
        """How long the newest trials that ended by themselves took, in the order of their ends."""
        return [duration for _, duration in self._ended[-newest:]]

    @property
    def metrics(self) -> list[str]:
        """Names of all metrics that a trial has, the objectives first."""
        return list(self._metrics)

    @property
    def columns(self) -> list[Column]:
        """Columns of parameters, then of metrics."""
        params: list[Column] = [
            {"key": name, "label": printable(name, _MAX_TEXT), "group": "param", "kind": kind}  # type: ignore[typeddict-item]
            for name, kind in self._kinds.items()
        ]
        return params + [_metric_column(name) for name in self._metrics]

    @property
    def n_trials(self) -> int:
        """How many trials the run has, with those whose rows are not held."""
        return self._counts.total()

    @property
    def counts(self) -> Counts:
        """Trials by state."""
        return {state: self._counts[state] for state in TRIAL_STATES}  # type: ignore[return-value]

    @property
    def best(self) -> Best | None:
        """The best finished trial."""
        return self.as_best(self._best)

    def as_best(self, row: TrialRow | None) -> Best | None:
        """A trial as the header states the best one."""
        value = six_digits(row.value) if row is not None else None
        if row is None or value is None:
            return None
        params = {name: shown_value(item) for name, item in row.params.items()}
        return {"trial": row.number, "value": value, "params": params}

    @property
    def front(self) -> list[int]:
        """Trials that none beats in all of several objectives, the first objective's best first."""
        if self._front is None:
            found = front_of_trials(self.rows.values(), self._objectives)
            self._front = [row.number for row in found]
        return list(self._front)

    @property
    def front_if_any(self) -> list[int]:
        """`front` where there are several objectives, else nothing: one has a best, and no front."""
        return self.front if len(self._objectives) > 1 else []

    def _measured(self, row: TrialRow, name: str) -> float | None:
        """A metric of a trial; an objective that stands among its values only is taken from there."""
        found = row.metrics.get(name)
        if found is None and len(row.values) == len(self._objectives):
            names = [one.metric for one in self._objectives]
            found = dict(zip(names, row.values, strict=True)).get(name)
        return found

    def running(self) -> list[TrialRow]:
        """Rows of the trials that run now."""
        if not self._counts["running"]:
            return []
        return [row for row in self.rows.values() if row.state == "running"]

    def ranked(self) -> list[int]:
        """Numbers of the trials with a value, best first."""
        found = [row for row in self.rows.values() if row.value is not None and row.is_finished]
        sign = -1.0 if self._objectives and self._objectives[0].direction == "maximize" else 1.0
        found.sort(key=lambda row: (row.state != "complete", sign * (row.value or 0.0), row.number))
        return [row.number for row in found]

    def columnar(
        self, numbers: Iterable[int], *, columns: Sequence[Column] | None = None
    ) -> Trials:
        """The rows with these numbers, by column, in that order."""
        rows = [self.rows[number] for number in numbers]
        shown = self.columns if columns is None else columns
        return {
            "number": [row.number for row in rows],
            "state": [row.state for row in rows],
            "value": [six_digits(row.value) for row in rows],
            "epoch": [row.epoch or None for row in rows],
            "duration_s": [_rounded(row.duration_s) for row in rows],
            "params": {
                column["key"]: [shown_value(row.params.get(column["key"])) for row in rows]
                for column in shown
                if column["group"] == "param"
            },
            "metrics": {
                column["key"]: [six_digits(self._measured(row, column["key"])) for row in rows]
                for column in shown
                if column["group"] == "metric"
            },
            "error": {
                str(row.number): printable(row.error, _MAX_ERROR) for row in rows if row.error
            },
        }


def shown_value(value: Any) -> Any:
    """A parameter as the table shows it: numbers with six digits, long texts cut."""
    if value is None or isinstance(value, (bool, int)):
        return value
    if isinstance(value, float):
        return six_digits(value)
    return printable(value, _MAX_TEXT)


def _rounded(seconds: float | None) -> float | None:
    return None if seconds is None else round(seconds, 3)


def _metric_column(name: str) -> Column:
    column: Column = {
        "key": name,
        "label": printable(name, _MAX_TEXT),
        "group": "metric",
        "kind": "float",
    }
    if unit := unit_of(name):
        column["unit"] = unit
    return column


def _kind_of(dimension: object) -> str:
    if isinstance(dimension, Choice):
        kind: str | None = None
        for option in dimension.options:
            kind = _wider(kind, option)
        return kind or "text"
    return "int" if isinstance(dimension, Int) else "float"


def _wider(kind: str | None, value: Any) -> str:
    """The kind of a column that also holds this value."""
    if value is None:
        return kind or "int"
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        return "text"
    own = "int" if isinstance(value, int) else "float"
    if kind is None or kind == own:
        return own
    return "text" if kind == "text" else "float"
