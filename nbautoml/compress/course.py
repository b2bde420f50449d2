"""What a search tries once the known settings are through: see `Course`."""

from __future__ import annotations

import math
import statistics
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

from nbautoml.compress.families import refined, shaping_of, with_form
from nbautoml.compress.limits import Limits, figures_of
from nbautoml.compress.nearby import left_of, nearby, sized, switched
from nbautoml.compress.presets import rate_for
from nbautoml.compress.space import is_trained, whole
from nbautoml.spec import Choice, Objective, Space
from nbautoml.spec.fronts import dominates, front_of

__all__ = ["TRAIN_S", "Course", "Done"]

TRAIN_S = "train_s"
"""The metric of a trial that says how long its passes took."""

MENDABLE = 8.0  # times the allowed drop, beyond it: what few passes lost and all may win back
MOST_FAILURES = 2  # of a form that has never worked
NEAR = 3.0  # likewise: what another way of doing it may win back
LESS, MORE, ENOUGH = 0.75, 1.5, 0.94
STORED_BITS = {"off": 32, "fp16": 16, "int8_weights": 8, "int4_weights": 4}
"""Forms that compute with floats whatever the file holds: more bits are a larger file and no less time."""
N_PAIRS = 3  # of the newest models in two forms tell what the one costs beside the other


class Done:
    """A finished trial, as `pick` and `figures_of` read it."""

    def __init__(
        self,
        number: int,
        params: Mapping[str, Any],
        values: Sequence[float],
        metrics: Mapping[str, float],
    ) -> None:
        self.number, self.params, self.state = number, dict(params), "complete"
        self.values, self.metrics, self.error = tuple(values), dict(metrics), ""


