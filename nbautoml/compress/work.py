"""What a worker does with a trial of a compression: apply, judge, measure, keep.

::

    params -> techniques -> apply_techniques(original) -> metric on the validation rows
                                |                          latency beside the original, by turns
                                '-- StepsDone, EpochEnded  size of the file, MACs, memory -> TrialEnded
"""

from __future__ import annotations

import functools
import hashlib
import importlib
import json
import math
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from nbautoml.compress.course import TRAIN_S
from nbautoml.compress.space import COMPRESSED
from nbautoml.errors import StoreError
from nbautoml.events import (
    EpochEnded,
    LogLine,
    RunControl,
    StepsDone,
    Task,
    TaskContext,
    TrialEnded,
    TrialSpec,
)
from nbautoml.spec.fit import FitSettings
from nbautoml.spec.fronts import dominates
from nbautoml.spec.recipe import Recipe
from nbautoml.train.failures import cancelled, failed

if TYPE_CHECKING:
    from types import ModuleType

    from torch import nn

    from nbautoml.compress.shelf import Shelf
    from nbautoml.compress.training import Bench
    from nbautoml.data import TrainData

__all__ = ["GIVEN", "STUDENT", "Shop", "compress_models", "shop_for"]

GIVEN = "model.safetensors"
"""The file of the run's ``given/`` that holds the model to make smaller."""
STUDENT = "student.safetensors"
"""The file beside it that holds a student, where one was given."""


@dataclass(frozen=True, kw_only=True)
class Shop:
    """A run as a worker sees it: loaded once.

    Attributes:
        recipe: of the run.
        capsule: the module that its classes are in.
        capsule_dir: where that lies.
        data: to train on and to search by.
        held_out: the same, with rows to validate on that the search does not see; None where
            there are too few.
        original: the model that is to become smaller.
        student: the module that was given to learn from it; None where none was.
        shelf: what was made of it here, to be exported in other forms.
    """

    recipe: Recipe
    capsule: ModuleType
    capsule_dir: Path
    data: TrainData
    held_out: TrainData | None
    original: nn.Module
    student: nn.Module | None
    shelf: Shelf

    @property
    def loss(self) -> Any:
        """The user's own loss function, or None."""
        name = self.recipe.target.loss
        return getattr(self.capsule, name) if name else None


def shop_for(context: TaskContext) -> Shop:
    """The shop of the context's run, on the context's device."""
    return _shop(context.run_folder, context.home_data, context.device)


@functools.lru_cache(maxsize=1)
def _shop(run_folder: Path, home_data: Path, device: str) -> Shop:
    from nbautoml.capsule import import_capsule
    from nbautoml.compress.rows import split_rows
    from nbautoml.compress.saved import load_module
    from nbautoml.compress.shelf import Shelf
    from nbautoml.data import open_data

    recipe = Recipe.from_json(json.loads((run_folder / "recipe.json").read_text(encoding="utf-8")))
    capsule = import_capsule(run_folder / "capsule")
    settings = recipe.settings
    data = _given(run_folder / "given" / GIVEN, settings["sha256"])
    digest = settings.get("student_sha256", "")
    student = _given(run_folder / "given" / STUDENT, digest) if digest else None
    for package in settings["packages"]:  # imported there when it was submitted
        importlib.import_module(package)
    assert recipe.data is not None  # submit refuses a compression without data
    seen, held_out = split_rows(
        open_data(recipe.data, home_data, device=device),
        int(settings.get("n_held_out", 0)),
        recipe.seed,
    )
    return Shop(
        recipe=recipe,
        capsule=capsule,
        capsule_dir=run_folder / "capsule",
        data=seen,
        held_out=held_out,
        original=load_module(data, vars(capsule)),
        student=None if student is None else load_module(student, vars(capsule)),
        shelf=Shelf(),
    )


def _given(path: Path, sha256: str) -> bytes:
    """A file that the run was given, as it was then.

    Raises:
        StoreError: it is not.
    """
    data = path.read_bytes()
    if hashlib.sha256(data).hexdigest() != sha256:
        raise StoreError(
            f"{path} is not what the run was submitted with",
            hint="it is damaged or was changed; submit the compression again",
        )
    return data


def compress_models(task: Task, context: TaskContext) -> None:
    """Handler: each of the task's trials, one after another."""
    import torch

    torch.set_num_threads(context.n_threads)
    for trial in task.trials:
        context.emit(_compressed(trial, task, context))


def _compressed(trial: TrialSpec, task: Task, context: TaskContext) -> TrialEnded:
    from nbautoml.train import TrialCancelled, is_device_lost, is_out_of_memory, release_frames

    capsule_dir = context.run_folder / "capsule"
    try:
        return _whole(trial, task, context)
    except TrialCancelled:
        return cancelled(trial.number)
    except Exception as error:  # noqa: BLE001  the user's module may raise anything
        ended = failed(trial.number, error, capsule_dir)
        if is_device_lost(error) or is_out_of_memory(error):
            context.retire()
        release_frames(error)
        return ended


