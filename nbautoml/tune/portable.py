"""The winner as a plain PyTorch cell: what ``%automl code NAME`` puts into the notebook.

The cell holds the user's own code without nbautoml, the data as the notebook has it, and a loop
that does what the trainer did: same split, same weights to begin with, same batches, same
dropout. Run alone it reaches the trial's metric again.

Every value in it is written by `repr` and read back as a check, and the whole is compiled: what
a record or a data set holds can become text in the cell, never code.
"""

from __future__ import annotations

import ast
import json
import keyword
import math
import re
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from nbautoml.errors import CapsuleError, NbAutomlError, RecipeError
from nbautoml.spec import (
    TASKS,
    Choice,
    FitSettings,
    Objective,
    Space,
    metrics_for,
    split_params,
)
from nbautoml.spec.data import DataSpec
from nbautoml.tune.portable_data import data_code, load_call
from nbautoml.tune.portable_loop import Loop, loop_code
from nbautoml.tune.portable_source import (
    bound_names,
    option_source,
    parameter_names,
    without_nbautoml,
)

if TYPE_CHECKING:
    from nbautoml.spec.recipe import Recipe
    from nbautoml.store import RunFolder, TrialRow

__all__ = ["portable_cell", "portable_code"]

# Names that the written code binds; the user's own must be others.
_RESERVED = frozenset(
    {"SEED", "device", "load_data", "loss_of", "metric_of", "lr_at", "take", "train", "split_rows"}
    | {"unpack", "array", "encode", "read_idx", "COLUMNS", "datasets", "copy", "roc_auc_score"}
)
_LOCAL = frozenset(
    {"X", "y", "x_train", "y_train", "x_valid", "y_valid", "model", "optimizer", "best", "weights"}
    | {
        "step",
        "epoch",
        "generator",
        "order",
        "rows",
        "loss",
        "output",
        "value",
        "twin",
        "n_batches",
        "n_weights",
        "is_mixed",
    }
)


def portable_code(
    *,
    source: str,
    symbol: str,
    data: DataSpec,
    settings: FitSettings,
    objective: Objective,
    seed: int,
    arguments: Mapping[str, Any] | None = None,
    expressions: Mapping[str, str] | None = None,
    data_text: str = "",
    meta: Mapping[str, Any] | None = None,
    loss: str = "",
    n_epochs: int | None = None,
    n_threads: int | None = None,
    device: str = "cpu",
    title: str = "",
    captured: tuple[str, ...] = (),
) -> str:
    """A cell of plain PyTorch that trains a module as `nbautoml.train.fit` does.

    Args:
        source: the module's code, as a capsule holds it.
        symbol: the class (or function) in it that makes the module.
        data: what was trained on.
        settings: how.
        objective: the metric that decides which epoch is kept.
        seed: of the fit.
        arguments: plain values that the symbol is called with.
        expressions: arguments that are no plain values, as they are written ("nn.ReLU").
        data_text: how the data was said; "" writes ``(X, y)``.
        meta: the snapshot's meta.json, for scales, encodings and labels.
        loss: name in the source of the user's own loss, or "".
        n_epochs: epochs that the trial trained before it ended; None for all.
        n_threads: of torch, when sums must be rounded as in the run.
        device: where the trial ran.
        title: a line that says what this is.
        captured: names that the source takes from the notebook (arrays, tensors).

    Raises:
        CapsuleError: the source uses nbautoml where it cannot be cut out, or a name of the
            written code.
        RecipeError: a value that cannot be written as code.
    """
    _check_words(data, objective, device)
    _check_names(code := without_nbautoml(source).strip("\n"), symbol, loss)
    loop = Loop(
        source=code,
        build=_call(symbol, arguments or {}, expressions or {}),
        settings=settings,
        data=data,
        objective=objective,
        seed=seed,
        loss=loss,
        n_epochs=n_epochs or settings.epochs,
        device=device,
    )
    loading = data_code(data, data_text, meta, device)
    args = load_call(data, data_text, meta)
    return _put_together(loop, loading, f"model = train(*{args})", n_threads, title, captured)


