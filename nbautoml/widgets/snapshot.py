"""A run at one moment, bounded (`build_snapshot`), and what happens to it afterwards (`Tail`)."""

from __future__ import annotations

import time
from collections.abc import Collection
from typing import Self

from nbautoml.spec.recipe import Recipe
from nbautoml.store.rows import Changes, Points, RunRow
from nbautoml.widgets.bounding import fit_delta, fit_snapshot
from nbautoml.widgets.curves import CurveReader, lines_of, shown_names, shown_trials, thinned
from nbautoml.widgets.header import header_of, log_entry
from nbautoml.widgets.kept import KeptOfTrial, kept_of_trial
from nbautoml.widgets.protocol import (
    FINAL_STATES,
    PROTOCOL_VERSION,
    Delta,
    Line,
    Snapshot,
)
from nbautoml.widgets.source import RecordReader, RunSource
from nbautoml.widgets.table import TrialTable, empty_trials, rows_held

__all__ = ["LIMIT_BYTES", "Tail", "build_snapshot"]

LIMIT_BYTES = 185_000  # with Jupyter's own spaces and headers a message stays below 200 kB
_N_LOG = 50
_MAX_POINTS_A_TICK = 20_000
_MAX_POINTS_ASKED = 1_000


def build_snapshot(
    source: RunSource | RecordReader,
    *,
    recipe: Recipe | None = None,
    limit_bytes: int | None = LIMIT_BYTES,
    now: float | None = None,
) -> Snapshot:
    """The run as its record states it now: see `Snapshot`.

    Args:
        source: the run's folder, or a reader of its record (then with the recipe).
        recipe: what was asked to run, when ``source`` is a reader.
        limit_bytes: how large it may be once saved; None for all rows.
        now: seconds since 1970; the clock's by default.

    Raises:
        StoreError: the record cannot be read.
    """
    with Tail(source, recipe=recipe, should_hold_all=limit_bytes is None) as tail:
        return tail.snapshot(limit_bytes, now=now)


