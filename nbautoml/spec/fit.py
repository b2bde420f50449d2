"""The settings of one fit: what the trainer does beside the module's own parameters.

Names only: what an optimiser or a loss *is* stands in ``nbautoml.train``. A cell may assign any
of `SETTING_NAMES`, to a plain value (fixed) or to a dimension (varies).
"""

from __future__ import annotations

import dataclasses
import math
import numbers
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

from nbautoml.errors import RecipeError, nearest

__all__ = [
    "LOSSES",
    "OPTIMIZERS",
    "SCHEDULES",
    "SETTING_HELP",
    "SETTING_NAMES",
    "FitSettings",
    "split_params",
]

OPTIMIZERS = ("sgd", "momentum", "nesterov", "adam", "adamw", "rmsprop", "adagrad")
SCHEDULES = ("cosine", "linear", "step", "onecycle")
LOSSES = ("cross_entropy", "bce", "mse", "mae", "huber", "nll")


@dataclass(frozen=True, kw_only=True)
class FitSettings:
    """How one module is fitted. Every field can be fixed or varied from a cell.

    Raises:
        RecipeError: a value is outside its range or of the wrong kind; the message names the
            setting and the value, the hint says what it takes.

    >>> FitSettings(lr=0.01, optimizer="sgd").optimizer
    'sgd'
    >>> FitSettings(optimizer="adm")
    Traceback (most recent call last):
        ...
    nbautoml.errors.RecipeError: optimizer is 'adm', which is no optimizer
    Hint: did you mean 'adam'? One of: sgd, momentum, nesterov, adam, adamw, rmsprop, adagrad
    """

    optimizer: str = "adam"
    lr: float = 1e-3
    batch_size: int = 32
    epochs: int = 10
    weight_decay: float = 0.0
    momentum: float | None = None
    betas: tuple[float, float] = (0.9, 0.999)
    loss: str | None = None
    schedule: str | None = None
    warmup: float = 0.0
    clip: float | None = None
    patience: int | None = None
    label_smoothing: float = 0.0
    class_balance: float = 0.0
    amp: bool | str = "auto"

    def __post_init__(self) -> None:
        for name, check in _CHECKS.items():
            # A checked value is also brought to its own type (an int lr, a numpy scalar),
            # so that settings that mean the same are equal and can be written as JSON.
            object.__setattr__(self, name, check(name, getattr(self, name)))

    @property
    def momentum_taken(self) -> float:
        """The momentum asked for, or what is usual for the optimiser: 0.9, and none for RMSprop, as in torch.

        >>> FitSettings(optimizer="nesterov").momentum_taken, FitSettings(optimizer="rmsprop").momentum_taken
        (0.9, 0.0)
        """
        if self.momentum is not None:
            return self.momentum
        return 0.0 if self.optimizer == "rmsprop" else 0.9

    @classmethod
    def from_params(cls, params: Mapping[str, Any]) -> FitSettings:
        """Settings from a trial's parameters; names that are no settings are left alone.

        >>> FitSettings.from_params({"lr": 0.1, "hidden": 64}).lr
        0.1
        """
        return cls(**{name: params[name] for name in SETTING_NAMES if name in params})

    def to_json(self) -> dict[str, Any]:
        """The settings as plain JSON; `from_params` reads it back."""
        body = dataclasses.asdict(self)
        body["betas"] = list(self.betas)
        return body


def split_params(
    params: Mapping[str, Any], parameters: Collection[str], *, accepts_any: bool = False
) -> tuple[dict[str, Any], dict[str, Any]]:
    """A trial's parameters as (settings of the fit, arguments of the module).

    A name that is both a setting and a parameter of the module goes to both: a module that takes
    ``lr`` means the learning rate.

    Args:
        params: the trial's parameters and the fixed values together.
        parameters: names that the module's ``__init__`` takes.
        accepts_any: whether it also takes ``**kwargs``.

    >>> split_params({"lr": 0.1, "hidden": 64}, {"hidden"})
    ({'lr': 0.1}, {'hidden': 64})
    """
    settings = {name: value for name, value in params.items() if name in SETTING_NAMES}
    arguments = {
        name: value
        for name, value in params.items()
        if name in parameters or (accepts_any and name not in SETTING_NAMES)
    }
    return settings, arguments


def _wrong(name: str, value: Any, takes: str) -> RecipeError:
    return RecipeError(f"{name} is {value!r}", hint=f"{name} takes {takes}")


