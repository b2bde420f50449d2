"""Anything that is like an array -> a plain numpy array, or an error that says why not.

Nothing here imports torch, pandas or scipy: a value can only be made of a library that is
loaded already, so `sys.modules` tells.
"""

from __future__ import annotations

import math
import numbers
import sys
from collections import Counter
from collections.abc import Sequence
from decimal import Decimal
from typing import Any

import numpy as np
import numpy.typing as npt

from nbautoml.errors import DataError

__all__ = [
    "DENSE_LIMIT_BYTES",
    "Array",
    "check_kind",
    "element_array",
    "is_frame",
    "is_pandas",
    "is_tensor",
    "quantity",
    "shape_of",
    "to_array",
]

Array = npt.NDArray[Any]

# A sparse matrix is made dense up to this size; beyond it a person should decide.
DENSE_LIMIT_BYTES = 256 << 20
_INT64 = np.iinfo(np.int64)
_PROBED_ROWS = 1000  # of a list, to look for tensors among its elements


def quantity(n: int, word: str, plural: str = "") -> str:
    """A count with its word.

    >>> quantity(1, "row"), quantity(3, "class", "classes")
    ('1 row', '3 classes')
    """
    return f"{n} {word}" if n == 1 else f"{n} {plural or word + 's'}"


def _is_of(value: object, module: str, *names: str) -> bool:
    library = sys.modules.get(module)
    kinds = tuple(kind for kind in (getattr(library, name, None) for name in names) if kind)
    return bool(kinds) and isinstance(value, kinds)


def is_tensor(value: object) -> bool:
    """True for a torch tensor."""
    return _is_of(value, "torch", "Tensor")


def is_frame(value: object) -> bool:
    """True for a pandas DataFrame."""
    return _is_of(value, "pandas", "DataFrame")


def is_pandas(value: object) -> bool:
    """True for a pandas Series, Index, Categorical or extension array."""
    if _is_of(value, "pandas", "MultiIndex"):
        return False  # a table of labels, read as any other array
    return _is_of(value, "pandas", "Series", "Index", "Categorical") or _is_of(
        value, "pandas.api.extensions", "ExtensionArray"
    )


def shape_of(value: object) -> tuple[int, ...] | None:
    """The shape of an array, tensor or frame; None for anything else.

    >>> shape_of(np.zeros((2, 3))), shape_of([1])
    ((2, 3), None)
    """
    try:
        shape = getattr(value, "shape", None)
    except RuntimeError:
        return None  # a nested tensor's raises
    return tuple(shape) if isinstance(shape, tuple) else None


def to_array(value: Any, what: str, notes: list[str]) -> Array:
    """A numpy array of numbers, booleans or strings, with at least one dimension.

    Args:
        value: array, tensor, (nested) list, sparse matrix, pandas Series.
        what: how errors call it: "X", "y_val", "X['image']".
        notes: gets a sentence for each treatment.

    Raises:
        DataError: ragged, mixed, sparse and too large, without dimensions, empty.

    >>> to_array([[1, 2], [3, 4]], "X", []).shape
    (2, 2)
    """
    if value is None:
        raise DataError(f"{what} is None", hint="give an array or a tensor")
    array = _converted(value, what, notes)
    if isinstance(array, np.ma.MaskedArray):
        raise DataError(
            f"{what} is a masked array ({int(np.ma.getmaskarray(array).sum())} values masked)",
            hint="fill it (X.filled(...)) or drop the masked rows",
        )
    if array.dtype.kind == "O":
        array = _from_objects(array, what, notes)
    check_kind(array, what)
    if array.ndim == 0:
        raise DataError(
            f"{what} is a single value ({array!s:.40}), not an array with one row per sample",
            hint="the first dimension counts the rows",
        )
    if len(array) == 0:
        raise DataError(f"{what} is empty: it has no rows (shape {array.shape})")
    if array.size == 0:
        raise DataError(f"{what} has no values: its shape is {array.shape}")
    return array


def _converted(value: Any, what: str, notes: list[str]) -> Array:
    if is_tensor(value):
        return _from_tensor(value, what, notes)
    if callable(getattr(value, "toarray", None)) and hasattr(value, "nnz"):
        return _from_sparse(value, what, notes)
    if is_pandas(value):
        return _from_pandas(value, what)
    if isinstance(value, (list, tuple, range)):
        return _from_list(value, what)
    return _from_other(value, what)


