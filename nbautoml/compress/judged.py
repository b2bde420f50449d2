"""Figures of a compressed model: its metric, and what it costs beside the original."""

from __future__ import annotations

import weakref
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from torch import nn

from nbautoml.compress.exports import float_file
from nbautoml.compress.limits import ENERGY, LATENCY, SPREAD, STORED, held_out_name
from nbautoml.errors import EnergyError, MissingExtraError, ModelError
from nbautoml.measure import (
    Exported,
    as_callable,
    count_macs,
    count_nonzero,
    count_weights,
    energies,
    fixed_threads,
    meter_for,
    open_onnx,
    peak_memory,
    quantile,
    stored_size,
    take_turns,
    weights_in,
    with_rows,
)
from nbautoml.train.batches import call_module, first_batch
from nbautoml.train.judging import judge
from nbautoml.train.metrics import default_metrics

if TYPE_CHECKING:
    from nbautoml.compress.piece import Piece
    from nbautoml.compress.training import Bench
    from nbautoml.data import TrainData
    from nbautoml.spec.recipe import Recipe

__all__ = ["Judged", "judged"]

N_THREADS = 1
SECONDS = 0.4
QUICK = 0.1  # of all calls: those that nothing came between


@dataclass(frozen=True, kw_only=True)
class Judged:
    """What was found out about a piece.

    Attributes:
        figures: metrics, "latency_ms" with "latency_p95_ms" and "latency_spread_ms" (between the
            quartiles of its calls), "size_bytes", "macs", "weights", "nonzero", "memory_bytes",
            "energy_mj" where this machine counts it, and "stored_bytes" of what is no file: its
            weights once entropy coded.
        opened: the file that would be deployed, in the session in which it was judged; None where the
            module cannot be exported.
        notes: what people should know about the figures.
    """

    figures: dict[str, float]
    opened: Exported | None
    notes: tuple[str, ...]


def judged(
    piece: Piece,
    bench: Bench,
    recipe: Recipe,
    original: Mapping[str, float] | None,
    *,
    held_out: TrainData | None = None,
) -> Judged:
    """Measure a piece.

    Latency is taken by turns with the original in one process, so that a busy machine slows both.
    What is reported is the original's own latency (measured alone, as the run's first trial) times
    the ratio of the two medians.

    Args:
        piece: what the techniques made.
        bench: data to judge on.
        recipe: batch size to measure at, and objectives.
        original: figures of the original; None when this is it.
        held_out: whose validation rows the search did not see; the metric on them stands beside
            the others, as "held_out_accuracy".
    """
    notes: list[str] = []
    n_rows = int(recipe.settings["batch_size"])
    example, _ = first_batch(bench.data.valid, max(n_rows, 2))
    example = _on_cpu(example)
    own = _exported(piece, with_rows(example, 2), notes)
    metric = recipe.objectives[0].metric
    names = tuple(dict.fromkeys(["loss", *default_metrics(bench.data.task, metric), metric]))
    answer = _answers(piece, own, bench)
    figures = judge(answer, bench.data, names, loss=bench.base_loss)
    if held_out is not None:
        found = judge(answer, held_out, (metric,), loss=bench.base_loss)
        figures[held_out_name(metric)] = found[metric]
    figures |= _counted(piece, with_rows(example, 1), with_rows(example, n_rows))
    teacher = _exported_once(piece.original, with_rows(example, 2)) if own else None
    mine, theirs = (own, teacher) if own and teacher else (piece.module, piece.original)
    figures |= _latency(mine, theirs, with_rows(example, n_rows), original or {})
    figures |= _energy(mine, theirs, with_rows(example, n_rows), original or {}, notes)
    figures["size_bytes"] = float(own.n_bytes if own else _plain_bytes(piece.module))
    return Judged(figures=figures, opened=own, notes=tuple(notes))


def _exported(piece: Piece, example: Any, notes: list[str]) -> Exported | None:
    try:
        data = piece.onnx if piece.onnx is not None else float_file(piece.module, example)
        return open_onnx(data, n_threads=N_THREADS)
    except (ModelError, MissingExtraError) as error:
        notes.append(f"latency and size are those of the eager module: {error.message}")
        return None