def _number(
    takes: str, *, low: float, high: float = math.inf, above: bool = False, below: bool = False
) -> Callable[[str, Any], float]:
    """A check for a number in [low, high]; ``above``/``below`` exclude that end."""

    def check(name: str, value: Any) -> float:
        if isinstance(value, bool) or not isinstance(value, numbers.Real):
            raise _wrong(name, value, takes)
        number = float(value)
        is_low = number <= low if above else number < low
        is_high = number >= high if below else number > high
        if not math.isfinite(number) or is_low or is_high:
            raise _wrong(name, value, takes)
        return number

    return check


def _whole(takes: str, *, low: int) -> Callable[[str, Any], int]:
    def check(name: str, value: Any) -> int:
        if isinstance(value, bool) or not isinstance(value, numbers.Integral) or value < low:
            raise _wrong(name, value, takes)
        return int(value)

    return check


def _one_of(options: tuple[str, ...], what: str) -> Callable[[str, Any], str]:
    def check(name: str, value: Any) -> str:
        if not isinstance(value, str):
            raise RecipeError(
                f"{name} is {value!r}", hint=f"{name} takes a name: {', '.join(options)}"
            )
        if value not in options:
            close = nearest(value, options)
            guess = f"did you mean {close!r}? " if close else ""
            raise RecipeError(
                f"{name} is {value!r}, which is no {what}",
                hint=f"{guess}One of: {', '.join(options)}",
            )
        return value

    return check


def _or_none(check: Callable[[str, Any], Any]) -> Callable[[str, Any], Any]:
    return lambda name, value: None if value is None else check(name, value)


def _betas(name: str, value: Any) -> tuple[float, float]:
    takes = "two numbers in [0, 1), such as (0.9, 0.999)"
    if not isinstance(value, (tuple, list)) or len(value) != 2:
        raise _wrong(name, value, takes)
    check = _number(takes, low=0, high=1, below=True)
    return check(name, value[0]), check(name, value[1])


def _amp(name: str, value: Any) -> bool | str:
    if isinstance(value, bool) or value == "auto":
        return value  # type: ignore[no-any-return]
    raise _wrong(name, value, '"auto", True or False')


_CHECKS: Mapping[str, Callable[[str, Any], Any]] = MappingProxyType(
    {
        "optimizer": _one_of(OPTIMIZERS, "optimizer"),
        "lr": _number("a number above 0, such as 1e-3", low=0, above=True),
        "batch_size": _whole("a whole number of samples, at least 1", low=1),
        "epochs": _whole("a whole number of passes over the data, at least 1", low=1),
        "weight_decay": _number("a number of at least 0, such as 1e-4", low=0),
        "momentum": _or_none(_number("a number in [0, 1), such as 0.9", low=0, high=1, below=True)),
        "betas": _betas,
        "loss": _or_none(_one_of(LOSSES, "loss")),
        "schedule": _or_none(_one_of(SCHEDULES, "schedule")),
        "warmup": _number("a fraction of all steps in [0, 1)", low=0, high=1, below=True),
        "clip": _or_none(_number("a norm above 0, or None", low=0, above=True)),
        "patience": _or_none(_whole("a whole number of epochs, at least 1, or None", low=1)),
        "label_smoothing": _number("a fraction in [0, 1)", low=0, high=1, below=True),
        "class_balance": _number("a number in [0, 1]", low=0, high=1),
        "amp": _amp,
    }
)

SETTING_HELP: Mapping[str, str] = MappingProxyType(
    {
        "optimizer": f"how weights move: {', '.join(OPTIMIZERS)}",
        "lr": "learning rate, above 0",
        "batch_size": "samples a step",
        "epochs": "passes over the training data",
        "weight_decay": "pull of the weights towards zero, at least 0",
        "momentum": "of momentum and nesterov (0.9 unless given) and of rmsprop (0), in [0, 1)",
        "betas": "decay rates of adam and adamw, two numbers in [0, 1)",
        "loss": f"what is minimised; from the task unless given: {', '.join(LOSSES)}",
        "schedule": f"how lr falls over the steps: None (constant), {', '.join(SCHEDULES)}",
        "warmup": "fraction of all steps over which lr rises from near 0",
        "clip": "largest norm of the gradient, or None",
        "patience": "epochs without a better value after which a fit ends, or None",
        "label_smoothing": "fraction of a label that is spread over the other classes",
        "class_balance": "how much rows of rare classes weigh: 0 all alike, 1 all classes alike",
        "amp": 'mixed precision: "auto" (on CUDA with bfloat16, from 1,000,000 weights on), True or False',
    }
)

SETTING_NAMES: tuple[str, ...] = tuple(field.name for field in dataclasses.fields(FitSettings))
