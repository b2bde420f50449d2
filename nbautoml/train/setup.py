"""From a recipe's values to what a training step needs: module, optimiser, loss, precision."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.nn.parameter import UninitializedParameter

from nbautoml.errors import ModelError
from nbautoml.spec.fit import FitSettings
from nbautoml.train.batches import Inputs, TrainData, call_module, first_batch
from nbautoml.train.layout import NOTE, use_channels_last
from nbautoml.train.losses import Loss, class_weights, loss_for
from nbautoml.train.optimizers import build_optimizer
from nbautoml.train.precision import Precision, precision_for
from nbautoml.train.seeds import seed_all

__all__ = ["Setup", "built", "prepare", "weights_of_classes"]


@dataclass(frozen=True, kw_only=True)
class Setup:
    """All that the steps of a fit use.

    Attributes:
        loss: what is minimised.
        valid_loss: the same without label smoothing and weights of classes, so that trials which
            have others can be compared.
        n_batches: steps of an epoch.
        should_drop_last: the epoch's last batch is left out.
        notes: how the fit is run, in short sentences.
        n_parts: pieces in which a batch is gone through; see `nbautoml.train.memory`.
    """

    module: nn.Module
    optimizer: torch.optim.Optimizer
    loss: Loss
    valid_loss: Loss
    precision: Precision
    data: TrainData
    settings: FitSettings
    device: torch.device
    seed: int
    n_batches: int
    should_drop_last: bool
    notes: tuple[str, ...]
    n_parts: int = 1

    @property
    def batch_sizes(self) -> tuple[int, int]:
        """Samples in a batch, and in the last one of an epoch."""
        size = min(self.settings.batch_size, self.data.train.n)
        rest = self.data.train.n % size
        return size, size if self.should_drop_last or not rest else rest

    @property
    def n_steps(self) -> int:
        """Steps of the whole fit."""
        return self.n_batches * self.settings.epochs

    def forward(self, inputs: Inputs, target: torch.Tensor) -> torch.Tensor:
        """The training loss of a batch."""
        if self.precision.dtype is None:
            return self.loss(call_module(self.module, inputs), target)
        with self.precision.autocast():
            return self.loss(call_module(self.module, inputs), target)


def prepare(
    build: Callable[[], nn.Module],
    data: TrainData,
    settings: FitSettings,
    *,
    seed: int,
    device: torch.device,
    loss: Loss | None = None,
    n_parts: int = 1,
) -> Setup:
    """Build the module from its seed and make ready to train; seeds the global generators.

    Raises:
        RecipeError: the loss does not suit the task.
        ModelError: no module, nothing in it to train, or a batch that batch norm cannot take.
    """
    chosen = settings.loss if loss is None else loss
    train_loss = loss_for(
        data.task,
        chosen,
        label_smoothing=settings.label_smoothing,
        weights=weights_of_classes(data, settings),
    )
    valid_loss = loss_for(data.task, chosen)
    seed_all(seed, device)
    module = built(build).to(device)
    _materialize(module, data, settings.batch_size)
    _check_trainable(module)
    precision = precision_for(settings.amp, device, n_weights_of(module))
    notes = [precision.note] if precision.note else []

    def try_step(candidate: nn.Module) -> None:
        inputs, target = first_batch(data.train, math.ceil(settings.batch_size / n_parts))
        with precision.autocast():
            train_loss(call_module(candidate, inputs), target).backward()  # type: ignore[no-untyped-call]

    # On a GPU the layout pays where tensor cores compute, which is in mixed precision.
    is_worth_it = device.type == "cpu" or precision.dtype is not None
    if use_channels_last(module, try_step, is_worth_it=is_worth_it):
        notes.append(NOTE)
    if n_parts > 1:
        notes.append(f"batches in {n_parts} parts")
    should_drop = _should_drop_last(module, data.train.n, settings.batch_size)
    n_batches = data.train.n / settings.batch_size
    return Setup(
        module=module,
        optimizer=build_optimizer(settings, module, device),
        loss=train_loss,
        valid_loss=valid_loss,
        precision=precision,
        data=data,
        settings=settings,
        device=device,
        seed=seed,
        n_batches=math.floor(n_batches) if should_drop else math.ceil(n_batches),
        should_drop_last=should_drop,
        notes=tuple(notes),
        n_parts=n_parts,
    )


def weights_of_classes(data: TrainData, settings: FitSettings) -> torch.Tensor | None:
    """What rows of each class weigh under ``class_balance``; None where all are alike."""
    if not settings.class_balance:
        return None
    # Where there are no classes, the loss says so.
    counts = data.train.class_counts(len(data.classes)) if _has_classes(data) else torch.ones(1)
    return class_weights(counts, settings.class_balance)


def _has_classes(data: TrainData) -> bool:
    return data.task in {"binary", "multiclass"}


def built(build: Callable[[], nn.Module]) -> nn.Module:
    """What ``build`` gives, which must be a module.

    Raises:
        ModelError: it is something else.
    """
    module = build()
    if not isinstance(module, nn.Module):
        raise ModelError(
            f"building the model gave a {type(module).__name__}, not a torch.nn.Module",
            hint="let the class derive from nn.Module, or let the function return a module",
        )
    return module


def is_uninitialized(module: nn.Module) -> bool:
    """Whether a lazy layer still waits for its first input to know its shape."""
    return any(isinstance(weight, UninitializedParameter) for weight in module.parameters())


def n_weights_of(module: nn.Module) -> int:
    """How many weights there are; lazy layers must have their shapes by now."""
    return sum(weight.numel() for weight in module.parameters())


def _materialize(module: nn.Module, data: TrainData, batch_size: int) -> None:
    if not is_uninitialized(module):
        return
    inputs, _ = first_batch(data.valid, batch_size)
    module.eval()  # running statistics and dropout are none of this pass's business
    with torch.no_grad():
        call_module(module, inputs)


def _check_trainable(module: nn.Module) -> None:
    name = type(module).__name__
    weights = list(module.parameters())
    if not weights:
        raise ModelError(
            f"{name} has no parameters, so there is nothing to train",
            hint="keep layers as attributes (self.fc = nn.Linear(...)); a plain list or dict hides "
            "them: use nn.ModuleList or nn.ModuleDict",
        )
    if not any(weight.requires_grad for weight in weights):
        raise ModelError(
            f"all {len(weights)} parameters of {name} are frozen (requires_grad is False)",
            hint="leave at least the last layer trainable",
        )


def _should_drop_last(module: nn.Module, n: int, batch_size: int) -> bool:
    # One sample has no variance: batch norm raises on it in training. A remainder of one is
    # left out of each epoch (another one each time); batches of one cannot be helped.
    has_norm = any(isinstance(layer, _BatchNorm) for layer in module.modules())
    return has_norm and n > batch_size > 1 and n % batch_size == 1
