"""What varies in a run, and what is fixed: read from a signature, a cell, a dict and settings."""

from __future__ import annotations

import ast
from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

from nbautoml.api.ask import Ask
from nbautoml.errors import DataError, SpaceError, UsageError
from nbautoml.spec import SETTING_NAMES, Dimension, Space
from nbautoml.spec.reading import gather, overlooked, read_parameters

__all__ = ["given_space", "notes_on_names", "read_enqueued", "read_space"]

# How Optuna and Ray Tune call what `tune` has under another name.
_OPTIONS_ELSEWHERE: Mapping[str, str] = MappingProxyType(
    {
        "n_trials": "trials",
        "num_trials": "trials",
        "max_trials": "trials",
        "num_samples": "trials",
        "timeout": "time",
        "n_jobs": "workers",
        "pruner": "stopper",
        "direction": "maximize=True",
        "study_name": "name",
    }
)


def read_space(ask: Ask, role: str) -> tuple[Space, dict[str, Any]]:
    """What varies and what is fixed, from the signature, the cell, the dict and the settings.

    Raises:
        SpaceError: nobody takes a name, a range is impossible, or nothing varies in `tune`.
        DataError: a function that makes a module came without data.
        UsageError: an option under the name that another tool has for it.
    """
    said = {**given_space(ask), **ask.settings}
    if callable(said.get("loss")):
        del said["loss"]  # a function: see `read_loss`
    _refuse_options_of_others(ask)
    if role == "objective":
        _refuse_names(ask, said)
        return Space(), {}
    settings = SETTING_NAMES if role == "module" else ()
    cell = {name: value for name, value in ask.cell.items() if name not in {"model", ask.symbol}}
    space, fixed = gather(ask.model, cell=cell, space=said, settings=settings)
    if ask.verb == "train":
        _refuse_varying(ask, space, {**cell, **said})
        return Space(), fixed  # the module itself knows the defaults of its signature
    if ask.verb == "tune" and not space:
        raise SpaceError(
            f"nothing varies in {ask.symbol or ask.model.__name__}",
            hint="add a dimension, such as lr = Float(1e-4, 1e-1, log=True), or use train",
        )
    return space, fixed


def notes_on_names(ask: Ask, role: str) -> tuple[str, ...]:
    """What the cell assigns as if it were a setting: neither an error nor without a word.

    A name that the cell itself reads means something to its author.
    """
    if role != "module" or not ask.cell:
        return ()
    tree = ast.parse(ask.cell_source)
    used = {n.id for n in ast.walk(tree) if isinstance(n, ast.Name) and isinstance(n.ctx, ast.Load)}
    mine = {name: value for name, value in ask.cell.items() if name not in used}
    return tuple(
        f"{name} does nothing here: the setting is called {meant}"
        for name, meant in overlooked(mine, read_parameters(ask.model).names).items()
    )


def given_space(ask: Ask) -> dict[str, Any]:
    """What was said as ``space=`` (or ``params=`` of `train`): a dict, empty when nothing was."""
    found = ask.options.get("space" if ask.verb == "tune" else "params")
    if found is None:
        return {}
    if not isinstance(found, Mapping):
        raise SpaceError(
            f"the {'space' if ask.verb == 'tune' else 'params'} is {found!r}, which is no dict",
            hint='write {"lr": Float(1e-4, 0.1)}',
        )
    return dict(found)


def _refuse_options_of_others(ask: Ask) -> None:
    """A keyword that is no option of ours is a parameter of the model; one of Optuna's is neither."""
    for name in ask.settings:
        ours = _OPTIONS_ELSEWHERE.get(name, "")
        if ours and ours.partition("=")[0] in ask.options and not _takes(ask.model, name):
            raise UsageError(f"{ask.verb} has no option {name!r}", hint=f"it is called {ours} here")


def _takes(model: Any, name: str) -> bool:
    parameters = read_parameters(model)
    return name in parameters.names or parameters.accepts_any


def _refuse_names(ask: Ask, said: Mapping[str, Any]) -> None:
    """An objective asks for its values itself: what else is said would do nothing."""
    dimensions = [name for name, value in ask.cell.items() if isinstance(value, Dimension)]
    if read_parameters(ask.model).names & {*said, *dimensions}:
        raise DataError(
            f"{ask.symbol or ask.model.__name__} makes a module, and there is no data to train it on",
            hint="say --data (X, y); an objective(trial) is given no other values than its trial",
        )
    for name in (*said, *dimensions):
        raise SpaceError(
            f"nothing takes {name!r}: an objective asks for its values itself",
            hint=f"write {name} = trial.suggest_float({name!r}, low, high) inside objective",
        )


def _refuse_varying(ask: Ask, space: Space, said: Mapping[str, Any]) -> None:
    """One fit needs one value for each name: only what the signature lets vary has a default."""
    defaults = read_parameters(ask.model).defaults
    for name in space:
        if name not in defaults or isinstance(said.get(name), Dimension):
            raise SpaceError(
                f"{name} varies, and a single fit needs one value for it",
                hint=f"say {name} = ... in the cell, or use %%automl tune",
            )


def read_enqueued(ask: Ask, space: Space) -> tuple[dict[str, Any], ...]:
    """Parameters that are tried first.

    Raises:
        SpaceError: they are not in the space.
    """
    found = ask.options.get("enqueue")
    if found is None:
        return ()
    listed = [found] if isinstance(found, Mapping) else list(found)
    for params in listed:
        if not isinstance(params, Mapping):
            raise SpaceError(
                f"enqueue holds {params!r}, which is no dict", hint='write [{"lr": 0.01}]'
            )
        if space:  # an objective's space is not known before it runs
            space.check(params, partial=True)
    return tuple(space.labels(params) for params in listed)