def _put_together(
    loop: Loop,
    loading: str,
    last: str,
    n_threads: int | None,
    title: str,
    captured: tuple[str, ...],
) -> str:
    """Head, the user's code, constants, data, loop, and the line that trains."""
    training = loop_code(loop)
    future, code = _future(loop.source)
    imports = _imports(loading + training, loop, code)
    parts = [
        "\n".join([*_comment(title), *_needs(captured), *future, *imports]),
        code,
        "\n".join(_constants(loop, n_threads)),
        loading,
        training,
        last,
    ]
    return _checked("\n\n\n".join(part.strip("\n") for part in parts if part.strip()) + "\n")


def portable_cell(folder: RunFolder, recipe: Recipe, trial: TrialRow) -> str:
    """The cell of one trial of a run: `portable_code` with what the run's folder holds.

    Raises:
        NbAutomlError: the trial is of another kind, or what it needs is gone.
    """
    from nbautoml.capsule import Capsule
    from nbautoml.tune.driver import trial_seed

    capsule = Capsule.load(folder.capsule_dir)
    if recipe.target.role != "module" or recipe.data is None:
        raise RecipeError(
            f"run {recipe.name!r} trains no torch module, so there is no PyTorch cell to write",
            hint="run.code shows the code of the run, run.best.params its values",
        )
    source, symbol = capsule.source, recipe.target.symbol
    together = {**recipe.fixed, **trial.params}
    known = parameter_names(source, symbol)
    names, accepts_any = known if known is not None else (set(), True)
    values, expressions = _resolved(together, recipe.space, source)
    settings, arguments = split_params(values, names, accepts_any=accepts_any)
    value = "" if trial.value is None else f": {recipe.objectives[0].metric} {trial.value:.6g}"
    return portable_code(
        source=source,
        symbol=symbol,
        data=recipe.data,
        settings=FitSettings(**settings),
        objective=recipe.objectives[0],
        seed=trial_seed(recipe, trial.number),
        arguments=arguments,
        expressions=expressions,
        data_text=str(recipe.source.get("data", "")),
        meta=_meta(folder, recipe.data),
        loss=recipe.target.loss,
        n_epochs=trial.epoch or None,
        device=trial.device or "cpu",
        title=f"run {recipe.name}, trial {trial.number}{value}",
        captured=tuple(capsule.captured),
    )


def _meta(folder: RunFolder, data: DataSpec) -> Mapping[str, Any] | None:
    from nbautoml.data import read_meta

    try:
        return read_meta(data.digest, folder.path.parent.parent / "data")
    except NbAutomlError:
        return None  # the run came without its data: it is taken as the notebook has it


def _resolved(
    params: Mapping[str, Any], space: Space, source: str
) -> tuple[dict[str, Any], dict[str, str]]:
    """Parameters as (plain values, expressions for options that are classes or functions)."""
    values: dict[str, Any] = {}
    expressions: dict[str, str] = {}
    for name, value in params.items():
        dimension = space.get(name)
        if not isinstance(dimension, Choice):
            values[name] = value
            continue
        try:
            values[name] = dimension.resolve(value)
        except NbAutomlError:
            text = option_source(source, name, dimension.options.index(value))
            if text is None and "." in str(value):
                text = str(value)  # a member of an enumeration, which is written as it is called
            if text is None:
                raise RecipeError(
                    f"the option {value} of {name} is known by its name alone",
                    hint="write it into the cell by hand",
                ) from None
            expressions[name] = text
    return values, expressions


def _call(symbol: str, arguments: Mapping[str, Any], expressions: Mapping[str, str]) -> str:
    for name in (symbol, *arguments, *expressions):
        if not name.isidentifier() or keyword.iskeyword(name):
            raise RecipeError(f"{name!r} cannot be written as a name in code")
    for name, text in expressions.items():
        try:
            ast.parse(text, mode="eval")
        except SyntaxError as error:
            raise RecipeError(f"{name} = {text!r} is no expression") from error
    said = {**{name: _literal(value) for name, value in arguments.items()}, **expressions}
    return f"{symbol}({', '.join(f'{name}={text}' for name, text in said.items())})"


