"""The trained module of a trial: class, parameters, weights, each checked before it is used.

Weights are read as safetensors after their sha256 was verified; nothing is unpickled. The class is
the one in the notebook where its source is what the run was submitted with. Otherwise the run's
own code would have to be executed here, and a run's folder may have come by mail: so that is done
only for a run that this very process submitted, or when the caller says so.
"""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from nbautoml.api.namespace import namespace_for, sources_for
from nbautoml.errors import CapsuleError, NbAutomlError, StoreError
from nbautoml.spec import Choice, split_params
from nbautoml.spec.reading import read_parameters
from nbautoml.store.rows import OPEN_STATES
from nbautoml.tensors import tensors_of

if TYPE_CHECKING:
    from torch import nn

    from nbautoml.spec.recipe import Recipe
    from nbautoml.store import RunFolder, TrialRow

__all__ = ["rebuild_module"]

N_LOOKS = 5


def rebuild_module(
    folder: RunFolder,
    recipe: Recipe,
    row: TrialRow,
    namespace: Mapping[str, Any],
    *,
    may_run_code: bool,
) -> nn.Module:
    """The module of a trial with its trained weights, on the CPU, in evaluation mode.

    Args:
        folder: the run.
        recipe: what was run.
        row: the trial.
        namespace: where the class is looked for first.
        may_run_code: whether the run's own code may be executed in this process.

    Raises:
        NbAutomlError: no module's run, or no weights were kept for this trial; of one that has not
            ended there are those of its best epoch up to its last checkpoint.
        StoreError: the weights are not what was written, or no file of weights.
        CapsuleError: the class is not here as it was, and its code may not be run.
    """
    if recipe.kind == "compress":
        return _compressed(folder, recipe, row, namespace, may_run_code=may_run_code)
    if recipe.target.role != "module":
        raise NbAutomlError(
            f"run {recipe.name!r} tuned an {recipe.target.role}, which leaves no module",
            hint=f"{recipe.target.symbol}(**{recipe.name}.best.params).fit(X, y) makes and fits one"
            if recipe.target.role == "estimator"
            else f"build it from {recipe.name}.best.params",
        )
    weights = _trained(folder, recipe, row)
    target = _target(folder, recipe, namespace, may_run_code=may_run_code)
    parameters = read_parameters(target)
    module: nn.Module = target(**_arguments(recipe, row, parameters, namespace))
    names = module.state_dict().keys()
    try:
        module.load_state_dict({name: weights[name] for name in weights if name in names})
    except RuntimeError as error:
        raise NbAutomlError(
            f"the weights of trial {row.number} do not fit {recipe.target.symbol}: {error}",
            hint="what it is built from (a global, a file) has changed since the run",
        ) from None
    return module.eval()


def _compressed(
    folder: RunFolder,
    recipe: Recipe,
    row: TrialRow,
    namespace: Mapping[str, Any],
    *,
    may_run_code: bool,
) -> nn.Module:
    """A model of a compression: from its blueprint, or the ONNX file that stands for it."""
    from nbautoml.compress.keeping import MODEL, ONNX
    from nbautoml.compress.saved import load_module

    with folder.reader() as reader:
        details = [item.details for item in reader.artifacts(row.number) if item.kind == MODEL]
    if details and details[-1].get("stands") == ONNX:
        from nbautoml.compress.onnx_module import OnnxModule

        return OnnxModule(_weights(folder, recipe, row, ONNX)).eval()
    names = _names_of_parts(folder, recipe, namespace, may_run_code=may_run_code)
    return load_module(_weights(folder, recipe, row, MODEL), names)


def _names_of_parts(
    folder: RunFolder, recipe: Recipe, namespace: Mapping[str, Any], *, may_run_code: bool
) -> Mapping[str, Any]:
    """Where the classes that a compressed module is made of are found."""
    import importlib

    symbols = recipe.settings.get("symbols", [])
    if may_run_code:
        for package in recipe.settings.get("packages", ()):
            importlib.import_module(package)
    if not symbols:
        return {}
    here = [namespace.get(symbol) for symbol in symbols]
    if all(callable(part) for part in here) and _is_unchanged(here[0], recipe, namespace, symbols):
        return namespace
    if not may_run_code:
        raise CapsuleError(
            f"{', '.join(symbols)} of run {recipe.name!r} is not here as it was, and the run was "
            "submitted by another process",
            hint=f"run the cell that defines it ({recipe.name}.code shows it), or, if you trust "
            f"the run, {recipe.name}.model(run_code=True), which executes its code",
        )
    from nbautoml.capsule import import_capsule

    return vars(import_capsule(folder.capsule_dir))


