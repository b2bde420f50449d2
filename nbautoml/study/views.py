"""Which trials of a long study a sampler or a stopper is shown, so that neither slows down."""

from __future__ import annotations

import copy
from collections.abc import Collection
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from optuna.trial import FrozenTrial

__all__ = ["SamplerView", "StopperView"]

_ENOUGH_GOOD = 10  # with fewer, a failure could pass for one of the better trials


class SamplerView:
    """At most about `cap` trials: the best, the latest, and some of all others.

    That is what a tree-structured Parzen estimator looks at anyway: its good set holds at most 25
    trials, and it weighs old ones less. A failed trial is shown as the worst of all, so that a
    region where training diverges is left (a failure as such is overlooked by Optuna).

    Args:
        signs: one an objective, -1 where larger is better.
        cap: how many trials to show.
        failed: numbers (in Optuna's study) of the trials that failed by themselves.
        enough_good: how many trials must have a value before failures are shown.
    """

    def __init__(
        self,
        signs: tuple[int, ...],
        cap: int,
        failed: Collection[int],
        *,
        enough_good: int = _ENOUGH_GOOD,
    ) -> None:
        self._enough_good = enough_good
        self._signs = signs
        self._cap = cap
        self._failed = failed
        self._kept: list[int] = []
        self._from = 0  # trials from here on are all shown
        self._is_in_rounds = False
        self._worst: dict[int, FrozenTrial] = {}

    def __call__(self, trials: list[FrozenTrial]) -> list[FrozenTrial]:
        """The selection, ordered by number."""
        if len(trials) > self._cap:
            # Sorting all is dear, so the choice is renewed when a fifth of it is new.
            if not self._is_in_rounds and len(trials) - self._from >= self._cap // 5:
                self._choose(trials)
            trials = [trials[index] for index in self._kept] + trials[self._from :]
        return self._with_failures(trials)

    def begin_round(self, trials: list[FrozenTrial]) -> None:
        """Choose anew, and from now on here only: the choice then hangs on these trials alone."""
        self._is_in_rounds = True
        if len(trials) > self._cap:
            self._choose(trials)

    def _choose(self, trials: list[FrozenTrial]) -> None:
        n = len(trials)
        share = self._cap // 5
        chosen = {index for index, trial in enumerate(trials) if not trial.state.is_finished()}
        complete = [index for index, trial in enumerate(trials) if trial.values is not None]
        for objective, sign in enumerate(self._signs):
            by_value = sorted(complete, key=lambda i: _value(trials[i], objective, sign))
            chosen.update(by_value[: share // len(self._signs)])
        chosen.update(range(n - 2 * share, n))
        # Of all others every k-th: where a region was searched long ago, some points remain.
        n_left = max(1, self._cap - share - len(chosen))
        chosen.update(range(0, n, max(1, n // n_left)))
        self._kept = sorted(chosen)
        self._from = n

    def _with_failures(self, trials: list[FrozenTrial]) -> list[FrozenTrial]:
        if not self._failed:
            return trials
        n_good = sum(trial.values is not None for trial in trials)
        if n_good < self._enough_good:
            return trials
        return [
            self._as_worst(trial) if trial.number in self._failed else trial for trial in trials
        ]

    def _as_worst(self, trial: FrozenTrial) -> FrozenTrial:
        # A stopped trial without any report ranks behind all others in TPE.
        if trial.number not in self._worst:
            from optuna.trial import TrialState

            shown: Any = copy.copy(trial)
            shown.state = TrialState.PRUNED
            shown.intermediate_values = {}
            self._worst[trial.number] = shown
        return self._worst[trial.number]


class StopperView:
    """At most about `cap` trials, spread over the study: every k-th, and the latest.

    A stopper compares with quantiles of what the trials reported, which a sample that does not
    look at values leaves where they are.
    """

    def __init__(self, cap: int) -> None:
        self._cap = cap

    def __call__(self, trials: list[FrozenTrial]) -> list[FrozenTrial]:
        """The selection, ordered by number."""
        n = len(trials)
        if n <= self._cap:
            return trials
        n_latest = self._cap // 10
        stride = 1
        while n / stride > self._cap:
            stride *= 2  # powers of two: trials once shown are not exchanged at every new one
        return trials[: n - n_latest : stride] + trials[n - n_latest :]


def _value(trial: FrozenTrial, objective: int, sign: int) -> float:
    values = trial.values
    if values is None or objective >= len(values):
        return float("inf")
    return sign * float(values[objective])
