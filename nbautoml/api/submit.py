"""From what was asked to a run that goes: one function a step, each refusing with its own words.

::

    target   module, objective or estimator, and its name      loss   the user's own, or the task's
    space    signature, cell, dict, settings -> Space, fixed   data   snapshot -> DataSpec
    capsule  cells -> module with a hash                       try    one batch, on the CPU
    recipe   everything above, frozen                          start  folder, supervisor

What costs nothing comes first, so that a typo is known before data is copied.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from nbautoml.api.ask import Ask
from nbautoml.api.namespace import names_in, names_of, namespace_for, sources_for, symbol_of
from nbautoml.api.roles import role_of
from nbautoml.api.spaces import given_space, notes_on_names, read_enqueued, read_space
from nbautoml.api.trying import makes_estimator, try_batch
from nbautoml.api.versions import versions
from nbautoml.errors import CapsuleError, DataError, RecipeError, RunNameTakenError
from nbautoml.spec import (
    LOSSES,
    Budget,
    Choice,
    Dimension,
    Objective,
    Space,
    objectives_for,
)
from nbautoml.spec.recipe import Execution, Recipe, Target
from nbautoml.study.rounds import check_can_be_in_rounds

if TYPE_CHECKING:
    from nbautoml.capsule import Capsule
    from nbautoml.spec.data import DataSpec
    from nbautoml.store import Home, RunFolder

__all__ = ["Submitted", "submit"]


@dataclass(frozen=True, kw_only=True)
class Submitted:
    """A run that was handed to the engine.

    Attributes:
        home: where it lies.
        folder: its folder.
        notes: what a person should know: treatments of the data, oddities of the model.
    """

    home: Home
    folder: RunFolder
    notes: tuple[str, ...]


def submit(ask: Ask) -> Submitted:
    """Take every step; returns once the engine has the run (with executor "inline": once it ended).

    Raises:
        NbAutomlError: whatever is off, in its own words; nothing is left behind but data.
    """
    from nbautoml.engine.client import submit as start

    role = read_role(ask)
    symbol = ask.symbol or symbol_of(ask.model, namespace_for(ask.model))
    space, fixed = read_space(ask, role)
    execution = read_execution(ask, role)
    name = ask.options["name"] or ask.home.free_name(symbol.lower())
    check_free(ask.home, name)
    data = read_data(ask, role)
    objectives = read_objectives(ask, role, data)
    enqueued = read_enqueued(ask, space)
    loss_name, loss = read_loss(ask, role)
    capsule = make_capsule(ask, symbol, space, loss_name)
    notes = (
        *notes_on_names(ask, role),
        *note_on_direction(ask, role),
        *(data.notes if data else ()),
        *try_batch(ask, role, space, fixed, data, loss),
    )
    recipe = Recipe(
        kind=ask.verb,
        name=name,
        run_id="",
        target=Target(role=role, symbol=symbol, capsule_hash=capsule.hash, loss=loss_name),
        data=data,
        space=space,
        fixed=fixed,
        objectives=objectives,
        budget=read_budget(ask),
        seed=ask.options["seed"],
        sampler=ask.options.get("sampler", "auto"),
        stopper=ask.options.get("stopper", "none"),
        execution=execution,
        enqueued=enqueued,
        created_at=time.time(),
        versions=versions(),
        source={"line": ask.line, "data": ask.data_text},
    )
    return Submitted(home=ask.home, folder=start(ask.home, recipe, capsule), notes=notes)


def read_role(ask: Ask) -> str:
    """The role of the model; of a function by what it makes.

    Raises:
        RecipeError: it is nothing that can be tuned.
    """
    role = role_of(ask.model, has_data=ask.options["data"] is not None)
    is_made = role == "module" and not isinstance(ask.model, type)
    return "estimator" if is_made and makes_estimator(ask) else role


# -- what it is judged by, and on what ----------------------------------------------------------


def read_data(ask: Ask, role: str) -> DataSpec | None:
    """The data as a snapshot in the home.

    Raises:
        DataError: there is none, or it cannot be trained on.
    """
    value = ask.options["data"]
    if value is None:
        if role == "objective":
            return None
        raise DataError(
            "there is no data to train on",
            hint="say --data (X, y), or --data digits for a set that is built in",
        )
    if role == "objective":
        raise DataError(
            "an objective brings its own data",
            hint="leave out --data, and use the data inside objective(trial)",
        )
    from nbautoml.data import snapshot

    options = ask.options
    return snapshot(
        value,
        home_data=ask.home.data_dir,
        target=options["target"],
        task=options["task"],
        valid_fraction=options["valid"],
        seed=options["seed"],
        name=ask.data_text or "data",
    )


def read_objectives(ask: Ask, role: str, data: DataSpec | None) -> tuple[Objective, ...]:
    """The metrics and their directions.

    Raises:
        RecipeError: an unknown metric, or one that does not suit the task or the estimator.
    """
    task = data.task if data else None
    objectives = objectives_for(ask.options["metric"], task, ask.direction)
    if role == "estimator":
        from nbautoml.tune.estimators import SCORERS

        if len(objectives) > 1 or objectives[0].metric not in SCORERS:
            raise RecipeError(
                f"{ask.options['metric']} is not measured by cross-validation",
                hint="one of: " + ", ".join(SCORERS),
            )
    return objectives


def note_on_direction(ask: Ask, role: str) -> tuple[str, ...]:
    """That a value whose name says nothing is minimized, as in Optuna, where nobody said what is better."""
    is_open = role == "objective" and ask.direction is None and ask.options["metric"] is None
    return ("the value is minimized; say maximize where larger is better",) * is_open


def read_loss(ask: Ask, role: str) -> tuple[str, Any]:
    """A loss that the user wrote, with its name in the capsule; ("", None) for one of ours."""
    found = ask.settings.get("loss", given_space(ask).get("loss", ask.cell.get("loss")))
    if not callable(found) or isinstance(found, Dimension) or role != "module":
        return "", None
    if ask.cell.get("loss") is found:
        return "loss", found
    try:
        return symbol_of(found, namespace_for(ask.model)), found
    except CapsuleError as error:
        raise RecipeError(
            f"the loss is {found!r}, which has no name here",
            hint=f"give it a name in a cell, or use one of: {', '.join(LOSSES)}",
        ) from error


def read_budget(ask: Ask) -> Budget:
    """How much may be spent."""
    return Budget(
        n_trials=ask.n_trials,
        wall_seconds=ask.options["time"],
        trial_seconds=ask.options.get("timeout_per_trial"),
    )


def read_execution(ask: Ask, role: str) -> Execution:
    """How and where.

    Raises:
        RecipeError: a device that is not there, or what cannot be deterministic.
    """
    from nbautoml.engine.devices import layout_for

    options = ask.options
    if options.get("deterministic"):
        check_can_be_in_rounds(is_open=role == "objective")
        for limit in ("time", "timeout_per_trial"):
            if options[limit] is not None:
                word = limit.replace("_", "-")
                raise RecipeError(
                    f"--deterministic and --{word} contradict each other: a clock would decide",
                    hint=f"leave out --{word}, and say how many --trials there shall be",
                )
    execution = Execution(
        executor=options["executor"],
        n_workers=options.get("workers"),
        device=options["device"],
        detach=options["detach"],
        deterministic=options.get("deterministic", False),
    )
    layout_for(execution, n_trials=ask.n_trials)
    return execution


def check_free(home: Home, name: str) -> None:
    """Refuse a name that belongs to a run that is going on.

    The store checks again, under its lock; here it is known before data is copied.
    """
    for info in home.runs():
        if info.name == name and info.state in {"running", "paused"}:
            raise RunNameTakenError(
                f"a run named {name!r} is going on",
                hint=f"call this one {home.free_name(name)!r}, or stop that one first: "
                f"%automl stop {name}",
            )


# -- code ---------------------------------------------------------------------------------------


def make_capsule(ask: Ask, symbol: str, space: Space, loss_name: str) -> Capsule:
    """The source that workers run.

    Raises:
        CapsuleError: something that it needs cannot be shipped.
    """
    from nbautoml.capsule import build_capsule

    namespace = dict(namespace_for(ask.model))
    namespace.setdefault(symbol, ask.model)
    roots = [symbol, *([loss_name] if loss_name else [])]
    # A choice of classes (nn.ReLU, nn.GELU) is written into the record by name alone: the
    # worker takes the classes from the cell's own dimension.
    roots += [
        name
        for name, dimension in space.items()
        if isinstance(dimension, Choice)
        and namespace.get(name) is dimension
        and any(not _is_jsonable(dimension.resolve(option)) for option in dimension.options)
    ]
    extra = (ask.cell_source,) if ask.cell_source else ()
    return build_capsule(
        roots,
        namespace,
        cells=sources_for(ask.model, extra),
        data_names=data_names(ask, namespace),
    )


def _is_jsonable(value: Any) -> bool:
    return value is None or isinstance(value, (str, int, float, bool))


def data_names(ask: Ask, namespace: Mapping[str, Any]) -> set[str]:
    """Names of what is the data: large values that a class refers to are meant, then."""
    value = ask.options["data"]
    parts = list(value) if isinstance(value, (tuple, list)) else [value]
    if isinstance(value, Mapping):
        parts = list(value.values())
    names = names_in(ask.data_text)
    for part in (value, *parts):
        if part is not None and not isinstance(part, (str, int, float)):
            names.update(names_of(part, namespace))
    return names