def check_kind(array: Array, what: str) -> None:
    """Raises a DataError unless an array holds numbers, booleans or text."""
    kind = array.dtype.kind
    if kind == "c":
        raise DataError(
            f"{what} has complex numbers ({array.dtype})",
            hint="split them: np.stack([X.real, X.imag], axis=1)",
        )
    if kind in "Mm":
        raise DataError(
            f"{what} has dates or durations ({array.dtype})",
            hint="turn them into numbers: days since a start, hour, weekday",
        )
    if kind not in "biufUS":
        raise DataError(
            f"{what} has dtype {array.dtype}, which is neither numbers nor text",
            hint="convert it to a plain array of numbers",
        )


def _from_other(value: Any, what: str) -> Array:
    if not isinstance(value, np.ndarray) and not hasattr(value, "__array__"):
        if np.isscalar(value):
            return np.asarray(value)
        raise DataError(
            f"{what} is a {type(value).__name__}, which is not an array",
            hint="give a numpy array, a torch tensor, a DataFrame or a list of numbers",
        )
    try:
        return value if isinstance(value, np.ma.MaskedArray) else np.asarray(value)
    except (TypeError, ValueError, RuntimeError) as error:
        raise DataError(f"{what} cannot be read as an array: {error}") from error


def _from_tensor(value: Any, what: str, notes: list[str]) -> Array:
    import torch

    try:
        value = value.detach()
        if value.layout is not torch.strided:
            n_bytes = value.numel() * value.element_size()
            _check_dense(n_bytes, tuple(value.shape), what)
            notes.append(f"{what}: sparse tensor made dense")
            value = value.to_dense()
        value = value.cpu().resolve_conj().resolve_neg()
        if value.dtype == torch.bfloat16:
            value = value.float()
        array: Array = value.numpy()
    except (TypeError, RuntimeError, NotImplementedError) as error:
        raise DataError(
            f"{what} is a tensor that cannot be read ({value.dtype}, {value.layout}): "
            f"{str(error).splitlines()[0]}",
            hint="give an ordinary dense tensor",
        ) from error
    return array


def _from_sparse(value: Any, what: str, notes: list[str]) -> Array:
    n_bytes = int(np.prod(value.shape, dtype=np.int64)) * value.dtype.itemsize
    _check_dense(n_bytes, tuple(value.shape), what)
    notes.append(f"{what}: sparse matrix made dense")
    return np.asarray(value.toarray())


def _check_dense(n_bytes: int, shape: tuple[int, ...], what: str) -> None:
    if n_bytes > DENSE_LIMIT_BYTES:
        raise DataError(
            f"{what} is sparse, and dense it would take {n_bytes / 1e9:.2g} GB (shape {shape})",
            hint="reduce it first, for example with sklearn.decomposition.TruncatedSVD",
        )


def _from_pandas(value: Any, what: str) -> Array:
    import pandas as pd

    series = value if isinstance(value, pd.Series) else pd.Series(value)
    missing = int(series.isna().sum())
    if missing:
        first = int(np.flatnonzero(series.isna().to_numpy())[0])
        raise DataError(
            f"{what} has {quantity(missing, 'missing value')} among {len(series)} "
            f"(first at row {first})",
            hint="fill them or drop those rows",
        )
    if pd.api.types.is_bool_dtype(series.dtype):
        return np.asarray(series.to_numpy(dtype=bool))
    if pd.api.types.is_numeric_dtype(series.dtype):
        dtype = getattr(series.dtype, "numpy_dtype", None)  # nullable and Arrow types
        return np.asarray(series.to_numpy(dtype=dtype)) if dtype else series.to_numpy()
    if isinstance(series.dtype, pd.CategoricalDtype):
        return np.asarray(series.astype(series.cat.categories.dtype).to_numpy())
    return np.asarray(series.to_numpy())


