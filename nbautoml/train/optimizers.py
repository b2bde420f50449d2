"""The optimisers by name: torch's own, in the variant that was measured to be fastest.

Microseconds of one ``step()`` of three n x n matrices on one core (torch 2.13, CPU):

=========  ====  =====  =======  =====
optimiser  n     plain  foreach  fused
=========  ====  =====  =======  =====
sgd        256   28     31       29
momentum   256   65     67       40
adam       256   223    221      90
adagrad    256   157    184      68
adam       2048  44600  33350    5790
adagrad    2048  31690  53630    4005
=========  ====  =====  =======  =====

So: fused wherever there is state to update, plain for SGD without momentum and for RMSprop
(which has no fused variant). On CUDA torch chooses foreach by itself where fused is not there.

They are made without torch's guards for ``torch.compile`` around their methods: these load its
compiler (``torch._dynamo``), 1.2 s of a process's first trial, for training that compiles no
optimiser.
"""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from nbautoml.errors import RecipeError, nearest
from nbautoml.spec.fit import FitSettings

if TYPE_CHECKING:
    import torch

__all__ = ["OPTIMIZER_FACTORIES", "bare_step", "build_optimizer", "optimizer_call"]


def build_optimizer(
    settings: FitSettings, module: torch.nn.Module, device: torch.device
) -> torch.optim.Optimizer:
    """The optimiser that the settings name, over the module's parameters that are trained.

    Raises:
        RecipeError: no such optimiser.
    """
    import torch  # here: `optimizer_call` also serves where no torch is loaded

    parameters = [weight for weight in module.parameters() if weight.requires_grad]
    name, arguments = optimizer_call(settings, device.type)
    is_sparse = any(getattr(layer, "sparse", False) for layer in module.modules())
    if is_sparse or not all(weight.is_floating_point() for weight in parameters):
        # The fused kernels take neither sparse gradients nor complex weights.
        arguments.pop("fused", None)
    return _unguarded(getattr(torch.optim, name))(parameters, **arguments)


@functools.cache
def _unguarded(kind: type[torch.optim.Optimizer]) -> type[torch.optim.Optimizer]:
    """The class with its methods as they are written, under their decorators.

    `functools.wraps` left them as ``__wrapped__``; where a later torch does not, they stay as they
    are, and the compiler is loaded. Of the decorators only ``step``'s has work to do here: no
    gradients of the update.
    """
    import torch

    names = ("add_param_group", "load_state_dict", "state_dict", "zero_grad")
    methods = {name: inspect.unwrap(getattr(kind, name)) for name in names}
    methods["step"] = torch.no_grad()(inspect.unwrap(kind.step))
    return type(kind.__name__, (kind,), methods)


def bare_step(optimizer: torch.optim.Optimizer) -> Callable[[], object]:
    """The optimiser's ``step`` without the profiler's range and the hooks around it.

    They take 6 to 8 of a small model's 200 us. `functools.wraps` left the method itself as
    ``__wrapped__``; where a later torch does not, the usual method is called.
    """
    inner = getattr(type(optimizer).step, "__wrapped__", None)
    return optimizer.step if inner is None else functools.partial(inner, optimizer)


def optimizer_call(settings: FitSettings, device_type: str) -> tuple[str, dict[str, Any]]:
    """Name in `torch.optim` and keyword arguments, as plain values.

    >>> from nbautoml.spec.fit import FitSettings
    >>> optimizer_call(FitSettings(optimizer="momentum", lr=0.1), "cpu")
    ('SGD', {'lr': 0.1, 'momentum': 0.9, 'fused': True})
    """
    factory = OPTIMIZER_FACTORIES.get(settings.optimizer)
    if factory is None:
        near = nearest(settings.optimizer, OPTIMIZER_FACTORIES)
        raise RecipeError(
            f"optimizer {settings.optimizer!r} is not known",
            hint=f"did you mean {near!r}?" if near else "one of: " + ", ".join(OPTIMIZER_FACTORIES),
        )
    name, arguments = factory(settings)
    arguments = {"lr": settings.lr, **arguments}
    if settings.weight_decay or name == "AdamW":
        # AdamW decays by 0.01 unless told otherwise: what a trial says must be what happens.
        arguments["weight_decay"] = settings.weight_decay
    is_fused = name != "RMSprop" and not (name == "SGD" and not arguments.get("momentum"))
    if is_fused and device_type in {"cpu", "cuda"}:
        arguments["fused"] = True
    return name, arguments


def _sgd(_: FitSettings) -> tuple[str, dict[str, Any]]:
    # Without momentum on purpose: "momentum" is the name for SGD with it.
    return "SGD", {}


def _momentum(settings: FitSettings) -> tuple[str, dict[str, Any]]:
    return "SGD", {"momentum": settings.momentum_taken}


def _nesterov(settings: FitSettings) -> tuple[str, dict[str, Any]]:
    # torch refuses Nesterov's look-ahead without momentum, where it is SGD anyway.
    return "SGD", {"momentum": settings.momentum_taken, "nesterov": settings.momentum_taken > 0}


def _adam(settings: FitSettings) -> tuple[str, dict[str, Any]]:
    return "Adam", {"betas": tuple(settings.betas)}


def _adamw(settings: FitSettings) -> tuple[str, dict[str, Any]]:
    return "AdamW", {"betas": tuple(settings.betas)}


def _rmsprop(settings: FitSettings) -> tuple[str, dict[str, Any]]:
    return "RMSprop", {"momentum": settings.momentum_taken} if settings.momentum_taken else {}


def _adagrad(_: FitSettings) -> tuple[str, dict[str, Any]]:
    return "Adagrad", {}


OPTIMIZER_FACTORIES: Mapping[str, Callable[[FitSettings], tuple[str, dict[str, Any]]]] = {
    "sgd": _sgd,
    "momentum": _momentum,
    "nesterov": _nesterov,
    "adam": _adam,
    "adamw": _adamw,
    "rmsprop": _rmsprop,
    "adagrad": _adagrad,
}
