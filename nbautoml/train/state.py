"""Where a fit stands after an epoch, as tensors and plain values: enough to go on with the same numbers.

::

    Setup + Judge + best weights --(state_of)--> FitState --(to_bytes)--> one safetensors file
             prepare() again     <--(resume_)--           <--(from_bytes)--

Needed are weights, buffers, optimiser, gradient scale and the judge. Batch order, dropout and the
learning rate follow from seed, epoch and step; random generators that a module keeps as attributes
are saved. What a module's forward keeps elsewhere (a counter in Python) is not.

The form does not say who trained: a trial that began in a stack goes on alone, or in another stack.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

import torch
from safetensors import SafetensorError
from safetensors.torch import save
from torch import Tensor, nn

from nbautoml.errors import NbAutomlError, StoreError
from nbautoml.tensors import metadata_of, tensors_of
from nbautoml.train.judge import Judge, keep_weights
from nbautoml.train.setup import Setup

__all__ = [
    "SLOTS",
    "CannotKeep",
    "FitState",
    "Keeper",
    "named_tensors",
    "put_weights_",
    "resume_",
    "state_of",
]

FORMAT = 1
SLOTS: Mapping[str, tuple[str | None, str | None]] = {
    "sgd": (None, None),
    "momentum": ("momentum_buffer", None),
    "nesterov": ("momentum_buffer", None),
    "adam": ("exp_avg", "exp_avg_sq"),
    "adamw": ("exp_avg", "exp_avg_sq"),
    "rmsprop": ("momentum_buffer", "square_avg"),
    "adagrad": (None, "sum"),
}
"""What `torch.optim` calls an optimiser's first and second running value."""


class CannotKeep(NbAutomlError):  # noqa: N818  a reason
    """Why a fit cannot be saved, or a saved one cannot be gone on with."""


@dataclass(kw_only=True)
class FitState:
    """A fit after an epoch.

    Attributes:
        epoch: epochs that were trained.
        step: optimiser steps that were made.
        spent_s: seconds of training.
        judge: `Judge`'s value, best_epoch and metrics.
        module: parameters, buffers and generators by name.
        first: the optimiser's first running value by parameter; see `SLOTS`.
        second: the second.
        steps: updates of each parameter, as the optimiser counts them.
        scaler: `GradScaler.state_dict`, or empty.
        best: the best epoch's ``state_dict``; empty while that is this epoch's.
        extra: plain values of the module's ``get_extra_state``, as they are and at the best epoch.
        identity: of which fit, for the caller to compare.
    """

    epoch: int
    step: int
    spent_s: float
    judge: dict[str, Any]
    module: dict[str, Tensor]
    first: dict[str, Tensor] = field(default_factory=dict)
    second: dict[str, Tensor] = field(default_factory=dict)
    steps: dict[str, float] = field(default_factory=dict)
    scaler: dict[str, Any] = field(default_factory=dict)
    best: dict[str, Tensor] = field(default_factory=dict)
    extra: dict[str, dict[str, Any]] = field(default_factory=dict)
    identity: dict[str, Any] = field(default_factory=dict)

    _PARTS = ("module", "first", "second", "best")

    @property
    def best_weights(self) -> dict[str, Any]:
        """Of the best epoch so far, by name as in the module's ``state_dict``; some names may be more."""
        if self.best:
            return {**self.best, **self.extra.get("best", {})}
        return {**self.module, **self.extra.get("now", {})}

    @property
    def n_bytes(self) -> int:
        """About what the file will have."""
        parts = (getattr(self, part).values() for part in self._PARTS)
        return sum(tensor.numel() * tensor.element_size() for part in parts for tensor in part)

    def to_bytes(self) -> bytes:
        """One safetensors file; the plain values are in its metadata.

        Raises:
            CannotKeep: a tensor or value has no place there.
        """
        tensors = {
            f"{part}/{name}": _plain(tensor)
            for part in self._PARTS
            for name, tensor in getattr(self, part).items()
        }
        facts = {name: value for name, value in vars(self).items() if name not in self._PARTS}
        try:
            text = json.dumps({"format": FORMAT, **facts})
            return bytes(save(tensors, metadata={"nbautoml": text}))
        except (TypeError, ValueError, RuntimeError, SafetensorError) as error:
            raise CannotKeep(f"it holds what a checkpoint cannot: {error}") from error

    @classmethod
    def from_bytes(cls, data: bytes) -> FitState:
        """What `to_bytes` wrote. Verify its sha256 first.

        Raises:
            CannotKeep: no such file, or of a later version.
        """
        try:
            facts = dict(json.loads(metadata_of(data)["nbautoml"]))
            found = tensors_of(data)
            if facts.pop("format") != FORMAT:
                raise CannotKeep("it was written by a later version of nbautoml")
            parts: dict[str, Any] = {part: {} for part in cls._PARTS}
            for name, tensor in found.items():
                part, _, rest = name.partition("/")
                parts[part][rest] = tensor
            state = cls(**facts, **parts)
            state.check()
        except StoreError as error:
            raise CannotKeep(f"it is no checkpoint: {error.message}") from error
        except (ValueError, KeyError, TypeError, RecursionError) as error:
            raise CannotKeep(f"it is no checkpoint: {type(error).__name__}: {error}") from error
        return state

    def check(self) -> None:
        """Whether the plain values are of their kinds.

        Raises:
            TypeError: one is not; says which.
        """
        kinds: dict[str, type | tuple[type, ...]] = {
            "epoch": int,
            "step": int,
            "spent_s": (int, float),
            **dict.fromkeys(("judge", "steps", "scaler", "extra", "identity"), dict),
        }
        for name, kind in kinds.items():
            if not isinstance(getattr(self, name), kind):
                raise TypeError(f"{name} is a {type(getattr(self, name)).__name__}")
        if missing := {"value", "best_epoch", "metrics"} - self.judge.keys():
            raise TypeError(f"the judge has no {min(missing)}")


