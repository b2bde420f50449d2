"""What a worker does with a task of module trials: build, fit, report, keep the weights.

::

    for each trial:  params -> module's arguments + FitSettings -> fit() -> TrialEnded
                                                   |  StepsDone, EpochEnded
                                                   '-- after each epoch: report -> go on?
"""

from __future__ import annotations

import math
import time
import weakref
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from nbautoml.events import (
    EpochEnded,
    RunControl,
    StepsDone,
    Task,
    TaskContext,
    TrialEnded,
    TrialRestarted,
    TrialSpec,
)
from nbautoml.spec.fit import FitSettings
from nbautoml.spec.fronts import dominates
from nbautoml.store import save_artifact
from nbautoml.train.failures import cancelled, failed
from nbautoml.tune.checkpoints import Checkpoints
from nbautoml.tune.session import Session, session_for

if TYPE_CHECKING:
    import torch

    from nbautoml.train import FitResult

__all__ = ["Reporter", "built_with", "ended_well", "make_builder", "train_modules", "train_one"]


# Between two batches nobody asks sooner: a stack's batch of a small model takes a millisecond, and
# each of its trials would.
ASK_EVERY_S = 0.01


def train_modules(task: Task, context: TaskContext) -> None:
    """Handler: trains each of the task's trials, one after another."""
    import torch

    torch.set_num_threads(context.n_threads)
    session = session_for(context)
    for trial in task.trials:
        ended = train_one(trial, task, session, context)
        context.emit(ended)
        if context.is_retired:
            return  # the others are better off elsewhere


def make_builder(
    target: Callable[..., Any], arguments: dict[str, Any]
) -> Callable[[], torch.nn.Module]:
    """A function without arguments that makes a fresh module."""

    def build() -> torch.nn.Module:
        module: torch.nn.Module = target(**arguments)
        return module

    return build


def built_with(settings: Mapping[str, Any], arguments: Mapping[str, Any]) -> str:
    """What a trial's module and the shape of its steps hang on, as a text."""
    return repr((sorted(arguments.items()), settings.get("batch_size")))


