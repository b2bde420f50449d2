"""What every chapter gives: a figure, ours beside its peers, with spread."""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

__all__ = ["Figure", "Goal", "quartiles", "ratio"]


@dataclass(frozen=True)
class Goal:
    """What one way should reach.

    Attributes:
        at_most: ours divided by the peer's; in the figure's unit where there is no peer.
        peer: the way that ours is divided by; "" compares with the number itself.
        way: which way is meant; the figure's first by default.
    """

    at_most: float
    peer: str = ""
    way: str = ""

    def text(self, unit: str) -> str:
        """As a person reads it."""
        if not self.peer:
            return f"<= {self.at_most:g} {unit}"
        if self.at_most < 1:
            return f"{1 / self.at_most:.3g}x faster than {self.peer}"
        return f"<= {self.at_most:g}x {self.peer}"

    def reached(self, found: float, unit: str) -> str:
        """What was found, as a person reads it; with another digit where it would read as the goal.

        >>> Goal(1 / 2.2, "Peer").reached(1 / 2.18, "ms"), Goal(1.02, "Peer").reached(1.0235, "s")
        ('2.18x faster', '1.024x')
        """
        if not self.peer:
            return f"{told(found)} {unit}"
        value, goal, end, digits = (
            (found, self.at_most, "x", 2)
            if self.at_most >= 1
            else (1 / found, 1 / self.at_most, "x faster", 1)
        )
        if found > self.at_most and round(value, digits) == round(goal, digits):
            digits += 1
        return f"{value:.{digits}f}{end}"


def told(value: float) -> str:
    """Three digits, and no powers of ten for what is large.

    >>> told(3938.2), told(0.0046123), told(188.0)
    ('3938', '0.00461', '188')
    """
    return f"{value:.0f}" if abs(value) >= 1000 else f"{value:.3g}"


@dataclass(frozen=True)
class Figure:
    """Repeats of one quantity by several ways, smaller being better; the first way is ours.

    Attributes:
        name: what is measured.
        unit: of the values.
        ways: repeats by way.
        goals: what is to be reached.
        method: how it was measured, in a sentence or two.
        notes: what else a reader must know: a peer that is missing, where the time goes.
    """

    name: str
    unit: str
    ways: Mapping[str, Sequence[float]]
    goals: Sequence[Goal] = ()
    method: str = ""
    notes: Sequence[str] = ()

    def rows(self) -> list[dict[str, Any]]:
        """Median, quartiles and ratio to ours, a row a way."""
        ours = next(iter(self.ways.values()), ())
        made = []
        for way, values in self.ways.items():
            low, high = quartiles(values)
            made.append(
                {
                    "way": way,
                    "median": statistics.median(values),
                    "quartiles": [low, high],
                    "n": len(values),
                    "times_ours": ratio(values, ours),
                }
            )
        return made

    def verdicts(self) -> list[dict[str, Any]]:
        """A row a goal: what was to be reached, what was reached."""
        made = []
        for goal in self.goals:
            way = goal.way or next(iter(self.ways), "")
            if way not in self.ways or (goal.peer and goal.peer not in self.ways):
                made.append({"goal": goal.text(self.unit), "reached": None, "is_reached": None})
                continue
            if goal.peer:
                found = ratio(self.ways[way], self.ways[goal.peer])
            else:
                found = statistics.median(self.ways[way])
            text = goal.reached(found, self.unit)
            made.append(
                {
                    "goal": goal.text(self.unit),
                    "reached": text,
                    "value": found,
                    "is_reached": found <= goal.at_most,
                }
            )
        return made

    def about(self) -> dict[str, Any]:
        """The figure as JSON."""
        return {
            "figure": self.name,
            "unit": self.unit,
            "method": self.method,
            "notes": list(self.notes),
            "rows": self.rows(),
            "goals": self.verdicts(),
        }


def ratio(values: Sequence[float], base: Sequence[float]) -> float:
    """Median of the ratios of neighbouring repeats; of the medians where they have no neighbours."""
    if len(values) == len(base):
        return statistics.median(
            value / own if own else float("inf") for value, own in zip(values, base, strict=True)
        )
    below = statistics.median(base)
    return statistics.median(values) / below if below else float("inf")


def quartiles(values: Sequence[float]) -> tuple[float, float]:
    """The middle half; the extremes of fewer than four values."""
    if len(values) < 4:
        return min(values), max(values)
    found = statistics.quantiles(values, n=4)
    return found[0], found[2]
