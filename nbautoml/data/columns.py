"""One array of a snapshot, read piece by piece so that it may be larger than memory."""

from __future__ import annotations

import io
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from nbautoml.data.arrays import Array, quantity
from nbautoml.errors import DataError

__all__ = ["WIDE_STD", "Column", "feature_column", "spread_of", "stored_dtype"]

CHUNK_BYTES = 8 << 20
_PROBED_ROWS = 10_000  # enough to see a column's scale
WIDE_STD = 100.0
_NAMED = 5  # more are counted, not named


@dataclass(frozen=True)
class Column:
    """Values with the dtype that they are stored in.

    Attributes:
        what: how errors call it ("X", "y_val").
        values: the array as it was given; may be a memory map.
        dtype: dtype on disk.
        divisor: what the device divides by after reading; 255 for 8-bit pixels, else 1.
        labels: names of the features, where they have names.
        staged: the .npy file that holds exactly these values already, if there is one.
    """

    what: str
    values: Array
    dtype: str
    divisor: int = 1
    labels: tuple[str, ...] = ()
    staged: Path | None = None

    @property
    def n_rows(self) -> int:
        """Rows."""
        return len(self.values)

    @property
    def sample_shape(self) -> tuple[int, ...]:
        """Shape of one row."""
        return tuple(int(size) for size in self.values.shape[1:])

    @property
    def module_dtype(self) -> str:
        """What a module is given: pixels arrive as float32."""
        return "float32" if self.divisor != 1 else self.dtype

    @property
    def header(self) -> bytes:
        """The first bytes of the .npy file."""
        return npy_header(self.dtype, self.values.shape)

    @property
    def n_bytes(self) -> int:
        """Size of the .npy file."""
        return len(self.header) + self.values.size * np.dtype(self.dtype).itemsize

    def chunks(self) -> Iterator[Array]:
        """The rows in order, converted, some megabytes at a time.

        Raises:
            DataError: a value is NaN or infinite; says how many and in which columns.
        """
        row_bytes = max(1, self.values[:1].size * np.dtype(self.dtype).itemsize)
        step = max(1, CHUNK_BYTES // row_bytes)
        for start in range(0, self.n_rows, step):
            # Out of float32's range becomes infinite, and is reported as such just below.
            with np.errstate(over="ignore"):
                chunk = np.ascontiguousarray(self.values[start : start + step], dtype=self.dtype)
            if chunk.dtype.kind == "f" and not np.isfinite(chunk).all():
                raise self._not_finite()
            yield chunk

    def _not_finite(self) -> DataError:
        with np.errstate(over="ignore"):
            values = np.asarray(self.values).astype(self.dtype)
        bad = ~np.isfinite(values)
        n_nan = int(np.isnan(values).sum())
        n_bad = int(bad.sum())
        parts = [quantity(n_nan, "NaN", "NaN")] if n_nan else []
        parts += [f"{n_bad - n_nan} infinite"] if n_bad > n_nan else []
        rows = np.flatnonzero(bad.reshape(len(bad), -1).any(axis=1))
        where = f"in {quantity(len(rows), 'row')} (first: row {int(rows[0])})"
        if bad.ndim == 2:
            where += ", " + self.named_features(np.flatnonzero(bad.any(axis=0)).tolist())
        hint = "fill the missing values (a DataFrame's are filled for you) or drop those rows"
        if np.asarray(self.values).dtype != values.dtype and np.isfinite(self.values).all():
            hint = "the values are beyond the range of float32: scale them"
        return DataError(f"{self.what} has {' and '.join(parts)} {where}", hint=hint)

    def named_features(self, at: Sequence[int]) -> str:
        """Features by number, named where they have names."""
        names = [repr(self.labels[i]) if self.labels else str(i) for i in at[:_NAMED]]
        more = f" and {len(at) - len(names)} more" if len(at) > len(names) else ""
        return f"{'column' if len(at) == 1 else 'columns'} {', '.join(names)}{more}"


def npy_header(dtype: str, shape: tuple[int, ...]) -> bytes:
    """The header of a .npy file in C order.

    >>> len(npy_header("float32", (3, 2)))
    128
    """
    buffer = io.BytesIO()
    np.lib.format.write_array_header_1_0(
        buffer,
        {
            "descr": np.lib.format.dtype_to_descr(np.dtype(dtype).newbyteorder("<")),
            "fortran_order": False,
            "shape": tuple(int(size) for size in shape),
        },
    )
    return buffer.getvalue()


def stored_dtype(dtype: np.dtype[np.generic], what: str) -> tuple[str, int]:
    """The dtype that features are stored in, and the divisor that the device applies.

    float -> float32; uint8 -> uint8 and 255 (pixels); int32 and int64 stay (indices of
    embeddings); other whole numbers -> int64; bool -> float32.

    >>> stored_dtype(np.dtype("uint8"), "X"), stored_dtype(np.dtype(">f8"), "X")
    (('uint8', 255), ('float32', 1))
    """
    if dtype.kind in "US":
        raise DataError(
            f"{what} holds text",
            hint="give a DataFrame (its text columns are one-hot encoded) or encode the text",
        )
    if dtype.kind in "fb":
        return "float32", 1
    if dtype == np.uint8:
        return "uint8", 255
    return ("int32" if dtype.kind == "i" and dtype.itemsize == 4 else "int64"), 1


def feature_column(
    array: Array, what: str, notes: list[str], *, labels: tuple[str, ...] = ()
) -> Column:
    """The column of one input, with a note for each treatment.

    Raises:
        DataError: text, or whole numbers beyond int64.
    """
    dtype, divisor = stored_dtype(array.dtype, what)
    if array.dtype == np.uint64 and int(array.max()) > np.iinfo(np.int64).max:
        raise DataError(f"{what} has whole numbers beyond int64 (largest {int(array.max())})")
    given = array.dtype.newbyteorder("=").name
    if divisor != 1:
        notes.append(f"{what}: uint8 kept on disk, divided by {divisor} on the device (0 to 1)")
    elif given != dtype:
        notes.append(f"{what}: {given} becomes {dtype}")
    if dtype in {"int32", "int64"}:
        notes.append(f"{what}: whole numbers stay {dtype} (for embeddings); give floats otherwise")
    if array.ndim == 1 and (divisor != 1 or dtype == "float32"):
        notes.append(f"{what}: one value a row, shaped ({len(array)}, 1)")
        array = array.reshape(-1, 1)
    column = Column(what=what, values=array, dtype=dtype, divisor=divisor, labels=labels)
    if array.ndim == 2 and dtype == "float32":
        _note_scale(column, notes)
    return column


def spread_of(values: Array) -> Array:
    """The standard deviation of each feature over the first rows; 0 where it is not finite."""
    with np.errstate(all="ignore"):
        std = np.asarray(values[:_PROBED_ROWS]).astype(np.float64).std(axis=0)
    spread: Array = np.nan_to_num(std, nan=0.0, posinf=0.0)
    return spread


def _note_scale(column: Column, notes: list[str]) -> None:
    std = spread_of(column.values)
    wide = np.flatnonzero(std > WIDE_STD).tolist()
    if wide:
        notes.append(
            f"{column.what}: {column.named_features(wide)} spread widely (standard deviation up to "
            f"{std[wide].max():.3g}); networks train badly on that: standardise, or begin with a "
            "BatchNorm1d"
        )