class Reporter:
    """Listener of a fit (`nbautoml.train.Listener`): events out, "go on?" back.

    ``has_clock``: it sees to the trial's time limit, by the clock on the wall. A stack has clocks
    of its own (`nbautoml.train.stacked.shares`).
    """

    def __init__(
        self,
        trial: TrialSpec,
        task: Task,
        session: Session,
        context: TaskContext,
        *,
        has_clock: bool = True,
    ) -> None:
        self.trial, self._context = trial.number, context
        self._metric = session.recipe.objectives[0].metric
        self._n_epochs = session.split(trial.params)[0].get("epochs", FitSettings.epochs)
        self._limit_s = task.limit_s if has_clock else None
        self._begun_at = time.monotonic()
        self._until = self._begun_at + self._limit_s if self._limit_s is not None else None
        self.is_stopped_early = False
        self.value = math.nan  # of the first objective, after the latest epoch
        # Where nobody would end a trial, nobody is asked after each epoch of each trial.
        self._is_judged = bool(task.payload.get("judged", True))
        self._is_announced = False
        self._ask_again_at = 0.0
        self._counts = session.counts_parameters
        self._module: weakref.ref[torch.nn.Module] | None = None
        self.sizes: dict[str, float] = {}

    def watch(self, build: Callable[[], torch.nn.Module]) -> Callable[[], torch.nn.Module]:
        """The builder, with what it builds counted, where a trial's size is an objective."""
        if not self._counts:
            return build

        def watched() -> torch.nn.Module:
            module = build()
            self._module = weakref.ref(module)
            return module

        return watched

    def count(self) -> dict[str, float]:
        """Sizes that are objectives; lazy layers have theirs only after a first batch."""
        module = self._module() if self._module is not None else None
        if module is not None and not self.sizes:
            n = sum(weight.numel() for weight in module.parameters() if weight.requires_grad)
            self.sizes = {"n_parameters": float(n)}
        return self.sizes

    def on_steps(self, steps: list[int], losses: list[float]) -> None:
        """To the record."""
        self._context.emit(
            StepsDone(trial=self.trial, name="step_loss", steps=steps, values=losses)
        )

    def announce(self, epoch: int, step: int, metrics: dict[str, float]) -> None:
        """To the record, and to the stopper."""
        metrics = {**metrics, **self.count()}
        self.value = metrics[self._metric]
        self._context.emit(EpochEnded(trial=self.trial, epoch=epoch, step=step, metrics=metrics))
        if self._is_judged:
            self._context.post(self.trial, epoch, self.value)
        self._is_announced = True

    def on_epoch(self, epoch: int, step: int, metrics: dict[str, float]) -> bool:
        """The stopper's word."""
        if not self._is_announced:
            self.announce(epoch, step, metrics)
        self._is_announced = False
        verdict = self._context.verdict if self._is_judged else self._context.check
        answer = self._asked(verdict)
        self._raise_if_over(answer)
        # After the last epoch there is nothing to stop: the rungs of Hyperband end with it.
        self.is_stopped_early = answer is RunControl.STOP_EARLY and epoch < self._n_epochs
        return self.is_stopped_early

    def note_spent(self, spent_s: float) -> None:
        """Earlier attempts, which this one goes on from, have trained for so long."""
        if self._limit_s is not None:
            self._until = self._begun_at + self._limit_s - spent_s

    def on_batch(self) -> None:
        """Cancelled, or over its time?"""
        now = time.monotonic()
        if now < self._ask_again_at:
            return
        self._ask_again_at = now + ASK_EVERY_S
        self._raise_if_over(self._asked(self._context.check))

    def _asked(self, ask: Callable[[int], RunControl]) -> RunControl:
        """An answer; while it is waited for (a run may be paused) the trial's time does not run."""
        begin = time.monotonic()
        answer = ask(self.trial)
        if self._until is not None:
            self._until += time.monotonic() - begin
        return answer

    def _raise_if_over(self, answer: RunControl) -> None:
        from nbautoml.train import TimeOverError, TrialCancelled

        if answer is RunControl.CANCEL:
            raise TrialCancelled
        if self._until is not None and time.monotonic() > self._until:
            raise TimeOverError(f"took longer than {self._limit_s:g} s")


def train_one(trial: TrialSpec, task: Task, session: Session, context: TaskContext) -> TrialEnded:
    """One trial from its first step to its end."""
    from nbautoml.train import TrialCancelled, is_device_lost, is_out_of_memory, release_frames

    reporter = Reporter(trial, task, session, context)
    number = trial.number
    try:
        result = _trained(trial, reporter, session, context)
    except TrialCancelled:
        return cancelled(number)
    except (Exception, SystemExit) as error:  # noqa: BLE001  the user's code may raise anything
        ended = failed(number, error, session.capsule_dir)
        if is_device_lost(error) or is_out_of_memory(error):
            context.retire()
        release_frames(error)
        return ended
    return ended_well(result, reporter, task, session, context)


def _trained(
    trial: TrialSpec, reporter: Reporter, session: Session, context: TaskContext
) -> FitResult:
    """Fit it; out of memory, once more with half of each batch at a time."""
    import torch

    from nbautoml.train import free_memory, is_out_of_memory, one_line, release_frames

    checkpoints = Checkpoints(trial, context)
    try:
        return _fitted(trial, checkpoints, reporter, session, context)
    except Exception as error:  # what is not about memory goes on its way
        if not is_out_of_memory(error):
            raise
        text = f"{one_line(error)}; again with half of each batch at a time"
        release_frames(error)  # they hold the very memory that is lacking
    free_memory(torch.device(context.device))
    epoch, step = checkpoints.start
    context.emit(TrialRestarted(trial=trial.number, reason=text, epoch=epoch, step=step))
    return _fitted(trial, checkpoints, reporter, session, context, n_parts=2)


