"""The forms in which people have data, brought into one: named inputs and a target."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from nbautoml.data.arrays import is_frame, is_pandas, is_tensor, quantity, shape_of, to_array
from nbautoml.data.frames import pick_target, present_rows
from nbautoml.data.named import LoadedSet, load_idx_folder, load_named, named_sets
from nbautoml.data.samples import is_dataset, read_dataset
from nbautoml.errors import DataError, nearest

__all__ = ["Form", "FormPart", "read_form"]

_FORMS = (
    "(X, y), (X, y, X_val, y_val), a DataFrame with a target column, a Dataset or DataLoader (or a "
    "pair of them), a named set or a folder of IDX files"
)


@dataclass(frozen=True)
class FormPart:
    """Inputs and target of one set of rows, as they were given.

    Attributes:
        inputs: by name.
        target: labels or numbers, not read yet.
        names: how errors call each input, and under "" the target.
    """

    inputs: dict[str, Any]
    target: Any
    names: Mapping[str, str]


@dataclass(frozen=True)
class Form:
    """What was given.

    Attributes:
        train: rows to train on, and to split when ``valid`` is None.
        valid: validation rows, where they were given.
        layout: "single", "tuple" or "dict".
        task: what the data is known to be for; None: to be inferred.
        class_names: names of the classes, where they are known.
        feature_names: names of the features of a single input, where they are known.
        should_standardise: True for tables known by name.
        notes: treatments so far.
    """

    train: FormPart
    valid: FormPart | None
    layout: str
    task: str | None = None
    class_names: tuple[str, ...] = ()
    feature_names: tuple[str, ...] = ()
    should_standardise: bool = False
    notes: list[str] = field(default_factory=list)


def read_form(value: Any, *, target: str | Sequence[str] | None, staging: Path) -> Form:
    """Recognise the form of a value.

    Args:
        value: what the user gave.
        target: name of a frame's target column (or several).
        staging: folder in which a Dataset's samples may be written.

    Raises:
        DataError: none of the forms.
    """
    if isinstance(value, (str, Path)):
        value = _by_name(value)
    if is_frame(value):
        return _frames(value, None, target)
    if _is_pair(value) and is_frame(value[0]) and is_frame(value[1]) and target is not None:
        return _frames(value[0], value[1], target)
    if target is not None:
        raise DataError(
            f"a target column ({target!r}) is named, but the data is {_told(value)}",
            hint="a target column belongs to a DataFrame; else give (X, y)",
        )
    if isinstance(value, LoadedSet):
        return _loaded(value)
    if isinstance(value, Mapping) and hasattr(value, "data") and hasattr(value, "target"):
        return _bunch(value)
    if is_dataset(value) or (_is_pair(value) and all(map(is_dataset, value))):
        return _datasets(value, staging)
    return _arrays(value)


def _by_name(value: str | Path) -> LoadedSet:
    if str(value) in named_sets():
        return load_named(str(value))
    path = Path(value).expanduser()
    if path.is_dir():
        return load_idx_folder(path)
    near = nearest(str(value), named_sets())
    if path.is_file():
        hint = "read it first: pandas.read_csv(...), numpy.load(...)"
    else:
        hint = f"did you mean {near!r}?" if near else "named sets: " + ", ".join(named_sets())
    raise DataError(f"{str(value)!r} is neither a named set nor a folder", hint=hint)


def _is_pair(value: Any) -> bool:
    return isinstance(value, (tuple, list)) and len(value) == 2


def _told(value: Any) -> str:
    kind = type(value).__name__
    if isinstance(value, (tuple, list)):
        return f"a {kind} of {quantity(len(value), 'item')}"
    shape = shape_of(value)
    return f"a {kind}" + ("" if shape is None else f" of shape {shape}")


def _loaded(value: LoadedSet) -> Form:
    return Form(
        train=FormPart({"x": value.inputs}, value.target, {"x": "X", "": "y"}),
        valid=None,
        layout="single",
        task=value.task,
        class_names=value.class_names,
        feature_names=value.feature_names,
        should_standardise=value.should_standardise,
        notes=list(value.notes),
    )


def _bunch(value: Any) -> Form:
    """What scikit-learn's loaders return."""
    names = getattr(value, "target_names", ())
    class_names = () if isinstance(names, str) or names is None else tuple(map(str, names))
    part = FormPart({"x": value.data}, value.target, {"x": "X", "": "y"})
    return Form(train=part, valid=None, layout="single", class_names=class_names)


