"""How columns become features: learned once, kept with the snapshot, applied to new rows."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from nbautoml.data.arrays import Array
from nbautoml.errors import DataError, nearest

__all__ = [
    "CodedColumn",
    "Encoding",
    "FrameEncoding",
    "Standardisation",
    "category_texts",
    "encoding_from_json",
    "number_values",
]


@dataclass(frozen=True)
class CodedColumn:
    """One column: a number (missing values are filled) or a category (one-hot).

    Attributes:
        name: of the column.
        fill: median that stands in for a missing number.
        categories: of a category, in the order of its one-hot features; empty for a number.
    """

    name: str
    fill: float = 0.0
    categories: tuple[str, ...] = ()

    @property
    def feature_names(self) -> tuple[str, ...]:
        """Names of the features that the column becomes."""
        if not self.categories:
            return (self.name,)
        return tuple(f"{self.name}={category}" for category in self.categories)


@dataclass(frozen=True)
class FrameEncoding:
    """Numbers as float32, categories one-hot.

    A category that was not there at the time of training, or is missing, is a row of zeros.

    >>> import pandas as pd
    >>> hue = CodedColumn("hue", categories=("b", "r"))
    >>> code = FrameEncoding((CodedColumn("size", fill=2.0), hue))
    >>> code.encode(pd.DataFrame({"hue": ["r", "x"], "size": [1.5, None]})).tolist()
    [[1.5, 0.0, 1.0], [2.0, 0.0, 0.0]]
    """

    columns: tuple[CodedColumn, ...]

    @property
    def feature_names(self) -> tuple[str, ...]:
        """Names of all features, in order."""
        return tuple(name for column in self.columns for name in column.feature_names)

    def encode(self, frame: Any, what: str = "the frame") -> Array:
        """Features of a frame's rows, float32, shape (rows, features).

        Raises:
            DataError: a column is missing.
        """
        by_name = {str(name): frame.iloc[:, at] for at, name in enumerate(frame.columns)}
        names = [column.name for column in self.columns]
        for name in names:
            if name not in by_name:
                near = nearest(name, [other for other in by_name if other not in names])
                raise DataError(
                    f"{what} has no column {name!r}, which is one of the features",
                    hint=f"is it {near!r}?" if near else "columns: " + ", ".join(by_name),
                )
        features = np.zeros((len(frame), len(self.feature_names)), dtype=np.float32)
        at = 0
        for column in self.columns:
            width = len(column.feature_names)
            self._fill(features[:, at : at + width], column, by_name[column.name], what)
            at += width
        return features

    @staticmethod
    def _fill(features: Array, column: CodedColumn, series: Any, what: str) -> None:
        if not column.categories:
            values = number_values(series, what)
            # A number beyond float32 becomes infinite, which the snapshot reports by column.
            with np.errstate(over="ignore"):
                features[:, 0] = np.where(np.isnan(values), column.fill, values)
            return
        place = {category: index for index, category in enumerate(column.categories)}
        texts = category_texts(series)
        codes = np.array([-1 if text is None else place.get(text, -1) for text in texts])
        rows = np.flatnonzero(codes >= 0)
        features[rows, codes[rows]] = 1.0

    def to_json(self) -> dict[str, Any]:
        """A JSON object."""
        columns = [
            {"name": column.name, "categories": list(column.categories)}
            if column.categories
            else {"name": column.name, "fill": column.fill}
            for column in self.columns
        ]
        return {"kind": "frame", "columns": columns}


@dataclass(frozen=True)
class Standardisation:
    """Features minus the training rows' mean, divided by their standard deviation.

    >>> Standardisation((1.0,), (2.0,)).encode(np.array([[5.0]])).tolist()
    [[2.0]]
    """

    mean: tuple[float, ...]
    std: tuple[float, ...]

    @classmethod
    def of(cls, rows: Array) -> Standardisation:
        """Learned from rows; a constant feature is only centred."""
        values = np.asarray(rows, dtype=np.float64)
        std = values.std(axis=0)
        std[std == 0] = 1.0
        return cls(tuple(values.mean(axis=0).tolist()), tuple(std.tolist()))

    def encode(self, rows: Any, what: str = "the rows") -> Array:
        """Standardised rows, float32.

        Raises:
            DataError: another number of features.
        """
        values = np.asarray(rows, dtype=np.float64)
        if values.ndim != 2 or values.shape[1] != len(self.mean):
            raise DataError(
                f"{what} has shape {values.shape}, expected {len(self.mean)} features a row"
            )
        scaled: Array = (values - np.array(self.mean)) / np.array(self.std)
        return scaled.astype(np.float32)

    def to_json(self) -> dict[str, Any]:
        """A JSON object."""
        return {"kind": "standardise", "mean": list(self.mean), "std": list(self.std)}


Encoding = FrameEncoding | Standardisation


def encoding_from_json(found: Mapping[str, Any] | None) -> Encoding | None:
    """The encoding that a snapshot's ``meta.json`` states for an input; None: as it was given.

    Raises:
        DataError: not an encoding.
    """
    if found is None:
        return None
    try:
        if found["kind"] == "standardise":
            return Standardisation(
                tuple(map(float, found["mean"])), tuple(map(float, found["std"]))
            )
        if found["kind"] == "frame":
            return FrameEncoding(
                tuple(
                    CodedColumn(
                        str(column["name"]),
                        float(column.get("fill", 0.0)),
                        tuple(map(str, column.get("categories", ()))),
                    )
                    for column in found["columns"]
                )
            )
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise DataError(f"not an encoding of features: {error!r}") from error
    raise DataError(f"encoding {str(found['kind'])[:40]!r} is not known")


def category_texts(series: Any) -> list[str | None]:
    """The values of a column as text, None where missing."""
    missing = series.isna().to_numpy()
    values = series.astype(object).to_numpy()
    return [None if gone else str(value) for value, gone in zip(values, missing, strict=True)]


def number_values(series: Any, what: str) -> Array:
    """The values of a column as float64, NaN where missing.

    Raises:
        DataError: something in it is no number.
    """
    try:
        # Sparse columns, and objects such as Decimal, first have to become plain values.
        if getattr(series.dtype, "kind", "") == "O":
            values = [
                np.nan if gone else value for value, gone in zip(series, series.isna(), strict=True)
            ]
            return np.array([float(value) for value in values], dtype=np.float64)
        return np.asarray(series.to_numpy(dtype=np.float64, na_value=np.nan))
    except (TypeError, ValueError) as error:
        raise DataError(f"column {str(series.name)!r} of {what} is not numeric: {error}") from error