# The original is exported once a process, not once a trial.
_ORIGINALS: weakref.WeakKeyDictionary[nn.Module, Exported | None] = weakref.WeakKeyDictionary()


def _exported_once(module: nn.Module, example: Any) -> Exported | None:
    if module not in _ORIGINALS:
        try:
            _ORIGINALS[module] = open_onnx(float_file(module, example), n_threads=N_THREADS)
        except (ModelError, MissingExtraError):
            _ORIGINALS[module] = None
    return _ORIGINALS[module]


def _answers(piece: Piece, own: Exported | None, bench: Bench) -> Any:
    """The file is judged where it stands for the module; else the module, on its device."""
    if piece.onnx is not None and own is not None:
        return lambda inputs: own(_on_cpu(inputs))[0].to(bench.device)
    module = piece.module.to(bench.device)

    def answer(inputs: Any) -> torch.Tensor:
        output: torch.Tensor = call_module(module, inputs)
        return output

    return answer


def _counted(piece: Piece, one: Any, many: Any) -> dict[str, float]:
    module = piece.module.to("cpu")
    stored = (
        {} if piece.onnx is not None else {STORED: float(stored_size(weights_in(module)).value)}
    )
    return {
        **stored,
        "weights": float(count_weights(module).value),
        "nonzero": float(count_nonzero(module).value),
        "macs": float(count_macs(module, one).value),
        "memory_bytes": float(peak_memory(module, many).value),
    }


def _latency(
    mine: Any, theirs: Any, example: Any, original: Mapping[str, float]
) -> dict[str, float]:
    """Milliseconds a batch: the median, the 95th percentile, and how far the quartiles lie apart.

    The original's are its own; another model's are told by the original's median, times how much
    longer its quickest tenth of calls takes than the original's. Where other programs want the
    processor, too, the longer of two calls is the one that is interrupted, and half of all calls may
    be: with six programs a core a network of half the time seemed to take a twentieth.
    """
    with fixed_threads(N_THREADS):
        calls = {"mine": as_callable(mine, example), "theirs": as_callable(theirs, example)}
        times = {name: sorted(found) for name, found in take_turns(calls, seconds=SECONDS).items()}
    other = quantile(times["theirs"], 0.5)
    quick, quick_other = (quantile(times[name], QUICK) for name in ("mine", "theirs"))
    base = original.get(LATENCY)
    scale = 1000.0 if base is None else base / other
    low, high, p95 = (scale * quantile(times["mine"], share) for share in (0.25, 0.75, 0.95))
    return {
        LATENCY: scale * quantile(times["mine"], 0.5)
        if base is None
        else base * quick / quick_other,
        "latency_p95_ms": p95,
        SPREAD: high - low,
        "speedup": 1.0 if base is None else quick_other / quick,
    }


def _energy(
    mine: Any, theirs: Any, example: Any, original: Mapping[str, float], notes: list[str]
) -> dict[str, float]:
    """Thousandths of a joule a batch, as the latency is told; nothing where no counter is."""
    try:
        meter = meter_for("cpu")
    except EnergyError:
        return {}  # a limit of it was refused; without one nobody asked
    with fixed_threads(N_THREADS):
        calls = {"mine": as_callable(mine, example), "theirs": as_callable(theirs, example)}
        try:
            found = {name: each.value for name, each in energies(calls, meter).items()}
        except EnergyError as error:
            notes.append(f"energy not measured: {error.message}")
            return {}
    base = original.get(ENERGY)
    own = 1000 * found["mine"]
    return {ENERGY: own if base is None else base * found["mine"] / found["theirs"]}


def _plain_bytes(module: nn.Module) -> int:
    return sum(t.numel() * t.element_size() for t in (*module.parameters(), *module.buffers()))


def _on_cpu(inputs: Any) -> Any:
    if isinstance(inputs, dict):
        return {name: part.cpu() for name, part in inputs.items()}
    if isinstance(inputs, tuple):
        return tuple(part.cpu() for part in inputs)
    return inputs.cpu()