class Keeper(Protocol):
    """Who keeps a fit's states, and decides how often."""

    def is_due(self, spent_s: float, n_bytes: int) -> bool:
        """Whether a state should be kept now.

        Args:
            spent_s: seconds that this fit has trained.
            n_bytes: of its parameters and buffers.
        """

    def keep(self, state: FitState) -> None:
        """Keep it; must not raise because a disk is full."""

    def refuse(self, error: CannotKeep) -> None:
        """There will be no states of this fit; the reason."""


def named_tensors(module: nn.Module) -> Iterator[tuple[str, Tensor]]:
    """Parameters and all buffers by name, each once."""
    yield from module.named_parameters()
    yield from module.named_buffers()


def state_of(
    setup: Setup, judge: Judge, best: Mapping[str, Any] | None, *, epoch: int, spent_s: float
) -> FitState:
    """The state of a fit after an epoch. Tensors may be the module's own: write them soon.

    Raises:
        CannotKeep: the module or optimiser holds what a file cannot.
    """
    module = setup.module
    now = dict(named_tensors(module))
    first, second, steps = _slots(setup)
    is_best = judge.best_epoch == epoch
    kept = {} if is_best else dict(best or {})
    extra = {
        "now": _extra(module.state_dict()),
        "best": _extra({} if is_best else dict(best or {})),
    }
    return FitState(
        epoch=epoch,
        step=epoch * setup.n_batches,
        spent_s=spent_s,
        judge={
            "value": judge.value,
            "best_epoch": judge.best_epoch,
            "metrics": dict(judge.metrics),
        },
        module={**now, **{name: g.get_state() for name, g in _generators(module).items()}},
        first=first,
        second=second,
        steps=steps,
        scaler=setup.precision.scaler.state_dict() if setup.precision.scaler else {},
        best={name: value for name, value in kept.items() if isinstance(value, Tensor)},
        extra=extra,
    )


