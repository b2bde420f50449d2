"""The curves of a run as lines: which are shown, read from the record, thinned for a screen."""

from __future__ import annotations

from collections.abc import Collection, Sequence

from nbautoml.store.rows import Points
from nbautoml.widgets.decimate import decimate, six_digits
from nbautoml.widgets.protocol import Line
from nbautoml.widgets.source import RecordReader
from nbautoml.widgets.table import TrialTable

__all__ = [
    "MAX_POINTS",
    "CurveReader",
    "lines_of",
    "shown_names",
    "shown_trials",
    "thinned",
]

MAX_POINTS = 100  # of a line, in a snapshot
_FEW = 20  # lines; so many can show every quantity


def shown_trials(table: TrialTable, limit: int = 100) -> list[int]:
    """The trials whose curves a snapshot holds: running ones, then half the best, half the newest."""
    chosen = dict.fromkeys(row.number for row in table.running()[-limit:])
    n_best = max((limit - len(chosen) + 1) // 2, 0)
    chosen.update(dict.fromkeys(table.ranked()[:n_best]))
    for number in sorted(table.rows, reverse=True):
        if len(chosen) >= limit:
            break
        if table.rows[number].epoch or table.rows[number].step:
            chosen.setdefault(number)
    return list(chosen)


def shown_names(names: Sequence[str], metric: str, n_trials: int) -> list[str]:
    """The quantities whose curves a snapshot holds: the objective, its loss, and all for a few trials.

    >>> shown_names(["loss", "train_loss", "f1", "step_loss"], "f1", 80)
    ['f1', 'loss']
    """
    preferred = [name for name in (metric, "loss") if name in names]
    rest = [name for name in names if name not in preferred]
    return (preferred + rest)[: max(_FEW // max(n_trials, 1), len(preferred), 1)]


class CurveReader:
    """Lines from a record; those of finished trials, which never change, are read once."""

    def __init__(self, reader: RecordReader) -> None:
        self._reader = reader
        self._kept: dict[tuple[int, str], Line | None] = {}

    def lines(
        self, trials: Sequence[int], names: Sequence[str], *, up_to: int, finished: Collection[int]
    ) -> list[Line]:
        """The lines of some trials, by trial and then by name; what was not measured is left out.

        Args:
            trials: their numbers.
            names: the quantities.
            up_to: id of the newest point that counts (the deltas bring what is newer).
            finished: trials whose lines can be kept.
        """
        wanted = [(trial, name) for trial in trials for name in names]
        missing = {key for key in wanted if key not in self._kept}
        found: dict[tuple[int, str], Line] = {}
        if missing:
            points = self._reader.points(
                trial=sorted({trial for trial, _ in missing}), name=list(names)
            )
            found = {
                (line["trial"], line["name"]): thinned(line, MAX_POINTS)
                for line in lines_of(points, up_to=up_to)
            }
            self._kept.update((key, found.get(key)) for key in missing if key[0] in finished)
        lines = (self._kept[key] if key in self._kept else found.get(key) for key in wanted)
        return [line for line in lines if line is not None]


def thinned(line: Line, n: int) -> Line:
    """The line with at most ``n`` points."""
    x, y = decimate(line["x"], line["y"], n)
    return {"trial": line["trial"], "name": line["name"], "x": x, "y": y}


def lines_of(points: Points, *, up_to: int | None = None) -> list[Line]:
    """Points as lines in the order of their first points; x is the epoch, or the step within one."""
    lines: dict[tuple[int, str], Line] = {}
    columns = (points.ids, points.trials, points.names, points.steps, points.epochs, points.values)
    for key, trial, name, step, epoch, value in zip(*columns, strict=True):
        if up_to is not None and key > up_to:
            continue
        line = lines.get((trial, name))
        if line is None:
            line = lines[trial, name] = {"trial": trial, "name": name, "x": [], "y": []}
        line["x"].append(epoch or step)
        line["y"].append(six_digits(value))
    return list(lines.values())
