"""From a trial to a member of a stack: built from its seed, its forward pass taped."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Hashable
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn

from nbautoml.errors import NbAutomlError
from nbautoml.spec.fit import FitSettings
from nbautoml.train.batches import Inputs, TrainData, first_batch
from nbautoml.train.frames import one_line
from nbautoml.train.losses import Loss, default_loss
from nbautoml.train.result import Listener
from nbautoml.train.seeds import isolated_rng, step_seed, step_seeder
from nbautoml.train.setup import Setup, prepare
from nbautoml.train.stacked.padding import loose_key
from nbautoml.train.stacked.reasons import CannotStack
from nbautoml.train.stacked.tape import Tape, record, tensors_of
from nbautoml.train.stacked.weights import Start, start_of
from nbautoml.train.state import FitState, Keeper, put_weights_

__all__ = ["EVAL_ROWS", "Member", "Ready", "ready"]

EVAL_ROWS = 8


@dataclass(frozen=True, kw_only=True)
class Member:
    """A trial that is to be trained in a stack.

    Attributes:
        number: of the trial.
        build: makes its module.
        settings: how it is fitted.
        seed: of its weights, batch order and dropout.
        listener: is told of its steps and epochs, as by `nbautoml.train.fit`.
        keeper: is given its states, as by `nbautoml.train.fit`.
        resumed: the state that it goes on from.
        limit_s: seconds that it may take: to be built, and as its share of the stack's time.
        built_s: how long it took to be built.
    """

    number: int
    build: Callable[[], nn.Module]
    settings: FitSettings
    seed: int
    listener: Listener
    keeper: Keeper | None = None
    resumed: FitState | None = field(default=None, repr=False)
    limit_s: float | None = None
    built_s: float = 0.0


@dataclass(kw_only=True)
class Ready:
    """A member, built.

    Attributes:
        member: whose.
        setup: as the one-by-one trainer would use it.
        start: weights and buffers as built, or those of the state that it goes on from.
        tape: of a training step; rates of its dropout are this trial's.
        output: what forward gave in that step.
        target: that step's target.
        inputs: that step's inputs.
        key: equal for members that can share a stack.
        loose_key: equal for members that can once the smaller ones are padded.
    """

    member: Member
    setup: Setup
    start: Start
    tape: Tape
    output: Tensor = field(repr=False)
    target: Tensor = field(repr=False)
    inputs: object = field(repr=False)
    key: Hashable = field(repr=False)
    loose_key: Hashable = field(repr=False)


def ready(member: Member, data: TrainData, device: torch.device, loss: Loss | None) -> Ready:
    """Build a member's module from its seed and tape one training step (which changes nothing).

    Raises:
        CannotStack: why this trial must be trained on its own; what its module raises is such a
            reason too, since on its own it will raise it again, where it can be told properly.
    """
    try:
        # A refusal inside a `no_grad` of the user's must not leave gradients switched off.
        with isolated_rng(device), warnings.catch_warnings(), torch.enable_grad():
            warnings.simplefilter("ignore")  # the one-by-one trainer has shown them, or will
            return _ready(member, data, device, loss)
    except CannotStack:
        raise
    except NbAutomlError as error:
        raise CannotStack(error.message, hint=error.hint) from error
    except Exception as error:  # a user's module may raise anything
        raise CannotStack(f"it raised {one_line(error)}") from error


def _ready(member: Member, data: TrainData, device: torch.device, loss: Loss | None) -> Ready:
    settings = member.settings
    setup = prepare(member.build, data, settings, seed=member.seed, device=device, loss=loss)
    if setup.precision.scaler is not None:
        raise CannotStack("float16 with scaled gradients is not known to a stack")
    module = setup.module
    _refuse_hooks(module)
    if member.resumed is not None:
        put_weights_(module, member.resumed)
    start = start_of(module)
    module.train()
    inputs, target = first_batch(data.train, settings.batch_size)
    step_seeder(device)(step_seed(member.seed, 1))
    as_given = _versions(inputs)
    with setup.precision.autocast():
        tape, output = record(module, inputs)
    if _versions(inputs) != as_given:  # forward has written into them
        inputs, _ = first_batch(data.train, settings.batch_size)
    module.eval()
    few, _ = first_batch(data.valid, EVAL_ROWS)
    with torch.no_grad(), setup.precision.autocast():
        in_use, _ = record(module, few)
    module.train()
    common = (
        tuple(name for name, weight in module.named_parameters() if weight.requires_grad),
        min(settings.batch_size, data.train.n),
        setup.should_drop_last,
        None if loss is not None else settings.loss or default_loss(data.task),
        str(setup.precision.dtype),
    )
    shapes = tuple((name, value.shape, value.dtype) for name, value in start.items())
    ranks = tuple((name, value.ndim, value.dtype) for name, value in start.items())
    return Ready(
        member=member, setup=setup, start=start, tape=tape, output=output, target=target,
        inputs=inputs,
        key=(tape.key(), in_use.key(), shapes, *common),
        loose_key=(loose_key(tape), loose_key(in_use), ranks, *common),
    )  # fmt: skip


def _versions(inputs: Inputs) -> list[int]:
    """How often each tensor was written into."""
    return [item._version for item in tensors_of(inputs)]  # noqa: SLF001  (there is no public way)


def _refuse_hooks(module: nn.Module) -> None:
    for name, layer in module.named_modules():
        has_hooks = layer._forward_hooks or layer._forward_pre_hooks or layer._backward_hooks  # noqa: SLF001
        if has_hooks and not isinstance(layer, nn.modules.lazy.LazyModuleMixin):
            raise CannotStack(f"layer {name or type(layer).__name__} has hooks")
        if any(weight._backward_hooks for weight in layer.parameters(recurse=False)):  # noqa: SLF001
            raise CannotStack(f"weights of layer {name!r} have hooks")
