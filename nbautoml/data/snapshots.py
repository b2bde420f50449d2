"""`snapshot`: whatever form data has in a notebook -> a folder of arrays and a `DataSpec`.

Runs in the kernel. Nothing heavy is imported here: torch and pandas are loaded already when a
value is made of them, scikit-learn only for a set known by name.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from nbautoml.data.arrays import Array, is_frame, quantity, to_array
from nbautoml.data.columns import Column, feature_column
from nbautoml.data.encodings import Encoding, FrameEncoding, Standardisation
from nbautoml.data.folder import Staging, write_error
from nbautoml.data.forms import Form, FormPart, read_form
from nbautoml.data.frames import learn_encoding
from nbautoml.data.labels import Labels, label_array, read_labels
from nbautoml.data.splits import check_splittable, is_stratified, split_rows
from nbautoml.errors import DataError
from nbautoml.spec.data import DataSpec, InputSpec

__all__ = ["snapshot"]

_NAMED = 5


def snapshot(
    value: Any,
    *,
    home_data: Path,
    target: str | Sequence[str] | None = None,
    task: str | None = None,
    valid_fraction: float = 0.2,
    seed: int = 0,
    name: str = "data",
) -> DataSpec:
    """Write data to ``home_data`` (once for equal data) and state what it is.

    Args:
        value: ``(X, y)`` or ``(X, y, X_val, y_val)`` of arrays, tensors, frames or lists, where X
            may be a tuple or dict of several; a DataFrame (or a pair) with ``target``; a Dataset or
            DataLoader (or a pair); the name of a named set; a folder of IDX files.
        home_data: folder of all snapshots; made when it is missing.
        target: a DataFrame's target column, or several for a multilabel task.
        task: "binary", "multiclass", "multilabel" or "regression"; None infers it.
        valid_fraction: share of the rows that is held back, unless a validation set is given.
        seed: seed of the split.
        name: how the user calls the data; begins every error.

    Raises:
        DataError: the data cannot be trained on; says what, where, the value, and what to do.

    >>> import tempfile
    >>> spec = snapshot(([[0.1], [0.2], [0.3], [0.4]] * 5, ["a", "b"] * 10),
    ...                 home_data=Path(tempfile.mkdtemp()))
    >>> spec.description
    '20 rows, 1 feature, 2 classes: binary; 16 train / 4 validation, stratified'
    """
    home_data = Path(home_data)
    try:
        with Staging(home_data) as staging:
            form = read_form(value, target=target, staging=staging.path)
            return _snapshot(form, staging, task, valid_fraction, seed)
    except DataError as error:
        raise DataError(f"{name}: {error.message}", hint=error.hint) from error.__cause__
    except OSError as error:
        failed = write_error(error, home_data)
        raise DataError(f"{name}: {failed.message}", hint=failed.hint) from error


def _snapshot(
    form: Form, staging: Staging, task: str | None, valid_fraction: float, seed: int
) -> DataSpec:
    notes = form.notes
    labels = _labels(form, task, notes)
    inputs = _read_inputs(form.train, notes)
    inputs_valid = _read_inputs(form.valid, []) if form.valid else {}
    _check_rows(inputs, labels.train, form.train)
    if form.valid and labels.valid:
        _check_rows(inputs_valid, labels.valid, form.valid)
    rows = None
    if form.valid is None:
        codes = labels.train.values if is_stratified(labels.task) else None
        rows = split_rows(labels.train.n_rows, valid_fraction, seed, labels=codes)
        _check_split(rows, labels, notes)
    encodings = {
        key: _learn(form, given, rows[0] if rows else None, form.train.names[key], notes)
        for key, given in inputs.items()
    }
    columns = _encoded(form, form.train, inputs, encodings, notes)
    columns_valid: dict[str, Column] = {}
    if form.valid:
        columns_valid = _encoded(form, form.valid, inputs_valid, encodings, [])
        for key, column in columns.items():
            columns_valid[key] = _like(columns_valid[key], column)
    digest = staging.publish(
        _files(columns, labels.train, columns_valid, labels.valid),
        _meta(form, columns, encodings, labels),
    )
    return _spec(digest, form, columns, labels, rows, valid_fraction, seed)


def _labels(form: Form, task: str | None, notes: list[str]) -> Labels:
    names = (form.train.names[""], form.valid.names[""] if form.valid else "y_val")
    train = label_array(form.train.target, names[0], notes)
    valid = label_array(form.valid.target, names[1], []) if form.valid else None
    if valid is None:
        check_splittable(len(train))
    return read_labels(
        train,
        valid,
        task=task or form.task,
        notes=notes,
        class_names=form.class_names,
        names=names,
    )


def _read_inputs(part: FormPart, notes: list[str]) -> dict[str, Any]:
    """Each input as an array; frames stay frames until the split is known."""
    return {
        key: given if is_frame(given) else to_array(given, part.names[key], notes)
        for key, given in part.inputs.items()
    }


def _check_rows(inputs: Mapping[str, Any], target: Column, part: FormPart) -> None:
    for key, given in inputs.items():
        if len(given) != target.n_rows:
            raise DataError(
                f"{part.names[key]} has {quantity(len(given), 'row')}, {part.names['']} has "
                f"{target.n_rows}",
                hint="each row needs one target",
            )


def _check_split(rows: tuple[Array, Array], labels: Labels, notes: list[str]) -> None:
    _, valid = rows
    if len(valid) == 0:
        raise DataError(
            f"{labels.train.n_rows} rows with {len(labels.classes)} classes are too few "
            "to hold some back for validation",
            hint="give more rows, or (X, y, X_val, y_val)",
        )
    if not is_stratified(labels.task):
        return
    counts = np.bincount(labels.train.values, minlength=len(labels.classes))
    lone = [labels.classes[at] for at in np.flatnonzero(counts == 1)]
    if lone:
        notes.append(
            f"{_some(lone)} {'has' if len(lone) == 1 else 'have'} one row only, "
            "which stays in training"
        )
    in_valid = np.bincount(labels.train.values[valid], minlength=len(labels.classes))
    absent = [labels.classes[at] for at in np.flatnonzero((in_valid == 0) & (counts > 1))]
    if absent:
        notes.append(f"no validation row has {_some(absent)}: too few rows")


def _some(classes: Sequence[str]) -> str:
    more = f" and {len(classes) - _NAMED} more" if len(classes) > _NAMED else ""
    word = "class " if len(classes) == 1 else "the classes "
    return word + ", ".join(repr(name) for name in classes[:_NAMED]) + more


def _learn(
    form: Form, given: Any, train_rows: Array | None, what: str, notes: list[str]
) -> Encoding | None:
    if is_frame(given):
        return learn_encoding(given, train_rows, what, notes)
    if form.should_standardise:
        notes.append("features standardised: mean 0, deviation 1 over the training rows")
        return Standardisation.of(given if train_rows is None else given[train_rows])
    return None


def _encoded(
    form: Form,
    part: FormPart,
    inputs: Mapping[str, Any],
    encodings: Mapping[str, Encoding | None],
    notes: list[str],
) -> dict[str, Column]:
    columns = {}
    for key, given in inputs.items():
        what = part.names[key]
        encoding = encodings[key]
        labels = form.feature_names
        if isinstance(encoding, FrameEncoding):
            labels = encoding.feature_names
        if encoding is None and is_frame(given):
            raise DataError(
                f"{what} is a DataFrame, the training input is not",
                hint="give both sets in the same form",
            )
        values = given if encoding is None else encoding.encode(given, what)
        columns[key] = _staged(feature_column(values, what, notes, labels=labels))
    return columns


def _staged(column: Column) -> Column:
    """The column with its file, where a dataset has been written to one of the same dtype."""
    values = column.values
    path = getattr(values, "filename", None) if isinstance(values, np.memmap) else None
    if path is None or values.dtype != np.dtype(column.dtype):
        return column
    # Only what `samples` wrote is ours to move; a user's own memory map is copied.
    is_ours = Path(path).parent.name.startswith(".writing-")
    return replace(column, staged=Path(path)) if is_ours else column


def _like(valid: Column, train: Column) -> Column:
    """The validation column in the form of the training column.

    Raises:
        DataError: other shapes, or values of another kind.
    """
    if valid.sample_shape != train.sample_shape:
        raise DataError(
            f"a row of {valid.what} has shape {valid.sample_shape}, a row of {train.what} "
            f"{train.sample_shape}",
            hint="both sets need the same features",
        )
    if valid.dtype == train.dtype:
        return valid
    if valid.divisor != train.divisor or train.dtype != "float32":
        raise DataError(
            f"{valid.what} is {valid.values.dtype.name}, {train.what} is {train.values.dtype.name}",
            hint="give both sets with one dtype",
        )
    return replace(valid, dtype=train.dtype, staged=None)


def _files(
    columns: Mapping[str, Column],
    target: Column,
    columns_valid: Mapping[str, Column],
    target_valid: Column | None,
) -> dict[str, Column]:
    """Columns by file name; a user's own words (keys of a dict) never become a path."""
    files = {f"train_{at}.npy": column for at, column in enumerate(columns.values())}
    files["train_target.npy"] = _staged(target)
    if target_valid is not None:
        for at, key in enumerate(columns):
            files[f"valid_{at}.npy"] = columns_valid[key]
        files["valid_target.npy"] = _staged(target_valid)
    return files


