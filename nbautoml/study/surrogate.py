"""A small Gaussian process in numpy: from the trials so far, what a point may give and how sure that is.

Optuna's own (`GPSampler`) needs torch and half a second a trial; the process that owns a run loads
no torch, and its trials may take milliseconds. This one fits a hundred trials in some twenty.

::

    rows, scores ──fit──> Surrogate ──predict──> mean, variance ──> log_expected_improvement
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from statistics import NormalDist
from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = ["Surrogate", "bent_scores", "log_expected_improvement", "normal_scores"]

Array = NDArray[np.float64]

_JITTER = 1e-8
# Logarithms of what the parameters are about, and how far from it they usually are. Inputs lie in
# [0, 1] and scores have deviation 1, so these hold for any space. The noise's is wide: a metric
# may be exact, or mostly the luck of a seed.
_LENGTH = (0.0, 1.0)
_SCALE = (0.0, 1.0)
_NOISE = (math.log(1e-2), 1.5)
_BOUNDS = (-4.0, 4.0)
_NOISE_BOUNDS = (math.log(1e-5), 0.0)
_FIT_STEPS = 25


def normal_scores(order: Array) -> Array:
    """Ranks as quantiles of the normal distribution; equal values share the mean of their ranks.

    Only the order of trials counts then: a loss that explodes here and there, or an accuracy that
    crowds below 1, does not bend the model.

    >>> normal_scores(np.array([3.0, 1.0, 1e9])).round(2).tolist()
    [0.0, -0.97, 0.97]
    """
    _, places, counts = np.unique(order, return_inverse=True, return_counts=True)
    middle = np.cumsum(counts) - (counts + 1) / 2  # mean rank of each value, from 0
    normal = NormalDist()
    quantiles = [normal.inv_cdf((rank + 0.5) / len(order)) for rank in middle]
    return np.asarray(quantiles)[places]


def bent_scores(order: Array, values: Array) -> Array:
    """The better half by its values, the rest by its ranks.

    Where numbers have no end of values, a search comes ever closer to its best point, and ranks
    would draw what is nearly equal there far apart: no smooth model follows that. Of the worse
    half, a model needs to know the order and no more.

    Args:
        order: as for `normal_scores`: small is good.
        values: NaN where a trial has only its place in the order.

    >>> bent_scores(np.arange(6.0), np.array([0.0, 0.1, 1.0, 2.0, 1e9, np.nan])).round(1).tolist()
    [-1.2, -1.1, -0.4, 0.5, 0.9, 1.4]
    """
    scores = normal_scores(order)
    known = np.flatnonzero(~np.isnan(values))
    if not len(known):
        return scores
    last = known[np.argsort(order[known], kind="stable")[min(len(known) - 1, len(order) // 2)]]
    middle, best = values[last], values[known].min()
    if middle <= best:  # more than half share the best value
        return scores
    is_good = np.nan_to_num(values, nan=np.inf) <= middle
    scores = scores - scores[last]
    scores[is_good] = -2 * (middle - values[is_good]) / (middle - best)
    spread: Array = (scores - scores.mean()) / scores.std()
    return spread


@dataclass(frozen=True)
class Surrogate:
    """A fitted Gaussian process: Matérn 5/2, a length for each dimension, noise of its own.

    Two categories are at distance 0 or 1.

    Attributes:
        is_category: whether a dimension is a category; shape (d,).
        rows: the points; (n, d).
        weights: inverse squared lengths; (d,).
        scale, noise: variances.

    Source: Rasmussen and Williams, "Gaussian Processes for Machine Learning", 2006, Algorithm 2.1
    and Section 5.4.1 (gradients of the marginal likelihood).

    >>> rows = np.linspace(0, 1, 12)[:, None]
    >>> model = Surrogate.fit(rows, np.sin(6 * rows[:, 0]), np.array([False]))
    >>> mean, variance = model.predict(np.array([[0.26], [0.8]]))
    >>> bool(abs(mean - np.sin([1.56, 4.8])).max() < 0.05), bool(variance.max() < 0.01)
    (True, True)
    """

    is_category: NDArray[np.bool_]
    rows: Array
    weights: Array
    scale: float
    noise: float
    _lower: Array
    _answers: Array

    @classmethod
    def fit(cls, rows: Array, scores: Array, is_category: NDArray[np.bool_]) -> Surrogate:
        """The most probable parameters given the scores (smaller may be better, or larger).

        Args:
            rows: numbers in [0, 1], or a category's number; (n, d).
            scores: about 0 and of deviation about 1; (n,).
            is_category: (d,).
        """
        squares = _squares(rows, rows, is_category)
        n_dimensions = rows.shape[1]
        low = np.array([_BOUNDS[0]] * (n_dimensions + 1) + [_NOISE_BOUNDS[0]])
        high = np.array([_BOUNDS[1]] * (n_dimensions + 1) + [_NOISE_BOUNDS[1]])
        start, _ = _expected(n_dimensions)
        found = _descend(lambda theta: _misfit(theta, squares, scores), start, low, high)
        return cls._with(found, rows, scores, is_category, squares)

    @classmethod
    def _with(
        cls,
        theta: Array,
        rows: Array,
        scores: Array,
        is_category: NDArray[np.bool_],
        squares: Array,
    ) -> Surrogate:
        weights = np.exp(-2 * theta[:-2])
        scale, noise = float(np.exp(theta[-2])), float(np.exp(theta[-1]))
        lower = _lower(scale * _matern(squares @ weights)[0], noise)
        answers = np.linalg.solve(lower.T, np.linalg.solve(lower, scores))
        return cls(is_category, rows, weights, scale, noise, lower, answers)

    def predict(self, rows: Array) -> tuple[Array, Array]:
        """Mean and variance (without noise) at other points; shapes (m,)."""
        likeness = self.scale * _matern(self._squares(rows) @ self.weights)[0]
        half = np.linalg.solve(self._lower, likeness.T)
        return likeness @ self._answers, np.maximum(self.scale - (half**2).sum(0), 1e-12)

    def believing(self, rows: Array) -> Surrogate:
        """As if these points had given what is expected of them: trials that still run.

        Source: Ginsbourger, Le Riche and Carraro, "Kriging is well-suited to parallelize
        optimization", 2010 (the believer).
        """
        scores = np.concatenate([self._scores(), self.predict(rows)[0]])
        every = np.concatenate([self.rows, rows])
        theta = np.concatenate([-np.log(self.weights) / 2, np.log([self.scale, self.noise])])
        squares = _squares(every, every, self.is_category)
        return self._with(theta, every, scores, self.is_category, squares)

    def _scores(self) -> Array:
        """What was fitted."""
        scores: Array = self._lower @ (self._lower.T @ self._answers)
        return scores

    def _squares(self, rows: Array) -> Array:
        return _squares(rows, self.rows, self.is_category)


def log_expected_improvement(mean: Array, variance: Array, best: float) -> Array:
    """Logarithm of how much lower than ``best`` a point is expected to be; (m,).

    The logarithm tells points apart where the improvement itself would be rounded to 0.

    Source: Ament et al., "Unexpected improvements to expected improvement for Bayesian
    optimization", 2023.

    >>> log_expected_improvement(np.array([0.0, 9.0]), np.array([1.0, 1e-2]), 0.0).round(1).tolist()
    [-0.9, -4062.2]
    """
    deviation = np.sqrt(variance)
    z = (best - mean) / deviation
    near = np.maximum(z, -5.0)
    density = np.exp(-(near**2) / 2) / math.sqrt(2 * math.pi)
    below = _erfc(-near / math.sqrt(2)).astype(np.float64) / 2
    far = np.minimum(z, -5.0)  # there: density * (1/z^2 - 3/z^4)
    tail = -(far**2) / 2 - math.log(math.sqrt(2 * math.pi)) + np.log(1 / far**2 - 3 / far**4)
    found: Array = np.where(z < -5.0, tail, np.log(density + near * below)) + np.log(deviation)
    return found


_erfc: Callable[[Array], NDArray[Any]] = np.frompyfunc(math.erfc, 1, 1)


def _squares(one: Array, other: Array, is_category: NDArray[np.bool_]) -> Array:
    """Squared distances by dimension; (n, m, d)."""
    apart = (one[:, None, :] - other[None, :, :]) ** 2
    apart[..., is_category] = apart[..., is_category] > 0
    return apart


def _matern(squares: Array) -> tuple[Array, Array]:
    """Matérn 5/2 of weighted squared distances, and its derivative by them."""
    root = np.sqrt(5 * squares)
    decay = np.exp(-root)
    return (1 + root + root**2 / 3) * decay, (-5 / 6) * (1 + root) * decay


def _lower(covariance: Array, noise: float) -> Array:
    covariance = covariance.copy()
    covariance.flat[:: len(covariance) + 1] += noise + _JITTER
    return np.asarray(np.linalg.cholesky(covariance), dtype=np.float64)


@cache
def _expected(n_dimensions: int) -> tuple[Array, Array]:
    """Where the parameters are, and how far from there they usually are."""
    means = np.array([*[_LENGTH[0]] * n_dimensions, _SCALE[0], _NOISE[0]])
    return means, np.array([*[_LENGTH[1]] * n_dimensions, _SCALE[1], _NOISE[1]])


def _misfit(theta: Array, squares: Array, scores: Array) -> tuple[float, Array]:
    """Minus the logarithm of the parameters' probability given the scores, and its gradient."""
    weights, scale, noise = np.exp(-2 * theta[:-2]), np.exp(theta[-2]), np.exp(theta[-1])
    likeness, slope = _matern(squares @ weights)
    lower = _lower(scale * likeness, float(noise))
    inverse = np.linalg.inv(lower)
    inverse = inverse.T @ inverse
    answers = inverse @ scores
    pull = (inverse - answers[:, None] * answers) / 2
    # Five calls of numpy's own helpers (outer, tensordot, diag ...) took half as long as all of this.
    flat = (pull * slope * scale).reshape(1, -1)
    gradient = np.empty(len(theta))
    gradient[:-2] = (flat @ squares.reshape(-1, len(weights)))[0] * (-2 * weights)
    gradient[-2], gradient[-1] = (pull * likeness).sum() * scale, pull.trace() * noise
    means, spreads = _expected(len(weights))
    off = (theta - means) / spreads
    value = scores @ answers / 2 + np.log(lower.diagonal()).sum() + (off**2).sum() / 2
    return float(value), gradient + off / spreads


def _descend(
    function: Callable[[Array], tuple[float, Array]], start: Array, low: Array, high: Array
) -> Array:
    """A minimum between the bounds, by the signs of the gradient: steps grow while they agree.

    It loads nothing (scipy takes a third of a second), and a fit needs no more than two digits.

    Source: Igel and Hüsken, "Improving the Rprop learning algorithm", 2000 (iRprop-).
    """
    theta, steps, before = start.copy(), np.full(len(start), 0.3), np.zeros(len(start))
    best, lowest = start, math.inf
    for _ in range(_FIT_STEPS):
        value, gradient = function(theta)
        if value < lowest:
            best, lowest = theta.copy(), value
        turn = gradient * before
        steps = steps * np.where(turn > 0, 1.3, np.where(turn < 0, 0.5, 1))
        steps = np.minimum(np.maximum(steps, 1e-3), 1.0)  # `np.clip` takes 8 us, these two 1
        before = np.where(turn < 0, 0.0, gradient)
        theta = np.minimum(np.maximum(theta - np.sign(before) * steps, low), high)
    return best
