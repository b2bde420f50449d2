"""What quantisation must know of an ONNX graph: which weights a layer has, and what became of them."""

from __future__ import annotations

import copy
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from nbautoml.errors import CompressError
from nbautoml.measure.exported import extra
from nbautoml.measure.graphs import layer_of, slim

__all__ = ["RECURRENT", "Held", "check_kept", "load", "saved", "weights_of"]

RECURRENT = ("LSTM", "GRU", "RNN")
_PLACES: Mapping[str, tuple[int, ...]] = {
    "Conv": (1,),
    "ConvTranspose": (1,),
    "Gemm": (1,),
    "MatMul": (0, 1),
    "Gather": (0,),
    **dict.fromkeys(RECURRENT, (1, 2)),
}


@dataclass(frozen=True, kw_only=True)
class Held:
    """A weight of a graph, and who uses it.

    Attributes:
        layer: of the module; after `prepared`, the weight's own name where no layer holds it.
        name: of the initializer.
        node: name of the node that takes it.
        op_type: of that node.
        place: which of its inputs it is.
    """

    layer: str
    name: str
    node: str
    op_type: str
    place: int


def load(data: bytes) -> Any:
    """A file as a ``ModelProto``."""
    return extra("onnx").load_from_string(data)


def saved(model: Any) -> bytes:
    """A ``ModelProto`` as a file, the same bytes for the same model, with short names inside."""
    slim(model)
    _shorten(model)
    data: bytes = model.SerializeToString(deterministic=True)
    return data


def _shorten(model: Any) -> None:
    """Name the values of a graph by numbers, and make equal constants one, in place.

    A quantiser's names are longer than a small network's weights. Names of inputs, of outputs, and
    of the layers in the names of nodes stay.
    """
    graph = model.graph
    for at, node in enumerate(graph.node):
        node.name = f"{layer_of(node.name)}/{at}" if layer_of(node.name) else ""
    names = {item.name: item.name for item in (*graph.input, *graph.output)}
    names[""] = ""  # an input that is left out
    seen: dict[bytes, str] = {}
    constants = []
    for item in graph.initializer:
        old, item.name = item.name, ""
        body = item.SerializeToString(deterministic=True)
        if old in names:
            item.name = old
            constants.append(item)
            continue
        if body not in seen:
            seen[body] = item.name = f"c{len(seen)}"
            constants.append(item)
        names[old] = seen[body]
    kept = [copy.deepcopy(item) for item in constants]
    del graph.initializer[:]
    graph.initializer.extend(kept)
    for node in graph.node:
        for values in (node.input, node.output):
            for at, old in enumerate(values):
                values[at] = names.setdefault(old, f"v{len(names)}")


def weights_of(model: Any) -> list[Held]:
    """The float matrices that nodes of a graph multiply by, or look rows up in, in its order."""
    onnx = extra("onnx")
    floats = {
        item.name
        for item in model.graph.initializer
        if item.data_type == onnx.TensorProto.FLOAT and len(item.dims) >= 2
    }
    found = []
    for node in model.graph.node:
        for place in _PLACES.get(node.op_type, ()):
            if place < len(node.input) and node.input[place] in floats:
                name = node.input[place]
                found.append(
                    Held(
                        layer=layer_of(node.name),
                        name=name,
                        node=node.name,
                        op_type=node.op_type,
                        place=place,
                    )
                )
    return found


def check_kept(keep: Iterable[str], layers: Iterable[str]) -> None:
    """Refuse a name in ``keep`` that no layer has.

    Raises:
        CompressError: with the names there are.
    """
    names = [name for name in layers if name]
    for pattern in keep:
        if not any(name == pattern or name.startswith(f"{pattern}.") for name in names):
            raise CompressError(
                f"keep names {pattern!r}, and the model has no such layer",
                hint=f"layers: {', '.join(names[:20])}",
            )
