"""What is predicted: the task is inferred, or said and checked; labels become indices.

How the task is inferred (`task` overrides it, and is checked):

====================================================== ==========================================
target                                                 task
====================================================== ==========================================
text or booleans, one a row                            binary (2 different), multiclass (more)
whole numbers, up to 20 different                      binary (2 different), multiclass (more)
whole numbers 0 to k - 1, k > 20, 10 rows each or more multiclass
other whole numbers                                    an error that asks for the task
floats that are all 0 or 1                             binary
other floats that are whole, up to 20 different        an error that asks for the task
other floats, one or several a row                     regression
a table of 0 and 1, exactly one 1 in each row          multiclass (one-hot)
another table of 0 and 1                               multilabel
another table of whole numbers                         an error that asks for the task
====================================================== ==========================================
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from nbautoml.data.arrays import Array, is_frame, quantity, to_array
from nbautoml.data.columns import WIDE_STD, Column, spread_of
from nbautoml.errors import DataError, nearest
from nbautoml.spec.objective import TASKS

__all__ = ["Labels", "label_array", "read_labels"]

_FEW = 20  # this many different whole numbers are taken for classes
_ROWS_A_CLASS = 10  # more classes than that need so many rows each to be taken for classes
_NAMED = 5


@dataclass(frozen=True)
class Labels:
    """The target of a snapshot.

    Attributes:
        task: one of `TASKS`.
        classes: names by index; empty for regression.
        values: the labels as they were given, by index, for JSON.
        train: target of the rows given for training.
        valid: target of the validation rows, where they were given.
    """

    task: str
    classes: tuple[str, ...]
    values: tuple[Any, ...]
    train: Column
    valid: Column | None


def label_array(value: Any, what: str, notes: list[str]) -> Array:
    """A target as an array: (n, 1) is squeezed, byte strings are decoded.

    Raises:
        DataError: missing labels, or nothing that can be a target.
    """
    if is_frame(value):
        if value.shape[1] == 0:
            raise DataError(f"{what} is a DataFrame without columns")
        parts = [to_array(value.iloc[:, at], what, notes) for at in range(value.shape[1])]
        array = np.column_stack(parts)
    else:
        array = to_array(value, what, notes)
    if array.ndim == 2 and array.shape[1] == 1:
        notes.append(f"{what}: shape {array.shape} squeezed to ({len(array)},)")
        array = array[:, 0]
    if array.dtype.kind == "S":
        array = np.char.decode(array, "utf-8", "replace")
    if array.dtype.kind == "f" and array.ndim <= 2 and not np.isfinite(array).all():
        bad = ~np.isfinite(array.reshape(len(array), -1)).all(axis=1)
        n_nan = int(np.isnan(array).sum())
        raise DataError(
            f"{what} has {quantity(int(bad.sum()), 'label')} that "
            f"{'is' if bad.sum() == 1 else 'are'} {'NaN' if n_nan else 'infinite'}, of {len(array)} "
            f"(first: row {int(np.flatnonzero(bad)[0])})",
            hint="drop those rows: keep = np.isfinite(y); X, y = X[keep], y[keep]",
        )
    return array


def read_labels(
    train: Array,
    valid: Array | None,
    *,
    task: str | None,
    notes: list[str],
    class_names: Sequence[str] = (),
    names: tuple[str, str] = ("y", "y_val"),
) -> Labels:
    """Task, classes and the columns to store.

    Args:
        train: from `label_array`.
        valid: the same for a given validation set.
        task: what the user said; None infers.
        notes: gets a sentence for each treatment.
        class_names: names of the classes 0, 1, ..., or of the labels of a multilabel target.
        names: how errors call the two arrays.

    Raises:
        DataError: the target does not suit the task, or does not tell which it is.
    """
    if task is not None and task not in TASKS:
        near = nearest(task, TASKS)
        raise DataError(
            f"task {task!r} is not known",
            hint=f"did you mean {near!r}?" if near else "one of: " + ", ".join(TASKS),
        )
    _check_pair(train, valid, names)
    if _is_one_hot(train) and task in (None, "binary", "multiclass"):
        notes.append(
            f"{names[0]}: one-hot rows read as {train.shape[1]} classes"
            + ("" if task else " (say task='multilabel' for independent labels)")
        )
        train, valid = _indices(train, names[0]), _indices(valid, names[1])
        task = task or ("binary" if len(np.unique(train)) == 2 else "multiclass")
    task = task or _infer(train, names[0])
    if task == "regression":
        return _numbers(train, valid, names, notes)
    if task == "multilabel":
        return _multilabel(train, valid, names, class_names, notes)
    return _classes(task, train, valid, names, class_names, notes)


def _check_pair(train: Array, valid: Array | None, names: tuple[str, str]) -> None:
    if valid is None:
        return
    if valid.shape[1:] != train.shape[1:]:
        raise DataError(
            f"a row of {names[1]} has shape {valid.shape[1:]}, a row of {names[0]} "
            f"{train.shape[1:]}",
            hint="both sets need the same kind of target",
        )
    if (valid.dtype.kind in "US") != (train.dtype.kind in "US"):
        raise DataError(
            f"{names[1]} holds {valid.dtype.name}, {names[0]} {train.dtype.name}",
            hint="both sets need labels of one type",
        )


def _is_zero_one(array: Array) -> bool:
    return array.dtype.kind == "b" or bool(((array == 0) | (array == 1)).all())


def _is_one_hot(array: Array) -> bool:
    return (
        array.ndim == 2
        and array.shape[1] > 1
        and array.dtype.kind in "biuf"
        and _is_zero_one(array)
        and bool((array.sum(axis=1) == 1).all())
    )


def _indices(array: Array | None, what: str) -> Any:
    if array is None:
        return None
    if not _is_one_hot(array):
        raise DataError(f"{what} is not one-hot in each row, as the training target is")
    return array.argmax(axis=1)


def _infer(y: Array, what: str) -> str:
    """The task that a target states; see the table above."""
    if y.ndim > 1:
        if y.ndim == 2 and y.dtype.kind in "biuf" and _is_zero_one(y):
            return "multilabel"
        if y.dtype.kind == "f":
            return "regression"
        raise _ambiguous(what, f"is a {y.dtype.name} table of shape {y.shape}")
    if y.dtype.kind in "bUS":
        return "binary" if len(np.unique(y)) <= 2 else "multiclass"
    if y.dtype.kind == "f" and bool((y != np.round(y)).any()):
        return "regression"
    return _infer_from_whole(y, what)


def _infer_from_whole(y: Array, what: str) -> str:
    values = np.unique(y)
    k = len(values)
    told = f"has {k} different whole numbers ({values[0]:.6g} to {values[-1]:.6g}) in {len(y)} rows"
    if y.dtype.kind == "f":
        if k <= 2 and _is_zero_one(y):
            return "binary"
        if k == 1 or k > _FEW:
            return "regression"
        raise _ambiguous(what, f"is {y.dtype.name} and {told}")
    if k <= _FEW and (k <= 2 or k <= len(y) / 2):
        return "binary" if k <= 2 else "multiclass"
    is_contiguous = int(values[0]) == 0 and int(values[-1]) == k - 1
    if is_contiguous and len(y) >= k * _ROWS_A_CLASS:
        return "multiclass"
    raise _ambiguous(what, told)


def _ambiguous(what: str, told: str) -> DataError:
    return DataError(
        f"{what} {told}: classes or quantities?",
        hint="say task='multiclass' (in a cell: --task multiclass) or task='regression'",
    )


def _numbers(train: Array, valid: Array | None, names: tuple[str, str], notes: list[str]) -> Labels:
    if train.dtype.kind in "US":
        raise DataError(
            f"{names[0]} holds text such as {str(train.ravel()[0])!r:.40}, which has no value to "
            "regress on",
            hint="leave task out for classes, or convert: y.astype(float)",
        )
    if train.ndim <= 2 and bool((train == train[:1]).all()):
        raise DataError(
            f"{names[0]} is constant: each of its {len(train)} rows is {train.ravel()[0]!s:.40}",
            hint="there is nothing to learn: check which column is the target",
        )
    # 8-bit images as a target (an autoencoder) are scaled as the same images are as an input.
    is_pixels = train.dtype == np.uint8 and train.ndim > 2
    dtype, divisor = ("uint8", 255) if is_pixels else ("float32", 1)
    if is_pixels:
        notes.append(f"{names[0]}: uint8 divided by 255 on the device (0 to 1)")
    elif train.dtype.name != "float32":
        notes.append(f"{names[0]}: {train.dtype.name} becomes float32")
    if not is_pixels and (std := float(spread_of(train).max())) > WIDE_STD:
        notes.append(
            f"{names[0]}: spreads widely (standard deviation {std:.3g}); networks learn slowly towards "
            f"such numbers: divide by {10.0 ** round(math.log10(std)):g}, say, and the metric with them"
        )
    return Labels("regression", (), (), *_pair(train, valid, names, dtype, divisor))


def _pair(
    train: Array, valid: Array | None, names: tuple[str, str], dtype: str, divisor: int = 1
) -> tuple[Column, Column | None]:
    first = Column(what=names[0], values=train, dtype=dtype, divisor=divisor)
    if valid is None:
        return first, None
    return first, Column(what=names[1], values=valid, dtype=dtype, divisor=divisor)


def _multilabel(
    train: Array,
    valid: Array | None,
    names: tuple[str, str],
    class_names: Sequence[str],
    notes: list[str],
) -> Labels:
    for array, what in ((train, names[0]), (valid, names[1])):
        if array is None:
            continue
        if array.ndim != 2 or array.dtype.kind not in "biuf" or not _is_zero_one(array):
            raise DataError(
                f"{what} has shape {array.shape} and dtype {array.dtype.name}; a multilabel target "
                "is a table of 0 and 1, one column a label",
                hint="for one label a row leave task out, or say 'binary' or 'multiclass'",
            )
    width = train.shape[1]
    named = tuple(class_names) if len(class_names) == width else tuple(map(str, range(width)))
    fixed = np.flatnonzero((train == train[:1]).all(axis=0)).tolist()
    if len(fixed) == width:
        raise DataError(
            f"{names[0]} is constant: each of its {len(train)} rows has the same labels",
            hint="there is nothing to learn: check which columns are the target",
        )
    if fixed:
        notes.append(f"{names[0]}: the same value in every row for label {_listed(named, fixed)}")
    return Labels("multilabel", named, named, *_pair(train, valid, names, "float32"))


def _listed(names: Sequence[str], at: Sequence[int]) -> str:
    more = f" and {len(at) - _NAMED} more" if len(at) > _NAMED else ""
    return ", ".join(repr(names[i]) for i in at[:_NAMED]) + more


def _classes(
    task: str,
    train: Array,
    valid: Array | None,
    names: tuple[str, str],
    class_names: Sequence[str],
    notes: list[str],
) -> Labels:
    _check_labels(train, names[0], task)
    values, codes = np.unique(train, return_inverse=True)
    _check_count(values, train, names[0], task)
    given = values.tolist()
    if train.dtype.kind == "f":
        given = [int(value) for value in given]
    k = len(given)
    told = tuple(str(value) for value in given)
    is_indices = train.dtype.kind in "iuf" and given == list(range(k))
    if is_indices and len(class_names) == k:
        told = tuple(str(name) for name in class_names)
    elif not is_indices:
        shown = ", ".join(repr(value) for value in given[:_NAMED]) + (", ..." if k > _NAMED else "")
        notes.append(f"{names[0]}: labels {shown} become the classes 0 to {k - 1}")
    if valid is not None:
        _check_labels(valid, names[1], task)
        valid = _encoded(valid, values, names)
    return Labels(task, told, tuple(given), *_pair(codes.reshape(-1), valid, names, "int64"))


def _check_labels(y: Array, what: str, task: str) -> None:
    if y.ndim != 1:
        raise DataError(
            f"{what} has shape {y.shape}; a {task} target has one label a row",
            hint="for independent labels say task='multilabel', for numbers task='regression'",
        )
    if y.dtype.kind == "f" and bool((y != np.round(y)).any()):
        value = y[y != np.round(y)][0]
        raise DataError(
            f"{what} has values such as {value:.6g}, which are not labels of classes",
            hint="say task='regression', or leave it out",
        )


def _check_count(values: Array, y: Array, what: str, task: str) -> None:
    k = len(values)
    if k == 1:
        raise DataError(
            f"{what} has a single class: each of its {quantity(len(y), 'row')} is "
            f"{values[0].item()!r:.60}",
            hint="a classifier needs at least two classes: check the target, or take more rows",
        )
    if task == "binary" and k != 2:
        shown = ", ".join(repr(value) for value in values[:_NAMED].tolist())
        raise DataError(
            f"{what} has {k} different labels ({shown}, ...); a binary target has 2",
            hint="say task='multiclass', or leave it out",
        )
    if k > max(2, len(y) / 2):
        raise DataError(
            f"{what} has {k} classes in {len(y)} rows: fewer than two rows a class on average",
            hint="say task='regression' if these are quantities; else join rare classes, or check "
            "that the target is not an identifier",
        )


def _encoded(valid: Array, values: Array, names: tuple[str, str]) -> Array:
    at = np.minimum(np.searchsorted(values, valid), len(values) - 1)
    unseen = np.unique(valid[values[at] != valid]).tolist()
    if unseen:
        shown = ", ".join(repr(value) for value in unseen[:_NAMED])
        raise DataError(
            f"{names[1]} has {quantity(len(unseen), 'label')} that never "
            f"{'occurs' if len(unseen) == 1 else 'occur'} in {names[0]}: {shown}",
            hint="add rows of these classes to the training set, or drop them from validation",
        )
    return at
