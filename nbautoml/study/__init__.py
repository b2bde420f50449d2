"""Samplers, stoppers and the ask/tell loop. The only place that knows Optuna; it loads it late."""

from nbautoml.study.bridge import to_distribution
from nbautoml.study.export import importances, optuna_study, write_optuna
from nbautoml.study.samplers import SAMPLERS, SamplerInfo
from nbautoml.study.stoppers import STOPPERS, StopperInfo
from nbautoml.study.study import Study

__all__ = [
    "SAMPLERS",
    "STOPPERS",
    "SamplerInfo",
    "StopperInfo",
    "Study",
    "importances",
    "optuna_study",
    "to_distribution",
    "write_optuna",
]
