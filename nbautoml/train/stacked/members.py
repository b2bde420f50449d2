"""From a trial to a member of a stack: built from its seed, its forward pass taped."""

from __future__ import annotations

import dataclasses
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
from nbautoml.train.optimizers import build_optimizer
from nbautoml.train.result import Listener
from nbautoml.train.seeds import isolated_rng, seed_all, step_seed, step_seeder
from nbautoml.train.setup import Setup, built, prepare
from nbautoml.train.stacked.padding import loose_key
from nbautoml.train.stacked.reasons import CannotStack
from nbautoml.train.stacked.structure import structure_of
from nbautoml.train.stacked.tape import Tape, record, tensors_of
from nbautoml.train.stacked.weights import Start, start_of
from nbautoml.train.state import FitState, Keeper, put_weights_

__all__ = ["EVAL_ROWS", "Member", "Models", "Ready", "bare", "ready", "whole"]

EVAL_ROWS = 8
# Of trials whose layers differ each has a module of another kind.
MOST_KNOWN = 4
# Settings that a tape and the key of a group hang on, and those that may not suit the loss.
_ALIKE_IN = ("batch_size", "loss", "amp", "label_smoothing", "class_balance")


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

    One that was found to be built as another was (`ready`) has that one's tape, and nothing of a
    step: `whole` gives it what is left out.

    Attributes:
        member: whose.
        setup: as the one-by-one trainer would use it.
        start: weights and buffers as built, or those of the state that it goes on from.
        tape: of a training step; rates of its dropout are this trial's.
        output: what forward gave in that step; empty where that is left out.
        target: that step's target; likewise.
        inputs: that step's inputs; likewise.
        key: equal for members that can share a stack.
        loose_key: equal for members that can once the smaller ones are padded.
        again: gives the member with a step of its own; None for one that has it.
        structure: of one that others may be built like (`bare`).
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
    again: Callable[[], Ready] | None = field(default=None, repr=False)
    structure: Hashable = field(default=None, repr=False)


def whole(found: Ready) -> Ready:
    """The member with a step of its own, taped.

    Raises:
        CannotStack: as `ready`.
    """
    return found if found.again is None else found.again()


class Models:
    """Members that were taped, for others that are built alike; the newest few."""

    def __init__(self) -> None:
        self._known: dict[str, Ready] = {}

    def ready(
        self,
        built_with: str,
        member: Member,
        data: TrainData,
        device: torch.device,
        loss: Loss | None,
    ) -> Ready:
        """`ready`, for a module that is built with what the text says."""
        found = ready(member, data, device, loss, self._known.get(built_with))
        if found.again is None:
            self._known[built_with] = bare(found)
            if len(self._known) > MOST_KNOWN:
                del self._known[next(iter(self._known))]
        return found


def bare(found: Ready) -> Ready:
    """The member without its step and weights, to be kept for others to be built like it."""
    nothing = found.output.new_empty(0)
    return dataclasses.replace(
        found, start={}, output=nothing, target=nothing, inputs=nothing,
        structure=structure_of(found.setup.module),
    )  # fmt: skip


def ready(
    member: Member,
    data: TrainData,
    device: torch.device,
    loss: Loss | None,
    like: Ready | None = None,
) -> Ready:
    """Build a member's module from its seed and tape one training step (which changes nothing).

    Args:
        member: which.
        data: what it trains on.
        device: where.
        loss: the user's own, if any.
        like: a member, `bare`, that may have been built alike. Where the modules differ in nothing but
            the numbers in their weights and buffers, its tape serves for both: 0.7 ms a small MLP
            instead of 1.9, and on a GPU none of some forty launches and copies.

    Raises:
        CannotStack: why this trial must be trained on its own; what its module raises is such a
            reason too, since on its own it will raise it again, where it can be told properly.
    """
    try:
        # A refusal inside a `no_grad` of the user's must not leave gradients switched off.
        with isolated_rng(device), warnings.catch_warnings(), torch.enable_grad():
            warnings.simplefilter("ignore")  # the one-by-one trainer has shown them, or will
            found = _alike(member, like, device) if like is not None else None
            if found is None:
                return _ready(member, data, device, loss)
            found.again = lambda: ready(member, data, device, loss)
            return found
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


def _alike(member: Member, like: Ready, device: torch.device) -> Ready | None:
    """The member with another's tape; None where it is not built alike, or that cannot be told."""
    settings, others = member.settings, like.member.settings
    is_same = all(getattr(settings, name) == getattr(others, name) for name in _ALIKE_IN)
    if not is_same or member.resumed is not None or like.again is not None:
        return None
    seed_all(member.seed, device)
    module = built(member.build)
    _refuse_hooks(module)
    if like.structure is None or structure_of(module) != like.structure:
        return None
    optimizer = build_optimizer(settings, module, torch.device("cpu"))  # may refuse its settings
    setup = dataclasses.replace(
        like.setup, module=module, optimizer=optimizer, settings=settings, seed=member.seed
    )
    return dataclasses.replace(like, member=member, setup=setup, start=start_of(module))


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