def _fitted(
    trial: TrialSpec,
    checkpoints: Checkpoints,
    reporter: Reporter,
    session: Session,
    context: TaskContext,
    n_parts: int = 1,
) -> FitResult:
    """Fit it from the newest checkpoint that can be used, without autograd where that is faster."""
    from nbautoml.train import CannotKeep, fit
    from nbautoml.train.stacked import BrokenStack, CannotStack, Member

    settings, arguments = session.split(trial.params)
    build = reporter.watch(make_builder(session.target, arguments))
    for start in checkpoints.starts():
        reporter.note_spent(start.spent_s if start else 0.0)
        if session.solo is not None and n_parts == 1:
            member = Member(
                number=trial.number, build=build, settings=FitSettings(**settings),
                seed=trial.seed, listener=reporter, keeper=checkpoints, resumed=start,
            )  # fmt: skip
            try:
                return session.solo.fit(
                    member, built_with(settings, arguments), on_built=reporter.count
                )
            except CannotStack:
                pass  # nobody was told of a step
            except BrokenStack as error:
                epoch, step = checkpoints.start
                text = f"{error}; again with autograd"
                context.emit(
                    TrialRestarted(trial=trial.number, reason=text, epoch=epoch, step=step)
                )
        try:
            return fit(
                build,
                session.opened_data,
                FitSettings(**settings),
                objective=session.recipe.objectives[0],
                metrics=session.metric_names,
                seed=trial.seed,
                device=context.device,
                listener=reporter,
                loss=session.loss,
                keeper=checkpoints,
                start=start,
                n_parts=n_parts,
            )
        except CannotKeep as error:
            checkpoints.reject(error)
    raise AssertionError("unreachable: the last start is a fresh one")


def ended_well(
    result: FitResult, reporter: Reporter, task: Task, session: Session, context: TaskContext
) -> TrialEnded:
    """The end of a trial that was trained to its end; weights that may be the best are kept."""
    metrics = {**result.metrics, **reporter.count()}
    values = [metrics[one.metric] for one in session.recipe.objectives]
    odd = [one.metric for one in session.recipe.objectives if math.isnan(metrics[one.metric])]
    if odd:  # the first objective is checked after every epoch
        text = f"{odd[0]} is not defined on the validation rows; validate on more, or leave it out"
        return TrialEnded(trial=reporter.trial, state="failed", error=text)
    if _should_keep(values, task, session):
        _keep_weights(result, reporter.trial, context)
    return TrialEnded(
        trial=reporter.trial,
        state="stopped_early" if reporter.is_stopped_early else "complete",
        values=values,
        metrics=metrics,
        best_epoch=result.best_epoch,
    )


def _should_keep(values: list[float], task: Task, session: Session) -> bool:
    """Weights are kept unless what was best at hand-out beats them: few files, and never too few.

    Of two trials that are as good the best is the one that came first, which may end last.

    With several objectives: of every trial that none beats in all of them.
    """
    front = task.payload.get("front")
    if front is not None:
        signs = [-1 if one.direction == "maximize" else 1 for one in session.recipe.objectives]
        own = [sign * value for sign, value in zip(signs, values, strict=True)]
        return not any(
            dominates([s * v for s, v in zip(signs, other, strict=True)], own) for other in front
        )
    best = task.payload.get("best")
    if best is None:
        return True
    is_max = session.recipe.objectives[0].direction == "maximize"
    return values[0] >= float(best) if is_max else values[0] <= float(best)


def _keep_weights(result: FitResult, number: int, context: TaskContext) -> None:
    from safetensors.torch import save

    tensors = {name: tensor.contiguous().clone() for name, tensor in result.state_dict.items()}
    details = {"epoch": result.best_epoch, "value": result.value}
    context.emit(
        save_artifact(
            context.run_folder,
            save(tensors),
            "weights",
            number,
            suffix=".safetensors",
            details=details,
        )
    )