def _frames(train: Any, valid: Any, target: str | Sequence[str] | None) -> Form:
    features, labels = pick_target(train, target, "the DataFrame")
    notes: list[str] = []
    first = _without_missing({"x": features}, labels, {"x": "X", "": "the target"}, notes)
    second = None
    if valid is not None:
        features, labels_valid = pick_target(valid, target, "the validation DataFrame")
        names = {"x": "X_val", "": "the validation target"}
        second = _without_missing({"x": features}, labels_valid, names, notes)
    names_of_labels = tuple(map(str, labels.columns)) if is_frame(labels) else ()
    return Form(
        train=first, valid=second, layout="single", class_names=names_of_labels, notes=notes
    )


def _without_missing(
    inputs: dict[str, Any], target: Any, names: Mapping[str, str], notes: list[str]
) -> FormPart:
    """The rows whose target is there; only pandas has an honest word for 'missing'."""
    keep = present_rows(target)
    n_gone = int((~keep).sum())
    if n_gone == 0:
        return FormPart(inputs, target, names)
    if n_gone == len(keep):
        raise DataError(f"{names['']} is missing in all {len(keep)} rows")
    notes.append(f"{quantity(n_gone, 'row')} of {len(keep)} dropped: {names['']} is missing there")
    rows = np.flatnonzero(keep)
    picked = {
        name: value.iloc[rows]
        if hasattr(value, "iloc")
        else to_array(value, names[name], notes)[rows]
        for name, value in inputs.items()
    }
    return FormPart(picked, target.iloc[rows], names)


def _datasets(value: Any, staging: Path) -> Form:
    pair = value if isinstance(value, (tuple, list)) else (value, None)
    notes: list[str] = []
    word = "the loader" if hasattr(pair[0], "batch_size") else "the dataset"
    first = read_dataset(pair[0], staging, "train", word, notes)
    train = FormPart(first.inputs, first.target, _names(first.inputs, first.layout, "X", "y"))
    if pair[1] is None:
        return Form(train=train, valid=None, layout=first.layout, notes=notes)
    second = read_dataset(pair[1], staging, "valid", word.replace("the ", "the validation "), notes)
    valid = FormPart(
        second.inputs, second.target, _names(second.inputs, second.layout, "X_val", "y_val")
    )
    _check_same_inputs(train, valid, (first.layout, second.layout))
    return Form(train=train, valid=valid, layout=first.layout, notes=notes)


def _names(inputs: Mapping[str, Any], layout: str, x: str, y: str) -> dict[str, str]:
    if layout == "single":
        named = {"x": x}
    elif layout == "tuple":
        named = {name: f"{x}[{at}]" for at, name in enumerate(inputs)}
    else:
        named = {name: f"{x}[{name!r}]" for name in inputs}
    return {**named, "": y}


def _arrays(value: Any) -> Form:
    if not isinstance(value, (tuple, list)):
        raise _unknown(value)
    if len(value) == 2 and all(_is_rows_and_target(item) for item in value):
        value = (*value[0], *value[1])
    if len(value) not in (2, 4):
        raise DataError(
            f"the data is {_told(value)}; expected (X, y) or (X, y, X_val, y_val)",
            hint="several inputs go together: ((X1, X2), y)",
        )
    notes: list[str] = []
    train, layout = _part(value[0], value[1], "X", "y", notes)
    if len(value) == 2:
        return Form(train=train, valid=None, layout=layout, notes=notes)
    valid, layout_valid = _part(value[2], value[3], "X_val", "y_val", notes)
    _check_same_inputs(train, valid, (layout, layout_valid))
    return Form(train=train, valid=valid, layout=layout, notes=notes)