class Course:
    """Chooses the next point from what was found, or leaves it to the sampler.

    ::

        a model of the front within the limits  --> the same training in its other forms
        then by turns   sized       between the smallest pruned model within the limits and the
                                    largest beyond them: how much may go
                        mended      a smaller model that is little beyond them, done another way
                        promotion   near the front, had few passes: all of them
                        beside      next to the model that would be picked now
                        along       next to another model of the front
                        suggestion  what the sampler thinks of

    Another form costs no training. Which forms are worth it is learnt: what a form costs beside
    another, in latency and size, differs little from one model to the next. Where models are counted
    a form must promise a better pick.

    Args:
        space: what varies.
        objectives: of the run, the metric first.
        limits: that its models must keep to.
        n_epochs: the most fine-tuning passes.
        is_counted: whether the search ends after a number of models, and not after a time.
    """

    def __init__(
        self,
        space: Space,
        objectives: tuple[Objective, ...],
        limits: Limits,
        n_epochs: int,
        *,
        is_counted: bool,
    ) -> None:
        self._is_counted = is_counted
        self._space, self._objectives = space, objectives
        self._limits, self._n_epochs = limits, n_epochs
        self._rows: dict[int, Done] = {}
        # Models by what was trained, and of each training by form.
        self._families: dict[str, dict[str, Done]] = {}
        self._planned: set[str] = set()
        self._n_planned = 0
        self._costs: list[tuple[int, float, float]] = []  # passes, their seconds, all other seconds
        self._failed: Counter[str] = Counter()
        forms = space.get("quantization")
        self._forms = tuple(map(str, forms.options)) if isinstance(forms, Choice) else ()

    # -- what happened ------------------------------------------------------------------------

    def planned(self, params: Mapping[str, Any]) -> None:
        """A point is, or was, handed out."""
        self._n_planned += 1
        self._planned.add(_key(params))

    def learned(self, row: Done, seconds: float) -> None:
        """A trial is complete, and took so long."""
        self._rows[row.number] = row
        form = str(row.params.get("quantization"))
        self._families.setdefault(shaping_of(row.params), {}).setdefault(form, row)
        n, train_s = row.params.get("epochs", 0), row.metrics.get(TRAIN_S, 0.0)
        if n and train_s > 0:
            self._costs.append((n, train_s, max(0.0, seconds - train_s)))

    def failed(self, params: Mapping[str, Any]) -> None:
        """A trial failed."""
        self._failed[str(params.get("quantization"))] += 1

    def has_worked(self, form: str) -> bool:
        """Whether there is a model in that form."""
        return any(row.params.get("quantization") == form for row in self._all())

    def taken(self, point: Mapping[str, Any]) -> dict[str, Any]:
        """A known setting; in floats where its form has failed again and again, and never worked."""
        form = str(point.get("quantization"))
        if self._failed[form] < MOST_FAILURES or self.has_worked(form):
            return dict(point)
        return with_form(point, "off") or {**point, "quantization": "off"}

    def front(self) -> list[Done]:
        """Models that no other beats, in the order of their trials."""
        rows = self._all()
        keys = [self._signed(row.values) for row in rows]
        return [rows[at] for at in front_of(keys)]

    @property
    def cheap_epochs(self) -> int:
        """Passes at first: a quarter of all, or as many as take no longer than all else of a trial.

        Few passes are a saving as long as it is the passes that cost.
        """
        least = max(1, self._n_epochs // 4)
        if not self._costs:
            return min(self._n_epochs, least)
        a_pass = statistics.median(train_s / n for n, train_s, _ in self._costs)
        others = statistics.median(other_s for _, _, other_s in self._costs)
        return min(self._n_epochs, max(least, int(others / max(a_pass, 1e-9))))

    # -- what comes next ----------------------------------------------------------------------

    def next_point(self) -> dict[str, Any] | None:
        """A point to try, or None: what the sampler suggests."""
        turn, is_form = self._n_planned, True
        if self._is_counted:
            # Where models are counted, another form costs as much as another training.
            turn, is_form = turn // 2, turn % 2 == 1
        found = self._other_form() if is_form else None
        if found is not None:
            return found
        ways = (
            self._sized, self._mended, self._promotion, self._sized_otherwise, self._beside,
            self._mended, self._along,
        )  # fmt: skip
        first = turn % (len(ways) + 1)
        if first == len(ways):
            return None
        tried = (way() for way in (*ways[first:], *ways[:first]))
        return next((point for point in tried if point is not None), None)

    def _other_form(self) -> dict[str, Any] | None:
        """A form of a trained model that may be worth having; the best model's first."""
        good = self._good()
        for row in good:
            for point in self._forms_of(row):
                if self._is_worth(row, str(point["quantization"]), good[0]):
                    return point
        # What loses too much in few bits may lose less in more, and still be the smallest.
        for row in self._missed() if good else []:
            guesses = [(self._guess(row, str(p["quantization"])), p) for p in self._forms_of(row)]
            finer = [(_product(g), p) for g, p in guesses if g and g[2] > row.values[2]]
            cost, point = min(finer, key=lambda pair: pair[0], default=(math.inf, {}))
            if cost < _cost(good[0]):
                return point
        # The same form another way: sparing sensitive layers is for what loses too much.
        ways = [(row, "on") for row in self._missed()] + [(row, "off") for row in good[:1]]
        for row, spared in ways:
            for point in refined(row.params, self._space):
                is_meant = point.get("spared", "off") == spared
                if is_meant and _key(point) not in self._planned:
                    return point
        return None

    def _forms_of(self, row: Done) -> list[dict[str, Any]]:
        """The training of a model in other forms, those that were not tried yet."""
        if not is_trained(row.params) or row.params.get("quantization") not in self._forms:
            return []
        known = self._families[shaping_of(row.params)]
        points = (with_form(row.params, form) for form in self._forms if form not in known)
        points = (None if point is None else whole(point, self._space) for point in points)
        return [point for point in points if point is not None and _key(point) not in self._planned]

    def _is_worth(self, row: Done, form: str, best: Done) -> bool:
        """Whether no model is known that is as good as this one would be in that form."""
        if self._failed[form] >= MOST_FAILURES and not self.has_worked(form):
            return False  # this model, or machine, does not take it
        guess = self._guess(row, form)
        if guess is None:
            own = STORED_BITS.get(str(row.params.get("quantization")), 0)
            return not (self._is_counted and own and STORED_BITS.get(form, 0) >= own)
        if self._is_counted and _product(guess) >= _cost(best):
            return False
        return not any(dominates(self._signed(o.values), self._signed(guess)) for o in self._all())

    def _guess(self, row: Done, form: str) -> list[float] | None:
        """What a model would be in a form, by what that form is beside others; None: nobody knows."""
        families = self._families
        for kept, known in families[shaping_of(row.params)].items():
            ratios = _ratios(families, kept, form)
            if ratios is not None:
                costs = (v * r for v, r in zip(known.values[1:], ratios, strict=True))
                return [known.values[0], *costs]
        return None

    def _all(self) -> list[Done]:
        return list(self._rows.values())

    def _sized(self) -> dict[str, Any] | None:
        """How much may go: half way between what is known to be good and what is known to be too little.

        Half way in times, not in channels. Below a good one where nothing is known to be too little a
        quarter less; above what is too little where nothing is good yet half as much again. Among
        models with as many blocks as the best of the good ones.
        """
        return self._sized_among(self._pruned_by_depth()[0])

    def _sized_otherwise(self) -> dict[str, Any] | None:
        """Likewise among models with more blocks or fewer, if one of those is good, too."""
        first, others = self._pruned_by_depth()
        is_good = any(self._metric_broken(row) == 0.0 for row in others)
        return self._sized_among(others if is_good else first)

    def _pruned_by_depth(self) -> tuple[list[Done], list[Done]]:
        """Those with as many blocks as the best of the good ones, and the others; at first all, and none."""
        pruned = [row for row in self._trainings() if row.params.get("pruning") == "channels"]
        good = [row for row in pruned if self._metric_broken(row) == 0.0]
        if not good:
            return pruned, []
        depth = _is_shallow(min(good, key=_cost))
        first = [row for row in pruned if _is_shallow(row) == depth]
        return first, [row for row in pruned if _is_shallow(row) != depth]

    def _sized_among(self, pruned: Sequence[Done]) -> dict[str, Any] | None:
        good = [row for row in pruned if self._metric_broken(row) == 0.0]
        # What had few passes, or half of the rate that it needs, may well be good enough with more.
        bad = [
            row
            for row in pruned
            if self._metric_broken(row) > 0.0
            and row.params["epochs"] == self._n_epochs
            and row.params.get("lr_scale", 1.0) > rate_for(left_of(row.params)) / 2
        ]
        if good:
            start = min(good, key=lambda row: left_of(row.params))
            own = left_of(start.params)
            less = [left_of(row.params) for row in bad if left_of(row.params) < own]
            left = math.sqrt(own * max(less)) if less else own * LESS
            if left > own * ENOUGH:
                return None
        elif bad:
            start = max(bad, key=lambda row: left_of(row.params))
            left = left_of(start.params) * MORE
            if left >= 1.0:
                return None
        else:
            return None
        return self._new({**sized(start.params, self._space, left), "epochs": self._n_epochs})

    def _mended(self) -> dict[str, Any] | None:
        """A model that would be the pick if it lost a little less, trained or cut another way."""
        for row in self._missed():
            if row.params["epochs"] == self._n_epochs and is_trained(row.params):
                points = (self._new(point) for point in switched(row.params, self._space))
                found = next((point for point in points if point is not None), None)
                if found is not None:
                    return found
        return None

    def _missed(self) -> list[Done]:
        """Smaller than what would be picked now, and beyond the metric's limit alone and by little."""
        metric = self._objectives[0].metric
        top = min(map(_cost, self._good()), default=math.inf)
        broken = {row.number: self._broken(row) for row in self._all() if _cost(row) < top}
        found = [
            row
            for row in self._all()
            if list(broken.get(row.number, ())) == [metric] and broken[row.number][metric] <= NEAR
        ]
        return sorted(found, key=lambda row: broken[row.number][metric])

    def _trainings(self) -> list[Done]:
        """Of each training the form that loses least."""
        families = [list(found.values()) for found in self._families.values()]
        best = (min(rows, key=lambda row: self._signed(row.values)[0]) for rows in families)
        return [row for row in best if row.number and is_trained(row.params)]

    def _metric_broken(self, row: Done) -> float:
        return self._broken(row).get(self._objectives[0].metric, 0.0)

    def _new(self, point: dict[str, Any]) -> dict[str, Any] | None:
        """The point, unless it was tried."""
        return None if _key(point) in self._planned else point

    def _beside(self) -> dict[str, Any] | None:
        """A point beside the one that would be picked now, where that was trained."""
        return next((p for row in self._good()[:1] for p in self._around(row)), None)

    def _along(self) -> dict[str, Any] | None:
        """A point beside another model of the front, the best that has one left."""
        return next((p for row in self._good()[1:] for p in self._around(row)), None)

    def _around(self, row: Done) -> list[dict[str, Any]]:
        if not is_trained(row.params):
            return []
        near = [*nearby(row.params, self._space), *switched(row.params, self._space)]
        points = [{**p, "epochs": self._n_epochs} for p in near]
        return [point for point in points if _key(point) not in self._planned]

    def _good(self) -> list[Done]:
        """Models of the front within the limits, the one that would be picked first."""
        found = [row for row in self.front() if row.number and not self._broken(row)]
        return sorted(found, key=_cost)

    def _promotion(self) -> dict[str, Any] | None:
        """A point near the front that has had few passes so far, with all of them."""
        waiting = [
            row
            for row in self._rows.values()
            if row.number
            and 0 < row.params["epochs"] < self._n_epochs
            and is_trained(row.params)
            and _key({**row.params, "epochs": self._n_epochs}) not in self._planned
        ]
        if not waiting:
            return None
        front = {row.number for row in self.front()}
        metric = self._objectives[0].metric
        # More passes mend a drop of the metric, not a model that is too large. So the smallest
        # that may be mended, and the smallest that keeps to the limits, take turns.
        is_bold = self._n_planned // 4 % 2 == 0

        def order(row: Done) -> tuple[float, bool, float]:
            broken = self._broken(row)
            if is_bold and broken.get(metric, 0.0) <= MENDABLE:
                broken.pop(metric, None)
            return (round(sum(broken.values()), 1), row.number not in front, _cost(row))

        return {**min(waiting, key=order).params, "epochs": self._n_epochs}

    def _broken(self, row: Done) -> dict[str, float]:
        base = self._rows[0].values[0]
        return self._limits.broken(figures_of(row, self._objectives), self._objectives[0], base)

    def _signed(self, values: Sequence[float]) -> list[float]:
        signs = [-1 if one.direction == "maximize" else 1 for one in self._objectives]
        return [sign * value for sign, value in zip(signs, values, strict=True)]


def _ratios(
    families: Mapping[str, Mapping[str, Done]], form: str, to: str
) -> tuple[float, ...] | None:
    """What latency and size become from one form to another, as factors; None where nobody knows."""
    pairs = [
        [b / max(a, 1e-12) for a, b in zip(f[form].values[1:], f[to].values[1:], strict=True)]
        for f in families.values()
        if form in f and to in f
    ][-N_PAIRS:]
    return tuple(map(statistics.median, zip(*pairs, strict=True))) if pairs else None


def _is_shallow(row: Done) -> bool:
    return row.params.get("student") == "shallow"


def _cost(row: Done) -> float:
    return _product(row.values)


def _product(values: Sequence[float]) -> float:
    """The logarithm of all that should be small, multiplied: by it the pick is made."""
    return sum(math.log(max(value, 1e-12)) for value in values[1:])


def _key(params: Mapping[str, Any]) -> str:
    return repr(sorted(params.items()))
