"""What to run, as pure data: frozen, checked when made, and written as plain JSON."""

from nbautoml.spec.budget import Budget, format_duration, parse_duration
from nbautoml.spec.fit import (
    LOSSES,
    OPTIMIZERS,
    SCHEDULES,
    SETTING_HELP,
    SETTING_NAMES,
    FitSettings,
    split_params,
)
from nbautoml.spec.objective import (
    METRICS,
    SIZES,
    TASKS,
    MetricInfo,
    Objective,
    default_metric,
    metrics_for,
    objective_for,
    objectives_for,
)
from nbautoml.spec.space import Choice, Dimension, Float, Int, Space, dimension_from_json

__all__ = [
    "LOSSES",
    "METRICS",
    "OPTIMIZERS",
    "SCHEDULES",
    "SETTING_HELP",
    "SETTING_NAMES",
    "SIZES",
    "TASKS",
    "Budget",
    "Choice",
    "Dimension",
    "FitSettings",
    "Float",
    "Int",
    "MetricInfo",
    "Objective",
    "Space",
    "default_metric",
    "dimension_from_json",
    "format_duration",
    "metrics_for",
    "objective_for",
    "objectives_for",
    "parse_duration",
    "split_params",
]
