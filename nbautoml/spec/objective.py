"""What a run makes as good as it can: a metric and its direction."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, Literal, cast

from nbautoml.errors import RecipeError, nearest

__all__ = [
    "DIRECTIONS",
    "METRICS",
    "SIZES",
    "TASKS",
    "Direction",
    "MetricInfo",
    "Objective",
    "default_metric",
    "metrics_for",
    "objective_for",
    "objectives_for",
]

Direction = Literal["minimize", "maximize"]
DIRECTIONS: tuple[Direction, ...] = ("minimize", "maximize")
TASKS = ("binary", "multiclass", "multilabel", "regression")
_CLASSES = ("binary", "multiclass", "multilabel")


@dataclass(frozen=True)
class MetricInfo:
    """A metric that the trainer can compute.

    Args:
        name: as it is typed and recorded.
        direction: which way is better.
        tasks: the tasks that it suits.
        label: as it stands at an axis.
    """

    name: str
    direction: Direction
    tasks: tuple[str, ...]
    label: str


METRICS: Mapping[str, MetricInfo] = MappingProxyType(
    {
        info.name: info
        for info in (
            MetricInfo("loss", "minimize", TASKS, "validation loss"),
            MetricInfo("accuracy", "maximize", _CLASSES, "accuracy"),
            MetricInfo("precision", "maximize", _CLASSES, "precision (macro)"),
            MetricInfo("recall", "maximize", _CLASSES, "recall (macro)"),
            MetricInfo("f1", "maximize", _CLASSES, "F1 (macro)"),
            MetricInfo("auroc", "maximize", _CLASSES, "area under the ROC curve"),
            MetricInfo("mae", "minimize", ("regression",), "mean absolute error"),
            MetricInfo("rmse", "minimize", ("regression",), "root mean squared error"),
            MetricInfo("r2", "maximize", ("regression",), "R²"),
        )
    }
)


# What a trial is judged by beside its metrics, once and not each epoch.
SIZES: Mapping[str, MetricInfo] = MappingProxyType(
    {"n_parameters": MetricInfo("n_parameters", "minimize", TASKS, "trained parameters")}
)
_SHORT = {"min": "minimize", "max": "maximize"}


@dataclass(frozen=True)
class Objective:
    """One thing to make large or small.

    >>> Objective("accuracy", "maximize").is_better(0.9, 0.8)
    True
    """

    metric: str
    direction: Direction

    def __post_init__(self) -> None:
        if not isinstance(self.metric, str) or not self.metric:
            raise RecipeError(f"the metric's name is {self.metric!r}", hint="give it a name")
        if self.direction not in DIRECTIONS:
            raise RecipeError(
                f"the direction of {self.metric} is {self.direction!r}",
                hint='use "minimize" or "maximize"',
            )

    def is_better(self, value: float, than: float) -> bool:
        """Whether a value beats another; NaN beats nothing, and anything beats NaN."""
        if math.isnan(value):
            return False
        if math.isnan(than):
            return True
        return value > than if self.direction == "maximize" else value < than

    @property
    def worst(self) -> float:
        """The value that any other one beats: an infinity."""
        return float("-inf") if self.direction == "maximize" else float("inf")

    def to_json(self) -> dict[str, Any]:
        """Plain JSON, which reads back as an equal value."""
        return {"metric": self.metric, "direction": self.direction}

    @classmethod
    def from_json(cls, body: Mapping[str, Any]) -> Objective:
        """Read `to_json` back."""
        try:
            return cls(body["metric"], body["direction"])
        except (KeyError, TypeError) as error:
            raise RecipeError(f"{body!r} is no objective: {error}") from error


def default_metric(task: str) -> str:
    """The metric of a task when nobody named one: accuracy for classes, rmse for numbers."""
    _check_task(task)
    return "rmse" if task == "regression" else "accuracy"


def metrics_for(task: str) -> tuple[str, ...]:
    """Names of the metrics that suit a task.

    >>> metrics_for("regression")
    ('loss', 'mae', 'rmse', 'r2')
    """
    _check_task(task)
    return tuple(name for name, info in METRICS.items() if task in info.tasks)


def objective_for(metric: str | None, task: str | None, direction: str | None = None) -> Objective:
    """The objective of a run from what was said and what the data is.

    Args:
        metric: a name of `METRICS`; None takes the task's default.
        task: one of `TASKS`, or None for a run whose own code computes the value (an
            ``objective(trial)``): then any metric name will do.
        direction: "minimize" or "maximize" when it was said; None infers it.

    Raises:
        RecipeError: unknown metric (with the nearest name), one that does not suit the task,
            or a direction against the metric's own.

    >>> objective_for(None, "binary")
    Objective(metric='accuracy', direction='maximize')
    >>> objective_for("rmse", "multiclass")
    Traceback (most recent call last):
        ...
    nbautoml.errors.RecipeError: rmse does not suit a multiclass task
    Hint: for multiclass: loss, accuracy, precision, recall, f1, auroc
    """
    if direction is not None and direction not in DIRECTIONS:
        raise RecipeError(f"the direction is {direction!r}", hint='use "minimize" or "maximize"')
    if task is None:
        return _free_objective(metric, direction)
    _check_task(task)
    name = default_metric(task) if metric is None else metric
    info = METRICS.get(name)
    suitable = ", ".join(metrics_for(task))
    if info is None:
        close = nearest(name, METRICS)
        guess = f"did you mean {close!r}? " if close else ""
        raise RecipeError(
            f"{name!r} is no metric that is known here", hint=f"{guess}For {task}: {suitable}"
        )
    if task not in info.tasks:
        raise RecipeError(f"{name} does not suit a {task} task", hint=f"for {task}: {suitable}")
    return _directed(info, direction)


def objectives_for(
    metrics: str | None, task: str | None, direction: str | None = None
) -> tuple[Objective, ...]:
    """The objectives of a run from a list with commas; the first decides which epoch is the best.

    A name may say its direction, as in ``error:min,speed:max``, which user code of its own needs;
    ``n_parameters`` (how many are trained) comes second, beside something that is measured.

    Args:
        metrics: names of `METRICS` and `SIZES`; None takes the task's default.
        task: see `objective_for`.
        direction: of all that do not say one.

    Raises:
        RecipeError: see `objective_for`; a name twice, or a size in the first place.

    >>> [str(one.direction) for one in objectives_for("accuracy,n_parameters", "binary")]
    ['maximize', 'minimize']
    """
    if metrics is None:
        return (objective_for(None, task, direction),)
    found: list[Objective] = []
    for part in metrics.split(","):
        name, _, said = (word.strip() for word in part.partition(":"))
        own = _SHORT.get(said, said) or direction
        if task is not None and name in SIZES:
            if not found:
                raise RecipeError(
                    f"{name} does not change from epoch to epoch, so that it cannot come first",
                    hint=f"write {default_metric(task)},{name}",
                )
            # A direction for all is meant for what is measured.
            found.append(_directed(SIZES[name], own if said else None))
        else:
            found.append(objective_for(name or None, task, own))
    names = [one.metric for one in found]
    if len(set(names)) < len(names):
        raise RecipeError(f"a metric is named twice: {metrics}")
    return tuple(found)


def _free_objective(metric: str | None, direction: str | None) -> Objective:
    """For user code that returns a number: only a known metric has a direction of its own."""
    info = METRICS.get(metric or "")
    if info is not None:
        return _directed(info, direction)
    return Objective(metric or "value", cast("Direction", direction or "minimize"))


def _directed(info: MetricInfo, direction: str | None) -> Objective:
    if direction is not None and direction != info.direction:
        raise RecipeError(
            f"{info.name} was to be {direction}d, but the better value of {info.name} is the "
            f"{'larger' if info.direction == 'maximize' else 'smaller'} one",
            hint=f"leave out --{direction}, or choose another metric",
        )
    return Objective(info.name, info.direction)


def _check_task(task: str) -> None:
    if task not in TASKS:
        close = nearest(str(task), TASKS)
        guess = f"did you mean {close!r}? " if close else ""
        raise RecipeError(f"{task!r} is no task", hint=f"{guess}One of: {', '.join(TASKS)}")
