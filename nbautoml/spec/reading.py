"""Where dimensions are said: a signature, names of a cell, a dict. All end in a `Space`.

::

    def __init__(self, hidden: Int(16, 256) = 64): ...     read_parameters
    lr = Float(1e-4, 0.1, log=True)                        split_names
    space={"lr": Float(1e-4, 0.1), "layers": 3}            read_dict
                                                           gather: all three, checked together
"""

from __future__ import annotations

import difflib
import math
from collections.abc import Callable, Collection, Mapping
from types import MappingProxyType
from typing import Any

from nbautoml.errors import RecipeError, SpaceError, nearest
from nbautoml.spec.fit import OPTIMIZERS, SCHEDULES, SETTING_NAMES, FitSettings
from nbautoml.spec.options import plain
from nbautoml.spec.signature import Parameters, read_parameters, read_signature, title
from nbautoml.spec.space import Choice, Dimension, Float, Int, Space

__all__ = [
    "Parameters",
    "check_names",
    "gather",
    "overlooked",
    "read_dict",
    "read_parameters",
    "read_signature",
    "split_names",
]


# How the settings are called in Keras, Lightning, scikit-learn and many a script.
_SETTINGS_ELSEWHERE: Mapping[str, str] = MappingProxyType(
    {
        "learning_rate": "lr",
        "n_epochs": "epochs",
        "num_epochs": "epochs",
        "max_epochs": "epochs",
        "batch": "batch_size",
        "bs": "batch_size",
        "wd": "weight_decay",
        "l2": "weight_decay",
        "grad_clip": "clip",
        "gradient_clip": "clip",
        "gradient_clip_val": "clip",
        "clip_grad": "clip",
        "max_norm": "clip",
        "scheduler": "schedule",
        "lr_schedule": "schedule",
        "lr_scheduler": "schedule",
        "criterion": "loss",
        "loss_fn": "loss",
        "optim": "optimizer",
        "smoothing": "label_smoothing",
        "early_stopping": "patience",
    }
)
_ALIKE = 0.85  # of difflib: "epoch" is, "path" and "patience" are not


def split_names(
    namespace: Mapping[str, Any],
    parameters: Collection[str] = (),
    settings: Collection[str] = SETTING_NAMES,
) -> tuple[dict[str, Dimension], dict[str, Any]]:
    """Names that a cell assigns, as (those that vary, those that are fixed).

    Every `Dimension` varies. A plain value is fixed where its name means something: a setting of
    the fit, or a parameter of the module. Everything else in the cell is not our business; a
    function named ``loss`` is left to whoever looks for a loss.

    Raises:
        SpaceError: a setting is assigned what cannot be one.

    >>> split_names({"lr": Float(0, 1), "epochs": 5, "path": "here"})
    ({'lr': Float(0, 1)}, {'epochs': 5})
    """
    dimensions: dict[str, Dimension] = {}
    fixed: dict[str, Any] = {}
    for name, value in namespace.items():
        if isinstance(value, Dimension):
            dimensions[name] = value
        elif name in settings:
            if not (name == "loss" and callable(value)):
                fixed[name] = _fixed_setting(name, value)
        elif name in parameters and _is_plain(value):
            fixed[name] = plain(value)
    return dimensions, fixed


def overlooked(
    namespace: Mapping[str, Any],
    parameters: Collection[str] = (),
    settings: Collection[str] = SETTING_NAMES,
) -> dict[str, str]:
    """What a cell assigns that does nothing, but is called like a setting elsewhere, or nearly so.

    Plain values, and functions for the loss; each with the setting that is meant.

    >>> overlooked({"learning_rate": 0.1, "epoch": 5, "path": "here", "lr": 0.1})
    {'learning_rate': 'lr', 'epoch': 'epochs'}
    """
    found: dict[str, str] = {}
    for name, value in namespace.items():
        if name in settings or name in parameters:
            continue
        near = difflib.get_close_matches(name, settings, n=1, cutoff=_ALIKE)
        meant = _SETTINGS_ELSEWHERE.get(name) or (near[0] if near else "")
        if meant in settings and (_is_plain(value) or (meant == "loss" and callable(value))):
            found[name] = meant
    return found