def _meta(
    form: Form,
    columns: Mapping[str, Column],
    encodings: Mapping[str, Encoding | None],
    labels: Labels,
) -> dict[str, Any]:
    """What belongs to the content beside the arrays: how they were made from what was given."""
    inputs = []
    for key, column in columns.items():
        encoding = encodings[key]
        inputs.append(
            {
                "name": key,
                "divisor": column.divisor,
                "features": list(column.labels),
                "encoding": encoding.to_json() if encoding else None,
            }
        )
    return {
        "task": labels.task,
        "layout": form.layout,
        "inputs": inputs,
        "target": {
            "divisor": labels.train.divisor,
            "classes": list(labels.classes),
            "values": list(labels.values),
        },
    }


def _spec(
    digest: str,
    form: Form,
    columns: Mapping[str, Column],
    labels: Labels,
    rows: tuple[Array, Array] | None,
    valid_fraction: float,
    seed: int,
) -> DataSpec:
    n_rows = labels.train.n_rows
    n_given = labels.valid.n_rows if labels.valid else 0
    n_train, n_valid = (len(rows[0]), len(rows[1])) if rows else (n_rows, n_given)
    inputs = tuple(
        InputSpec(name=key, shape=column.sample_shape, dtype=column.module_dtype)
        for key, column in columns.items()
    )
    how = ", as given" if rows is None else ", stratified" if is_stratified(labels.task) else ""
    return DataSpec(
        digest=digest,
        task=labels.task,
        n_rows=n_rows,
        n_valid_given=n_given,
        n_train=n_train,
        n_valid=n_valid,
        inputs=inputs,
        layout=form.layout,
        target_shape=labels.train.sample_shape,
        target_dtype=labels.train.module_dtype,
        classes=labels.classes,
        valid_fraction=float(valid_fraction),
        split_seed=int(seed),
        notes=tuple(dict.fromkeys(form.notes)),
        description=f"{quantity(n_rows + n_given, 'row')}, {_told_inputs(inputs, form.layout)}, "
        f"{_told_target(labels)}: {labels.task}; {n_train} train / {n_valid} validation{how}",
    )


def _told_inputs(inputs: Sequence[InputSpec], layout: str) -> str:
    def told(item: InputSpec) -> str:
        if len(item.shape) == 1:
            return quantity(item.shape[0], "feature")
        return " x ".join(map(str, item.shape)) or f"one {item.dtype}"

    if layout == "single":
        return told(inputs[0])
    return "inputs " + ", ".join(f"{item.name} ({told(item)})" for item in inputs)


def _told_target(labels: Labels) -> str:
    if labels.task == "multilabel":
        return quantity(len(labels.classes), "label")
    if labels.classes:
        return quantity(len(labels.classes), "class", "classes")
    shape = labels.train.sample_shape
    return "one number" if shape == () else "numbers of shape " + " x ".join(map(str, shape))
