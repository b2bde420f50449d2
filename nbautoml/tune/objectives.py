"""What a worker does with a task of an objective: any function of a trial, in Optuna's words.

The function is called with an `AskingTrial`. Its suggestions come from the supervisor's study, so
define-by-run spaces, samplers and stoppers work as they do in Optuna, from another process.
"""

from __future__ import annotations

import math
import time
from collections.abc import Mapping, Sequence
from typing import Any

from nbautoml.errors import RecipeError
from nbautoml.events import (
    EpochEnded,
    LogLine,
    ParamsSuggested,
    RunControl,
    Task,
    TaskContext,
    TrialEnded,
    TrialSpec,
)
from nbautoml.train.failures import cancelled, failed
from nbautoml.tune.session import Session, session_for

__all__ = ["AskingTrial", "run_objectives"]

# So many reports may be on their way: then their sender waits for half of them to be answered.
MAX_OPEN_REPORTS = 200


class CancelledError(BaseException):
    """The trial was cancelled; not an Exception, so that an objective's own handlers let it pass."""


class AskingTrial:
    """The trial that an objective is called with: suggest, report, should_prune.

    Attributes:
        number: the trial's number.
        params: the values suggested so far.
        user_attrs: what `set_user_attr` was given; also in the run's log.
    """

    def __init__(
        self,
        trial: TrialSpec,
        metrics: Sequence[str],
        context: TaskContext,
        *,
        is_judged: bool = True,
    ) -> None:
        self.number = trial.number
        self.params: dict[str, Any] = dict(trial.params)
        self.user_attrs: dict[str, Any] = {}
        self._metrics, self._context = list(metrics), context
        self._is_judged = is_judged
        self._n_open = 0  # reports whose answer nobody has taken yet
        self._answer = RunControl.GO_ON
        self.last_values: list[float] = []

    def suggest_float(
        self,
        name: str,
        low: float,
        high: float,
        *,
        step: float | None = None,
        log: bool = False,
    ) -> float:
        """A number between ``low`` and ``high``."""
        question = {"kind": "float", "low": low, "high": high, "step": step, "log": log}
        return float(self._suggest(name, question))

    def suggest_int(
        self, name: str, low: int, high: int, *, step: int = 1, log: bool = False
    ) -> int:
        """A whole number from ``low`` to ``high``."""
        question = {"kind": "int", "low": low, "high": high, "step": step, "log": log}
        return int(self._suggest(name, question))

    def suggest_categorical(self, name: str, choices: Sequence[Any]) -> Any:
        """One of ``choices``."""
        return self._suggest(name, {"kind": "categorical", "choices": list(choices)})

    def report(self, value: float | Sequence[float], step: int) -> None:
        """Record an intermediate value; `should_prune` then says what the stopper thinks.

        The value is sent, and nothing is waited for: a report costs some 50 us. With several objectives: one value each, as the objective returns them.
        """
        listed: list[Any] = list(value) if isinstance(value, (tuple, list)) else [value]
        values = [float(one) for one in listed]
        if len(values) != len(self._metrics):
            raise RecipeError(
                f"trial.report got {len(values)} values at step {step}, the run has "
                f"{len(self._metrics)} objectives",
                hint=f"report ({', '.join(self._metrics)})",
            )
        self.last_values = values
        metrics = dict(zip(self._metrics, values, strict=True))
        self._context.emit(EpochEnded(trial=self.number, epoch=step, step=step, metrics=metrics))
        if self._is_judged:
            self._context.post(self.number, step, values[0])
            self._n_open += 1
        self._context.flush()  # what follows may take hours, and the curve is being watched
        if self._context.check(self.number) is RunControl.CANCEL:
            raise CancelledError
        if self._n_open > MAX_OPEN_REPORTS:
            self._hear(MAX_OPEN_REPORTS // 2)

    def should_prune(self) -> bool:
        """Whether the stopper would end the trial, by its last report: waits for the answer."""
        self._hear(self._n_open)
        if self._answer is RunControl.CANCEL:
            raise CancelledError
        return self._answer is RunControl.STOP_EARLY

    def close(self) -> None:
        """Take the answers that are still to come: they must not be taken for another trial's."""
        self._hear(self._n_open)

    def _hear(self, n: int) -> None:
        """Take the answers to the ``n`` earliest reports; they come in order."""
        for _ in range(n):
            self._n_open -= 1
            self._answer = self._context.verdict(self.number)

    def set_user_attr(self, key: str, value: Any) -> None:
        """Keep a note with the trial, in the run's log."""
        self.user_attrs[key] = value
        text = f"{key} = {str(value)[:500]}"
        self._context.emit(LogLine(text=text, trial=self.number))

    def _suggest(self, name: str, question: Mapping[str, Any]) -> Any:
        if name in self.params:
            return self.params[name]
        if self._context.check(self.number) is RunControl.CANCEL:
            raise CancelledError
        answer = self._context.ask(self.number, {"name": name, **question})
        if "error" in answer:
            raise RecipeError(str(answer["error"]))
        self.params[name] = answer["value"]
        self._context.emit(ParamsSuggested(trial=self.number, params=dict(self.params)))
        self._context.flush()  # what follows may end the process
        return answer["value"]


def run_objectives(task: Task, context: TaskContext) -> None:
    """Handler: calls the objective once for each of the task's trials."""
    session = session_for(context)
    names = [objective.metric for objective in session.recipe.objectives]
    is_judged = bool(task.payload.get("judged", True))
    for trial in task.trials:
        asking = AskingTrial(trial, names, context, is_judged=is_judged)
        try:
            ended = _run_one(asking, session, names)
        finally:
            asking.close()
        context.emit(ended)


def _run_one(asking: AskingTrial, session: Session, names: Sequence[str]) -> TrialEnded:
    number = asking.number
    started = time.monotonic()
    try:
        answer = session.target(asking)
        values = [float(v) for v in (answer if isinstance(answer, (tuple, list)) else [answer])]
    except CancelledError:
        return cancelled(number)
    except (Exception, SystemExit) as error:  # noqa: BLE001  the user's code may raise anything
        # Optuna's own exception, told by its name: the package is the study's to import.
        if type(error).__name__ == "TrialPruned":
            values = asking.last_values
            metrics = dict(zip(names, values, strict=False)) if len(names) > 1 else {}
            return TrialEnded(trial=number, state="stopped_early", values=values, metrics=metrics)
        return failed(number, error, session.capsule_dir)
    problem = _problem(values, len(names))
    if problem:
        return TrialEnded(trial=number, state="failed", error=problem)
    metrics = {**dict(zip(names, values, strict=True)), "seconds": time.monotonic() - started}
    return TrialEnded(trial=number, state="complete", values=values, metrics=metrics)


def _problem(values: list[float], n_objectives: int) -> str:
    if len(values) != n_objectives:
        return f"the objective returned {len(values)} values, the run has {n_objectives} objectives"
    odd = [value for value in values if not math.isfinite(value)]
    if odd:
        return f"the objective returned {'NaN' if math.isnan(odd[0]) else odd[0]}"
    return ""
