"""One fit of a module: the loop.

::

    seed -> build -> for each epoch:  order from (seed, epoch)
                       for each batch:  on_batch -> seed (seed, step) -> lr -> forward, backward, update
                       on_steps         losses fetched, checked, thinned
                       validate         metrics of the epoch
                       on_epoch         best weights kept; stop?  patience?  checkpoint, if due

A step never waits for the device: losses stay there and are fetched in chunks (`StepLog`).
"""

from __future__ import annotations

import math
import random
import time
from collections.abc import Callable

import numpy as np
import torch
from torch import nn

from nbautoml.errors import DataError, RecipeError
from nbautoml.spec.fit import FitSettings
from nbautoml.spec.objective import METRICS, Objective, metrics_for
from nbautoml.train.batches import TrainData, call_module, eval_batch_size
from nbautoml.train.judge import Judge, keep_weights
from nbautoml.train.losses import Loss
from nbautoml.train.memory import forward_in_parts
from nbautoml.train.metrics import Tally, default_metrics
from nbautoml.train.optimizers import bare_step
from nbautoml.train.result import FitResult, Listener
from nbautoml.train.schedules import lr_factor
from nbautoml.train.seeds import batch_order, isolated_rng, step_seed, step_seeder
from nbautoml.train.setup import Setup, prepare
from nbautoml.train.state import CannotKeep, FitState, Keeper, named_tensors, resume_, state_of
from nbautoml.train.steplog import StepLog, diverged, stride_for

__all__ = ["check_metrics", "evaluate", "fit", "metric_names", "threshold_of", "train_epoch"]


def fit(
    build: Callable[[], nn.Module],
    data: TrainData,
    settings: FitSettings,
    *,
    objective: Objective,
    seed: int,
    device: str,
    listener: Listener,
    metrics: tuple[str, ...] | None = None,
    loss: Loss | None = None,
    keeper: Keeper | None = None,
    start: FitState | None = None,
    n_parts: int = 1,
) -> FitResult:
    """Train one module and keep the weights of its best epoch.

    The numbers follow from the arguments alone: random generators are seeded inside and put
    back afterwards, so that nothing else in the process matters, nor does a fit disturb it.

    Args:
        build: makes the module; called once, after seeding.
        data: what to train and validate on.
        settings: how.
        objective: decides which epoch is the best; measured on validation data.
        seed: of weights, batch order and dropout.
        device: "cpu", "cuda:0" ...; where the data lies.
        listener: is told of steps and epochs, and may end the fit.
        metrics: names to measure each epoch; None for loss, objective and a usual few.
        loss: the user's own loss ``(output, target) -> scalar``; it goes before the one that
            the settings name.
        keeper: is given the fit's state after some epochs, to go on from should it be interrupted.
        start: such a state: the fit goes on after its epoch, with the numbers it would have had.
        n_parts: pieces of a batch that are gone through one after the other, where memory is short;
            the update is the whole batch's (see `nbautoml.train.memory`).

    Raises:
        TrialCancelled: the listener raised it.
        CannotKeep: ``start`` is of another module.
        DivergedError: the loss became NaN or infinite; names the step.
        ModelError, RecipeError, DataError: see `prepare`, `metric_names`, `evaluate`.
        Exception: what the module's own code raises comes through as it is: `user_frames`
            shows where.
    """
    place = torch.device(device)
    names = metric_names(data.task, objective, metrics)
    if data.valid.n == 0:
        raise DataError("there are no validation rows", hint="give some, or a split above 0")
    with isolated_rng(place):
        setup = prepare(build, data, settings, seed=seed, device=place, loss=loss, n_parts=n_parts)
        judge = Judge(objective=objective, patience=settings.patience)
        best = resume_(setup, judge, start) if start is not None else None
        course = _Course(setup, judge, listener, keeper, best, start)
        return course.run(names, threshold_of(loss))


