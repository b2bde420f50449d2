"""What the study remembers of a trial, and how a record's rows become that."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

from nbautoml.errors import RecipeError
from nbautoml.study.bridge import FINISHED

__all__ = ["Entry", "TrialLike", "as_values", "entries_from"]

_STATES = (*FINISHED, "running", "waiting")


class TrialLike(Protocol):
    """A trial of a record, as `Study.restore` and `optuna_study` take it.

    ``value`` is enough where there is one objective; ``values`` is optional. ``metrics``,
    ``started_at``, ``ended_at`` (seconds since 1970) and ``error`` are used where they exist.
    """

    @property
    def number(self) -> int:
        """The trial's number, from 0."""

    @property
    def state(self) -> str:
        """waiting, running, complete, stopped_early, failed or cancelled."""

    @property
    def params(self) -> Mapping[str, Any]:
        """Active parameters, as labels."""

    @property
    def value(self) -> float | None:
        """The first objective, where the trial has one."""


@dataclass
class Entry:
    """A trial in plain values.

    Attributes:
        number: from 0.
        state: see `TrialLike`.
        params: active parameters, as labels.
        values: one an objective, all finite; None when there are none.
        curve: epoch -> reported value.
        started_at, ended_at: seconds since 1970, where known.
        notes: plain values to show beside the trial (metrics, the error).
        stopped_at: the epoch at which a study in rounds said that it should stop.
        constraints: by how much each limit is broken; 0 or below where it is kept.
    """

    number: int
    state: str
    params: dict[str, Any]
    values: tuple[float, ...] | None = None
    curve: dict[int, float] = field(default_factory=dict)
    started_at: float | None = None
    ended_at: float | None = None
    notes: dict[str, Any] = field(default_factory=dict)
    stopped_at: int | None = None
    constraints: tuple[float, ...] = ()

    @property
    def is_finished(self) -> bool:
        """Whether nothing more will happen to it."""
        return self.state in FINISHED


def as_values(value: Any, n_objectives: int) -> tuple[float, ...] | None:
    """One number an objective, or None when a trial has no such thing.

    NaN and the infinities are no values: a model that diverged is not to be compared.

    >>> as_values(0.5, 1), as_values([0.5, 1], 2), as_values(float("nan"), 1)
    ((0.5,), (0.5, 1.0), None)
    """
    if value is None:
        return None
    several = value if isinstance(value, Sequence) and not isinstance(value, str) else (value,)
    if len(several) != n_objectives or any(item is None for item in several):
        return None
    numbers = tuple(float(item) for item in several)
    return numbers if all(math.isfinite(number) for number in numbers) else None


def entries_from(
    trials: Iterable[TrialLike | tuple[TrialLike, Mapping[int, float]]], n_objectives: int
) -> list[Entry]:
    """Entries of a record's rows, by number; each row alone or with its curve.

    Raises:
        RecipeError: a number twice, or a state that does not exist.
    """
    entries: dict[int, Entry] = {}
    for item in trials:
        row, curve = item if isinstance(item, tuple) else (item, {})
        entry = _entry(row, curve, n_objectives)
        if entry.number in entries:
            raise RecipeError(f"the record has two trials of number {entry.number}")
        entries[entry.number] = entry
    return [entries[number] for number in sorted(entries)]


def _entry(row: TrialLike, curve: Mapping[int, float], n_objectives: int) -> Entry:
    if row.state not in _STATES:
        raise RecipeError(f"trial {row.number} of the record is in the state {row.state!r}")
    found = getattr(row, "values", None)
    values = as_values(found or row.value, n_objectives) if found or row.value is not None else None
    notes = {
        str(name): value
        for name, value in dict(getattr(row, "metrics", None) or {}).items()
        if isinstance(value, (int, float, str))
    }
    error = getattr(row, "error", None)
    if error:
        notes["error"] = str(error)
    return Entry(
        number=row.number,
        state=row.state,
        params=dict(row.params),
        values=values,
        curve={int(epoch): float(value) for epoch, value in curve.items()},
        started_at=getattr(row, "started_at", None),
        ended_at=getattr(row, "ended_at", None),
        notes=notes,
    )
