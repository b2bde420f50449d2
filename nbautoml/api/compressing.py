"""From a trained module to a compression that goes: `nbautoml.api.submit` for runs of that kind.

::

    model    a module, or a run's best one        given    module and student as files of the run
    data     snapshot, or the run's own           capsule  its classes, with all that they need
    space    what the search varies               try      one batch, on the CPU; an export, where
                                                           something may be quantised
"""

from __future__ import annotations

import copy
import dataclasses
import hashlib
import sys
import time
from collections.abc import Iterable, Iterator, Mapping
from typing import TYPE_CHECKING, Any

from nbautoml.api.ask import Ask
from nbautoml.api.exportable import with_forms_that_work
from nbautoml.api.methods import declared_of, layer_groups, read_space, with_method
from nbautoml.api.namespace import namespace_for, sources_for
from nbautoml.api.students import read_student, try_student
from nbautoml.api.submit import (
    Submitted,
    check_free,
    read_budget,
    read_data,
    read_execution,
)
from nbautoml.api.trying import small_settings
from nbautoml.api.versions import versions
from nbautoml.compress.limits import LATENCY, SIZE, Limits
from nbautoml.compress.rows import n_held_out
from nbautoml.errors import EnergyError, RecipeError
from nbautoml.spec import (
    SETTING_NAMES,
    Dimension,
    FitSettings,
    Objective,
    objective_for,
)
from nbautoml.spec.recipe import Recipe, Target

if TYPE_CHECKING:
    from torch import nn

    from nbautoml.api.run import Run
    from nbautoml.spec.data import DataSpec

__all__ = ["submit_compression"]

DEFAULT_EPOCHS = 8
_TAKES = "give a trained nn.Module, such as run.best_model, or the run itself"


def submit_compression(ask: Ask) -> Submitted:
    """Take every step; returns once the engine has the run.

    Raises:
        NbAutomlError: whatever is off, in its own words; nothing is left behind but data.
    """
    from nbautoml.capsule import build_capsule
    from nbautoml.compress.saved import blueprint_of, dump_module
    from nbautoml.compress.work import GIVEN, STUDENT
    from nbautoml.engine.client import submit as start

    ask = with_method(ask)
    module, run = read_model(ask)
    student = read_student(ask)
    symbol = type(module).__name__
    name = ask.options["name"] or ask.home.free_name(f"{symbol.lower()}_small")
    check_free(ask.home, name)
    data = read_given_data(ask, run)
    fixed, n_epochs = read_settings(ask, run)
    modules = {GIVEN: module, **({} if student is None else {STUDENT: student})}
    names, around = names_of_modules(modules.values())
    loss_name, loss = read_given_loss(ask, run, names)
    notes = (*data.notes, *_tried(module, student, ask, data, fixed, loss))
    ask, told = with_forms_that_work(ask, module, data)
    files = {file: dump_module(one, names) for file, one in modules.items()}
    blueprints = [blueprint_of(one, names)[0] for one in modules.values()]
    roots = [*classes_of(blueprints), *([loss_name] if loss_name else [])]
    capsule = build_capsule(roots, names, cells=sources_for(around, _sources(ask)))
    objective = objective_for(ask.options["metric"] or _metric_of(run), data.task)
    recipe = Recipe(
        kind="compress",
        name=name,
        run_id="",
        target=Target(role="module", symbol=symbol, capsule_hash=capsule.hash, loss=loss_name),
        data=data,
        space=read_space(ask, module, run, data, n_epochs),
        fixed=fixed,
        objectives=(objective, Objective(LATENCY, "minimize"), Objective(SIZE, "minimize")),
        budget=read_budget(ask),
        seed=ask.options["seed"],
        sampler=read_sampler(ask),
        stopper="none",
        execution=read_execution(ask, "module"),
        created_at=time.time(),
        versions=versions(),
        source={"line": ask.line, "data": ask.data_text},
        settings={
            **settings_of_search(ask, module, data, n_epochs),
            "sha256": _sha256(files[GIVEN]),
            "student_sha256": _sha256(files.get(STUDENT)),
            "symbols": classes_of(blueprints),
            "packages": packages_of(blueprints),
            "student": declared_of(module, run)[1],
            "from_run": run.id if run is not None else "",
        },
    )
    folder = start(ask.home, recipe, capsule, files)
    return Submitted(home=ask.home, folder=folder, notes=(*notes, *told))


