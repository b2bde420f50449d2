"""Between our nouns and Optuna's: dimensions, states, one call of suggest. Imports Optuna lazily."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from decimal import Decimal
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from nbautoml.errors import RecipeError
from nbautoml.spec.space import Choice, Dimension, Float, Int, Space

if TYPE_CHECKING:
    import optuna

__all__ = [
    "FINISHED",
    "dimension_from_question",
    "optuna_state",
    "quiet",
    "suggest",
    "to_distribution",
    "to_distributions",
    "widened",
]

_STATES: Mapping[str, str] = MappingProxyType(
    {
        "complete": "COMPLETE",
        "stopped_early": "PRUNED",
        "failed": "FAIL",
        "cancelled": "FAIL",
        "waiting": "WAITING",
        "running": "RUNNING",
    }
)
FINISHED = ("complete", "stopped_early", "failed", "cancelled")


def to_distribution(dimension: Dimension) -> optuna.distributions.BaseDistribution:
    """A dimension in Optuna's words.

    >>> to_distribution(Int(1, 4))
    IntDistribution(high=4, log=False, low=1, step=1)
    """
    from optuna import distributions

    if isinstance(dimension, Int):
        return distributions.IntDistribution(
            dimension.low, dimension.high, log=dimension.log, step=dimension.step
        )
    if isinstance(dimension, Float):
        return distributions.FloatDistribution(
            dimension.low, dimension.high, log=dimension.log, step=dimension.step
        )
    if isinstance(dimension, Choice):
        return distributions.CategoricalDistribution(dimension.options)
    raise TypeError(f"no distribution for a {type(dimension).__name__}")


def to_distributions(space: Space) -> dict[str, optuna.distributions.BaseDistribution]:
    """All dimensions of a space, parents first."""
    return {name: to_distribution(space[name]) for name in space.order}


def suggest(trial: optuna.Trial, name: str, dimension: Dimension) -> Any:
    """One value from Optuna's trial."""
    if isinstance(dimension, Int):
        return trial.suggest_int(
            name, dimension.low, dimension.high, log=dimension.log, step=dimension.step
        )
    if isinstance(dimension, Float):
        return trial.suggest_float(
            name, dimension.low, dimension.high, log=dimension.log, step=dimension.step
        )
    if isinstance(dimension, Choice):
        return trial.suggest_categorical(name, dimension.options)
    raise TypeError(f"no suggestion for a {type(dimension).__name__}")


def dimension_from_question(question: Mapping[str, Any]) -> Dimension:
    """The dimension that an objective asks about while it runs.

    Args:
        question: ``kind`` "int", "float" (``low high step log``) or "categorical" (``choices``).

    Raises:
        RecipeError: the question cannot be read; `SpaceError` when the range is impossible.

    >>> dimension_from_question({"name": "n", "kind": "int", "low": 1, "high": 4, "step": 1})
    Int(1, 4)
    """
    try:
        kind = question["kind"]
        if kind == "categorical":
            return Choice(*question["choices"])
        log = bool(question.get("log", False))
        step = question.get("step")
        if kind == "int":
            # Optuna lowers an upper bound that the step misses; so do we, to run the same code.
            step = 1 if step is None or log else step
            high = question["high"] - (question["high"] - question["low"]) % step
            return Int(question["low"], high, log=log, step=step)
        if kind == "float":
            return _float_from_question(question["low"], question["high"], log=log, step=step)
    except (KeyError, TypeError, ZeroDivisionError) as error:
        raise RecipeError(f"{dict(question)!r} is no question for a value: {error!r}") from error
    raise RecipeError(f"{dict(question)!r} is no question for a value")


def _float_from_question(low: float, high: float, *, log: bool, step: float | None) -> Float:
    if step is not None and low <= high and step > 0:
        n_steps = int((high - low) / step + 1e-9)
        high = float(Decimal(repr(float(low))) + n_steps * Decimal(repr(float(step))))
    return Float(low, high, log=log, step=step)


def widened(one: Dimension, other: Dimension) -> Dimension:
    """A dimension that holds the values of both, for a name whose range changes between trials.

    >>> widened(Int(1, 4), Int(2, 8)), widened(Choice("a"), Choice("b"))
    (Int(1, 8), Choice('a'))
    """
    if one == other or type(one) is not type(other):
        return one
    if isinstance(one, Int) and isinstance(other, Int):
        return Int(min(one.low, other.low), max(one.high, other.high), log=one.log and other.log)
    if isinstance(one, Float) and isinstance(other, Float):
        return Float(min(one.low, other.low), max(one.high, other.high), log=one.log and other.log)
    return one  # options that change are refused by Optuna


def optuna_state(state: str) -> optuna.trial.TrialState:
    """The state of a trial in Optuna's words; cancelled is a failure there."""
    from optuna.trial import TrialState

    if state not in _STATES:
        raise RecipeError(f"{state!r} is no state of a trial", hint=f"one of: {', '.join(_STATES)}")
    return TrialState[_STATES[state]]


@contextmanager
def quiet() -> Iterator[None]:
    """Optuna's log lines and warnings off, here and now only: its own users keep theirs."""
    logger = logging.getLogger("optuna")
    level = logger.level
    is_loud = level < logging.CRITICAL  # to set a level makes every logger forget what it is at
    if is_loud:
        logger.setLevel(logging.CRITICAL)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        if is_loud:
            logger.setLevel(level)
