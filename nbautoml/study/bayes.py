"""The sampler ``bayes``: the point from which a small Gaussian process expects the most.

::

    trials ──> rows, order ──> scores ──> Surrogate ──> candidates, the best by expected gain
               (encoding)                (fitted anew)  (chance, neighbours, some rounds)

What it proposes follows from the trials, the space and the seed alone, so that a study that is
rebuilt from its record goes on as it would have.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Container, Sequence
from typing import Any

import numpy as np
import optuna
from numpy.typing import NDArray
from optuna.distributions import BaseDistribution
from optuna.samplers import BaseSampler
from optuna.trial import FrozenTrial, TrialState

from nbautoml.study.encoding import Encoding
from nbautoml.study.surrogate import (
    Surrogate,
    bent_scores,
    log_expected_improvement,
    normal_scores,
)

__all__ = ["BayesSampler"]

Array = NDArray[np.float64]

_N_START = 6  # the middle of the space, and points by chance
_N_DRAWN = 500
_N_BEST = 8  # so many of the best have their neighbours looked at
_N_CLIMBED = 3
_ROUNDS = 8


class BayesSampler(BaseSampler):  # type: ignore[misc]
    """See the module's text. One objective.

    Trials rank as they do for TPE: complete ones by value, then those that were stopped early,
    the later the better, by their last value. So does a running one that got as far as others were
    stopped at: the first to end are the bad ones, and until the good ones have come to their end they
    would tell nothing. Of the rest of the running ones what is expected is believed, so that parallel
    trials spread.

    Args:
        encoding: of the space.
        distributions: of its dimensions.
        sign: -1 where larger is better.
        seed: of this sampler's draws.
        fits: where the last fitted model is kept for the next sampler.

    Source: Jones, Schonlau and Welch, "Efficient global optimization of expensive black-box
    functions", 1998; candidates and local search as in Hutter, Hoos and Leyton-Brown, "Sequential
    model-based optimization for general algorithm configuration", 2011, Section 4.3.
    """

    def __init__(
        self,
        encoding: Encoding,
        distributions: dict[str, BaseDistribution],
        *,
        sign: int,
        seed: int,
        fits: dict[bytes, Surrogate],
    ) -> None:
        self._encoding = encoding
        self._distributions = distributions
        self._sign, self._fits = sign, fits
        self._generator = np.random.default_rng(seed)

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
        """Values for the dimensions that exist in the next point."""
        if not self._distributions:
            return {}
        others = [
            other
            for other in study._storage.get_all_trials(study._study_id, deepcopy=False)  # noqa: SLF001  get_trials copies
            if other.number != trial.number and other.params
        ]
        return self._encoding.params(self._next(others))

    def sample_independent(
        self,
        study: optuna.Study,
        trial: FrozenTrial,
        param_name: str,
        param_distribution: BaseDistribution,
    ) -> Any:
        """Only for what does not vary, and for the rest of a point that a person began."""
        sampler = optuna.samplers.RandomSampler(seed=int(self._generator.integers(2**31)))
        return sampler.sample_independent(study, trial, param_name, param_distribution)

    def _next(self, trials: Sequence[FrozenTrial]) -> Array:
        encoding, generator = self._encoding, self._generator
        if not trials:
            return encoding.middle(generator)
        every = np.stack([encoding.row(trial.params) for trial in trials])
        tried = set(_keys(every))
        ended, order, values = _ranked(trials, self._sign)
        if len(ended) < _N_START:
            drawn: Array = _unseen(encoding.drawn(_N_BEST, generator), tried)[0]
            return drawn
        rows = every[ended]
        scores = normal_scores(order) if encoding.is_coarse else bent_scores(order, values)
        model = self._fitted(encoding.features(rows), scores)
        expected, _ = model.predict(encoding.features(rows))
        told = set(ended)
        young = [
            n
            for n, trial in enumerate(trials)
            if trial.state == TrialState.RUNNING and n not in told
        ]
        if young:
            model = model.believing(encoding.features(every[young]))
        # The best that is expected, and not the best that was seen, which may be luck.
        lowest = float(expected.min())

        def gain(some: Array) -> Array:
            return log_expected_improvement(*model.predict(encoding.features(some)), lowest)

        best = rows[np.argsort(expected, kind="stable")[:_N_BEST]]
        return self._climbed(best, gain, tried)

    def _fitted(self, rows: Array, scores: Array) -> Surrogate:
        """The model of these trials; for a second trial drawn from the same ones it is there."""
        key = rows.tobytes() + scores.tobytes()
        if key not in self._fits:
            self._fits.clear()
            self._fits[key] = Surrogate.fit(rows, scores, self._encoding.is_category)
        return self._fits[key]

    def _climbed(
        self, best: Array, gain: Callable[[Array], Array], tried: Container[bytes]
    ) -> Array:
        """The candidate of the largest gain: points by chance, neighbours, neighbours of those."""
        encoding, generator = self._encoding, self._generator
        drawn = [encoding.drawn(_N_DRAWN, generator), encoding.neighbours(best, generator)]
        candidates = _unseen(np.concatenate(drawn), tried)
        gains = gain(candidates)
        for _ in range(_ROUNDS):
            top = candidates[np.argsort(-gains, kind="stable")[:_N_CLIMBED]]
            more = _unseen(encoding.neighbours(top, generator), tried)
            if not len(more):
                break
            found = gain(more)
            is_higher = found.max() > gains.max()
            candidates, gains = np.concatenate([candidates, more]), np.concatenate([gains, found])
            if not is_higher:
                break
        return np.asarray(candidates[int(np.argmax(gains))])


def _unseen(rows: Array, tried: Container[bytes]) -> Array:
    """Those that were not tried; all, where nothing else is left."""
    new = [index for index, key in enumerate(_keys(rows)) if key not in tried]
    return rows[new] if new else rows


def _keys(rows: Array) -> list[bytes]:
    """Equal for equal points; the addition makes -0.0 the 0.0 that it is."""
    every, width = (rows.round(9) + 0.0).tobytes(), rows.itemsize * rows.shape[1]
    return [every[at : at + width] for at in range(0, len(every), width)]


def _ranked(trials: Sequence[FrozenTrial], sign: int) -> tuple[list[int], Array, Array]:
    """Which trials tell something, numbers by which they rank (small is good), and their values."""
    places: list[int] = []
    keys: list[tuple[float, float]] = []
    values: list[float] = []
    stops = [_last_step(trial) for trial in trials if trial.state == TrialState.PRUNED]
    earliest = min((step for step in stops if step >= 0), default=math.inf)
    for place, trial in enumerate(trials):
        is_far = trial.state == TrialState.RUNNING and _last_step(trial) >= earliest
        if trial.state == TrialState.COMPLETE:
            values.append(sign * float(trial.values[0]))
            keys.append((0.0, values[-1]))
        elif trial.state == TrialState.PRUNED or is_far:
            values.append(float("nan"))
            keys.append(_stopped_key(trial, sign))
        else:
            continue
        places.append(place)
    order = {key: rank for rank, key in enumerate(sorted(set(keys)))}
    return places, np.array([float(order[key]) for key in keys]), np.array(values)


def _last_step(trial: FrozenTrial) -> int:
    return max(trial.intermediate_values, default=-1)


def _stopped_key(trial: FrozenTrial, sign: int) -> tuple[float, float]:
    """Behind all complete trials: who got further is better, then who had the better value."""
    if not trial.intermediate_values:
        return float("inf"), 0.0
    step, value = max(trial.intermediate_values.items())
    is_number = value == value  # noqa: PLR0124  NaN
    return 1.0 / (1.0 + step), sign * float(value) if is_number else float("inf")