def _tried(
    module: nn.Module,
    student: nn.Module | None,
    ask: Ask,
    data: DataSpec,
    fixed: Mapping[str, Any],
    loss: Any,
) -> tuple[str, ...]:
    """One batch through all that is to be trained; returns what people should know."""
    from nbautoml.measure.timing import fixed_threads

    with fixed_threads(1):  # several would spin, see `nbautoml.api.trying.try_batch`
        told = try_module(module, ask, data, fixed, loss)
        if student is None:
            return told
        return (*told, *try_student(student, module, ask, data, fixed, loss))


def _sha256(data: bytes | None) -> str:
    """Of a file that the run is given; "" where there is none."""
    return "" if data is None else hashlib.sha256(data).hexdigest()


# -- what was asked ---------------------------------------------------------------------------


def read_model(ask: Ask) -> tuple[nn.Module, Run | None]:
    """The module on the CPU, and the run that it comes from, if it was given as one.

    Raises:
        RecipeError: it is neither; a class says so.
    """
    from nbautoml.api.run import Run

    given = ask.model.best_model if isinstance(ask.model, Run) else ask.model
    files = sys.modules.get("nbautoml.compress.onnx_module")
    if files is not None and isinstance(given, files.OnnxModule):
        raise RecipeError(
            "the model is quantised already, and nothing can be changed in it any more",
            hint="compress the model that it was made from",
        )
    if isinstance(ask.model, Run):
        return given, ask.model
    torch = sys.modules.get("torch")
    if torch is None or not isinstance(ask.model, torch.nn.Module):
        kind = ask.model.__name__ if isinstance(ask.model, type) else type(ask.model).__name__
        what = "a class, which has learnt nothing" if isinstance(ask.model, type) else "no module"
        raise RecipeError(f"the model is {kind}, {what}", hint=_TAKES)
    module: nn.Module = copy.deepcopy(ask.model).cpu().eval()
    return module, None


def read_given_data(ask: Ask, run: Run | None) -> DataSpec:
    """The data that was said, or that of the run whose model it is.

    Raises:
        DataError: there is none.
    """
    if ask.options["data"] is None and run is not None and run.recipe.data is not None:
        return run.recipe.data
    data = read_data(ask, "module")
    assert data is not None  # read_data refuses a module without data
    return data


def read_settings(ask: Ask, run: Run | None) -> tuple[dict[str, Any], int]:
    """Settings of the fine-tuning, and its longest: what was said goes before the run's own.

    Raises:
        RecipeError: no setting, or one that varies.
    """
    said = {name: value for name, value in ask.cell.items() if name in SETTING_NAMES}
    said.update(ask.settings)
    if callable(said.get("loss")):
        del said["loss"]  # a function: see `read_given_loss`
    for name, value in said.items():
        if name not in SETTING_NAMES:
            raise RecipeError(
                f"nothing takes {name!r}: a module that is trained already has its parameters",
                hint=f"settings of the fine-tuning are: {', '.join(SETTING_NAMES)}",
            )
        if isinstance(value, Dimension):
            raise RecipeError(f"{name} varies, and the fine-tuning needs one value for it")
    found = {**_settings_of(run), **said}
    n_epochs = int(said.get("epochs", DEFAULT_EPOCHS))
    found.pop("epochs", None)
    FitSettings.from_params(found)  # refuses what is off
    return found, n_epochs


def _settings_of(run: Run | None) -> dict[str, Any]:
    """How the run trained its best model."""
    if run is None or run.kind == "compress":
        return dict(run.recipe.fixed) if run is not None else {}
    params = run.recipe.space.resolve({**run.recipe.fixed, **run.best.params})
    found = {name: value for name, value in params.items() if name in SETTING_NAMES}
    found.pop("patience", None)
    return {name: value for name, value in found.items() if not callable(value)}


def _metric_of(run: Run | None) -> str | None:
    return run.recipe.objectives[0].metric if run is not None else None


def read_sampler(ask: Ask) -> str:
    """Who suggests the points; with named techniques there is nothing to suggest."""
    if ask.options["method"] != "auto":
        return "random"
    said: str = ask.options["sampler"]
    return "tpe" if said == "auto" else said


def read_limits(ask: Ask) -> Limits:
    """How far it may go.

    Raises:
        EnergyError: the energy is limited, and nothing here counts it.
    """
    options = ask.options
    if options["max_energy"] is not None:
        check_energy()
    return Limits(
        max_drop=options["max_drop"],
        latency_ms=options["max_latency"],
        size_bytes=options["max_size"],
        memory_bytes=options["max_memory"],
        energy_mj=options["max_energy"],
    )


