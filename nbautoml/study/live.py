"""Optuna's classes as the study uses them. The one module here that imports Optuna when imported."""

from __future__ import annotations

import copy
from collections.abc import Callable, Container, Iterator
from contextlib import contextmanager
from typing import Any

import optuna
from optuna.distributions import BaseDistribution
from optuna.pruners import BasePruner
from optuna.samplers import BaseSampler, CmaEsSampler, GPSampler, NSGAIISampler, TPESampler
from optuna.storages import InMemoryStorage
from optuna.trial import FrozenTrial, TrialState

__all__ = [
    "Graced",
    "LiveStudy",
    "Memory",
    "PointSampler",
    "SteadyCmaEs",
    "SteadyGP",
    "SteadyNSGAII",
    "SteadyTPE",
]

Trials = list[FrozenTrial]


class Memory(InMemoryStorage):  # type: ignore[misc]
    """Optuna's storage in memory, of which a sampler or stopper can be shown a part.

    What samplers and stoppers cost grows with the trials that they see, so a study of thousands
    shows them a selection (`seen_as`). Nothing is forgotten: outside of `seen_as` all are there.
    """

    def __init__(self) -> None:
        super().__init__()
        self._view: Callable[[Trials], Trials] | None = None

    @contextmanager
    def seen_as(self, view: Callable[[Trials], Trials]) -> Iterator[None]:
        """Within this, the storage has only the trials that the view lets through."""
        self._view = view
        try:
            yield
        finally:
            self._view = None

    def get_all_trials(
        self, study_id: int, deepcopy: bool = True, states: Container[TrialState] | None = None
    ) -> Any:
        """What Optuna's own does, through the view."""
        if self._view is None or states == (TrialState.WAITING,):
            return super().get_all_trials(study_id, deepcopy=deepcopy, states=states)
        trials = self._view(super().get_all_trials(study_id, deepcopy=False))
        if states is not None:
            trials = [trial for trial in trials if trial.state in states]
        return copy.deepcopy(trials) if deepcopy else trials


class LiveStudy(optuna.Study):  # type: ignore[misc]
    """An Optuna study that is asked and told; a sampler that has nothing left says `stop`."""

    is_done = False

    def stop(self) -> None:
        """Note that the sampler wants no more trials; Optuna's own works in its loop only."""
        self.is_done = True


class PointSampler(BaseSampler):  # type: ignore[misc]
    """Hands out points that are made elsewhere: a grid's, or Sobol's.

    Args:
        distributions: of all names.
        next_point: values for at least the active names.
    """

    def __init__(
        self,
        distributions: dict[str, BaseDistribution],
        next_point: Callable[[], dict[str, Any]],
    ) -> None:
        self._distributions = distributions
        self._next_point = next_point

    def infer_relative_search_space(
        self, study: optuna.Study, trial: FrozenTrial
    ) -> dict[str, BaseDistribution]:
        """All dimensions at once."""
        return self._distributions

    def sample_relative(
        self,
        study: optuna.Study,
        trial: FrozenTrial,
        search_space: dict[str, BaseDistribution],
    ) -> dict[str, Any]:
        """The next point."""
        return self._next_point()

    def sample_independent(
        self,
        study: optuna.Study,
        trial: FrozenTrial,
        param_name: str,
        param_distribution: BaseDistribution,
    ) -> Any:
        """Never reached: a point has a value for every active name."""
        raise KeyError(param_name)


class _Steady:
    """For a sampler whose dimensions are known: it need not infer them from the history.

    Inferring reads every trial, and before the first is complete finds nothing.
    """

    steady_space: dict[str, BaseDistribution]

    def infer_relative_search_space(
        self, study: optuna.Study, trial: FrozenTrial
    ) -> dict[str, BaseDistribution]:
        """The dimensions that the sampler draws together."""
        return self.steady_space


class SteadyTPE(_Steady, TPESampler):  # type: ignore[misc]
    """TPE over known dimensions."""


class SteadyGP(_Steady, GPSampler):  # type: ignore[misc]
    """A Gaussian process over known dimensions."""


class SteadyCmaEs(_Steady, CmaEsSampler):  # type: ignore[misc]
    """CMA-ES over known dimensions."""


class SteadyNSGAII(_Steady, NSGAIISampler):  # type: ignore[misc]
    """NSGA-II over known dimensions."""


class Graced(BasePruner):  # type: ignore[misc]
    """A stopper that stops nothing before some trials are complete.

    Successive halving promotes the first trial that it sees and measures the second by it, which
    is a coin toss. The stopper is consulted all the same, for it keeps books.

    Args:
        inner: the stopper.
        n_startup: how many trials have to be complete.
        count_complete: how many are.
    """

    def __init__(
        self, inner: BasePruner, n_startup: int, count_complete: Callable[[], int]
    ) -> None:
        self._inner = inner
        self._n_startup = n_startup
        self._count_complete = count_complete

    def prune(self, study: optuna.Study, trial: FrozenTrial) -> bool:
        """Whether to stop the trial now."""
        should_stop = bool(self._inner.prune(study, trial))
        return should_stop and self._count_complete() >= self._n_startup
