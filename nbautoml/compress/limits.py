"""How far a compression may go, and which of its models is the one that was asked for."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Protocol, TypeVar

from nbautoml.compress.space import COMPRESSED
from nbautoml.errors import RecipeError
from nbautoml.spec.objective import Objective

__all__ = [
    "ENERGY",
    "LATENCY",
    "MEMORY",
    "SIZE",
    "SPREAD",
    "STORED",
    "Limits",
    "Picked",
    "beyond",
    "chosen_by",
    "figures_of",
    "held_out_name",
    "pick",
]

LATENCY, SIZE, MEMORY, ENERGY = "latency_ms", "size_bytes", "memory_bytes", "energy_mj"
_MOST = (LATENCY, SIZE, MEMORY, ENERGY)
SPREAD = "latency_spread_ms"
"""The metric that says how far the quartiles of a model's calls lie apart."""
STORED = "stored_bytes"
"""The metric that says what a float model's weights take once entropy coded."""
NOT_SLOWER = 1.02  # times the original's latency: a difference of less is the clock's
_MOST_EQUAL = 1.05  # times another model's, however wide both spread
_MOST_SPREAD = 1.1  # on a machine that is never quiet the clock would excuse anything
_WORST = 1e6  # a share of a limit that stands for what was not measured
SLACK = 1e-9  # a drop of exactly the limit is within it, whatever floats make of it


class _Trial(Protocol):
    @property
    def number(self) -> int: ...

    @property
    def state(self) -> str: ...

    @property
    def params(self) -> Mapping[str, Any]: ...

    @property
    def values(self) -> tuple[float, ...]: ...

    @property
    def metrics(self) -> Mapping[str, float]: ...


_T = TypeVar("_T", bound=_Trial)


@dataclass(frozen=True, kw_only=True)
class Limits:
    """What the smaller model must keep to; None does not limit.

    Attributes:
        max_drop: how much worse the metric may become, in its own unit (0.01 of an accuracy is one
            point).
        latency_ms: median of one batch in ONNX Runtime.
        size_bytes: of the file that would be deployed.
        memory_bytes: tensors alive at once in an eager call of the float module; what ONNX Runtime
            takes for a file is not counted, so that quantising changes nothing of it.
        energy_mj: of one batch, in thousandths of a joule.
    """

    max_drop: float = 0.01
    latency_ms: float | None = None
    size_bytes: float | None = None
    memory_bytes: float | None = None
    energy_mj: float | None = None

    def __post_init__(self) -> None:
        if not 0 <= self.max_drop < math.inf:
            raise RecipeError(f"max_drop is {self.max_drop!r}", hint="it is a number from 0")
        for name in _MOST:
            value = getattr(self, name)
            if value is not None and not 0 < value < math.inf:
                raise RecipeError(f"the limit of {name} is {value!r}", hint="it is above 0")

    def bounds(self, objective: Objective, baseline: float) -> dict[str, dict[str, float]]:
        """Lower and upper bounds by the name of what is measured, for people's eyes.

        >>> Limits(latency_ms=2.0).bounds(Objective("accuracy", "maximize"), 0.98)
        {'accuracy': {'min': 0.97}, 'latency_ms': {'max': 2.0}}
        """
        is_max = objective.direction == "maximize"
        worst = baseline - self.max_drop if is_max else baseline + self.max_drop
        found: dict[str, dict[str, float]] = {
            objective.metric: {"min" if is_max else "max": round(worst, 9)}
        }
        for name in _MOST:
            value = getattr(self, name)
            if value is not None:
                found[name] = {"max": float(value)}
        return found

    def broken(
        self, figures: Mapping[str, float], objective: Objective, baseline: float
    ) -> dict[str, float]:
        """What is beyond its limit, and by which share of the limit (a drop: of the allowed one).

        >>> broken = Limits(latency_ms=2.0).broken(
        ...     {"accuracy": 0.95, "latency_ms": 3.0}, Objective("accuracy", "maximize"), 0.98
        ... )
        >>> {name: round(share, 3) for name, share in broken.items()}
        {'accuracy': 2.0, 'latency_ms': 0.5}
        """
        found: dict[str, float] = {}
        for name, bound in self.bounds(objective, baseline).items():
            value = figures.get(name, math.nan)
            low, high = bound.get("min", -math.inf), bound.get("max", math.inf)
            over = max(low - value, value - high)
            if math.isnan(value):
                found[name] = math.inf
            elif over > SLACK:
                # A drop counts by how much was allowed: what a model answers is what it is for.
                allowed = max(self.max_drop, 0.01 * abs(baseline), SLACK)
                found[name] = over / (allowed if name == objective.metric else high)
        return found

    def constraints(
        self,
        figures: Mapping[str, float],
        objective: Objective,
        baseline: float,
        *,
        is_early: bool = False,
    ) -> tuple[float, ...]:
        """By how much each limit is broken, 0 where it is kept: what a sampler is told.

        Args:
            figures: of the model.
            objective: what must not drop.
            baseline: of the original.
            is_early: it was hardly fine-tuned, and may win back as much again as may be lost.

        >>> limits = Limits(latency_ms=2.0)
        >>> accuracy = Objective("accuracy", "maximize")
        >>> limits.constraints({"accuracy": 0.98, "latency_ms": 3.0}, accuracy, 0.98)
        (0.0, 0.5)
        """
        broken = self.broken(figures, objective, baseline)
        found = {
            name: min(broken.get(name, 0.0), _WORST) for name in self.bounds(objective, baseline)
        }
        if is_early:
            found[objective.metric] = max(0.0, found[objective.metric] - 1.0)
        return tuple(found.values())

    @classmethod
    def from_settings(cls, settings: Mapping[str, Any]) -> Limits:
        """The limits that a recipe's settings hold.

        Raises:
            RecipeError: they hold none.
        """
        try:
            return cls(**settings["limits"])
        except (KeyError, TypeError) as error:
            raise RecipeError(f"the recipe holds no limits: {error}") from error


