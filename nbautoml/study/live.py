"""Optuna's classes as the study uses them. This module and `bayes` import Optuna when imported."""

from __future__ import annotations

import copy
from collections.abc import Callable, Container, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, Protocol, runtime_checkable

import numpy as np
import optuna
from optuna.distributions import BaseDistribution, FloatDistribution
from optuna.pruners import BasePruner
from optuna.samplers import (
    BaseSampler,
    CmaEsSampler,
    GPSampler,
    NSGAIISampler,
    RandomSampler,
    TPESampler,
)
from optuna.storages import InMemoryStorage
from optuna.trial import FrozenTrial, TrialState

from nbautoml.study.rungs import Rungs

__all__ = [
    "AtRungs",
    "Graced",
    "LiveStudy",
    "Memory",
    "PointSampler",
    "Reseedable",
    "SteadyCmaEs",
    "SteadyGP",
    "SteadyNSGAII",
    "SteadyRandom",
    "SteadyTPE",
]

Trials = list[FrozenTrial]

_MANY_STEPS = 32
_Row = tuple[float, ...]  # empty where a trial has not all of the names
_NOT_KNOWN: _Row = (float("nan"),)


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


class SteadyGP(_Steady, GPSampler):  # type: ignore[misc]
    """A Gaussian process over known dimensions."""


class SteadyCmaEs(_Steady, CmaEsSampler):  # type: ignore[misc]
    """CMA-ES over known dimensions."""


class SteadyNSGAII(_Steady, NSGAIISampler):  # type: ignore[misc]
    """NSGA-II over known dimensions."""


@runtime_checkable
class Reseedable(Protocol):
    """A sampler that can become the one that it would be, had it just been made with a seed.

    Making one takes 0.15 ms (random) to 0.35 (TPE), most of it to gather entropy that the seed then
    replaces; Optuna's own `reseed_rng` takes no seed.
    """

    def reseed(self, seed: int) -> None:
        """Draw from now on what a new sampler with that seed would draw."""


class SteadyRandom(RandomSampler):  # type: ignore[misc]
    """Draws by chance, from a seed that may be set anew."""

    def reseed(self, seed: int) -> None:
        """See `Reseedable`."""
        self._rng.rng.seed(seed)


class SteadyTPE(TPESampler):  # type: ignore[misc]
    """TPE over known dimensions: each group of dimensions that exist together is drawn jointly.

    A number with many steps is drawn as a continuous one and rounded. Optuna integrates the
    density over each step instead, in a Python loop, which takes three quarters of an ask's time.
    The numbers by which TPE knows a finished trial are kept: it never changes, and asking each of a
    thousand trials for them again takes a millisecond an ask.

    Attributes:
        groups: dimensions, by the condition under which they exist.
    """

    groups: Sequence[dict[str, BaseDistribution]]

    def __init__(self, **words: Any) -> None:
        super().__init__(**words)
        self._rows: dict[tuple[str, ...], dict[int, _Row]] = {}  # names -> trial -> its numbers

    def reseed(self, seed: int) -> None:
        """See `Reseedable`."""
        self._rng.rng.seed(seed)
        self._random_sampler._rng.rng.seed(seed)  # noqa: SLF001 (TPE seeds it so when it is made)

    def infer_relative_search_space(
        self, study: optuna.Study, trial: FrozenTrial
    ) -> dict[str, BaseDistribution]:
        """The dimensions of all groups."""
        return {name: dist for group in self.groups for name, dist in group.items()}

    def sample_relative(
        self,
        study: optuna.Study,
        trial: FrozenTrial,
        search_space: dict[str, BaseDistribution],
    ) -> dict[str, Any]:
        """Values for all groups; those that do not exist in this trial are not used."""
        drawn: dict[str, Any] = {}
        for group in self.groups:
            smooth = {name: _smoothed(distribution) for name, distribution in group.items()}
            for name, value in super().sample_relative(study, trial, smooth).items():
                drawn[name] = value if smooth[name] is group[name] else _snapped(group[name], value)
        return drawn

    def _get_internal_repr(
        self,
        trials: Trials,
        search_space: dict[str, BaseDistribution],
        *study: optuna.Study,  # since Optuna 5
    ) -> dict[str, np.ndarray[Any, Any]]:
        """A column of numbers a name, of the trials that have all names; as Optuna's own."""
        known = self._rows.setdefault(tuple(search_space), {})
        rows: list[_Row] = []
        for trial in trials:
            row = known.get(trial.number, _NOT_KNOWN)
            if row is _NOT_KNOWN:
                found = super()._get_internal_repr([trial], search_space, *study)
                row = tuple(float(one) for column in found.values() for one in column)
                if trial.state.is_finished():
                    known[trial.number] = row
            if row:
                rows.append(row)
        columns = np.array(rows, dtype=np.float64).reshape(-1, len(search_space)).T
        return dict(zip(search_space, columns, strict=True))


def _smoothed(distribution: BaseDistribution) -> BaseDistribution:
    """A number with many steps as a continuous one, half a step wider on both ends."""
    step = getattr(distribution, "step", None)
    if step is None or (distribution.high - distribution.low) / step < _MANY_STEPS:
        return distribution
    low, high = distribution.low - step / 2, distribution.high + step / 2
    return FloatDistribution(low, high, log=distribution.log)


def _snapped(distribution: BaseDistribution, value: float) -> float:
    """The step of a distribution that is nearest to a value."""
    step = distribution.step
    n_steps = round((distribution.high - distribution.low) / step)
    value = distribution.low + step * min(max(round((value - distribution.low) / step), 0), n_steps)
    snapped: float = min(value, distribution.high)
    return snapped


class AtRungs(BasePruner):  # type: ignore[misc]
    """Successive halving by our own `Rungs`, told of Optuna's trials.

    Args:
        rungs: of one objective; they know the trials by Optuna's numbers.
    """

    def __init__(self, rungs: Rungs) -> None:
        self._rungs = rungs

    def prune(self, study: optuna.Study, trial: FrozenTrial) -> bool:
        """Whether to stop the trial now, compared with the trials that the study shows."""
        step = trial.last_step
        if step is None:
            return False
        shown = {one.number for one in study.get_trials(deepcopy=False)}
        value = trial.intermediate_values[step]
        return self._rungs.should_stop(trial.number, step, (value,), among=shown)


class Graced(BasePruner):  # type: ignore[misc]
    """A stopper that stops nothing before some trials are complete.

    With fewer it compares with chance. The stopper is consulted all the same, for it may keep books.

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
