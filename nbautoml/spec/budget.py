"""How much a run may spend."""

from __future__ import annotations

import math
import numbers
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from nbautoml.errors import RecipeError

__all__ = ["Budget", "format_duration", "parse_duration"]

_UNITS = {"d": 86400.0, "h": 3600.0, "m": 60.0, "s": 1.0}
_PART = re.compile(r"(\d+(?:\.\d*)?|\.\d+)\s*(d|h|min|m|s)", re.IGNORECASE)
_PLAIN = re.compile(r"[-+]?(\d+(\.\d*)?|\.\d+)")
_DURATION_HINT = "write 90s, 10m, 1h30m or 2d; a plain number is seconds"


@dataclass(frozen=True, kw_only=True)
class Budget:
    """How much a run may spend; the first limit that is reached ends it.

    Args:
        n_trials: how many trials; None runs until another limit is reached.
        wall_seconds: for the whole run, pauses left out.
        trial_seconds: for one trial; a trial that takes longer is failed, the run goes on. Trained
            as one of many it is charged its building and its share of the stack's time.

    >>> Budget(n_trials=50)
    Budget(n_trials=50)
    """

    n_trials: int | None = None
    wall_seconds: float | None = None
    trial_seconds: float | None = None

    def __post_init__(self) -> None:
        n: Any = self.n_trials
        if n is not None:
            if isinstance(n, bool) or not isinstance(n, numbers.Integral) or n < 1:
                raise RecipeError(
                    f"n_trials is {n!r}",
                    hint="at least 1; leave it out to run until another limit is reached",
                )
            object.__setattr__(self, "n_trials", int(n))
        for name in ("wall_seconds", "trial_seconds"):
            value = getattr(self, name)
            if value is not None:
                object.__setattr__(self, name, _positive_seconds(name, value))

    def __repr__(self) -> str:
        given = (f"{name}={value!r}" for name, value in self.to_json().items() if value is not None)
        return f"Budget({', '.join(given)})"

    def to_json(self) -> dict[str, Any]:
        """Plain JSON, which reads back as an equal value."""
        return {
            "n_trials": self.n_trials,
            "wall_seconds": self.wall_seconds,
            "trial_seconds": self.trial_seconds,
        }

    @classmethod
    def from_json(cls, body: Mapping[str, Any]) -> Budget:
        """Read `to_json` back."""
        unknown = set(body) - {"n_trials", "wall_seconds", "trial_seconds"}
        if unknown:
            raise RecipeError(f"a budget has no {sorted(unknown)}")
        return cls(**body)


def parse_duration(text: Any) -> float:
    """Seconds from what a person types.

    Raises:
        RecipeError: it is no duration, or not above zero.

    >>> parse_duration("1h30m"), parse_duration("90"), parse_duration("1.5m")
    (5400.0, 90.0, 90.0)
    """
    if isinstance(text, numbers.Real):
        return _positive_seconds("the duration", text)
    compact = str(text).strip()
    if _PLAIN.fullmatch(compact):
        return _positive_seconds("the duration", float(compact))
    seconds = 0.0
    position = 0
    for match in _PART.finditer(compact):
        if compact[position : match.start()].strip():
            break
        seconds += float(match[1]) * _UNITS[match[2].lower()[0]]
        position = match.end()
    if position == 0 or compact[position:].strip():
        raise RecipeError(f"{text!r} is no duration", hint=_DURATION_HINT)
    return _positive_seconds("the duration", seconds)


def format_duration(seconds: float) -> str:
    """Seconds as a person would type them; `parse_duration` reads it back.

    >>> format_duration(5400), format_duration(0.5)
    ('1h30m', '0.5s')
    """
    if seconds < 60 or seconds != int(seconds):
        return f"{seconds!r}s".replace(".0s", "s")
    parts = []
    rest = int(seconds)
    for unit, size in _UNITS.items():
        count, rest = divmod(rest, int(size))
        if count:
            parts.append(f"{count}{unit}")
    return "".join(parts)


def _positive_seconds(name: str, value: Any) -> float:
    if isinstance(value, bool) or not isinstance(value, numbers.Real):
        raise RecipeError(f"{name} is {value!r}", hint="a number of seconds above 0")
    seconds = float(value)
    if not math.isfinite(seconds) or seconds <= 0:
        raise RecipeError(f"{name} is {value!r}", hint=f"more than 0 seconds; {_DURATION_HINT}")
    return seconds