def metric_names(
    task: str, objective: Objective, metrics: tuple[str, ...] | None = None
) -> tuple[str, ...]:
    """The metrics of a fit: those asked for and the objective.

    Raises:
        RecipeError: a metric is not known or does not suit the task.

    >>> metric_names("regression", Objective("rmse", "minimize"), ("mae",))
    ('loss', 'mae', 'rmse')
    """
    if metrics is None:
        metrics = default_metrics(task, objective.metric)
    names = tuple(dict.fromkeys(["loss", *metrics, objective.metric]))
    for name in names:
        if name not in metrics_for(task):
            what = "does not suit" if name in METRICS else "is not known for"
            raise RecipeError(
                f"metric {name!r} {what} a {task} task",
                hint=f"one of: {', '.join(metrics_for(task))}",
            )
    return names


def threshold_of(loss: Loss | None) -> float:
    """The score above which a module that is trained with a loss means "yes"."""
    # A module that is trained with BCELoss gives probabilities, all others raw scores.
    return 0.5 if isinstance(loss, nn.BCELoss) else 0.0


class _Course:
    """The epochs of a fit."""

    def __init__(
        self,
        setup: Setup,
        judge: Judge,
        listener: Listener,
        keeper: Keeper | None,
        best: dict[str, torch.Tensor] | None,
        start: FitState | None,
    ) -> None:
        self._setup, self._judge, self._listener, self._keeper = setup, judge, listener, keeper
        self._best = best
        self._epoch = start.epoch if start is not None else 0
        self._waited = -start.spent_s if start is not None else 0.0
        self._begin = time.perf_counter()
        self._n_bytes = sum(t.numel() * t.element_size() for _, t in named_tensors(setup.module))

    @property
    def _spent_s(self) -> float:
        """Seconds of training, earlier attempts' included."""
        return time.perf_counter() - self._begin - self._waited

    def run(self, names: tuple[str, ...], threshold: float) -> FitResult:
        setup, judge, listener = self._setup, self._judge, self._listener
        log = StepLog(stride_for(setup.n_batches, setup.n_steps), listener.on_steps)
        ended_by = "epochs"
        for epoch in range(self._epoch + 1, setup.settings.epochs + 1):
            self._epoch = epoch
            self._waited += train_epoch(setup, epoch, log, listener.on_batch)
            step = epoch * setup.n_batches
            metrics = {"train_loss": log.mean, **evaluate(setup, names, threshold=threshold)}
            check_metrics(metrics, judge.objective, step)
            if judge.is_better(epoch, metrics):
                self._best = keep_weights(setup.module, self._best)
            asked = time.perf_counter()
            should_stop = listener.on_epoch(epoch, step, metrics)
            self._waited += time.perf_counter() - asked
            if should_stop:
                ended_by = "stopped"
                break
            if judge.is_out_of_patience(epoch):
                ended_by = "patience"
                break
            if epoch < setup.settings.epochs:
                self._keep_if_due()
        return FitResult(
            value=judge.value,
            best_epoch=judge.best_epoch,
            n_epochs=self._epoch,
            n_steps=self._epoch * setup.n_batches,
            metrics=judge.metrics,
            state_dict=self._best or {},
            stopped=ended_by == "stopped",
            ended_by=ended_by,
            duration_s=self._spent_s,
            notes=setup.notes,
        )

    def _keep_if_due(self) -> None:
        keeper, spent_s = self._keeper, self._spent_s
        if keeper is None or not keeper.is_due(spent_s, self._n_bytes):
            return
        begin = time.perf_counter()
        try:
            keeper.keep(
                state_of(self._setup, self._judge, self._best, epoch=self._epoch, spent_s=spent_s)
            )
        except CannotKeep as error:
            keeper.refuse(error)
            self._keeper = None
        self._waited += time.perf_counter() - begin


def train_epoch(setup: Setup, epoch: int, log: StepLog, on_batch: Callable[[], None]) -> float:
    """One pass over the training rows.

    Returns:
        Seconds for which ``on_batch`` kept it waiting.

    Raises:
        DivergedError: a loss was NaN or infinite.
    """
    settings, part = setup.settings, setup.data.train
    first_step = (epoch - 1) * setup.n_batches + 1
    step, waited = first_step - 1, 0.0
    order = batch_order(part.n, setup.seed, epoch)
    setup.module.train()
    log.start_epoch(first_step, setup.n_batches, setup.batch_sizes)
    _seed_epoch(setup.seed, first_step)
    set_lr, update, seed_step = _lr_setter(setup), _updater(setup), step_seeder(setup.device)
    forward = setup.forward if setup.n_parts == 1 else forward_in_parts(setup)
    losses, clock = log.losses, time.perf_counter
    for inputs, target in part.batches(
        settings.batch_size, order=order, drop_last=setup.should_drop_last
    ):
        asked = clock()
        on_batch()
        now = clock()
        waited += now - asked
        if now > log.deadline:
            log.flush()
        step += 1
        seed_step(step_seed(setup.seed, step))
        if set_lr is not None:
            set_lr(step)
        loss = forward(inputs, target)
        update(loss)
        losses.append(loss.detach())
    log.flush()
    return waited