def resume_(setup: Setup, judge: Judge, state: FitState) -> dict[str, Any] | None:
    """Put a state into a freshly prepared fit; returns the weights of its best epoch.

    Raises:
        CannotKeep: the state is of another module; nothing was changed.

    The state's tensors are let go.
    """
    module = setup.module
    put_weights_(module, state)
    _load_slots(setup, state)
    if setup.precision.scaler is not None and state.scaler:
        setup.precision.scaler.load_state_dict(state.scaler)
    judge.value, judge.best_epoch = state.judge["value"], state.judge["best_epoch"]
    judge.metrics = state.judge["metrics"]
    if not judge.best_epoch:
        return None
    best = {**state.best, **state.extra.get("best", {})}
    for part in (state.module, state.first, state.second):
        part.clear()  # a fit must not keep two of everything
    return best or keep_weights(module, None)


def put_weights_(module: nn.Module, state: FitState) -> None:
    """Weights, buffers and generators into a module that was just built.

    Raises:
        CannotKeep: the state is of another module; nothing was changed.
    """
    now, generators = dict(named_tensors(module)), _generators(module)
    _check_fits(state, {**now, **{name: g.get_state() for name, g in generators.items()}})
    with torch.no_grad():
        for name, tensor in now.items():
            tensor.copy_(state.module[name])
    for name, generator in generators.items():
        generator.set_state(state.module[name])
    if extra := state.extra.get("now"):
        module.load_state_dict({**module.state_dict(), **extra})


def _check_fits(state: FitState, tensors: Mapping[str, Tensor]) -> None:
    for name in sorted(tensors.keys() | state.module.keys()):
        here, there = tensors.get(name), state.module.get(name)
        if here is None or there is None:
            raise CannotKeep(f"{name} is in {'the module' if there is None else 'the file'} only")
        if here.shape != there.shape or here.dtype != there.dtype:
            raise CannotKeep(f"{name} is {_said(there)} in the file, {_said(here)} in the module")


def _said(tensor: Tensor) -> str:
    return f"{str(tensor.dtype)[6:]} {tuple(tensor.shape)}"


def _generators(module: nn.Module) -> dict[str, torch.Generator]:
    """Random generators that layers keep as attributes."""
    return {
        f"{name}.{key} (generator)": value
        for name, layer in module.named_modules()
        for key, value in vars(layer).items()
        if isinstance(value, torch.Generator)
    }


def _extra(state: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in state.items() if not isinstance(value, Tensor)}


def _plain(tensor: Tensor) -> Tensor:
    """On the CPU, contiguous, its memory its own: what a file takes."""
    if tensor.layout is not torch.strided:
        raise CannotKeep("it holds sparse tensors")
    return tensor.detach().to("cpu").clone(memory_format=torch.contiguous_format)


def _slots(setup: Setup) -> tuple[dict[str, Tensor], dict[str, Tensor], dict[str, float]]:
    """The optimiser's running values by parameter."""
    first: dict[str, Tensor] = {}
    second: dict[str, Tensor] = {}
    steps: dict[str, float] = {}
    keys = SLOTS[setup.settings.optimizer]
    for name, weight in setup.module.named_parameters():
        own = setup.optimizer.state.get(weight, {})
        for key, found in zip(keys, (first, second), strict=True):
            if isinstance(own.get(key), Tensor):
                found[name] = own[key]
        if "step" in own:
            steps[name] = float(own["step"])
    return first, second, steps


def _load_slots(setup: Setup, state: FitState) -> None:
    optimizer = setup.optimizer
    names = {id(weight): name for name, weight in setup.module.named_parameters()}
    first_key, second_key = SLOTS[setup.settings.optimizer]
    own: dict[int, dict[str, Any]] = {}
    weights = [weight for group in optimizer.param_groups for weight in group["params"]]
    for at, weight in enumerate(weights):
        name = names[id(weight)]
        slots: dict[str, Any] = {}
        for key, part in ((first_key, state.first), (second_key, state.second)):
            if key is not None and name in part:
                # In the weight's own layout: the fused kernels walk through both side by side.
                slots[key] = torch.empty_like(weight, requires_grad=False).copy_(part[name])
        if name in state.steps:
            slots["step"] = torch.tensor(state.steps[name])
        if slots:
            own[at] = slots
    optimizer.load_state_dict(
        {"state": own, "param_groups": optimizer.state_dict()["param_groups"]}
    )