def read_dict(space: Mapping[str, Any]) -> tuple[dict[str, Dimension], dict[str, Any]]:
    """A dict of names as (those that vary, those that are fixed).

    A list, or a tuple of three or more, is a shorthand for `Choice`, a ``range`` for `Int`.

    Raises:
        SpaceError: a value that cannot be read, such as ``(low, high)``, which may mean a range
            or two options.

    >>> read_dict({"lr": Float(0, 1), "optimizer": ["sgd", "adam"], "layers": 3})
    ({'lr': Float(0, 1), 'optimizer': Choice('sgd', 'adam')}, {'layers': 3})
    """
    if not isinstance(space, Mapping):
        raise SpaceError(
            f"a space is {space!r}, which is no dict", hint='write {"lr": Float(1e-4, 0.1)}'
        )
    dimensions: dict[str, Dimension] = {}
    fixed: dict[str, Any] = {}
    for name, value in space.items():
        if isinstance(value, Dimension):
            dimensions[name] = value
        elif name == "betas" and isinstance(value, tuple):
            fixed[name] = _fixed_setting(name, value)
        elif isinstance(value, range):
            dimensions[name] = _from_range(name, value)
        elif isinstance(value, (list, tuple)):
            dimensions[name] = _from_sequence(name, value)
        elif _is_plain(value):
            fixed[name] = plain(value)
        else:
            raise SpaceError(_not_plain(name, value), hint=_plain_hint(name, value))
    return dimensions, fixed


def check_names(
    space: Mapping[str, Dimension],
    fixed: Mapping[str, Any],
    parameters: Collection[str],
    *,
    accepts_any: bool = False,
    settings: Collection[str] = SETTING_NAMES,
) -> None:
    """Whether everything that is said has a taker, and every setting a possible value.

    Raises:
        SpaceError: a name that is neither a setting nor a parameter, with the nearest; or a
            setting whose dimension holds an impossible value.
        RecipeError: a fixed setting with an impossible value.
    """
    for name in (*space, *fixed):
        if name in settings or name in parameters or accepts_any:
            continue
        elsewhere = _SETTINGS_ELSEWHERE.get(name, "")
        close = elsewhere if elsewhere in settings else nearest(name, [*parameters, *settings])
        listed = ", ".join(sorted(parameters)) or "none"
        guess = f"did you mean {close!r}? " if close else ""
        raise SpaceError(
            f"nothing takes {name!r}",
            hint=f"{guess}Parameters of the module: {listed}"
            + (f"; settings: {', '.join(settings)}" if settings else ""),
        )
    for name, dimension in space.items():
        if name in settings:
            _check_setting(name, dimension)
    FitSettings.from_params({name: value for name, value in fixed.items() if name in settings})


def gather(
    target: Callable[..., Any],
    *,
    cell: Mapping[str, Any] = MappingProxyType({}),
    space: Mapping[str, Any] = MappingProxyType({}),
    settings: Collection[str] = SETTING_NAMES,
) -> tuple[Space, dict[str, Any]]:
    """The space of a run and its fixed values, from all places where they can be said.

    A dict beats the cell's names, which beat the signature. A dimension that hangs on a fixed
    value is kept without its condition, or dropped, as the value says.

    Args:
        target: the class (or function) that is to be built with the parameters.
        cell: names that the cell assigns.
        space: what was given as ``space=``.
        settings: names with a meaning of their own; empty for an estimator, which has no fit of
            ours around it.

    Raises:
        SpaceError, RecipeError: see `read_parameters`, `split_names`, `read_dict`, `check_names`;
            or a parameter has no value from anywhere.

    >>> class Net:
    ...     def __init__(self, n_in, hidden: Int(16, 256) = 64): ...
    >>> gather(Net, cell={"lr": Float(1e-4, 0.1)}, space={"n_in": 8})
    (Space({'hidden': Int(16, 256), 'lr': Float(0.0001, 0.1)}), {'n_in': 8})
    """
    parameters = read_parameters(target)
    dimensions: dict[str, Dimension] = dict(parameters.dimensions)
    fixed: dict[str, Any] = {}
    for more, more_fixed in (split_names(cell, parameters.names, settings), read_dict(space)):
        for name in more:
            fixed.pop(name, None)
        for name in more_fixed:
            dimensions.pop(name, None)
        dimensions.update(more)
        fixed.update(more_fixed)
    dimensions = _settled(dimensions, fixed)
    check_names(
        dimensions, fixed, parameters.names, accepts_any=parameters.accepts_any, settings=settings
    )
    made = Space(dimensions)
    _check_required(target, parameters, made, fixed)
    return made, fixed