def _seed_epoch(seed: int, first_step: int) -> None:
    # Python's and NumPy's generators once an epoch only: seeding them takes ten microseconds.
    random.seed(step_seed(seed, first_step))
    np.random.seed(step_seed(seed, first_step) % 2**32)  # noqa: NPY002


def _lr_setter(setup: Setup) -> Callable[[int], None] | None:
    settings, groups, n_steps = setup.settings, setup.optimizer.param_groups, setup.n_steps
    if settings.schedule is None and not settings.warmup:
        return None

    def set_lr(step: int) -> None:
        lr = settings.lr * lr_factor(settings.schedule, settings.warmup, step, n_steps)
        for group in groups:
            group["lr"] = lr

    return set_lr


def _updater(setup: Setup) -> Callable[[torch.Tensor], None]:
    """What follows a forward pass: backward, clipping, the optimiser's step."""
    optimizer, clip, scaler = setup.optimizer, setup.settings.clip, setup.precision.scaler
    step = bare_step(optimizer)
    weights = [weight for group in optimizer.param_groups for weight in group["params"]]

    def forget() -> None:
        # What `zero_grad` does, without the six microseconds of its profiler hook; after the
        # step, so that no gradients lie about during the next forward pass.
        for weight in weights:
            weight.grad = None

    def plain(loss: torch.Tensor) -> None:
        loss.backward()  # type: ignore[no-untyped-call]
        step()
        forget()

    def clipped(loss: torch.Tensor) -> None:
        loss.backward()  # type: ignore[no-untyped-call]
        nn.utils.clip_grad_norm_(weights, clip or 0.0)
        step()
        forget()

    def scaled(loss: torch.Tensor) -> None:
        assert scaler is not None  # chosen below for a scaler only
        scaler.scale(loss).backward()  # type: ignore[no-untyped-call]
        if clip is not None:
            scaler.unscale_(optimizer)
            nn.utils.clip_grad_norm_(weights, clip)
        scaler.step(optimizer)
        scaler.update()
        forget()

    forget()
    if scaler is not None:
        return scaled
    return plain if clip is None else clipped


def evaluate(setup: Setup, names: tuple[str, ...], *, threshold: float = 0.0) -> dict[str, float]:
    """Metrics on the validation rows, with the module as it is in use (no dropout)."""
    data, module = setup.data, setup.module
    tally = Tally(
        names=names, task=data.task, n_classes=max(len(data.classes), 1), threshold=threshold
    )
    rows = eval_batch_size(data.spec, setup.settings.batch_size)
    if setup.n_parts > 1:
        rows = max(1, setup.settings.batch_size // setup.n_parts)
    module.eval()
    # Not inference_mode: what a module caches in such a pass could not be trained with later.
    with torch.no_grad(), setup.precision.autocast():
        for inputs, target in data.valid.batches(rows):
            output = call_module(module, inputs)
            tally.add(output, target, setup.valid_loss(output, target))
    return tally.result()


def check_metrics(metrics: dict[str, float], objective: Objective, step: int) -> None:
    """Refuse what no fit can go on with.

    Raises:
        DivergedError: the validation loss is NaN or infinite.
        DataError: the objective is not defined on these rows.
    """
    if not math.isfinite(metrics["loss"]):
        raise diverged(metrics["loss"], step, "the validation loss")
    if math.isnan(metrics[objective.metric]):
        raise DataError(
            f"{objective.metric} is not defined on the validation rows: they hold one class or "
            "one value only",
            hint="validate on more rows, or choose another metric",
        )