def figures_of(row: _Trial, objectives: Iterable[Objective]) -> dict[str, float]:
    """Everything that was measured of a trial, by name."""
    named = dict(zip((one.metric for one in objectives), row.values, strict=False))
    return {**row.metrics, **named}


def held_out_name(metric: str) -> str:
    """Under which name a metric on held out rows stands beside the others."""
    return f"held_out_{metric}"


def chosen_by(row: _Trial, objectives: tuple[Objective, ...]) -> dict[str, float]:
    """As `figures_of`, with the metric on held out rows in its place where there are any.

    A search sees one half of many validation rows; what it found is judged on the other.
    """
    found = figures_of(row, objectives)
    metric = objectives[0].metric
    return {**found, metric: found.get(held_out_name(metric), found[metric])}


def beyond(
    row: _Trial, origin: _Trial, objectives: tuple[Objective, ...], limits: Limits
) -> dict[str, float]:
    """The limits that a model does not keep, as `Limits.broken` tells them.

    Where rows are held out the metric must keep its limit on these, and on all rows together. The
    held out ones alone are honest, but half as many: of thirty models one may be lucky there that is
    beyond the limit on all rows, though the search had chosen it by the other half.
    """
    metric = objectives[0].metric
    found: dict[str, float] = {}
    for read in (chosen_by, _on_all_rows):
        base = read(origin, objectives)[metric]
        for name, share in limits.broken(read(row, objectives), objectives[0], base).items():
            found[name] = max(share, found.get(name, 0.0))
    return found


def _on_all_rows(row: _Trial, objectives: tuple[Objective, ...]) -> dict[str, float]:
    """The halves are equal: the mean of both is the metric on all rows (near it for an F1 score)."""
    found = figures_of(row, objectives)
    metric = objectives[0].metric
    return {**found, metric: (found[metric] + found.get(held_out_name(metric), found[metric])) / 2}


@dataclass(frozen=True)
class Picked:
    """The model that was asked for.

    Attributes:
        number: of its trial.
        broken: limits that it does not keep, with by how much; empty where it keeps all.
    """

    number: int
    broken: Mapping[str, float]


def pick(rows: Iterable[_T], objectives: tuple[Objective, ...], limits: Limits) -> Picked | None:
    """The smallest and fastest model within the limits, or the one that is nearest to them.

    The first trial is the original. Among those that keep to all limits the product of latency and
    size decides; one that is slower than the original is taken only where no other keeps to them
    (a limit of the size, mostly). Where the original is the best, it is the answer.

    The product is for people who want both: one percent of the time is worth one percent of the
    bytes. Bytes are exact and times are not, so of models whose times the clock cannot tell from the
    best one's the smallest is the pick. A limit (``--max-latency``, ``--max-size``) is the way to say
    that one of the two matters more.

    What was asked for by its name is the answer where it keeps to all limits and is not slower
    beyond the clock's spread: weights that are zero, or share few values, cost what any weights cost,
    and between two equal times only chance would choose.
    """
    done = [row for row in rows if row.state == "complete" and len(row.values) == len(objectives)]
    origin = next((row for row in done if row.number == 0), None)
    if origin is None:
        return None
    figures = {row.number: chosen_by(row, objectives) for row in done}
    broken = {row.number: beyond(row, origin, objectives, limits) for row in done}
    fitting = [n for n in figures if not broken[n]]
    asked = [row.number for row in done if row.params.get("version") == COMPRESSED]
    for n in asked:
        if n in fitting and _is_as_fast(figures[n], figures[0]):
            return Picked(n, {})
    if fitting:
        top = figures[0].get(LATENCY, math.inf) * NOT_SLOWER
        fitting = [n for n in fitting if figures[n].get(LATENCY, 0.0) <= top] or fitting
        best = min(fitting, key=lambda n: (_cost(figures[n], figures[0]), n))
        equal = [n for n in fitting if _is_about(figures[n], figures[best])]
        return Picked(min(equal, key=lambda n: (figures[n].get(SIZE, 0.0), n)), {})
    near = min(figures, key=lambda n: (sum(broken[n].values()), _cost(figures[n], figures[0]), n))
    return Picked(near, broken[near])


def _is_about(found: Mapping[str, float], best: Mapping[str, float]) -> bool:
    """Whether two times are equal as far as the clock can tell."""
    own, other = found.get(LATENCY, math.nan), best.get(LATENCY, math.nan)
    spread = max(found.get(SPREAD, 0.0), best.get(SPREAD, 0.0))
    # Medians are far more certain than single calls: the whole spread would excuse too much.
    most = min(max(other * (NOT_SLOWER - 1), spread), other * (_MOST_EQUAL - 1))
    return own == other or abs(own - other) <= most


def _is_as_fast(found: Mapping[str, float], origin: Mapping[str, float]) -> bool:
    """Whether a model takes no longer than the original, as far as the clock can tell."""
    base = origin.get(LATENCY, math.inf)
    spread = max(found.get(SPREAD, 0.0), origin.get(SPREAD, 0.0))
    top = min(max(base * NOT_SLOWER, base + spread), base * _MOST_SPREAD)
    return found.get(LATENCY, 0.0) <= top


def _cost(found: Mapping[str, float], origin: Mapping[str, float]) -> float:
    shares = (found.get(name, math.nan) / origin.get(name, math.nan) for name in (LATENCY, SIZE))
    return sum(math.log(max(share, 1e-12)) for share in shares if not math.isnan(share))