class Tail:
    """Follows one run: a snapshot at any moment, and deltas that bring it up to date.

    ``delta()`` moves on, and costs one look at the run's row when nothing happened;
    ``snapshot()`` shows the run exactly where the last delta left it.

    Args:
        source: the run's folder, or a reader (which stays open then).
        recipe: what was asked to run, when ``source`` is a reader.
        should_hold_all: keep every row of a large run, for a snapshot without a limit.

    Raises:
        StoreError: the record cannot be read.
    """

    def __init__(
        self,
        source: RunSource | RecordReader,
        *,
        recipe: Recipe | None = None,
        should_hold_all: bool = False,
    ) -> None:
        self._owns_reader = not hasattr(source, "changes")
        self._source = source
        self._reader: RecordReader = source.reader() if self._owns_reader else source  # type: ignore[union-attr,assignment]
        self._recipe: Recipe = recipe or source.recipe()  # type: ignore[union-attr]
        try:
            self._begin(should_hold_all)
        except BaseException:
            self.close()
            raise

    def _begin(self, should_hold_all: bool) -> None:
        reader, recipe = self._reader, self._recipe
        # The page comes first: what is recorded while the rest is read comes again as a delta.
        direction = recipe.objectives[0].direction if recipe.objectives else "minimize"
        page = reader.page(direction, n_each=None if should_hold_all else rows_held(recipe))
        self._cursor = page.cursor
        self._table = TrialTable(recipe, page, should_hold_all=should_hold_all)
        self._run: RunRow = reader.run()
        self._log = [
            log_entry(row) for row in reader.logs(limit=_N_LOG) if row.id <= self._cursor.log
        ]
        self._curves = CurveReader(reader)
        self._names: dict[str, bool] = {}  # name of a quantity -> is it measured at steps
        self._begun: set[tuple[int, str]] = set()  # lines that have points, if they may get more
        self._is_behind = False  # there were more points than one delta takes
        self._learn_names()

    def _learn_names(self) -> None:
        """Which quantities there are: from the running trials and one that ended."""
        running = [row.number for row in self._table.running()]
        some = running + self._table.ranked()[:1]
        points = self._reader.points(trial=some) if some else Points()
        self._note_names(points, set(running))
        for name in self._table.metrics:
            if any(name in row.metrics for row in list(self._table.rows.values())[:100]):
                self._names.setdefault(name, False)

    def _note_names(self, points: Points, running: Collection[int]) -> bool:
        n_before = len(self._names)
        for key, trial, name, epoch in zip(
            points.ids, points.trials, points.names, points.epochs, strict=True
        ):
            self._names.setdefault(name, not epoch)
            if trial in running and key <= self._cursor.point:
                self._begun.add((trial, name))
        return len(self._names) > n_before

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Let go of the record."""
        if self._owns_reader:
            self._reader.close()

    @property
    def run_id(self) -> str:
        """The run's id."""
        return self._run.id

    @property
    def seq(self) -> int:
        """The record's counter up to which this tail has read."""
        return self._cursor.seq

    @property
    def state(self) -> str:
        """The run's state."""
        return self._run.state

    @property
    def is_final(self) -> bool:
        """Whether nothing more will come, unless somebody resumes the run."""
        return self._run.state in FINAL_STATES

    # -- a moment -----------------------------------------------------------------------------

    def snapshot(
        self, limit_bytes: int | None = LIMIT_BYTES, *, now: float | None = None
    ) -> Snapshot:
        """The run where the last delta left it."""
        moment = time.time() if now is None else now
        header = header_of(self._run, self._recipe, self._table, now=moment)
        head: Snapshot = {
            "v": PROTOCOL_VERSION,
            "run": self._run.id,
            "seq": self.seq,
            "taken_at": round(moment, 3),
            "header": header,
            "columns": self._table.columns,
            "trials": empty_trials(),
            "curves": {
                "metric": header["metric"],
                "names": list(self._names),
                "step_names": [name for name, is_step in self._names.items() if is_step],
                "lines": [],
            },
            "log": list(self._log),
            "n_trials_left_out": 0,
        }
        return fit_snapshot(head, self._table, self._shown_lines(header["metric"]), limit_bytes)

    def _shown_lines(self, metric: str) -> list[Line]:
        trials = shown_trials(self._table)
        names = shown_names(list(self._names), metric, len(trials))
        finished = {number for number in trials if self._table.rows[number].is_finished}
        lines = self._curves.lines(
            trials, names, up_to=self._cursor.point, finished=() if self._is_behind else finished
        )
        # The objective's curves of all trials come before the loss of any.
        rank = {name: place for place, name in enumerate(names)}
        return sorted(lines, key=lambda line: rank[line["name"]])

    def lines(self, trials: list[int], name: str) -> list[Line]:
        """The curves that a browser asked for, at a higher resolution."""
        known = [number for number in trials if number in self._table.rows]
        points = self._reader.points(trial=known, name=name) if known else Points()
        n = max(min(_MAX_POINTS_ASKED, 10_000 // max(len(known), 1)), 20)
        return [thinned(line, n) for line in lines_of(points, up_to=self._cursor.point)]

    def kept(self, trial: int) -> KeptOfTrial:
        """What was kept of a trial: its model and its layers."""
        return kept_of_trial(self._reader, trial, run_id=self._run.id, name=self._recipe.name)

    # -- moving on ----------------------------------------------------------------------------

    def delta(
        self, *, limit_bytes: int = LIMIT_BYTES // 2, now: float | None = None
    ) -> Delta | None:
        """What happened since the last call, or None when nothing did.

        A delta that would be too large even without curves comes back with ``base`` -1, which
        no browser holds: each will ask for a snapshot, which is smaller.
        """
        changes = self._reader.changes(self._cursor, max_points=_MAX_POINTS_A_TICK, max_logs=_N_LOG)
        if not changes and changes.cursor == self._cursor and changes.run == self._run:
            return None
        base = self.seq
        has_new_columns, has_new_names, lines = self._take(changes)
        log = [log_entry(row) for row in changes.logs]
        self._log = (self._log + log)[-_N_LOG:]
        delta = self.header_delta(now=now)
        delta["base"] = base
        delta["restarted"] = list(changes.dropped)
        delta["trials"] = self._table.columnar(row.number for row in changes.trials)
        self._table.trim()
        delta["lines"] = lines
        delta["log"] = log
        if has_new_columns:
            delta["columns"] = self._table.columns
        if has_new_names:
            delta["names"] = list(self._names)
            delta["step_names"] = [name for name, is_step in self._names.items() if is_step]
        if not fit_delta(delta, limit_bytes):
            delta = self.header_delta(now=now)
            delta["base"] = -1
        return delta

    def header_delta(self, *, now: float | None = None) -> Delta:
        """A delta that brings the header only."""
        moment = time.time() if now is None else now
        return {
            "run": self._run.id,
            "base": self.seq,
            "seq": self.seq,
            "taken_at": round(moment, 3),
            "header": header_of(self._run, self._recipe, self._table, now=moment),
            "restarted": [],
            "trials": empty_trials(),
            "lines": [],
            "log": [],
            "final": self.is_final,
        }

    def _take(self, changes: Changes) -> tuple[bool, bool, list[Line]]:
        """Make the changes ours; returns whether columns and names are new, and the new pieces."""
        has_new_columns = self._table.update(changes.trials)
        if self.is_final and changes.run.state not in FINAL_STATES and self._owns_reader:
            # It was resumed, with more trials perhaps.
            self._recipe = self._source.recipe()  # type: ignore[union-attr]
        self._run = changes.run
        restarted = set(changes.dropped)
        self._begun = {key for key in self._begun if key[0] not in restarted}
        lines = lines_of(changes.points)
        for line in lines:
            key = (line["trial"], line["name"])
            line["begins"] = key not in self._begun
            self._begun.add(key)
        has_new_names = self._note_names(changes.points, ())
        self._cursor = changes.cursor
        self._is_behind = len(changes.points) >= _MAX_POINTS_A_TICK
        return has_new_columns, has_new_names, lines