def check_energy() -> None:
    """Refuse a limit of the energy where it cannot be measured.

    Raises:
        EnergyError: says which counter was looked for.
    """
    from nbautoml.measure import meter_for

    try:
        meter_for("cpu")
    except EnergyError as error:
        raise EnergyError(
            f"max_energy cannot be kept to, for nothing can measure it: {error.message}",
            hint=f"leave max_energy out; {error.hint}" if error.hint else "leave max_energy out",
        ) from None


def read_given_loss(ask: Ask, run: Run | None, names: Mapping[str, Any]) -> tuple[str, Any]:
    """The user's own loss, with its name; that of the run whose model it is, if nothing was said."""
    from nbautoml.api.submit import read_loss

    name, loss = read_loss(dataclasses.replace(ask, model=type(ask.model)), "module")
    if not name and run is not None and run.recipe.target.loss in names:
        name = run.recipe.target.loss
        loss = names[name]
    return name, loss


def settings_of_search(
    ask: Ask, module: nn.Module, data: DataSpec, n_epochs: int
) -> dict[str, Any]:
    """What the driver and its workers need to know beside the space, as plain JSON."""
    method = ask.options["method"]
    return {
        "limits": dataclasses.asdict(read_limits(ask)),
        "batch_size": ask.options["rows"],
        "epochs": n_epochs,
        "n_held_out": n_held_out(data.n_valid),
        "is_staged": ask.options["sampler"] == "auto",
        "groups": layer_groups(module),
        "quantizer": ask.options["quantizer"],
        "techniques": [] if method == "auto" else [step.to_json() for step in method],
    }


# -- the module -------------------------------------------------------------------------------


def names_of_modules(modules: Iterable[nn.Module]) -> tuple[dict[str, Any], Any]:
    """Names among which their classes are found, and the class that says in which sources.

    What the notebook (or the script) defines goes before what it imports: its names lead to both.
    """
    kinds = [type(layer) for module in modules for layer in module.modules()]
    own = [kind for kind in kinds if not kind.__module__.startswith("torch.")]
    at_hand = (kind for kind in own if kind.__module__ == "__main__")
    around: Any = next(at_hand, (own or kinds)[0])
    names = dict(namespace_for(around))
    for kind in own:
        names.setdefault(kind.__name__, kind)
    return names, around


def classes_of(blueprints: Iterable[Mapping[str, Any]]) -> list[str]:
    """Names of the classes and functions that are not torch's and that modules are made of."""
    return sorted({name for blueprint in blueprints for name in _symbols(blueprint)})


def packages_of(blueprints: Iterable[Mapping[str, Any]]) -> list[str]:
    """Modules of other packages whose classes they are made of."""
    texts = (text for blueprint in blueprints for text in _classes(blueprint))
    places = {text.partition(":")[0] for text in texts if ":" in text}
    return sorted(place for place in places if place.partition(".")[0] != "torch")


def _classes(node: Mapping[str, Any]) -> Iterator[str]:
    if "class" in node:
        yield node["class"]
        for child in node["modules"].values():
            if child is not None:
                yield from _classes(child)


def _symbols(value: Any) -> Iterator[str]:
    if isinstance(value, Mapping):
        if "class" in value and ":" not in str(value["class"]):
            yield str(value["class"])
        if set(value) == {"symbol"}:
            yield str(value["symbol"])
        for item in value.values():
            yield from _symbols(item)
    elif isinstance(value, list):
        for item in value:
            yield from _symbols(item)


def try_module(
    module: nn.Module, ask: Ask, data: DataSpec, fixed: Mapping[str, Any], loss: Any
) -> tuple[str, ...]:
    """One batch through a copy of the module on the CPU; returns oddities.

    Raises:
        ModelError: it fails; names the layer and both shapes where shapes do not fit.
    """
    from nbautoml.data import open_data
    from nbautoml.train import dry_run

    told = dry_run(
        lambda: copy.deepcopy(module),
        open_data(data, ask.home.data_dir, device="cpu"),
        small_settings(FitSettings.from_params(fixed), data),
        "cpu",
        loss=loss,
    )
    return tuple(told.splitlines()[1:])


def _sources(ask: Ask) -> tuple[str, ...]:
    return (ask.cell_source,) if ask.cell_source else ()
