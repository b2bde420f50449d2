"""An ONNX graph whose nodes say which layer they came from, without what only its writer needs.

A node is named ``layer/Type_3`` ("encoder.0/Conv_3"), or ``Type_3`` where it belongs to no layer, so
that whatever happens to the graph later, a layer of the module can be told from a node of the file.
"""

from __future__ import annotations

import ast
from collections.abc import Collection
from typing import Any

__all__ = ["layer_of", "name_nodes", "slim"]

_SCOPES = "pkg.torch.onnx.name_scopes"


def layer_of(node_name: str) -> str:
    """The layer that a node came from, "" for none.

    >>> layer_of("encoder.0/Conv_3"), layer_of("Add_4")
    ('encoder.0', '')
    """
    layer, slash, _ = node_name.rpartition("/")
    return layer if slash else ""


def name_nodes(model: Any, layers: Collection[str]) -> None:
    """Name the nodes of an exported graph after the layers of its module, in place.

    Args:
        model: a ``ModelProto`` of torch's exporter.
        layers: names of submodules.
    """
    known = {name for name in layers if name}
    for at, node in enumerate(model.graph.node):
        layer = _of_weight(node, known) or _of_scope(node, known)
        node.name = f"{layer}/{node.op_type}_{at}" if layer else f"{node.op_type}_{at}"


def _of_weight(node: Any, known: Collection[str]) -> str:
    """The layer whose weight a node takes: a folded norm's name would hide the convolution's."""
    for name in node.input:
        layer, _, kind = name.rpartition(".")
        if kind == "weight" and layer in known:
            return str(layer)
    return ""


def _of_scope(node: Any, known: Collection[str]) -> str:
    for item in node.metadata_props:
        if item.key == _SCOPES:
            inside = [scope for scope in ast.literal_eval(item.value) if scope in known]
            return str(inside[-1]) if inside else ""
    return ""


def slim(model: Any) -> None:
    """Take away stack traces, scopes and inferred shapes, in place.

    They are larger than a small network's weights, and traces tell the paths of its author's files.
    """
    graph = model.graph
    del graph.value_info[:]
    for holder in (model, graph):
        del holder.metadata_props[:]
        holder.doc_string = ""
    for part in (*graph.node, *graph.initializer, *graph.input, *graph.output):
        del part.metadata_props[:]
        part.doc_string = ""