def _trained(folder: RunFolder, recipe: Recipe, row: TrialRow) -> Mapping[str, Any]:
    """Weights by name: those kept at the trial's end, or of one that has not ended its checkpoint's."""
    from nbautoml.store import load_artifact
    from nbautoml.train.state import FitState
    from nbautoml.tune.kept import CHECKPOINT

    if row.state not in OPEN_STATES:
        return tensors_of(_weights(folder, recipe, row))
    for _ in range(N_LOOKS):  # a file may be followed by another, and removed, before it is read
        with folder.reader() as reader:
            kept = [item for item in reader.artifacts(row.number) if item.kind == CHECKPOINT]
        if not kept:
            break
        try:
            state = FitState.from_bytes(load_artifact(kept[-1]))
        except StoreError:
            if (kept[-1].folder / kept[-1].path).exists():
                raise
            continue
        if state.identity.get("number") == row.number:
            return state.best_weights
    raise NbAutomlError(
        f"trial {row.number} of run {recipe.name!r} is {row.state} and has no checkpoint yet",
        hint="there is one after some seconds of training, where an epoch takes less than that",
    )


def _weights(folder: RunFolder, recipe: Recipe, row: TrialRow, kind: str = "weights") -> bytes:
    from nbautoml.store import load_artifact

    with folder.reader() as reader:
        kept = [item for item in reader.artifacts(row.number) if item.kind == kind]
        others = [item.trial for item in reader.artifacts() if item.kind == kind]
    if kept:
        return load_artifact(kept[-1])
    listed = ", ".join(str(number) for number in others[-5:]) or "no trial"
    raise NbAutomlError(
        f"no weights were kept for trial {row.number} of run {recipe.name!r} ({row.state}); they "
        f"are kept when a trial is the best so far: {listed}",
        hint=f"%automl code {recipe.name} --trial {row.number} writes a cell that trains it again",
    )


def _target(
    folder: RunFolder, recipe: Recipe, namespace: Mapping[str, Any], *, may_run_code: bool
) -> Any:
    symbol = recipe.target.symbol
    found = namespace.get(symbol)
    if callable(found) and _is_unchanged(found, recipe, namespace, [symbol]):
        return found
    state = "has changed since the run" if found is not None else "is not defined here"
    if not may_run_code:
        raise CapsuleError(
            f"{symbol} {state}, and run {recipe.name!r} was submitted by another process",
            hint=f"run the cell that defines it ({recipe.name}.code shows it), or, if you trust "
            f"the run, {recipe.name}.model(run_code=True), which executes its code",
        )
    if found is not None:
        warnings.warn(f"{symbol} {state}: the model is of the class that was trained", stacklevel=4)
    from nbautoml.capsule import import_capsule

    return getattr(import_capsule(folder.capsule_dir), symbol)


def _is_unchanged(
    found: Any, recipe: Recipe, namespace: Mapping[str, Any], symbols: Sequence[str]
) -> bool:
    """Whether the classes, with all that they need, are what the run was submitted with."""
    from nbautoml.capsule import build_capsule

    roots = [*symbols, *([recipe.target.loss] if recipe.target.loss else [])]
    # As when it was submitted: the names of the module that defines it, be that the notebook or not.
    around = {**namespace, **namespace_for(found)}
    for names in (roots, [*roots, *_choices_of_classes(recipe)]):
        try:
            capsule = build_capsule(names, around, cells=sources_for(found))
        except NbAutomlError:
            continue
        if capsule.hash == recipe.target.capsule_hash:
            return True
    return False


def _choices_of_classes(recipe: Recipe) -> list[str]:
    return [name for name, item in recipe.space.items() if isinstance(item, Choice)]


def _arguments(
    recipe: Recipe, row: TrialRow, parameters: Any, namespace: Mapping[str, Any]
) -> dict[str, Any]:
    """What the class is called with: fixed values and the trial's parameters."""
    space = recipe.space.bound({**namespace, **parameters.dimensions})
    params = {**recipe.fixed, **space.resolve(row.params)}
    _, arguments = split_params(params, parameters.names, accepts_any=parameters.accepts_any)
    return arguments
