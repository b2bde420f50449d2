"""What is trained on, as a statement: shapes, task, split, and where the snapshot lies."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from nbautoml.errors import DataError

__all__ = ["LAYOUTS", "DataSpec", "InputSpec"]

LAYOUTS = ("single", "tuple", "dict")
_DIGEST = re.compile(r"[0-9a-f]{64}")


@dataclass(frozen=True, kw_only=True)
class InputSpec:
    """One input of the module.

    Attributes:
        name: "x" for a single input, "x0", "x1" ... for a tuple, the key for a dict.
        shape: shape of one sample, without the batch.
        dtype: what the module is given: "float32", "int64" or "int32".

    >>> InputSpec(name="x", shape=(1, 28, 28), dtype="float32").n_values
    784
    """

    name: str
    shape: tuple[int, ...]
    dtype: str

    @property
    def n_values(self) -> int:
        """Numbers in one sample."""
        return math.prod(self.shape)

    def to_json(self) -> dict[str, Any]:
        """A JSON object."""
        return {"name": self.name, "shape": list(self.shape), "dtype": self.dtype}

    @classmethod
    def from_json(cls, found: Mapping[str, Any]) -> InputSpec:
        """What `to_json` wrote."""
        return cls(
            name=str(found["name"]),
            shape=tuple(int(size) for size in found["shape"]),
            dtype=str(found["dtype"]),
        )


@dataclass(frozen=True, kw_only=True)
class DataSpec:
    """A snapshot of data, and how it is split.

    The snapshot is a folder of arrays that is named by its content (``digest``), so that runs
    on the same data share it. The split is no part of the content: every worker derives it
    from ``valid_fraction`` and ``split_seed`` and gets the same rows.

    Attributes:
        digest: sha256 that names the folder below ``<home>/data/``.
        task: "binary", "multiclass", "multilabel" or "regression".
        n_rows: rows of the arrays that were given for training (to be split, or not).
        n_valid_given: rows of a validation set that was given; 0 when it is split off.
        n_train: rows that are trained on.
        n_valid: rows that are validated on.
        inputs: what the module is given.
        layout: how ``forward`` is called: "single" ``forward(x)``, "tuple" ``forward(*xs)``,
            "dict" ``forward(**xs)``.
        target_shape: shape of one target; ``()`` for a label or a number.
        target_dtype: "int64" for labels of one class each, else "float32".
        classes: names of the classes (or of the labels of a multilabel task), by index.
        valid_fraction: share of the rows that is split off for validation.
        split_seed: seed of the split.
        notes: every treatment that the data got, one sentence each.
        description: one line for people.

    >>> spec = DataSpec(
    ...     digest="0" * 64, task="regression", n_rows=10, n_valid_given=0, n_train=8, n_valid=2,
    ...     inputs=(InputSpec(name="x", shape=(3,), dtype="float32"),), layout="single",
    ...     target_shape=(), target_dtype="float32",
    ... )
    >>> DataSpec.from_json(spec.to_json()) == spec
    True
    """

    digest: str
    task: str
    n_rows: int
    n_valid_given: int
    n_train: int
    n_valid: int
    inputs: tuple[InputSpec, ...]
    layout: str
    target_shape: tuple[int, ...]
    target_dtype: str
    classes: tuple[str, ...] = ()
    valid_fraction: float = 0.2
    split_seed: int = 0
    notes: tuple[str, ...] = ()
    description: str = ""

    def __post_init__(self) -> None:
        # The digest becomes a path, and a spec may come out of a file that someone mailed.
        if not _DIGEST.fullmatch(self.digest):
            raise DataError(
                f"digest {self.digest[:80]!r} is not a sha256",
                hint="the recipe is damaged: run the cell again",
            )
        if self.layout not in LAYOUTS:
            raise DataError(f"layout {self.layout!r} is not one of {', '.join(LAYOUTS)}")
        if not self.inputs:
            raise DataError("the data has no inputs")

    @property
    def is_split(self) -> bool:
        """True when validation rows are split off, False when they were given."""
        return self.n_valid_given == 0

    def to_json(self) -> dict[str, Any]:
        """A JSON object."""
        return {
            "digest": self.digest,
            "task": self.task,
            "n_rows": self.n_rows,
            "n_valid_given": self.n_valid_given,
            "n_train": self.n_train,
            "n_valid": self.n_valid,
            "inputs": [item.to_json() for item in self.inputs],
            "layout": self.layout,
            "target_shape": list(self.target_shape),
            "target_dtype": self.target_dtype,
            "classes": list(self.classes),
            "valid_fraction": self.valid_fraction,
            "split_seed": self.split_seed,
            "notes": list(self.notes),
            "description": self.description,
        }

    @classmethod
    def from_json(cls, found: Mapping[str, Any]) -> DataSpec:
        """What `to_json` wrote.

        Raises:
            DataError: fields are missing or of another type.
        """
        try:
            return cls(
                digest=str(found["digest"]),
                task=str(found["task"]),
                n_rows=int(found["n_rows"]),
                n_valid_given=int(found["n_valid_given"]),
                n_train=int(found["n_train"]),
                n_valid=int(found["n_valid"]),
                inputs=tuple(InputSpec.from_json(item) for item in found["inputs"]),
                layout=str(found["layout"]),
                target_shape=tuple(int(size) for size in found["target_shape"]),
                target_dtype=str(found["target_dtype"]),
                classes=tuple(str(item) for item in found["classes"]),
                valid_fraction=float(found["valid_fraction"]),
                split_seed=int(found["split_seed"]),
                notes=tuple(str(item) for item in found["notes"]),
                description=str(found["description"]),
            )
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise DataError(
                f"not a statement of data: {error!r}",
                hint="the recipe is damaged: run the cell again",
            ) from error
