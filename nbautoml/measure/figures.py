"""`measure`: everything about a module that a person asks first, in one call."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import torch
from torch import nn

from nbautoml.errors import EnergyError, MissingExtraError, ModelError, UsageError
from nbautoml.measure.coding import stored_size, weights_in
from nbautoml.measure.counting import (
    count_macs,
    count_nonzero,
    count_weights,
    evaluating,
    peak_memory,
)
from nbautoml.measure.energy import Meter, energies, meter_for
from nbautoml.measure.exported import Exported, export_onnx, held_file, open_onnx, parts_of
from nbautoml.measure.measurement import Measurement
from nbautoml.measure.timing import as_callable, fixed_threads, latency, take_turns

__all__ = ["Figures", "measure"]

_ONLY_A_FILE = (
    "it is an ONNX file: weights, multiplications, memory and eager time are those of the module "
    "that it was made from, and not counted"
)
_LABELS = {"eager": "eager", "onnx": "ONNX Runtime", "compiled": "torch.compile"}


class Figures(Mapping[str, Measurement]):
    """Measurements by name, shown as a table.

    Attributes:
        notes: what could not be measured, and why.
    """

    def __init__(self, found: Mapping[str, Measurement], notes: Sequence[str] = ()) -> None:
        self._found = dict(found)
        self.notes = tuple(notes)

    def __getitem__(self, name: str) -> Measurement:
        return self._found[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._found)

    def __len__(self) -> int:
        return len(self._found)

    def __repr__(self) -> str:
        width = max((len(name) for name in self._found), default=0)
        lines = [f"{name:<{width}}  {found}" for name, found in self._found.items()]
        return "\n".join([*lines, *self.notes])


def measure(
    module: nn.Module,
    example: Any,
    *,
    batch_sizes: Sequence[int] = (1, 64),
    n_threads: int = 1,
    seconds: float = 0.3,
    should_compile: bool = False,
    meter: Meter | None = None,
) -> Figures:
    """Count and time a module on this machine; the module is left as it was.

    Args:
        module: any module.
        example: inputs of one or more rows: a tensor, a tuple of them, or a dict by name. Rows
            are repeated or cut for each batch size.
        batch_sizes: rows a call; latency is measured for each.
        n_threads: threads that torch and ONNX Runtime may use.
        seconds: about how long each call is timed.
        should_compile: time ``torch.compile``, too; compiling takes seconds a batch size.
        meter: what counts energy; the machine's own counter when left out, where there is one.

    Returns:
        "weights", "nonzero", "macs" (of one row), "stored_bytes" (see `encode_weights`),
        "onnx_bytes", "peak_memory" (largest batch), and for each batch size "eager_64_p50",
        "eager_64_p95", "onnx_64_p50", "onnx_64_p95", with ``should_compile`` also
        "compiled_64_p50", "compiled_64_p95" and "compile_64_s" (how long it took). "energy" are
        joules of one call with the largest batch, in ONNX Runtime where it can be exported (on a
        GPU, where the example lies there, eager). Of a module that holds an ONNX file (see
        `held_file`) the file is measured. What could not be is left out, and a note says why.

    Raises:
        UsageError: the example has no rows, or a batch size is below 1.

    >>> net = nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 2))
    >>> found = measure(net, torch.zeros(1, 4), batch_sizes=(1,), seconds=0.01)
    >>> found["weights"].value, found["macs"].value
    (58, 48)
    """
    _check_sizes(batch_sizes)
    notes: list[str] = []
    largest = with_rows(example, max(batch_sizes))
    held = held_file(module)
    if held is None:
        found = _counts(module, with_rows(example, 1))
        exported = _exported(module, with_rows(example, 2), n_threads, notes)
        found |= _size_of(exported) | {"peak_memory": peak_memory(module, largest)}
    else:
        exported = open_onnx(held, n_threads=n_threads)
        found = _size_of(exported)
        notes.append(_ONLY_A_FILE)
    with evaluating(module), fixed_threads(n_threads):
        for size in batch_sizes:
            batch = with_rows(example, size)
            calls = _calls(module if held is None else None, exported, batch)
            if should_compile and held is None:
                _compile(module, batch, size, calls, found, notes)
            found |= _latencies(calls, size, n_threads, seconds)
        found |= _energy(module, exported, largest, meter, notes)
    return Figures(found, notes)


def _calls(module: nn.Module | None, exported: Exported | None, batch: Any) -> dict[str, Any]:
    """What is timed, by name."""
    forms = {"eager": module, "onnx": exported}
    return {name: as_callable(form, batch) for name, form in forms.items() if form is not None}


def _check_sizes(batch_sizes: Sequence[int]) -> None:
    for size in batch_sizes:
        if size < 1:
            raise UsageError(f"batch_sizes holds {size}", hint="each is at least 1")


def _counts(module: nn.Module, one: Any) -> dict[str, Measurement]:
    return {
        "weights": count_weights(module),
        "nonzero": count_nonzero(module),
        "macs": count_macs(module, one),
        "stored_bytes": stored_size(weights_in(module)),
    }


def _exported(module: nn.Module, example: Any, n_threads: int, notes: list[str]) -> Exported | None:
    try:
        return open_onnx(export_onnx(module, example), n_threads=n_threads)
    except (ModelError, MissingExtraError) as error:
        notes.append(f"not measured in ONNX Runtime: {error.message}")
        return None


def _size_of(exported: Exported | None) -> dict[str, Measurement]:
    if exported is None:
        return {}
    size = Measurement(value=exported.n_bytes, unit="B", method="size of the ONNX file")
    return {"onnx_bytes": size}


def _compile(
    module: nn.Module,
    batch: Any,
    size: int,
    calls: dict[str, Callable[[], Any]],
    found: dict[str, Measurement],
    notes: list[str],
) -> None:
    """Add the compiled module to the calls, or a note."""
    from nbautoml.measure.compiled import compiled

    try:
        calls["compiled"], found[f"compile_{size}_s"] = compiled(module, batch)
    except ModelError as error:
        notes.append(f"not measured compiled, batch of {size}: {error.message}")


def _latencies(
    calls: Mapping[str, Callable[[], Any]], size: int, n_threads: int, seconds: float
) -> dict[str, Measurement]:
    found: dict[str, Measurement] = {}
    for name, times in take_turns(calls, seconds=seconds).items():
        what = f"{_LABELS[name]}, batch of {size}"
        p50, p95 = latency(times, what=what, n_threads=n_threads)
        found[f"{name}_{size}_p50"], found[f"{name}_{size}_p95"] = p50, p95
    return found


def _energy(
    module: nn.Module, exported: Exported | None, batch: Any, meter: Meter | None, notes: list[str]
) -> dict[str, Measurement]:
    """The energy of what would be deployed, where a counter can be read; else a note."""
    device = parts_of(batch)[0].device
    is_file = held_file(module) is not None  # which runs on the CPU wherever its inputs lie
    model = exported if exported is not None and (is_file or device.type == "cpu") else module
    label = _LABELS["eager" if model is module else "onnx"]
    what = f"{label}, batch of {len(parts_of(batch)[0])}"
    try:
        meter = meter_for("cpu" if is_file else str(device)) if meter is None else meter
        return energies({"energy": as_callable(model, batch)}, meter, what=what)
    except EnergyError as error:
        notes.append(f"energy not measured: {error.message}")
        return {}


def with_rows(example: Any, n: int) -> Any:
    """An example with this many rows: cut, or repeated from the start.

    >>> with_rows(torch.arange(3), 5).tolist()
    [0, 1, 2, 0, 1]
    """
    if isinstance(example, dict):
        return {name: with_rows(part, n) for name, part in example.items()}
    if isinstance(example, tuple):
        return tuple(with_rows(part, n) for part in example)
    if example.ndim == 0 or len(example) == 0:
        raise UsageError(
            f"the example has shape {tuple(example.shape)}, and no rows",
            hint="give at least one row, with the batch as its first axis",
        )
    return example[torch.arange(n) % len(example)]
