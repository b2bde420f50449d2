"""Fine-tuning with the project's own trainer: as it is, with a teacher, or while a form tightens."""

from __future__ import annotations

import copy
import dataclasses
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from torch import nn
from torch.utils import _pytree as pytree

from nbautoml.compress.remembered import Memory, with_rows_noted
from nbautoml.compress.softened import Student, distillation_loss
from nbautoml.compress.transfer import Transfer
from nbautoml.spec.fit import FitSettings
from nbautoml.spec.objective import Objective
from nbautoml.train import Silent, fit
from nbautoml.train.batches import first_batch
from nbautoml.train.losses import loss_for
from nbautoml.train.setup import weights_of_classes

if TYPE_CHECKING:
    from nbautoml.compress.techniques import Tuned
    from nbautoml.train.batches import TrainData
    from nbautoml.train.result import FitResult, Listener

_TRIED_ROWS = 4

__all__ = ["Bench", "Teaching", "teaching_of", "tune_last", "tune_module"]


@dataclass(frozen=True, kw_only=True)
class Teaching:
    """A teacher and how much it is listened to: see `Distillation`.

    What it answered is remembered (`nbautoml.compress.remembered`): fits with the same `Teaching`
    ask it about each row once. Where inner layers are compared, too, it is asked every time.
    """

    teacher: nn.Module
    temperature: float = 4.0
    weight: float = 0.7
    transfer: str = "none"
    memory: Memory = dataclasses.field(
        default_factory=Memory, init=False, repr=False, compare=False
    )


def teaching_of(config: Tuned, original: nn.Module) -> Teaching | None:
    """The original as a config's teacher; None where it listens to the targets alone."""
    if not config.taught:
        return None
    return Teaching(teacher=original, temperature=config.temperature, weight=config.taught)


@dataclass(frozen=True, kw_only=True)
class Bench:
    """What every fine-tune of a compression shares.

    Attributes:
        data: rows to train and to judge on.
        objective: decides the best epoch.
        settings: of the trainer; a technique replaces its epochs and its learning rate.
        loss: the user's own, or None for the task's.
        seed: of batch order and dropout.
        device: where it trains.
        listener: hears of batches and epochs, and may end it all.
    """

    data: TrainData
    objective: Objective
    settings: FitSettings = dataclasses.field(default_factory=FitSettings)
    loss: Any = None
    seed: int = 0
    device: str = "cpu"
    listener: Listener = dataclasses.field(default_factory=Silent)

    @property
    def base_loss(self) -> Callable[[torch.Tensor, torch.Tensor], torch.Tensor]:
        """The task's loss, or the user's own."""
        chosen = self.settings.loss if self.loss is None else self.loss
        return loss_for(self.data.task, chosen)

    @property
    def train_loss(self) -> Callable[[torch.Tensor, torch.Tensor], torch.Tensor]:
        """The same as it is trained with: labels smoothed, rows weighed by their classes, if asked."""
        chosen = self.settings.loss if self.loss is None else self.loss
        return loss_for(
            self.data.task,
            chosen,
            label_smoothing=self.settings.label_smoothing,
            weights=weights_of_classes(self.data, self.settings),
        )


class _Stepping:
    """A listener that calls a function before every batch, and passes all on."""

    def __init__(self, told: Listener, before: Callable[[], None] | None) -> None:
        self._told, self._before = told, before

    def on_batch(self) -> None:
        self._told.on_batch()
        if self._before is not None:
            self._before()

    def on_steps(self, steps: list[int], losses: list[float]) -> None:
        self._told.on_steps(steps, losses)

    def announce(self, epoch: int, step: int, metrics: dict[str, float]) -> None:
        self._told.announce(epoch, step, metrics)

    def on_epoch(self, epoch: int, step: int, metrics: dict[str, float]) -> bool:
        return self._told.on_epoch(epoch, step, metrics)


def tune_module(
    module: nn.Module,
    bench: Bench,
    *,
    epochs: int,
    lr: float | None = None,
    teaching: Teaching | None = None,
) -> FitResult:
    """Train a module in place and leave it with the weights of its best epoch.

    Args:
        module: trained as it is; forms that hold its weights (`holding`) stay.
        bench: data, settings, loss.
        epochs: passes over the data.
        lr: the first learning rate; that of the settings when left out.
        teaching: a teacher to learn from.
    """
    result = _fit(module, bench, epochs=epochs, lr=lr, teaching=teaching, before=None)
    module.load_state_dict(_stripped(result.state_dict, module))
    return result


def tune_last(
    module: nn.Module,
    bench: Bench,
    *,
    epochs: int,
    before_batch: Callable[[], None],
    lr: float | None = None,
    teaching: Teaching | None = None,
) -> FitResult:
    """Train a module in place and leave it with the weights of its last epoch.

    For forms that tighten as it trains: its early epochs are better, but not what is wanted.

    Args:
        module: trained as it is.
        bench: data, settings, loss.
        epochs: passes over the data.
        before_batch: tightens the form; called before every batch.
        lr: the first learning rate; that of the settings when left out.
        teaching: a teacher to learn from.
    """
    return _fit(module, bench, epochs=epochs, lr=lr, teaching=teaching, before=before_batch)


def _fit(
    module: nn.Module,
    bench: Bench,
    *,
    epochs: int,
    lr: float | None,
    teaching: Teaching | None,
    before: Callable[[], None] | None,
) -> FitResult:
    for weight in module.parameters():
        weight.requires_grad_(True)
    settings = dataclasses.replace(
        bench.settings, epochs=epochs, lr=bench.settings.lr if lr is None else lr, patience=None
    )
    student = None if teaching is None else _student(module, bench, teaching)
    loss, data = bench.loss, bench.data
    if teaching is not None and student is not None:
        if student.transfer is None:
            answers = teaching.memory.answers(teaching.teacher, data.train, bench.device)
            student.remember(answers)
            data = with_rows_noted(data, answers)
        loss = distillation_loss(
            student,
            bench.train_loss,
            bench.base_loss,
            temperature=teaching.temperature,
            weight=teaching.weight,
            task=bench.data.task,
        )
        # They are in that loss.
        settings = dataclasses.replace(settings, label_smoothing=0.0, class_balance=0.0)
    try:
        return fit(
            lambda: module if student is None else student,
            data,
            settings,
            objective=bench.objective,
            seed=bench.seed,
            device=bench.device,
            listener=_Stepping(bench.listener, before),
            loss=loss,
        )
    finally:
        module.to("cpu")
        if student is not None and student.transfer is not None:
            student.transfer.close()


def _student(module: nn.Module, bench: Bench, teaching: Teaching) -> Student:
    teacher = copy.deepcopy(teaching.teacher).cpu().eval().requires_grad_(False)
    transfer = None
    if teaching.transfer != "none":
        inputs, _ = first_batch(bench.data.train, _TRIED_ROWS)
        example = pytree.tree_map(lambda leaf: leaf.cpu(), inputs)
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(bench.seed)
            transfer = Transfer(module, teacher, teaching.transfer, example)
    return Student(module, teacher.to(bench.device), transfer)


def _stripped(state: Any, module: nn.Module) -> dict[str, torch.Tensor]:
    """The state of the module itself, where a student held it."""
    names = module.state_dict().keys()
    if state.keys() == names:
        return dict(state)
    own = "module."
    return {name.removeprefix(own): value for name, value in state.items() if name.startswith(own)}
