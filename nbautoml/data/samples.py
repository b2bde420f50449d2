"""Datasets and loaders: their samples are read once, in order, and written to disk as they come."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

import numpy as np

from nbautoml.data.arrays import Array, check_kind, element_array, quantity, shape_of
from nbautoml.data.columns import npy_header, stored_dtype
from nbautoml.errors import DataError

__all__ = ["Samples", "is_dataset", "read_dataset"]

_ARRAYS = (list, tuple, dict, str, bytes, set, frozenset, range, np.ndarray)


@dataclass(frozen=True)
class Samples:
    """What a dataset held.

    Attributes:
        inputs: arrays (memory maps of files in the staging folder, or the dataset's own), by name.
        layout: "single", "tuple" or "dict".
        target: labels or target arrays.
    """

    inputs: dict[str, Any]
    layout: str
    target: Any


def _torch_data() -> Any:
    return sys.modules.get("torch.utils.data")


def is_loader(value: object) -> bool:
    """True for a torch DataLoader."""
    library = _torch_data()
    return library is not None and isinstance(value, library.DataLoader)


def is_dataset(value: object) -> bool:
    """True for a torch Dataset or DataLoader, or anything that is indexed like one."""
    library = _torch_data()
    if library is not None and isinstance(value, (library.Dataset, library.DataLoader)):
        return True
    return (
        not isinstance(value, (*_ARRAYS, Mapping, type))
        and not hasattr(value, "__array__")
        and not hasattr(value, "toarray")  # a sparse matrix
        and hasattr(value, "__getitem__")
    )


def read_dataset(value: Any, folder: Path, prefix: str, what: str, notes: list[str]) -> Samples:
    """The samples of a dataset or loader.

    A `TensorDataset`, or a `Subset` of one, gives its tensors as they are. Others are indexed
    from 0 to n - 1 and written to ``folder`` while they are read, so that they never have to
    fit into memory.

    Args:
        value: dataset or loader.
        folder: where arrays may be written; made when it is needed.
        prefix: of the files' names.
        what: how errors call the dataset.
        notes: gets a sentence for each treatment.

    Raises:
        DataError: no length, samples that are not (input, target), shapes that vary.
    """
    rows: Array | None = None
    if is_loader(value):
        value, rows = _unwrap_loader(value, what, notes)
    n_rows = _length(value, what)
    library = _torch_data()
    if library is not None and isinstance(value, library.IterableDataset):
        raise DataError(
            f"{what} is a {type(value).__name__}, an iterable dataset that has no rows by number",
            hint="collect its samples into tensors, or give it __getitem__ and __len__",
        )
    if rows is not None and len(rows) and int(rows.max()) >= n_rows:
        raise DataError(f"the sampler of {what} asks for row {int(rows.max())} of {n_rows}")
    tensors = _tensors(value)
    if tensors is not None:
        picked = [tensor if rows is None else tensor[rows] for tensor in tensors]
        if len(picked) != 2:
            raise _wrong_sample(what, f"{len(picked)} tensors a row")
        return Samples({"x": picked[0]}, "single", picked[1])
    order = np.arange(n_rows) if rows is None else rows
    if len(order) == 0:
        raise DataError(f"{what} is empty: it has no samples")
    notes.append(f"{what}: samples read once; a random transform is applied once, not every epoch")
    return _Reading(value, order, folder, prefix, what).read()


def _length(dataset: Any, what: str) -> int:
    try:
        n_rows = len(dataset)
    except (TypeError, NotImplementedError) as error:
        raise DataError(
            f"{what} is a {type(dataset).__name__} without a length",
            hint="a stream cannot be split or repeated: give a dataset with __len__, or collect "
            "its samples into tensors",
        ) from error
    if n_rows == 0:
        raise DataError(f"{what} is empty: it has no samples")
    return int(n_rows)


def _unwrap_loader(loader: Any, what: str, notes: list[str]) -> tuple[Any, Array | None]:
    """The loader's dataset, and the rows of it that its sampler picks (None: all)."""
    library = _torch_data()
    notes.append(
        f"{what}: the loader's dataset is used; its batch_size ({loader.batch_size}) is not, say "
        "batch_size in the cell"
    )
    if loader.collate_fn is not library.default_collate and loader.batch_size is not None:
        raise DataError(
            f"{what} has a collate function of its own, which joins samples in its own way",
            hint="do that work in the dataset's __getitem__, so that samples have one shape",
        )
    dataset, sampler = loader.dataset, loader.sampler
    if loader.batch_size is None and loader.batch_sampler is not None:
        sampler = loader.batch_sampler
    if isinstance(dataset, library.IterableDataset):
        return dataset, None
    if isinstance(sampler, library.SubsetRandomSampler):
        rows = np.unique(np.asarray([int(row) for row in sampler.indices], dtype=np.int64))
        notes.append(f"{what}: the sampler's {len(rows)} rows of {_length(dataset, what)}")
        return dataset, rows
    plain = (library.SequentialSampler, library.RandomSampler, library.WeightedRandomSampler)
    if not isinstance(sampler, plain) or (
        isinstance(sampler, library.RandomSampler) and sampler.num_samples != len(dataset)
    ):
        raise DataError(
            f"{what} picks rows by a {type(sampler).__name__}, which a trial cannot repeat",
            hint="give the rows themselves: torch.utils.data.Subset(dataset, rows)",
        )
    if isinstance(sampler, library.WeightedRandomSampler):
        notes.append(f"{what}: the sampler's weights are not used")
    return dataset, None


def _tensors(dataset: Any) -> tuple[Any, ...] | None:
    """Tensors of a TensorDataset or a Subset of one; None for any other dataset."""
    library = _torch_data()
    if library is None:
        return None
    if type(dataset) is library.TensorDataset:
        return tuple(dataset.tensors)
    if type(dataset) is library.Subset:
        inner = _tensors(dataset.dataset)
        return None if inner is None else tuple(tensor[list(dataset.indices)] for tensor in inner)
    return None


def _wrong_sample(what: str, got: str) -> DataError:
    return DataError(
        f"a sample of {what} must be (input, target), got {got}",
        hint="wrap it in a dataset whose __getitem__ returns (x, y); several inputs as "
        "((x1, x2), y) or ({'a': x1, 'b': x2}, y)",
    )


class _Reading:
    """Reads one dataset; each part of a sample goes to a file of its own."""

    def __init__(self, dataset: Any, order: Array, folder: Path, prefix: str, what: str) -> None:
        self._dataset = dataset
        self._order = order
        self._folder = folder
        self._prefix = prefix
        self._what = what
        self._layout = "single"
        self._files: dict[str, _Rows] = {}

    def read(self) -> Samples:
        labels: list[Any] = []
        try:
            for number in range(len(self._order)):
                parts, target = self._sample(number)
                if number == 0:
                    self._open(parts, target)
                if set(parts) != set(self._files) - {"target"}:
                    raise DataError(
                        f"sample {number} of {self._what} has the inputs {sorted(parts)}, sample 0 "
                        f"has {sorted(set(self._files) - {'target'})}"
                    )
                for name, part in parts.items():
                    self._files[name].append(part, number)
                if "target" in self._files:
                    self._files["target"].append(target, number)
                else:
                    labels.append(target.item() if isinstance(target, np.ndarray) else target)
        finally:
            for file in self._files.values():
                file.close()
        arrays: dict[str, Any] = {name: file.array() for name, file in self._files.items()}
        return Samples(
            {name: array for name, array in arrays.items() if name != "target"},
            self._layout,
            arrays.get("target", labels),
        )

    def _sample(self, number: int) -> tuple[dict[str, Array], Any]:
        row = int(self._order[number])
        try:
            sample = self._dataset[row]
        except Exception as error:
            raise DataError(
                f"sample {row} of {self._what} cannot be read: {type(error).__name__}: {error}",
                hint=f"index the dataset in a cell to see where: dataset[{row}]",
            ) from error
        if isinstance(sample, Mapping):
            keys = ", ".join(map(str, list(sample)[:8]))
            raise _wrong_sample(self._what, f"a dict with the keys {keys}")
        if not isinstance(sample, (tuple, list)):
            raise _wrong_sample(self._what, f"a {type(sample).__name__}")
        if len(sample) != 2:
            raise _wrong_sample(self._what, quantity(len(sample), "part"))
        inputs, target = sample
        named: Mapping[Any, Any] = {"x": inputs}
        if isinstance(inputs, Mapping):
            self._layout, named = "dict", inputs
        elif isinstance(inputs, (tuple, list)) and any(shape_of(x) is not None for x in inputs):
            self._layout = "tuple"
            named = {f"x{at}": part for at, part in enumerate(inputs)}
        return {str(name): self._part(part, row) for name, part in named.items()}, self._label(
            target, row
        )

    def _label(self, target: Any, row: int) -> Any:
        if isinstance(target, (str, bool, int, float, np.generic)) or target is None:
            return target
        part = self._part(target, row)
        return part.item() if part.ndim == 0 else part

    def _part(self, part: Any, row: int) -> Array:
        what = f"sample {row} of {self._what}"
        if type(part).__module__.partition(".")[0] == "PIL":
            raise DataError(
                f"{what} is a picture (PIL.{type(part).__name__})",
                hint="give the dataset a transform: torchvision.transforms.ToTensor()",
            )
        try:
            array = element_array(part, what)
        except (ValueError, TypeError) as error:
            raise DataError(
                f"{what} cannot be read as an array ({type(part).__name__}): {error}"
            ) from error
        check_kind(array, what)
        return array

    def _open(self, parts: Mapping[str, Array], target: Any) -> None:
        targets = {"target": target} if isinstance(target, np.ndarray) else {}
        if "target" in parts:
            raise DataError(f"{self._what} has an input that is named 'target'", hint="rename it")
        n_rows = len(self._order)
        needed = sum(
            n_rows * part.size * np.dtype(stored_dtype(part.dtype, name)[0]).itemsize
            for name, part in {**parts, **targets}.items()
        )
        self._folder.mkdir(parents=True, exist_ok=True)
        free = shutil.disk_usage(self._folder).free
        if needed > free:
            raise DataError(
                f"{self._what} takes {needed / 1e9:.3g} GB on disk, and {free / 1e9:.3g} GB are "
                f"free in {self._folder.parent}",
                hint="free space, or set NBAUTOML_HOME to a folder on a larger disk",
            )
        for at, (name, part) in enumerate({**parts, **targets}.items()):
            path = self._folder / f"{self._prefix}_raw{at}.npy"
            self._files[name] = _Rows(path, n_rows, part, f"{name} of {self._what}")


class _Rows:
    """A .npy file that grows by one row at a time.

    Written with ordinary writes and not through a memory map: on a full disk a write raises
    an error, a store into a map kills the process.
    """

    def __init__(self, path: Path, n_rows: int, first: Array, what: str) -> None:
        self._path = path
        self._first = first
        self._what = what
        self._dtype = self._disk_dtype(first)
        self._file: IO[bytes] = path.open("wb")
        self._file.write(npy_header(self._dtype, (n_rows, *first.shape)))

    def _disk_dtype(self, first: Array) -> str:
        if first.dtype.kind == "b":
            return "bool"  # a target of booleans is told from one of floats
        return stored_dtype(first.dtype, self._what)[0]

    def append(self, row: Any, number: int) -> None:
        if not isinstance(row, np.ndarray) or row.shape != self._first.shape:
            shape = row.shape if isinstance(row, np.ndarray) else type(row).__name__
            raise DataError(
                f"{self._what}: sample {number} has shape {shape}, sample 0 has "
                f"{self._first.shape}",
                hint="pad, crop or resize the samples to one shape",
            )
        if row.dtype != self._first.dtype and not np.can_cast(row.dtype, self._dtype, "same_kind"):
            raise DataError(
                f"{self._what}: sample {number} has dtype {row.dtype}, sample 0 has "
                f"{self._first.dtype}",
                hint="return one dtype from __getitem__",
            )
        with np.errstate(over="ignore"):
            self._file.write(np.ascontiguousarray(row, dtype=self._dtype).tobytes())

    def close(self) -> None:
        self._file.close()

    def array(self) -> Array:
        """The rows, as a memory map."""
        return np.asanyarray(np.load(self._path, mmap_mode="r", allow_pickle=False))
