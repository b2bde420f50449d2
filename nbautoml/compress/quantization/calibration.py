"""Rows that are looked at before quantising, the ranges that activations take on them, a score on them."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from nbautoml.compress.quantization.ranges import N_BINS, RANGES, Range
from nbautoml.compress.training import Bench
from nbautoml.errors import CompressError
from nbautoml.measure import open_onnx, parts_of, quiet
from nbautoml.measure.exported import extra
from nbautoml.train.metrics import Tally

__all__ = ["Rows", "activation_ranges", "calibration_rows"]

CHUNK = 64  # rows at once: every activation of them is held

Array = npt.NDArray[Any]


@dataclass(frozen=True, kw_only=True)
class Rows:
    """Rows of training data on the CPU.

    Attributes:
        inputs: as ``forward`` takes them.
        targets: what the loss compares with.
        bench: whose objective and loss judge.
    """

    inputs: Any
    targets: torch.Tensor
    bench: Bench

    @property
    def n(self) -> int:
        """How many."""
        return len(self.targets)

    def chunks(self, names: tuple[str, ...]) -> Iterator[dict[str, Array]]:
        """The inputs by name, as ONNX Runtime takes them."""
        parts = [part.numpy() for part in parts_of(self.inputs)]
        for begin in range(0, self.n, CHUNK):
            chunk = (np.ascontiguousarray(part[begin : begin + CHUNK]) for part in parts)
            yield dict(zip(names, chunk, strict=True))

    def score(self, output: torch.Tensor) -> tuple[float, float]:
        """How good an output for all rows is: the objective, larger for better, and minus the loss."""
        bench = self.bench
        name = bench.objective.metric
        tally = Tally(
            names=tuple(dict.fromkeys((name, "loss"))),
            task=bench.data.task,
            n_classes=max(len(bench.data.classes), 1),
        )
        tally.add(output, self.targets, bench.base_loss(output, self.targets))
        found = tally.result()
        sign = 1.0 if bench.objective.direction == "maximize" else -1.0
        value = sign * found[name]
        return (value if math.isfinite(value) else -math.inf), -found["loss"]


def calibration_rows(bench: Bench, n: int) -> Rows:
    """Rows of the training data, drawn by the bench's seed.

    Raises:
        CompressError: there are none.
    """
    part = bench.data.train
    if part.n == 0:
        raise CompressError(
            "quantisation looks at rows of training data, and there are none",
            hint="give data with training rows",
        )
    order = torch.randperm(part.n, generator=torch.Generator().manual_seed(bench.seed))[:n]
    inputs, targets = next(iter(part.batches(len(order), order=order)))
    return Rows(inputs=_on_cpu(inputs), targets=targets.cpu(), bench=bench)


def _on_cpu(inputs: Any) -> Any:
    if isinstance(inputs, dict):
        return {name: part.cpu() for name, part in inputs.items()}
    if isinstance(inputs, tuple):
        return tuple(part.cpu() for part in inputs)
    return inputs.cpu()


def activation_ranges(data: bytes, rows: Rows, method: str) -> dict[str, Range]:
    """The range of every float tensor inside a float model, by its name.

    Args:
        data: an ONNX file with inferred types.
        rows: what it is run on.
        method: a key of `RANGES`.
    """
    onnx = extra("onnx")
    model = onnx.load_from_string(data)
    names = _float_tensors(model, onnx)
    inputs = {item.name for item in model.graph.input}
    made = [name for name in names if name not in inputs]
    already = {item.name for item in model.graph.output}
    model.graph.output.extend(
        onnx.helper.make_empty_tensor_value_info(name) for name in made if name not in already
    )
    with quiet():
        exported = open_onnx(model.SerializeToString())

    def run() -> Iterator[Mapping[str, Array]]:
        for feeds in rows.chunks(exported.inputs):
            found = dict(zip(made, exported.session.run(made, feeds), strict=True))
            yield {**{name: feeds[name] for name in names if name in inputs}, **found}

    return _ranges_of(run, RANGES[method], is_counted=method != "minmax")


def _ranges_of(
    run: Callable[[], Iterator[Mapping[str, Array]]],
    choose: Callable[[Array, Array], Range],
    *,
    is_counted: bool,
) -> dict[str, Range]:
    """First the extremes; then, where they are asked for, histograms between them."""
    wide: dict[str, Range] = {}
    for found in run():
        for name, values in found.items():
            if values.size:
                low, high = wide.get(name, (0.0, 0.0))  # zero must be exact, so it is inside
                wide[name] = (min(low, float(values.min())), max(high, float(values.max())))
    if not is_counted:
        return wide
    counts = {name: np.zeros(N_BINS) for name, (low, high) in wide.items() if high > low}
    for found in run():
        for name, bins in counts.items():
            np.add(bins, np.histogram(found[name], bins=N_BINS, range=wide[name])[0], out=bins)
    chosen = {
        name: choose(bins, np.linspace(*wide[name], N_BINS + 1)) for name, bins in counts.items()
    }
    return {
        **wide,
        **{name: (min(low, 0.0), max(high, 0.0)) for name, (low, high) in chosen.items()},
    }


def _float_tensors(model: Any, onnx: Any) -> list[str]:
    graph = model.graph
    fixed = {item.name for item in graph.initializer}
    return [
        item.name
        for item in (*graph.input, *graph.value_info, *graph.output)
        if item.type.tensor_type.elem_type == onnx.TensorProto.FLOAT and item.name not in fixed
    ]