def _whole(trial: TrialSpec, task: Task, context: TaskContext) -> TrialEnded:
    from nbautoml.compress.judged import judged
    from nbautoml.compress.keeping import keep
    from nbautoml.compress.pipeline import apply_techniques
    from nbautoml.compress.space import techniques_of

    shop = shop_for(context)
    reporter = Reporter(trial.number, context)
    bench = bench_for(shop, trial, reporter, context)
    techniques = techniques_of(trial.params, shop.recipe.settings, lr=bench.settings.lr)
    piece = apply_techniques(
        shop.original, techniques, bench, student=shop.student, shelf=shop.shelf
    )
    found = judged(piece, bench, shop.recipe, task.payload.get("original"), held_out=shop.held_out)
    for note in (*piece.notes, *found.notes):
        context.emit(LogLine(text=note, trial=trial.number))
    values = [found.figures[one.metric] for one in shop.recipe.objectives]
    is_asked = trial.params.get("version") == COMPRESSED  # by its name, so that it may be the pick
    if is_asked or _should_keep(values, task, shop.recipe):
        keep(piece, found, shop, trial.number, context)
    reporter.last(found.figures)
    # Of a model that begins with what an earlier one was trained to be it is 0.
    metrics = {**found.figures, TRAIN_S: reporter.train_s}
    return TrialEnded(
        trial=trial.number, state="complete", values=values, metrics=metrics, best_epoch=None
    )


def bench_for(shop: Shop, trial: TrialSpec, reporter: Reporter, context: TaskContext) -> Bench:
    """What every fine-tuning of a trial shares."""
    from nbautoml.compress.training import Bench

    return Bench(
        data=shop.data,
        objective=shop.recipe.objectives[0],
        settings=FitSettings.from_params(shop.recipe.fixed),
        loss=shop.loss,
        seed=trial.seed,
        device=context.device,
        listener=reporter,
    )


def _should_keep(values: list[float], task: Task, recipe: Recipe) -> bool:
    """Models are kept when no earlier one is at least as good in all: few files, never too few."""
    signs = [-1 if one.direction == "maximize" else 1 for one in recipe.objectives]
    own = [sign * value for sign, value in zip(signs, values, strict=True)]
    return not any(
        dominates([s * v for s, v in zip(signs, other, strict=True)], own)
        for other in task.payload.get("front") or ()
    )


class Reporter:
    """Listener of the fits of one trial; their epochs and steps are counted on from one to the next.

    Attributes:
        train_s: seconds that their epochs took.
    """

    def __init__(self, trial: int, context: TaskContext) -> None:
        self._trial, self._context = trial, context
        self._epoch = self._step = 0  # of all fits so far
        self._before = (0, 0)  # of the fits that are over
        self._own_epoch = 0
        self._since: float | None = None
        self.train_s = 0.0

    def on_batch(self) -> None:
        """Cancelled? While the run is paused no time of training goes by."""
        from nbautoml.train import TrialCancelled

        begin = time.monotonic()
        if self._context.check(self._trial) is RunControl.CANCEL:
            raise TrialCancelled
        self._since = (begin if self._since is None else self._since) + time.monotonic() - begin

    def on_steps(self, steps: list[int], losses: list[float]) -> None:
        """To the record."""
        if steps and steps[0] + self._before[1] <= self._step:
            self._before = (self._epoch, self._step)
        counted = [step + self._before[1] for step in steps]
        if counted:
            self._step = counted[-1]
        self._context.emit(
            StepsDone(trial=self._trial, name="step_loss", steps=counted, values=losses)
        )

    def announce(self, epoch: int, step: int, metrics: dict[str, float]) -> None:
        """Nothing to do: there are no stacks here."""

    def on_epoch(self, epoch: int, step: int, metrics: dict[str, float]) -> bool:
        """To the record; every technique trains as long as it says."""
        if self._since is not None:
            self.train_s += time.monotonic() - self._since
            self._since = None
        if epoch + self._before[0] <= self._epoch:
            self._before = (self._epoch, self._step)
        self._epoch, self._step = epoch + self._before[0], step + self._before[1]
        self._context.emit(
            EpochEnded(trial=self._trial, epoch=self._epoch, step=self._step, metrics=metrics)
        )
        self.on_batch()
        self._since = None
        return False

    def last(self, figures: dict[str, float]) -> None:
        """A point of the finished model, where nothing was trained, so that its curve has one."""
        if self._epoch == 0:
            self._context.emit(
                EpochEnded(trial=self._trial, epoch=1, step=0, metrics=_measured(figures))
            )


def _measured(figures: dict[str, float]) -> dict[str, float]:
    return {name: value for name, value in figures.items() if not math.isnan(value)}
