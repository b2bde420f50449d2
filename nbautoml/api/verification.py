"""What came of training trials again: each number beside the recorded one, and what may explain a difference."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from nbautoml.api.texts import Table
from nbautoml.widgets.labels import number_label, one_line

__all__ = ["EQUAL", "ROUNDING", "Check", "TrialCheck", "Verification", "compare_trial"]

EQUAL, ROUNDING, DIFFERS = "equal", "within rounding", "differs"
# What another executor, or another number of threads, may change: see the contract of executors.
METRIC_TOLERANCE = 5e-3
LOSS_TOLERANCE = 1e-4
N_STEPS = 30
LOSSES = f"losses of the first {N_STEPS} steps"


@dataclass(frozen=True, kw_only=True)
class Check:
    """One quantity, then and now.

    Attributes:
        name: of the metric.
        recorded, again: its values; for `LOSSES` those of the step that differs most.
        difference: relative to the recorded value; infinite where one of the two is missing.
        tolerance: up to which the difference may be rounding.
    """

    name: str
    recorded: float | None
    again: float | None
    tolerance: float = METRIC_TOLERANCE

    @property
    def difference(self) -> float:
        """How far apart, relative to the recorded value.

        >>> Check(name="loss", recorded=0.5, again=0.4).difference
        0.2
        """
        if self.recorded is None or self.again is None:
            return math.inf
        if self.recorded == self.again or (math.isnan(self.recorded) and math.isnan(self.again)):
            return 0.0
        apart = abs(self.again - self.recorded)
        return math.inf if math.isnan(apart) else round(apart / max(abs(self.recorded), 1e-12), 12)

    @property
    def verdict(self) -> str:
        """equal, within rounding, differs."""
        if self.difference == 0:
            return EQUAL
        return ROUNDING if self.difference <= self.tolerance else DIFFERS


@dataclass(frozen=True, kw_only=True)
class TrialCheck:
    """One trial, then and now.

    Attributes:
        number: of the trial.
        checks: its losses and metrics.
        error: why it could not be trained again; "" when it could.
    """

    number: int
    checks: tuple[Check, ...] = ()
    error: str = ""

    @property
    def verdict(self) -> str:
        """The worst of its quantities'."""
        if self.error or not self.checks:
            return DIFFERS
        order = (EQUAL, ROUNDING, DIFFERS)
        return max((check.verdict for check in self.checks), key=order.index)

    @property
    def has_grown(self) -> bool:
        """Whether it differs in the end though its first losses agree."""
        first = next((check for check in self.checks if check.name == LOSSES), None)
        return self.verdict == DIFFERS and first is not None and first.verdict != DIFFERS

    @property
    def worst(self) -> Check | None:
        """What differs most."""
        return max(self.checks, key=lambda check: check.difference, default=None)


def compare_trial(
    number: int,
    recorded: Mapping[str, float],
    again: Mapping[str, float],
    losses: tuple[Mapping[int, float], Mapping[int, float]],
) -> TrialCheck:
    """The checks of a trial that was trained again.

    Args:
        number: of the trial.
        recorded: its metrics in the record.
        again: its metrics now.
        losses: step -> loss, recorded and again.
    """
    checks = []
    then, now = losses
    steps = [step for step in sorted({*then, *now}) if step <= N_STEPS]
    if steps:
        each = [
            Check(name=LOSSES, recorded=then.get(s), again=now.get(s), tolerance=LOSS_TOLERANCE)
            for s in steps
        ]
        checks.append(max(each, key=lambda check: check.difference))
    checks += [
        Check(name=name, recorded=recorded.get(name), again=again.get(name))
        for name in dict.fromkeys([*recorded, *again])
    ]
    return TrialCheck(number=number, checks=tuple(checks))


@dataclass(frozen=True, kw_only=True)
class Verification:
    """Which trials of a run give the same numbers again.

    Attributes:
        run: name of the run.
        trials: those that were trained again, in the order of their numbers.
        reasons: what is not as it was, and may explain a difference.
        seconds: how long it took.

    >>> same = TrialCheck(number=3, checks=(Check(name="loss", recorded=0.5, again=0.5),))
    >>> print(Verification(run="digits", trials=(same,), reasons=(), seconds=2.0))
    trial  metric  recorded  again  difference
    3      loss    0.5       0.5    0           equal
    run 'digits': 1 of 1 trials equal, in 2.0 s
    """

    run: str
    trials: tuple[TrialCheck, ...]
    reasons: tuple[str, ...]
    seconds: float

    @property
    def is_equal(self) -> bool:
        """Whether no trial differs by more than rounding."""
        return all(trial.verdict != DIFFERS for trial in self.trials)

    @property
    def differing(self) -> tuple[int, ...]:
        """Numbers of the trials that differ by more than rounding."""
        return tuple(trial.number for trial in self.trials if trial.verdict == DIFFERS)

    @property
    def table(self) -> Table:
        """A row a trial and quantity, with the verdict, and what may explain it."""
        rows = [row for trial in self.trials for row in _rows(trial)]
        heads = ["trial", "metric", "recorded", "again", "difference", ""]
        return Table(heads, rows, note="\n".join([self.summary, *self.reasons]))

    @property
    def summary(self) -> str:
        """In a line."""
        counts = dict.fromkeys((EQUAL, ROUNDING, DIFFERS), 0)
        for trial in self.trials:
            counts[trial.verdict] += 1
        n = len(self.trials)
        said = [f"{count} of {n} trials {verdict}" for verdict, count in counts.items() if count]
        told = ", ".join(said).replace("trials differs", "trials differ")
        return f"run {self.run!r}: {told}, in {self.seconds:.1f} s"

    def to_json(self) -> dict[str, Any]:
        """Everything as plain values; numbers that are not finite are None."""
        return {
            "run": self.run,
            "is_equal": self.is_equal,
            "reasons": list(self.reasons),
            "seconds": round(self.seconds, 3),
            "trials": [
                {
                    "number": trial.number,
                    "verdict": trial.verdict,
                    "error": trial.error,
                    "checks": [
                        {
                            "name": check.name,
                            "recorded": _finite(check.recorded),
                            "again": _finite(check.again),
                            "difference": _finite(check.difference),
                            "verdict": check.verdict,
                        }
                        for check in trial.checks
                    ],
                }
                for trial in self.trials
            ],
        }

    def __repr__(self) -> str:
        return repr(self.table)

    def _repr_mimebundle_(self, include: Any = None, exclude: Any = None) -> dict[str, str]:
        return self.table._repr_mimebundle_()


def _rows(trial: TrialCheck) -> Sequence[Sequence[str]]:
    if trial.error:
        return [[str(trial.number), "", "", "", "", f"failed: {one_line(trial.error, 150)}"]]
    return [
        [
            str(trial.number),
            check.name,
            _number(check.recorded),
            _number(check.again),
            "missing" if math.isinf(check.difference) else f"{check.difference:.2g}",
            check.verdict,
        ]
        for check in trial.checks
    ]


def _number(value: float | None) -> str:
    # Where two numbers are nearly equal, four digits would hide it.
    return number_label(value) if value is None or not math.isfinite(value) else f"{value:.7g}"


def _finite(value: float | None) -> float | None:
    return value if value is not None and math.isfinite(value) else None