def _check_required(
    target: Any, parameters: Parameters, space: Space, fixed: Mapping[str, Any]
) -> None:
    for name in sorted(parameters.names):
        if name in parameters.defaults or name in fixed:
            continue
        if name not in space:
            raise SpaceError(
                f"{title(target)} needs {name}, which has no value",
                hint=f"give it a default, a dimension ({name}: Int(1, 4)), or a fixed value",
            )
        when = space[name].when
        if when is not None:
            raise SpaceError(
                f"{title(target)} needs {name}, which exists only when {when[0]} is "
                f"{' or '.join(map(repr, when[1]))}",
                hint=f"give {name} a default for the other cases",
            )


def _check_setting(name: str, dimension: Dimension) -> None:
    if isinstance(dimension, Choice):
        values = [dimension.resolve(option) for option in dimension.options]
    elif isinstance(dimension, (Int, Float)):
        values = [dimension.low, dimension.high]
    else:
        return
    for value in values:
        try:
            FitSettings.from_params({name: value})
        except RecipeError as error:
            raise SpaceError(
                f"{name} varies over {dimension!r}, but {error.message}", hint=error.hint
            ) from error


def _settled(dimensions: Mapping[str, Dimension], fixed: Mapping[str, Any]) -> dict[str, Dimension]:
    """Conditions on fixed values, decided; what hangs on a dropped dimension goes with it."""
    settled = dict(dimensions)
    dropped: set[str] = set()
    while True:
        open_names = [
            name
            for name, dimension in settled.items()
            if dimension.when is not None
            and dimension.when[0] not in settled
            and (dimension.when[0] in fixed or dimension.when[0] in dropped)
        ]
        if not open_names:
            return settled
        for name in open_names:
            parent, values = settled[name].when or ("", ())
            if parent in fixed and fixed[parent] in values:
                settled[name] = settled[name].unconditional()
            else:
                del settled[name]
                dropped.add(name)


def _fixed_setting(name: str, value: Any) -> Any:
    if name == "betas" and isinstance(value, (tuple, list)):
        return list(FitSettings(betas=tuple(value)).betas)  # a list, as JSON will have it
    if not _is_plain(value):
        raise SpaceError(_not_plain(name, value), hint=_plain_hint(name, value))
    return plain(value)


def _from_range(name: str, value: range) -> Int:
    if len(value) == 0 or value.step < 0:
        raise SpaceError(f"{name} is {value!r}", hint="write Int(low, high, step=...)")
    return Int(value[0], value[-1], step=value.step if len(value) > 1 else 1)


def _from_sequence(name: str, value: list[Any] | tuple[Any, ...]) -> Choice:
    is_pair = isinstance(value, tuple) and len(value) == 2
    if is_pair and all(_is_number(item) for item in value):
        low, high = value
        is_whole = all(float(item).is_integer() and not isinstance(item, float) for item in value)
        kind = "Int" if is_whole else "Float"
        raise SpaceError(
            f"{name} is {value!r}: a range, or two options?",
            hint=f"write {kind}({low!r}, {high!r}) or [{low!r}, {high!r}]",
        )
    try:
        return Choice(*value)
    except SpaceError as error:
        raise SpaceError(f"{name}: {error.message}", hint=error.hint) from error


def _is_number(value: Any) -> bool:
    return (
        _is_plain(value)
        and isinstance(plain(value), (int, float))
        and not isinstance(plain(value), bool)
    )


def _is_plain(value: Any) -> bool:
    try:
        found = plain(value)
    except TypeError:
        return False
    return not (isinstance(found, float) and not math.isfinite(found))


def _not_plain(name: str, value: Any) -> str:
    text = repr(value)
    return f"{name} is {text if len(text) <= 60 else type(value).__name__}, which is no plain value"


def _plain_hint(name: str, value: Any) -> str:
    if known := {"optimizer": OPTIMIZERS, "schedule": SCHEDULES}.get(name):
        # A word where torch has a class: `optimizer = torch.optim.Adam` is "adam".
        close = nearest(getattr(value, "__name__", type(value).__name__).lower(), known)
        return (f"did you mean {close!r}? " if close else "") + f"One of: {', '.join(known)}"
    if isinstance(value, (list, tuple)):
        options = ", ".join(map(repr, value[:4]))
        return f"write {name} = Choice({options}{', ...' if len(value) > 4 else ''})"
    if callable(value) and getattr(value, "__name__", "").isidentifier():
        return f"for one that is always the same: Choice({value.__name__}); or rename it"
    return "fixed values are text, finite numbers, True, False or None"
