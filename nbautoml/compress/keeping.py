"""A compressed model as files of its run: the module, the ONNX file beside it, its layers.

Each file is opened again before it counts: a model that does not give the same answers from its
file is a failed trial, not a surprise in a year.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import torch

from nbautoml.compress.onnx_module import OnnxModule
from nbautoml.compress.saved import dump_module, load_module
from nbautoml.errors import CompressError
from nbautoml.measure import Exported, largest_difference, open_onnx, parts_of, with_rows
from nbautoml.store import save_artifact
from nbautoml.train.batches import call_module, first_batch

if TYPE_CHECKING:
    from nbautoml.compress.judged import Judged
    from nbautoml.compress.piece import Piece
    from nbautoml.compress.work import Shop
    from nbautoml.events import TaskContext

__all__ = ["LAYERS", "MODEL", "ONNX", "check_file", "keep"]

MODEL, ONNX, LAYERS = "model", "onnx", "layers"
"""Kinds of artifacts."""
TOLERANCE = 1e-3  # of an exported float model, relative to its largest output


def keep(piece: Piece, found: Judged, shop: Shop, trial: int, context: TaskContext) -> None:
    """Write a model's files and check that they give the outputs that the model gave.

    Raises:
        CompressError: one does not.
        StoreError: full disk, read-only folder.
    """
    names = vars(shop.capsule)
    example, _ = first_batch(shop.data.valid, 8)
    example = with_rows(_cpu(example), 8)
    data = dump_module(piece.module, names)
    _check(piece.module, load_module(data, names), example)
    stands = ONNX if piece.onnx is not None else MODEL
    details = {"stands": stands}
    context.emit(
        save_artifact(
            context.run_folder, data, MODEL, trial, suffix=".safetensors", details=details
        )
    )
    if found.opened is not None:
        file = found.opened.data
        if piece.onnx is None:
            _check_exported(piece, file, example)
        else:
            check_file(found.opened, file, example)
        context.emit(
            save_artifact(context.run_folder, file, ONNX, trial, suffix=".onnx", details=details)
        )
    table = json.dumps(layers_of(piece, example)).encode()
    context.emit(save_artifact(context.run_folder, table, LAYERS, trial, suffix=".json"))


def layers_of(piece: Piece, example: Any) -> dict[str, Any]:
    """The layers of a piece beside the original's."""
    from nbautoml.compress.layer_table import layers_table

    return layers_table(piece.original, piece.module, piece.bits, with_rows(example, 1))


def _check(module: torch.nn.Module, again: torch.nn.Module, example: Any) -> None:
    with torch.no_grad():
        first, second = call_module(module.eval(), example), call_module(again, example)
    pairs = zip(_parts(first), _parts(second), strict=True)
    if not all(torch.equal(a, b) for a, b in pairs):
        raise CompressError(
            "the model does not give the same answers when it is loaded from its file",
            hint="its forward reads something that is no attribute of a module (a global, a file) "
            "or draws random numbers",
        )


def _check_exported(piece: Piece, data: bytes, example: Any) -> None:
    worst = largest_difference(piece.module, open_onnx(data), example)
    if not worst <= TOLERANCE:
        raise CompressError(
            f"the exported file's answers differ from the module's by {worst:.2g} of the largest one"
        )


def check_file(judged: Exported, data: bytes, example: Any) -> None:
    """A quantised file stands for the module: what a user is given must answer what was judged.

    Raises:
        CompressError: it does not.
    """
    answers = OnnxModule(data)(**dict(zip(judged.inputs, parts_of(example), strict=True)))
    pairs = zip(judged(example), _parts(answers), strict=True)
    if not all(torch.equal(a, b) for a, b in pairs):
        raise CompressError(
            "the quantised file does not give the same answers when it is opened again",
            hint="its forward draws random numbers, or the file is damaged",
        )


def _parts(output: Any) -> list[torch.Tensor]:
    if isinstance(output, torch.Tensor):
        return [output]
    return [part for part in output if isinstance(part, torch.Tensor)]


def _cpu(inputs: Any) -> Any:
    if isinstance(inputs, dict):
        return {name: part.cpu() for name, part in inputs.items()}
    return tuple(part.cpu() for part in inputs) if isinstance(inputs, tuple) else inputs.cpu()
