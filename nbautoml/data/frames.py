"""DataFrames: which column is the target, and how the others become features.

========================================== ====================================================
column                                     becomes
========================================== ====================================================
numbers, booleans (nullable types too)     one float32 feature; missing: median of training rows
text, categories, up to `MAX_CATEGORIES`   one-hot features; missing: zeros in all of them
text or categories with more values        an error that names the column
dates, durations, complex, mixed objects   an error that names the column
no value at all                            an error that names the column
========================================== ====================================================

Rows whose target is missing are dropped. Both treatments are told in the notes. Numbers are not
scaled: the module sees what the frame holds.
"""

from __future__ import annotations

import numbers
from collections import Counter
from collections.abc import Sequence
from decimal import Decimal
from typing import Any

import numpy as np

from nbautoml.data.arrays import Array, quantity
from nbautoml.data.encodings import CodedColumn, FrameEncoding, category_texts, number_values
from nbautoml.errors import DataError, nearest

__all__ = ["MAX_CATEGORIES", "learn_encoding", "pick_target", "present_rows"]

MAX_CATEGORIES = 32
_EXACT_IN_FLOAT32 = 2**24
_NAMED = 6


def pick_target(frame: Any, target: str | Sequence[str] | None, what: str) -> tuple[Any, Any]:
    """The frame without its target, and the target (a Series, or a frame of several columns).

    Raises:
        DataError: no target named, an unknown one, or duplicated column names.
    """
    check_columns(frame, what)
    names = [str(name) for name in frame.columns]
    if target is None or target == []:
        raise DataError(
            f"{what} is a DataFrame, and no target column is named",
            hint=f"say --target NAME (target= in Python); its columns are {_some(names)}",
        )
    wanted = [target] if isinstance(target, str) else [str(name) for name in target]
    for name in wanted:
        if name not in names:
            near = nearest(name, names)
            raise DataError(
                f"{what} has no column {name!r} to be the target",
                hint=f"did you mean {near!r}?" if near else f"its columns are {_some(names)}",
            )
    at = [names.index(name) for name in wanted]
    others = [index for index in range(len(names)) if index not in at]
    if not others:
        raise DataError(f"{what} has no columns left besides the target", hint="add features")
    return frame.iloc[:, others], frame.iloc[:, at[0]] if isinstance(target, str) else frame.iloc[
        :, at
    ]


def check_columns(frame: Any, what: str) -> None:
    """Raises a DataError unless each column has one name of its own, and there are rows."""
    if frame.columns.nlevels > 1:
        raise DataError(
            f"{what} has column names of {frame.columns.nlevels} levels",
            hint='join them: df.columns = ["_".join(map(str, name)) for name in df.columns]',
        )
    counts = Counter(str(name) for name in frame.columns)
    twice = [name for name, count in counts.items() if count > 1]
    if twice:
        raise DataError(
            f"{what} has several columns of one name: "
            + ", ".join(f"{name!r} ({counts[name]} times)" for name in twice[:_NAMED]),
            hint="rename them, or df = df.loc[:, ~df.columns.duplicated()]",
        )
    if frame.shape[1] == 0:
        raise DataError(f"{what} has no columns")
    if len(frame) == 0:
        raise DataError(f"{what} is empty: it has no rows", hint="check the filter that made it")


def present_rows(target: Any) -> Array:
    """True for each row whose target (Series or frame) is not missing."""
    missing: Array = target.isna().to_numpy()
    if missing.ndim == 2:
        missing = np.any(missing, axis=1)
    return np.logical_not(missing)


def learn_encoding(
    frame: Any, train_rows: Array | None, what: str, notes: list[str]
) -> FrameEncoding:
    """How the columns of a frame become features; medians come from the training rows alone.

    Args:
        frame: the features.
        train_rows: positions of the rows that are trained on; None: all.
        what: how errors call the frame.
        notes: gets a sentence for each treatment.

    Raises:
        DataError: a column that cannot become features; the message names it.
    """
    check_columns(frame, what)
    told: dict[str, list[str]] = {
        "filled": [],
        "zeros": [],
        "hot": [],
        "rounded": [],
        "objects": [],
    }
    coded = []
    for at, name in enumerate(frame.columns):
        series = frame.iloc[:, at]
        n_missing = int(series.isna().sum())
        if n_missing == len(series):
            raise DataError(
                f"column {str(name)!r} of {what} has no values: all {len(series)} are missing",
                hint=f"drop it: df.drop(columns=[{name!r}])",
            )
        if _is_category(series, what, told):
            coded.append(_category(series, n_missing, what, told))
        else:
            coded.append(_number(series, n_missing, train_rows, what, told))
    _note(told, what, notes)
    return FrameEncoding(tuple(coded))


