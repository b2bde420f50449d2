"""One batch through a module before its first trial, so that a shape that does not fit is known in the cell."""

from __future__ import annotations

import contextlib
import dataclasses
import sys
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from nbautoml.api.ask import Ask
from nbautoml.api.spaces import read_space
from nbautoml.spec import Choice, FitSettings, Float, Int, Space, split_params
from nbautoml.spec.reading import read_parameters

if TYPE_CHECKING:
    from nbautoml.spec.data import DataSpec

__all__ = ["makes_estimator", "small_settings", "try_batch"]

# What one batch may hold when it is tried on the kernel's CPU: a quarter of a second for a CNN.
TRY_VALUES = 2**18
TRY_ROWS = 8


def try_batch(
    ask: Ask,
    role: str,
    space: Space,
    fixed: Mapping[str, Any],
    data: DataSpec | None,
    loss: Any,
) -> tuple[str, ...]:
    """One batch through the module on the CPU, before the first trial; returns oddities.

    It runs here, in the kernel, which has torch loaded since it has the module. The device is
    left alone: a CUDA context in the kernel would cost memory for as long as it lives. One thread
    computes it: several wait for each other by spinning, and where another process has their
    cores that takes longer than the batch (20 ms on one thread, 20 to 350 on two).

    Raises:
        ModelError: the module fails; names the layer and both shapes where shapes do not fit.
    """
    if role != "module" or data is None:
        return ()
    from nbautoml.data import open_data
    from nbautoml.measure.timing import fixed_threads
    from nbautoml.train import dry_run

    parameters = read_parameters(ask.model)
    params = {**fixed, **space.resolve(_small_point(space, parameters.defaults))}
    settings, arguments = split_params(params, parameters.names, accepts_any=parameters.accepts_any)
    with fixed_threads(1):
        told = dry_run(
            lambda: ask.model(**arguments),
            open_data(data, ask.home.data_dir, device="cpu"),
            small_settings(FitSettings.from_params(settings), data),
            "cpu",
            loss=loss,
        )
    return tuple(told.splitlines()[1:])


def makes_estimator(ask: Ask) -> bool:
    """Whether a function makes a scikit-learn estimator (a pipeline, say) and no module.

    It is called once to find out. What it raises is told where a batch is tried.
    """
    torch = sys.modules.get("torch")
    try:
        space, fixed = read_space(ask, "module")
        parameters = read_parameters(ask.model)
        params = {**fixed, **space.resolve(_small_point(space, parameters.defaults))}
        _, arguments = split_params(params, parameters.names, accepts_any=parameters.accepts_any)
        with _random_state_kept(torch):
            made = ask.model(**arguments)
    except Exception:  # noqa: BLE001
        return False
    is_module = torch is not None and isinstance(made, torch.nn.Module)
    return not is_module and hasattr(made, "fit") and hasattr(made, "get_params")


def _random_state_kept(torch: Any) -> contextlib.AbstractContextManager[None]:
    if torch is None:
        return contextlib.nullcontext()
    from nbautoml.train.seeds import isolated_rng

    return isolated_rng(torch.device("cpu"))


def _small_point(space: Space, defaults: Mapping[str, Any]) -> dict[str, Any]:
    """A point of the space that is quick to try: defaults where there are any, else low ends."""
    params: dict[str, Any] = {}
    for name in space.order:
        if not space.is_active(name, params):
            continue
        dimension = space[name]
        default = defaults.get(name)
        if name in defaults and dimension.contains(default):
            params[name] = default
        elif isinstance(dimension, (Int, Float)):
            params[name] = dimension.low
        elif isinstance(dimension, Choice):
            params[name] = dimension.options[0]
    return space.labels(params)


def small_settings(settings: FitSettings, data: DataSpec) -> FitSettings:
    """The settings with a batch that a CPU takes in a moment, and without mixed precision."""
    n_values = sum(item.n_values for item in data.inputs)
    fitting = settings.batch_size * n_values <= TRY_VALUES
    rows = settings.batch_size if fitting else min(settings.batch_size, TRY_ROWS)
    return dataclasses.replace(settings, batch_size=rows, amp=False)
