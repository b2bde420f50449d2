"""Successive halving: at a rung, the better third of those that stood there goes on.

::

    epoch 3   o o o o o o o o o o o o   the first rung: a dozen trials
    epoch 9   o o o o                   the better third of them
    epoch 27  o

With one objective this is Optuna's rule, ties included, and its brackets where it is Hyperband. Two
things are other. Optuna's judge one value, and refuse to hear several: here the trial of the better
front is ahead (`ranks`), and within a front the one in a sparser region (`crowding`), as in NSGA-II.
And a rung stops nobody before a few trials stood there: where many train at once, all that begin
together reach it together, and whoever is measured by one other only is measured by a coin toss.
Those that it let pass for that are measured after a later epoch, when enough have stood there: they
made 25 epochs each, however bad, when the first rung was new to all.

Source: Li et al., A System for Massively Parallel Hyperparameter Tuning, 2018, algorithm 2;
Schmucker et al., Multi-objective Asynchronous Successive Halving, 2021, section 3.2;
Deb et al., A Fast and Elitist Multiobjective Genetic Algorithm: NSGA-II, 2002, section III.
"""

from __future__ import annotations

import binascii
import math
from collections.abc import Container, Mapping, Sequence

from nbautoml.spec.fronts import front_of

__all__ = ["Rungs", "crowding", "ranks"]

Values = tuple[float, ...]


def ranks(points: Sequence[Values]) -> list[int]:
    """The front of each point: 0 for those that none dominates, 1 for those next without these ...

    >>> ranks([(1, 5), (2, 2), (3, 3), (4, 4)])
    [0, 0, 1, 2]
    """
    found = [0] * len(points)
    left, rank = list(range(len(points))), 0
    while left:
        first = {left[at] for at in front_of([points[at] for at in left])}
        for at in first:
            found[at] = rank
        left, rank = [at for at in left if at not in first], rank + 1
    return found


def crowding(points: Sequence[Values]) -> list[float]:
    """How far each point's neighbours are, summed over the objectives; infinite at the ends.

    One objective has no regions, so that all are alike.

    >>> crowding([(0, 4), (1, 1), (4, 0)])
    [inf, 2.0, inf]
    """
    found = [0.0] * len(points)
    for axis in range(len(points[0]) if len(points[0]) > 1 else 0):
        order = sorted(range(len(points)), key=lambda at: points[at][axis])
        low, high = points[order[0]][axis], points[order[-1]][axis]
        for at in range(len(points)):
            if points[at][axis] in {low, high}:
                found[at] = math.inf
        if high > low:
            for before, at, after in zip(order, order[1:], order[2:], strict=False):
                found[at] += (points[after][axis] - points[before][axis]) / (high - low)
    return found


