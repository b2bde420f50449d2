"""`open_data`: a snapshot -> batches on a device. Imports torch, so only workers come here.

Data that fits lies on the device, and a batch is a slice there: no loader, no copy from host to
device, no Python work per row. Data that does not fit is read from its memory map some
megabytes ahead, by a thread. Both ways give the same batches::

    rows of the part --order--> pieces of some megabytes --cut--> batches
                                  |
                 resident: index_select on the device
                 streamed: read in sorted order by a thread, sent to the device (pinned on CUDA)
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from nbautoml.data.folder import open_arrays
from nbautoml.data.splits import is_stratified, split_rows
from nbautoml.data.streaming import Reader
from nbautoml.errors import DataError
from nbautoml.machine import free_memory
from nbautoml.spec.data import DataSpec

__all__ = ["Part", "TrainData", "open_data", "resident"]

Inputs = Tensor | tuple[Tensor, ...] | dict[str, Tensor]

# Rows gathered at once. Measured on MNIST: 4 MB stay in the CPU's cache and in memory that the
# allocator reuses (13 ms an epoch, against 36 with 32 MB); a disk or a device likes larger ones.
_CPU_PIECE_BYTES = 4 << 20
_PIECE_BYTES = 32 << 20
# Up to this size the rows of a part are gathered into tensors of their own on the CPU too: one
# lookup less a batch. Beyond it they stay in the map, whose pages all workers share.
_GATHERED_BYTES = 64 << 20
_UPLOAD_BYTES = 64 << 20


@dataclass(frozen=True)
class _Source:
    """One array of a part: all rows of a file, or those of the part alone."""

    values: Tensor
    divisor: int

    def finish(self, rows: Tensor) -> Tensor:
        """What the module is given: 8-bit pixels become float32 in 0 to 1."""
        return rows.to(torch.float32).div_(self.divisor) if self.divisor != 1 else rows


class Part:
    """The rows of one side of a split, as batches on a device.

    Attributes:
        n: rows.
        on_device: True when the data lies on the device; False when it is streamed.
    """

    def __init__(
        self,
        spec: DataSpec,
        sources: tuple[_Source, ...],
        rows: Tensor | None,
        device: torch.device,
        *,
        on_device: bool,
    ) -> None:
        self.n = len(sources[0].values) if rows is None else len(rows)
        self.on_device = on_device
        self._spec = spec
        self._sources = sources
        self._rows = rows  # positions in the sources; None: they hold this part's rows alone
        self._device = device

    def __len__(self) -> int:
        return self.n

    def __repr__(self) -> str:
        how = "on" if self.on_device else "streamed to"
        return f"Part({self.n} rows {how} {self._device})"

    @property
    def row_bytes(self) -> int:
        """Bytes of one row as the module is given it."""
        return sum(
            math.prod(source.values.shape[1:])
            * (4 if source.divisor != 1 else source.values.element_size())
            for source in self._sources
        )

    def batches(
        self, batch_size: int, *, order: Tensor | None = None, drop_last: bool = False
    ) -> Iterator[tuple[Inputs, Tensor]]:
        """The rows in batches, as ``(inputs, target)``.

        Inputs are a tensor, a tuple, or a dict, as ``forward`` takes them (see `call_module`).
        Batches are the caller's to keep or write into: they never alias the data.

        Args:
            batch_size: rows a batch; the last may be smaller.
            order: positions within this part, in the order wanted (a permutation, or some
                rows); None: as they lie.
            drop_last: leave out a last batch that is smaller.

        Raises:
            DataError: batch_size is not positive, or ``order`` asks for a row that is not there.
        """
        if batch_size < 1:
            raise DataError(f"batch_size must be at least 1, got {batch_size}")
        if order is not None and len(order):
            low, high = int(order.min()), int(order.max())
            if low < 0 or high >= self.n:
                raise DataError(f"order asks for row {low if low < 0 else high} of {self.n}")
        return self._batches(batch_size, order, drop_last)

    def class_counts(self, n_classes: int) -> Tensor:
        """How many targets there are of each class, ``(n_classes,)`` on the device.

        Args:
            n_classes: targets are whole numbers below it.
        """
        values = self._sources[-1].values
        target = values if self._rows is None else values.index_select(0, self._rows)
        counts = torch.bincount(target.flatten().long(), minlength=n_classes)
        return counts.to(self._device)

    def take(self, rows: Tensor) -> Part:
        """Some of these rows, as a part of their own; nothing is copied.

        Args:
            rows: positions within this part.
        """
        # Rows of streamed data are looked up on the CPU.
        place = self._device if self.on_device else torch.device("cpu")
        picked = rows.to(place) if self._rows is None else self._rows[rows.to(self._rows.device)]
        return Part(self._spec, self._sources, picked, self._device, on_device=self.on_device)

    def all(self) -> tuple[Inputs, Tensor]:
        """All rows at once.

        What comes back may be the data itself: do not write into it.

        Raises:
            DataError: the data does not lie on the device.
        """
        if not self.on_device:
            raise DataError(
                f"{self.n} rows are streamed, they do not lie on {self._device} all at once",
                hint="use batches()",
            )
        return self._shaped(
            [
                source.finish(
                    source.values
                    if self._rows is None
                    else source.values.index_select(0, self._rows)
                )
                for source in self._sources
            ]
        )

    def _batches(
        self, batch_size: int, order: Tensor | None, drop_last: bool
    ) -> Iterator[tuple[Inputs, Tensor]]:
        n_rows = self.n if order is None else len(order)
        if drop_last:
            n_rows -= n_rows % batch_size
        in_cache = self.on_device and self._device.type == "cpu"
        piece_bytes = _CPU_PIECE_BYTES if in_cache else _PIECE_BYTES
        batches_a_piece = max(1, piece_bytes // max(1, self.row_bytes * batch_size))
        step = batches_a_piece * batch_size
        bounds = [(start, min(start + step, n_rows)) for start in range(0, n_rows, step)]
        pieces = self._resident(bounds, order) if self.on_device else self._streamed(bounds, order)
        for piece in pieces:
            for parts in zip(*(torch.split(rows, batch_size) for rows in piece), strict=True):
                yield self._shaped(list(parts))

    def _resident(
        self, bounds: list[tuple[int, int]], order: Tensor | None
    ) -> Iterator[list[Tensor]]:
        if order is not None:
            order = order.to(self._device, dtype=torch.int64)
        for start, end in bounds:
            index = self._index(start, end, order)
            yield [
                source.finish(
                    # A plain slice is copied: a module may write into its input.
                    _own(source.values[start:end], source)
                    if index is None
                    else source.values.index_select(0, index)
                )
                for source in self._sources
            ]

    def _index(self, start: int, end: int, order: Tensor | None) -> Tensor | None:
        """Positions in the sources; None: start to end as they are."""
        if order is None:
            return None if self._rows is None else self._rows[start:end]
        return order[start:end] if self._rows is None else self._rows[order[start:end]]

    def _streamed(
        self, bounds: list[tuple[int, int]], order: Tensor | None
    ) -> Iterator[list[Tensor]]:
        if order is not None:
            order = order.to("cpu", dtype=torch.int64)

        def index(number: int) -> Tensor:
            start, end = bounds[number]
            found = self._index(start, end, order)
            return torch.arange(start, end, device="cpu") if found is None else found

        values = tuple(source.values for source in self._sources)
        with Reader(values, self._device) as reader:
            for piece in reader.read(len(bounds), index):
                yield [
                    source.finish(rows) for source, rows in zip(self._sources, piece, strict=True)
                ]

    def _shaped(self, parts: list[Tensor]) -> tuple[Inputs, Tensor]:
        *inputs, target = parts
        if self._spec.layout == "single":
            return inputs[0], target
        if self._spec.layout == "tuple":
            return tuple(inputs), target
        names = [item.name for item in self._spec.inputs]
        return dict(zip(names, inputs, strict=True)), target


def _own(rows: Tensor, source: _Source) -> Tensor:
    return rows if source.divisor != 1 else rows.clone()


@dataclass(frozen=True)
class TrainData:
    """What a trial trains on.

    Attributes:
        spec: the statement it was opened from.
        train: rows to train on.
        valid: rows to validate on.
        device: where batches lie.
        placement: one line for people: resident or streamed, and why.
    """

    spec: DataSpec
    train: Part
    valid: Part
    device: torch.device
    placement: str

    @property
    def task(self) -> str:
        """One of binary, multiclass, multilabel, regression."""
        return self.spec.task

    @property
    def classes(self) -> tuple[str, ...]:
        """Names of the classes, by index; empty for regression."""
        return self.spec.classes

    @property
    def n_outputs(self) -> int:
        """Numbers that a module gives for one row: classes, labels, values; 1 logit if binary."""
        if self.task == "multiclass":
            return len(self.classes)
        return 1 if self.task == "binary" else math.prod(self.spec.target_shape)


def open_data(
    spec: DataSpec,
    home_data: Path,
    *,
    device: str = "cpu",
    device_limit_bytes: int | None = None,
    should_verify: bool = False,
) -> TrainData:
    """Open a snapshot for training; every worker gets the same split.

    Args:
        spec: what `snapshot` returned.
        home_data: the folder it was written to.
        device: "cpu", "cuda", "cuda:1", "mps".
        device_limit_bytes: up to this size the data lies on the device; None: half of the free
            memory of a CUDA device, a quarter of the machine's available memory otherwise.
        should_verify: read all files once more and compare their sha256.

    Raises:
        DataError: the snapshot is missing, or was changed since.
    """
    home_data = Path(home_data)
    place = torch.device(device)
    meta, arrays = open_arrays(spec.digest, home_data, should_verify=should_verify)
    divisors = [int(item["divisor"]) for item in meta["inputs"]]
    divisors.append(int(meta["target"]["divisor"]))
    _check_spec(spec, arrays, home_data)
    n_bytes = sum(array.nbytes for array in arrays.values())
    limit = _limit(place) if device_limit_bytes is None else device_limit_bytes
    fits = n_bytes <= limit
    train = _sources(arrays, "train", len(spec.inputs), divisors)
    if spec.is_split:
        rows = _split(spec, arrays)
        parts = [_part(spec, train, picked, place, fits=fits) for picked in rows]
    else:
        valid = _sources(arrays, "valid", len(spec.inputs), divisors)
        parts = [_part(spec, source, None, place, fits=fits) for source in (train, valid)]
    sizes = f"{n_bytes / 1e6:,.1f} MB of data, limit {limit / 1e6:,.1f} MB"
    placement = f"resident on {place}: {sizes}" if fits else f"streamed to {place}: {sizes}"
    return TrainData(spec, parts[0], parts[1], place, placement)


def resident(spec: DataSpec, train: Sequence[Tensor], valid: Sequence[Tensor]) -> TrainData:
    """Data that lies on its device already: of each part the inputs, then the target."""
    device = train[0].device
    sources = [tuple(_Source(values, 1) for values in part) for part in (train, valid)]
    parts = [Part(spec, source, None, device, on_device=True) for source in sources]
    return TrainData(spec, parts[0], parts[1], device, f"resident on {device}")


def _limit(device: torch.device) -> int:
    if device.type == "cuda":
        return int(torch.cuda.mem_get_info(device)[0] // 2)
    return free_memory() // 4


def _check_spec(spec: DataSpec, arrays: dict[str, Any], home_data: Path) -> None:
    """Recipe and folder are two files: an edited recipe must not train on nonsense."""
    found = arrays.get("train_target.npy")
    valid = arrays.get("valid_target.npy")
    n_files = (len(spec.inputs) + 1) * (1 if spec.is_split else 2)
    n_valid = 0 if valid is None else len(valid)
    if found is None or (len(found), n_valid) != (spec.n_rows, spec.n_valid_given):
        told = "no target" if found is None else f"{len(found)} and {n_valid} rows"
        raise DataError(
            f"the recipe states {spec.n_rows} and {spec.n_valid_given} rows, the snapshot in "
            f"{home_data / spec.digest} has {told}",
            hint="the recipe is damaged: run the cell again",
        )
    if len(arrays) != n_files:
        raise DataError(
            f"the recipe states {len(spec.inputs)} inputs, the snapshot in "
            f"{home_data / spec.digest} has {len(arrays)} files instead of {n_files}",
            hint="the recipe is damaged: run the cell again",
        )


def _sources(
    arrays: dict[str, Any], part: str, n_inputs: int, divisors: list[int]
) -> tuple[_Source, ...]:
    names = [f"{part}_{at}.npy" for at in range(n_inputs)] + [f"{part}_target.npy"]
    return tuple(
        _Source(torch.from_numpy(arrays[name]), divisor)
        for name, divisor in zip(names, divisors, strict=True)
    )


def _split(spec: DataSpec, arrays: dict[str, Any]) -> tuple[Tensor, Tensor]:
    labels = np.asarray(arrays["train_target.npy"]) if is_stratified(spec.task) else None
    train, valid = split_rows(spec.n_rows, spec.valid_fraction, spec.split_seed, labels=labels)
    return torch.from_numpy(train), torch.from_numpy(valid)


def _part(
    spec: DataSpec,
    sources: tuple[_Source, ...],
    rows: Tensor | None,
    device: torch.device,
    *,
    fits: bool,
) -> Part:
    if not fits:
        return Part(spec, sources, rows, device, on_device=False)
    n_bytes = sum(source.values.nbytes for source in sources)
    if device.type != "cpu":
        moved = tuple(_Source(_upload(s.values, rows, device), s.divisor) for s in sources)
        return Part(spec, moved, None, device, on_device=True)
    if rows is not None and n_bytes <= _GATHERED_BYTES:
        moved = tuple(_Source(s.values.index_select(0, rows), s.divisor) for s in sources)
        return Part(spec, moved, None, device, on_device=True)
    return Part(spec, sources, rows, device, on_device=True)


def _upload(values: Tensor, rows: Tensor | None, device: torch.device) -> Tensor:
    """The rows on the device, sent piece by piece: no second copy of all in host memory."""
    n_rows = len(values) if rows is None else len(rows)
    there = torch.empty((n_rows, *values.shape[1:]), dtype=values.dtype, device=device)
    step = max(1, _UPLOAD_BYTES // max(1, values[:1].nbytes))
    for start in range(0, n_rows, step):
        end = min(start + step, n_rows)
        piece = values[start:end] if rows is None else values.index_select(0, rows[start:end])
        there[start:end].copy_(piece)
    return there
