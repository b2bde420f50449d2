"""One fit of a module: the loop.

::

    seed -> build -> for each epoch:  order from (seed, epoch)
                       for each batch:  on_batch -> seed (seed, step) -> lr -> forward, backward, update
                       on_steps         losses fetched, checked, thinned
                       validate         metrics of the epoch
                       on_epoch         best weights kept; stop?  patience?

A step never waits for the device: losses stay there and are fetched in chunks (`StepLog`).
"""

from __future__ import annotations

import math
import random
import time
from collections.abc import Callable
from typing import ParamSpec, TypeVar

import numpy as np
import torch
from torch import nn

from nbautoml.errors import DataError, RecipeError
from nbautoml.spec.fit import FitSettings
from nbautoml.spec.objective import METRICS, Objective, metrics_for
from nbautoml.train.batches import TrainData, call_module, eval_batch_size
from nbautoml.train.judge import Judge, keep_weights
from nbautoml.train.losses import Loss
from nbautoml.train.metrics import Tally, default_metrics
from nbautoml.train.result import FitResult, Listener
from nbautoml.train.schedules import lr_factor
from nbautoml.train.seeds import batch_order, isolated_rng, step_seed, step_seeder
from nbautoml.train.setup import Setup, prepare
from nbautoml.train.steplog import StepLog, diverged, stride_for

__all__ = ["evaluate", "fit", "metric_names", "train_epoch"]

P = ParamSpec("P")
R = TypeVar("R")


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

    Raises:
        TrialCancelled: the listener raised it.
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
        setup = prepare(build, data, settings, seed=seed, device=place, loss=loss)
        return _run(setup, names, objective, listener, _threshold(loss))


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


def _threshold(loss: Loss | None) -> float:
    # A module that is trained with BCELoss gives probabilities, all others raw scores.
    return 0.5 if isinstance(loss, nn.BCELoss) else 0.0


class _Clock:
    """Seconds of training: those for which a listener blocks don't count."""

    def __init__(self) -> None:
        self._start = time.perf_counter()
        self._waited = 0.0

    def waiting(self, call: Callable[P, R]) -> Callable[P, R]:
        """The same call, its time taken off."""

        def timed(*args: P.args, **kwargs: P.kwargs) -> R:
            begin = time.perf_counter()
            try:
                return call(*args, **kwargs)
            finally:
                self._waited += time.perf_counter() - begin

        return timed

    @property
    def seconds(self) -> float:
        return time.perf_counter() - self._start - self._waited


def _run(
    setup: Setup, names: tuple[str, ...], objective: Objective, listener: Listener, threshold: float
) -> FitResult:
    clock = _Clock()
    on_batch, on_epoch = clock.waiting(listener.on_batch), clock.waiting(listener.on_epoch)
    log = StepLog(stride_for(setup.n_batches, setup.n_steps), listener.on_steps)
    judge = Judge(objective=objective, patience=setup.settings.patience)
    best: dict[str, torch.Tensor] | None = None
    ended_by = "epochs"
    epoch = 0
    for epoch in range(1, setup.settings.epochs + 1):
        train_epoch(setup, epoch, log, on_batch)
        step = epoch * setup.n_batches
        metrics = {"train_loss": log.mean, **evaluate(setup, names, threshold=threshold)}
        _check_metrics(metrics, objective, step)
        if judge.is_better(epoch, metrics):
            best = keep_weights(setup.module, best)
        if on_epoch(epoch, step, metrics):
            ended_by = "stopped"
            break
        if judge.is_out_of_patience(epoch):
            ended_by = "patience"
            break
    return FitResult(
        value=judge.value,
        best_epoch=judge.best_epoch,
        n_epochs=epoch,
        n_steps=epoch * setup.n_batches,
        metrics=judge.metrics,
        state_dict=best or {},
        stopped=ended_by == "stopped",
        ended_by=ended_by,
        duration_s=clock.seconds,
        notes=setup.notes,
    )


def train_epoch(setup: Setup, epoch: int, log: StepLog, on_batch: Callable[[], None]) -> None:
    """One pass over the training rows.

    Raises:
        DivergedError: a loss was NaN or infinite.
    """
    settings, seed = setup.settings, setup.seed
    step = (epoch - 1) * setup.n_batches
    seed_step = step_seeder(setup.device)
    # Python's and NumPy's generators once an epoch: seeding them takes ten microseconds.
    random.seed(step_seed(seed, step + 1))
    np.random.seed(step_seed(seed, step + 1) % 2**32)  # noqa: NPY002
    set_lr = _lr_setter(setup)
    update = _updater(setup)
    forward, zero_grad, add = setup.forward, setup.optimizer.zero_grad, log.add
    order = batch_order(setup.data.train.n, seed, epoch)
    if setup.data.train.on_device:
        order = order.to(setup.device)
    setup.module.train()
    log.start_epoch(step + 1)
    for inputs, target in setup.data.train.batches(
        settings.batch_size, order=order, drop_last=setup.should_drop_last
    ):
        on_batch()
        step += 1
        seed_step(step_seed(seed, step))
        if set_lr is not None:
            set_lr(step)
        zero_grad(set_to_none=True)
        loss = forward(inputs, target)
        update(loss)
        add(loss.detach(), len(target))
    log.flush()


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
    weights = [weight for group in optimizer.param_groups for weight in group["params"]]

    def plain(loss: torch.Tensor) -> None:
        loss.backward()  # type: ignore[no-untyped-call]
        optimizer.step()

    def clipped(loss: torch.Tensor) -> None:
        loss.backward()  # type: ignore[no-untyped-call]
        nn.utils.clip_grad_norm_(weights, clip or 0.0)
        optimizer.step()

    def scaled(loss: torch.Tensor) -> None:
        assert scaler is not None  # chosen below for a scaler only
        scaler.scale(loss).backward()  # type: ignore[no-untyped-call]
        if clip is not None:
            scaler.unscale_(optimizer)
            nn.utils.clip_grad_norm_(weights, clip)
        scaler.step(optimizer)
        scaler.update()

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
    module.eval()
    # Not inference_mode: what a module caches in such a pass could not be trained with later.
    with torch.no_grad(), setup.precision.autocast():
        for inputs, target in data.valid.batches(rows):
            output = call_module(module, inputs)
            tally.add(output, target, setup.valid_loss(output, target))
    return tally.result()


def _check_metrics(metrics: dict[str, float], objective: Objective, step: int) -> None:
    if not math.isfinite(metrics["loss"]):
        raise diverged(metrics["loss"], step, "the validation loss")
    if math.isnan(metrics[objective.metric]):
        raise DataError(
            f"{objective.metric} is not defined on the validation rows: they hold one class or "
            "one value only",
            hint="validate on more rows, or choose another metric",
        )
