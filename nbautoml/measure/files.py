"""`measure_onnx`: what a file costs as it is deployed, beside another one."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from nbautoml.errors import UsageError
from nbautoml.measure.exported import open_onnx
from nbautoml.measure.figures import Figures, with_rows
from nbautoml.measure.measurement import Measurement, quantile
from nbautoml.measure.timing import as_callable, latency, take_turns

__all__ = ["measure_onnx", "paired_ratio"]


def measure_onnx(
    data: bytes,
    example: Any,
    *,
    batch_sizes: Sequence[int] = (1, 64),
    n_threads: int = 1,
    seconds: float = 0.3,
    beside: bytes | None = None,
) -> Figures:
    """Size and latency of an ONNX file on this machine's CPU, in turns with another one.

    Args:
        data: the file.
        example: inputs of one or more rows; rows are repeated or cut for each batch size.
        batch_sizes: rows a call.
        n_threads: threads that ONNX Runtime may use.
        seconds: about how long each call is timed.
        beside: another file of the same inputs, such as the one before quantisation.

    Returns:
        "onnx_bytes", and for each batch size "onnx_64_p50" and "onnx_64_p95"; with another file
        also "beside_bytes", "beside_64_p50", "beside_64_p95" and "ratio_64": the median of this
        file's time over the other's, call by call. Below 1 this one is faster.

    Raises:
        UsageError: a batch size below 1, or an example without rows.
        ModelError: ONNX Runtime does not take a file.
        MissingExtraError: onnxruntime is not installed.
    """
    for size in batch_sizes:
        if size < 1:
            raise UsageError(f"batch_sizes holds {size}", hint="each is at least 1")
    files = {"onnx": data} if beside is None else {"onnx": data, "beside": beside}
    found = {
        f"{name}_bytes": Measurement(value=len(file), unit="B", method="size of the ONNX file")
        for name, file in files.items()
    }
    opened = {name: open_onnx(file, n_threads=n_threads) for name, file in files.items()}
    for size in batch_sizes:
        batch = with_rows(example, size)
        calls = {name: as_callable(file, batch) for name, file in opened.items()}
        times = take_turns(calls, seconds=seconds)
        for name, taken in times.items():
            p50, p95 = latency(taken, what=f"ONNX Runtime, batch of {size}", n_threads=n_threads)
            found[f"{name}_{size}_p50"], found[f"{name}_{size}_p95"] = p50, p95
        if beside is not None:
            found[f"ratio_{size}"] = paired_ratio(times["onnx"], times["beside"])
    return Figures(found)


def paired_ratio(mine: Sequence[float], theirs: Sequence[float]) -> Measurement:
    """How many times as long one of two took that were called in turns: the median over the turns.

    A turn's two calls lie next to each other in time, so that a busy moment slows both.

    >>> paired_ratio([1.0, 2.0, 9.0], [2.0, 4.0, 18.0]).value
    0.5
    """
    ratios = sorted(one / other for one, other in zip(mine, theirs, strict=True))
    return Measurement(
        value=quantile(ratios, 0.5),
        unit="times",
        method="median of the ratios of calls in turns",
        n=len(ratios),
        spread=quantile(ratios, 0.75) - quantile(ratios, 0.25),
    )