class Rungs:
    """The rungs of a study, and who stands on them.

    Args:
        directions: one an objective.
        first: the epoch of the first rung; the next is ``eta`` times as late.
        max_epochs: of a trial; with ``has_brackets``, as Hyperband wants it.
        eta: one of so many goes on.
        has_brackets: Hyperband: some trials are spared the first rungs.
        least: how many trials a rung must have seen, the judged one among them, to stop it.
        is_in_rounds: a trial is compared with those that are settled (`settle_before`) only, and so
            with the same ones whoever is faster: see `nbautoml.study.rounds`.

    >>> rungs = Rungs(("maximize", "minimize"), first=1, eta=2)
    >>> [rungs.should_stop(n, 1, v) for n, v in enumerate([(0.9, 10), (0.8, 5), (0.7, 20)])]
    [False, False, True]
    """

    def __init__(
        self,
        directions: Sequence[str],
        *,
        first: int = 1,
        max_epochs: int | None = None,
        eta: int = 3,
        has_brackets: bool = False,
        least: int = 1,
        is_in_rounds: bool = False,
    ) -> None:
        self._signs = [-1.0 if direction == "maximize" else 1.0 for direction in directions]
        self._first, self._eta = first, eta
        n_brackets = 1
        if has_brackets and max_epochs is not None:
            n_brackets = math.floor(math.log(max(2, max_epochs) / first, eta)) + 1
        self._budgets = [
            math.ceil(n_brackets * eta ** (n_brackets - 1 - at) / (n_brackets - at))
            for at in range(n_brackets)
        ]
        self._least = least
        self._stands: dict[tuple[int, int], dict[int, Values]] = {}  # bracket, rung -> trials
        self._next_rung: dict[int, int] = {}
        self._unjudged: dict[int, set[tuple[int, int]]] = {}  # trial -> rungs that let it pass so
        self._is_in_rounds = is_in_rounds
        self._unsettled: dict[int, dict[tuple[int, int], Values]] = {}

    def should_stop(
        self,
        number: int,
        epoch: int,
        values: Sequence[float],
        *,
        among: Container[int] | None = None,
    ) -> bool:
        """Note a trial's values after an epoch; whether it ends here.

        Args:
            number: of the trial.
            epoch: that it has made.
            values: one an objective.
            among: with which trials it is compared; None for all.
        """
        own = tuple(sign * value for sign, value in zip(self._signs, values, strict=True))
        return self._falls_behind(number, among) or self._ends_at_a_rung(number, epoch, own, among)

    def _falls_behind(self, number: int, among: Container[int] | None) -> bool:
        """Whether a rung that let it pass for want of others would stop it by now."""
        for place in sorted(self._unjudged.get(number, ())):
            stands = self._stands[place]
            own = self._unsettled.get(number, {}).get(place) or stands[number]
            seen = _seen({one: at for one, at in stands.items() if one != number}, among)
            if len(seen) + 1 < self._least:
                continue
            if not self._goes_on(own, seen):
                return True
            self._unjudged[number].discard(place)
        return False

    def _ends_at_a_rung(
        self, number: int, epoch: int, own: Values, among: Container[int] | None
    ) -> bool:
        bracket, is_last = self._bracket(number), False
        while not is_last:
            rung = self._next_rung.get(number, 0)
            if epoch < self._first * self._eta ** (bracket + rung):
                return False
            if any(math.isnan(value) for value in own):
                return True
            others = self._stands.setdefault((bracket, rung), {})
            seen = _seen(others, among)
            is_last = not self._goes_on(own, seen)
            if len(seen) + 1 < self._least:
                self._unjudged.setdefault(number, set()).add((bracket, rung))
            if self._is_in_rounds:
                self._unsettled.setdefault(number, {})[bracket, rung] = own
            else:
                others[number] = own
            self._next_rung[number] = rung + 1
        return True

    def settle_before(self, number: int) -> None:
        """The rounds before this trial's are over: from now on others are compared with theirs."""
        for earlier in sorted(one for one in self._unsettled if one < number):
            for place, values in self._unsettled.pop(earlier).items():
                self._stands[place][earlier] = values

    def forget(self, number: int, after: int = 0) -> None:
        """A trial goes on from an earlier epoch: what it did after that did not happen."""
        bracket = self._bracket(number)
        for (one, rung), stands in self._stands.items():
            is_later = one == bracket and self._first * self._eta ** (bracket + rung) > after
            if is_later and stands.pop(number, None) is not None:
                self._next_rung[number] = min(self._next_rung[number], rung)
                self._unjudged.get(number, set()).discard((one, rung))

    def _goes_on(self, own: Values, others: Sequence[Values]) -> bool:
        n_others = len(others)
        if n_others + 1 < self._least:
            return True
        n_best = max(1, (n_others + 1) // self._eta)
        if len(own) == 1:
            return sum(other < own for other in others) < n_best
        points = [*others, own]
        rank = ranks(points)
        mine = rank[-1]
        same = [at for at, found in enumerate(rank) if found == mine]
        room = crowding([points[at] for at in same])
        n_better = sum(found < mine for found in rank) + sum(found > room[-1] for found in room)
        return n_better < n_best

    def _bracket(self, number: int) -> int:
        at = binascii.crc32(f"nbautoml_{number}".encode()) % sum(self._budgets)
        for bracket, budget in enumerate(self._budgets):
            at -= budget
            if at < 0:
                return bracket
        raise AssertionError("unreachable: the budgets add up")


def _seen(stands: Mapping[int, Values], among: Container[int] | None) -> list[Values]:
    return [at for one, at in stands.items() if among is None or one in among]