def _is_rows_and_target(item: Any) -> bool:
    """True for (X, y) as one half of ((X, y), (X_val, y_val)).

    Several inputs as a tuple look alike, but a target is never a tuple of arrays.
    """
    if not isinstance(item, tuple) or len(item) != 2:
        return False
    return all(shape_of(x) or is_pandas(x) or isinstance(x, list) for x in item)


def _unknown(value: Any) -> DataError:
    if value is None:
        return DataError("the data is None", hint=f"give {_FORMS}")
    if is_tensor(value) or shape_of(value) is not None:
        return DataError(
            f"the data is {_told(value)}, without a target",
            hint="give (X, y); (X, X) reconstructs the input",
        )
    if isinstance(value, Mapping):
        return DataError(
            f"the data is a dict with the keys {', '.join(map(str, list(value)[:8]))}, without a "
            "target",
            hint="give (inputs, y): ({'image': A, 'meta': B}, y)",
        )
    if hasattr(value, "__next__"):
        return DataError(
            f"the data is a {type(value).__name__}, which can be read only once and has no length",
            hint="collect it into arrays or a Dataset with a length",
        )
    return DataError(f"the data is {_told(value)}, which is no form of data", hint=f"give {_FORMS}")


def _part(inputs: Any, target: Any, x: str, y: str, notes: list[str]) -> tuple[FormPart, str]:
    layout = "single"
    named: dict[str, Any] = {"x": inputs}
    if isinstance(inputs, Mapping) and not is_frame(inputs):
        layout = "dict"
        named = dict(inputs)
        for name in named:
            if not isinstance(name, str) or not name.isidentifier():
                raise DataError(
                    f"{x} is a dict with the key {name!r}, which cannot be an argument of forward",
                    hint="use the names of forward's parameters as keys",
                )
    elif isinstance(inputs, tuple) and (
        not inputs or any(shape_of(x) or is_tensor(x) for x in inputs)
    ):
        # A tuple of plain numbers or of rows of them is one input that happens to be a tuple.
        layout = "tuple"
        named = {f"x{at}": part for at, part in enumerate(inputs)}
    if not named:
        raise DataError(f"{x} has no inputs: it is an empty {type(inputs).__name__}")
    names = _names(named, layout, x, y)
    if is_pandas(target) or is_frame(target):
        if not hasattr(target, "iloc"):
            import pandas as pd

            target = pd.Series(target)
        _check_lengths(named, target, names)
        return _without_missing(named, target, names, notes), layout
    _check_lengths(named, target, names)  # a target of other rows may not tell its task
    return FormPart(named, target, names), layout


def _check_lengths(inputs: Mapping[str, Any], target: Any, names: Mapping[str, str]) -> None:
    n_targets = _n_rows(target)
    for name, value in inputs.items():
        n_rows = _n_rows(value)
        if n_rows is not None and n_targets is not None and n_rows != n_targets:
            raise DataError(
                f"{names[name]} has {quantity(n_rows, 'row')}, {names['']} has {n_targets}",
                hint="each row needs one target",
            )


def _n_rows(value: Any) -> int | None:
    """How many rows there are; None for what has no rows at all, which is told when it is read."""
    shape = shape_of(value)
    if shape:
        return int(shape[0])
    return len(value) if shape is None and isinstance(value, (list, tuple)) else None


def _check_same_inputs(train: FormPart, valid: FormPart, layouts: tuple[str, str]) -> None:
    if layouts[0] != layouts[1] or set(train.inputs) != set(valid.inputs):
        raise DataError(
            f"the validation inputs ({layouts[1]}: {', '.join(valid.inputs)}) are not those of "
            f"training ({layouts[0]}: {', '.join(train.inputs)})",
            hint="give both sets in the same form",
        )