def _literal(value: Any) -> str:
    """A plain value as code that reads back as the same value."""
    if isinstance(value, float) and not math.isfinite(value):
        return f'float("{value}")'
    text = repr(value)
    try:
        is_same = ast.literal_eval(text) == value
    except (ValueError, SyntaxError):
        is_same = False
    if not is_same:
        raise RecipeError(f"the value {text[:80]} cannot be written as code")
    return text


def _check_words(data: DataSpec, objective: Objective, device: str) -> None:
    """Words that become part of the code may only be those that we know."""
    if data.task not in TASKS or objective.metric not in metrics_for(data.task):
        raise RecipeError(f"{objective.metric!r} is no metric of a task {data.task!r}")
    if not re.fullmatch(r"cpu|mps|cuda(:\d+)?", device):
        raise RecipeError(f"device {device!r} is not known")


def _check_names(code: str, symbol: str, loss: str) -> None:
    if loss and not loss.isidentifier():
        raise RecipeError(f"{loss!r} cannot be written as a name in code")
    clash = bound_names(code) & _RESERVED
    if symbol in _LOCAL or loss in _LOCAL - {"loss"}:
        clash = {symbol if symbol in _LOCAL else loss}
    if clash:
        raise CapsuleError(
            f"the code has a name that the written loop uses itself: {', '.join(sorted(clash))}",
            hint="rename it in the cell and run it again",
        )


def _future(code: str) -> tuple[list[str], str]:
    """``from __future__`` must stand first in the cell, whatever stood before it in the source."""
    lines = code.split("\n")
    tree = ast.parse(code)
    places = [
        range(node.lineno - 1, (node.end_lineno or node.lineno))
        for node in tree.body
        if isinstance(node, ast.ImportFrom) and node.module == "__future__"
    ]
    moved = [lines[at] for place in places for at in place]
    gone = {at for place in places for at in place}
    return moved, "\n".join(line for at, line in enumerate(lines) if at not in gone)


def _comment(title: str) -> list[str]:
    text = " ".join(title.split()) if title else "plain PyTorch"
    return [f"# {text}", ""]


def _needs(captured: tuple[str, ...]) -> list[str]:
    names = ", ".join(" ".join(name.split()) for name in captured)
    return [f"# needs from the notebook: {names}", ""] if names else []


def _imports(written: str, loop: Loop, code: str) -> list[str]:
    """What the loop needs, less what the user's own code imports in the same words."""
    modules = {
        "copy": "copy.",
        "gzip": "gzip.",
        "math": "math.",
        "pathlib": "pathlib.",
        "random": "random.seed(",
        "struct": "struct.",
    }
    plain = [f"import {name}" for name, use in modules.items() if use in written]
    lines = [*plain, "", "import numpy as np", "import torch"]
    if "datasets.load_" in written:
        lines.append("from sklearn import datasets")
    if loop.objective.metric == "auroc":
        lines.append("from sklearn.metrics import roc_auc_score")
    lines.append("from torch import nn")
    theirs = {ast.unparse(node) for node in ast.parse(code).body}
    return [line for line in lines if line not in theirs]


def _constants(loop: Loop, n_threads: int | None) -> list[str]:
    lines = [f"SEED = {loop.seed!r}"]
    if loop.device != "cpu":
        name = json.dumps(loop.device)
        lines.append(f'device = {name} if torch.{loop.device_type}.is_available() else "cpu"')
    if n_threads is not None:
        lines.append(f"torch.set_num_threads({int(n_threads)})  # sums are rounded as in the run")
    return lines


def _checked(code: str) -> str:
    try:
        compile(code, "<plain PyTorch cell>", "exec", dont_inherit=True)
    except (SyntaxError, ValueError) as error:
        raise RecipeError(
            f"the run cannot be written as plain code: {error}",
            hint="run.code shows its own code",
        ) from error
    return code