def _from_list(value: Sequence[Any], what: str) -> Array:
    if len(value) == 0:
        raise DataError(f"{what} is empty")
    if any(is_tensor(item) for item in value[:_PROBED_ROWS]):
        return _stack([element_array(item, what) for item in value], what)
    if any(is_frame(item) for item in value[:_PROBED_ROWS]):
        raise DataError(
            f"{what} is a {type(value).__name__} that holds DataFrames", hint="join them first"
        )
    try:
        array = np.asarray(value)
    except (ValueError, TypeError, OverflowError) as error:
        raise _ragged(value, what) from error
    if array.dtype.kind in "US":
        # numpy turns [1, "a"] into two strings without a word
        _from_objects(np.asarray(value, dtype=object), what, [])
    return array


def element_array(item: Any, what: str) -> Array:
    """One element of a list of tensors or arrays, or one part of a dataset's sample."""
    if is_tensor(item):
        return _from_tensor(item, what, [])
    array = np.asarray(item)
    if array.dtype.kind == "O":
        raise DataError(
            f"{what} holds a {type(item).__name__}, which is neither a number nor an array",
            hint="give numbers, arrays or tensors",
        )
    return array


def _stack(rows: Sequence[Array], what: str) -> Array:
    for number, row in enumerate(rows):
        if row.shape != rows[0].shape:
            raise DataError(
                f"the rows of {what} have different shapes: row 0 has {rows[0].shape}, "
                f"row {number} has {row.shape}",
                hint="pad or crop them to one shape",
            )
    return np.stack(rows)


def _list_length(row: object) -> int | None:
    return len(row) if isinstance(row, (list, tuple)) else None


def _ragged(rows: Sequence[Any], what: str) -> DataError:
    shapes = [shape_of(row) for row in rows]
    sizes = [
        (shape[0] if shape else None) if shape is not None else _list_length(row)
        for row, shape in zip(rows, shapes, strict=True)
    ]
    for number, size in enumerate(sizes):
        if size != sizes[0]:
            told = ["no length" if n is None else quantity(n, "value") for n in (sizes[0], size)]
            return DataError(
                f"the rows of {what} have different lengths: row 0 has {told[0]}, "
                f"row {number} has {told[1]}",
                hint="pad or crop them to one length",
            )
    return DataError(
        f"{what} is nested unevenly: its rows have different shapes inside",
        hint="pad or crop them to one shape",
    )


def _from_objects(array: Array, what: str, notes: list[str]) -> Array:
    """An array of Python objects as one of numbers, booleans or strings."""
    if array.size == 0:
        return array.astype(np.float64)
    items = array.ravel().tolist()
    if any(isinstance(item, np.ndarray) or is_tensor(item) for item in items[:_PROBED_ROWS]):
        stacked = _stack([element_array(item, what) for item in items], what)
        return stacked.reshape(array.shape + stacked.shape[1:])
    if any(isinstance(item, (list, tuple)) for item in items[:_PROBED_ROWS]):
        return _from_list(items, what)
    missing = sum(1 for item in items if _is_missing(item))
    if missing:
        first = next(at for at, item in enumerate(items) if _is_missing(item))
        raise DataError(
            f"{what} has {quantity(missing, 'missing value')} (None or NaN) among {len(items)} "
            f"(first at position {first})",
            hint="fill them or drop those rows",
        )
    for kinds, plain in (((str,), str), ((bool, np.bool_), bool)):
        if all(isinstance(item, kinds) for item in items):
            return array.astype(plain)
    if all(isinstance(item, (numbers.Real, Decimal, np.bool_)) for item in items):
        whole = all(isinstance(item, numbers.Integral) for item in items)
        notes.append(f"{what}: array of Python objects read as {'whole ' if whole else ''}numbers")
        fits = whole and all(_INT64.min <= item <= _INT64.max for item in items)
        try:
            return array.astype(np.int64 if fits else np.float64)
        except OverflowError as error:
            raise DataError(
                f"{what} has numbers beyond the range of float64", hint="scale them"
            ) from error
    counts = Counter(type(item).__name__ for item in items).most_common(4)
    told = ", ".join(f"{count} {kind}" for kind, count in counts)
    raise DataError(
        f"{what} mixes types or holds objects: {told}",
        hint="convert them to numbers, or to strings for labels",
    )


def _is_missing(item: object) -> bool:
    # pandas' own missing values are told by their types' names, without importing it
    return (
        item is None
        or (isinstance(item, float) and math.isnan(item))
        or type(item).__name__ in {"NAType", "NaTType"}
    )