def _is_category(series: Any, what: str, told: dict[str, list[str]]) -> bool:
    import pandas as pd

    types = pd.api.types
    dtype = series.dtype
    if isinstance(dtype, pd.CategoricalDtype):
        return True
    if types.is_complex_dtype(dtype) or not (
        types.is_bool_dtype(dtype)
        or types.is_numeric_dtype(dtype)
        or types.is_object_dtype(dtype)
        or types.is_string_dtype(dtype)
    ):
        raise _not_a_feature(series, what, f"of type {dtype}")
    if not types.is_object_dtype(dtype):
        return not (types.is_bool_dtype(dtype) or types.is_numeric_dtype(dtype))
    kinds = Counter(type(value) for value in series[series.notna()])
    if all(issubclass(kind, str) for kind in kinds):
        return True
    if all(issubclass(kind, (numbers.Real, Decimal, np.bool_)) for kind in kinds):
        told["objects"].append(str(series.name))
        return False
    mixed = ", ".join(f"{count} {kind.__name__}" for kind, count in kinds.most_common(4))
    raise _not_a_feature(series, what, f"of Python objects: {mixed}")


def _not_a_feature(series: Any, what: str, told: str) -> DataError:
    return DataError(
        f"column {str(series.name)!r} of {what} is {told}, which cannot become a feature",
        hint="turn it into numbers (of a date: year, month), text or a category, or drop it",
    )


def _category(series: Any, n_missing: int, what: str, told: dict[str, list[str]]) -> CodedColumn:
    name = str(series.name)
    if hasattr(series, "cat"):
        categories = [str(category) for category in series.cat.categories]
    else:
        categories = sorted({text for text in category_texts(series) if text is not None})
    if len(categories) > MAX_CATEGORIES:
        raise DataError(
            f"column {name!r} of {what} has {len(categories)} different values in "
            f"{quantity(len(series), 'row')}; up to {MAX_CATEGORIES} are one-hot encoded",
            hint=f"drop it, join rare values, or encode it as whole numbers for an embedding "
            f"(df[{name!r}].astype('category').cat.codes)",
        )
    told["hot"].append(f"{name} ({len(categories)})")
    if n_missing:
        told["zeros"].append(f"{name} ({n_missing})")
    return CodedColumn(name, categories=tuple(categories))


def _number(
    series: Any,
    n_missing: int,
    train_rows: Array | None,
    what: str,
    told: dict[str, list[str]],
) -> CodedColumn:
    name = str(series.name)
    values = number_values(series, what)
    finite = values[np.isfinite(values)]
    if len(finite) and np.abs(finite).max() > _EXACT_IN_FLOAT32 and series.dtype.kind in "iu":
        told["rounded"].append(name)
    seen = values[train_rows] if n_missing and train_rows is not None else values
    seen = seen[np.isfinite(seen)]
    # A median of a clean column fills nothing now, but new rows may lack the value: it is kept.
    # All rows may decide it then, so that equal frames stay one snapshot whatever the split.
    fill = float(np.median(seen if len(seen) else finite)) if len(finite) else 0.0
    if n_missing:
        told["filled"].append(f"{name} ({n_missing}, with {fill:.4g})")
    return CodedColumn(name, fill=fill)


def _note(told: dict[str, list[str]], what: str, notes: list[str]) -> None:
    sentences = {
        "hot": "text and categories one-hot encoded",
        "filled": "missing values filled with the training rows' median",
        "zeros": "missing categories are zeros in their one-hot features",
        "rounded": "whole numbers beyond 16,777,216 are rounded by float32",
        "objects": "Python objects read as numbers",
    }
    for key, sentence in sentences.items():
        if told[key]:
            notes.append(f"{what}: {sentence}: {_some(told[key])}")


def _some(names: Sequence[str]) -> str:
    more = f" and {len(names) - _NAMED} more" if len(names) > _NAMED else ""
    return ", ".join(names[:_NAMED]) + more
