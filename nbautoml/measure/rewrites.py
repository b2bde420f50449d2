"""Rewritten parts of an exported graph: what torch's exporter writes round recurrent layers.

::

    zeros as first states, made anew for every batch           -> left out: they are zero if not given
    outputs (steps, 1, rows, width) reshaped by their shape     -> Squeeze, or Reshape by constants
    of all steps the last one only                              -> the layer's own last state

In a small network these nodes take a tenth of the time, and in a file of a few kilobytes a fifth of the
room. Nothing is computed otherwise: the same kernel gets the same numbers.
"""

from __future__ import annotations

from typing import Any

import numpy as np

__all__ = ["rewrite_recurrent"]

_STATES = {"LSTM": (5, 6), "GRU": (5,), "RNN": (5,)}
"""Inputs with the first states, by operator."""
_MOVING = frozenset(
    {"Expand", "Gather", "Identity", "Reshape", "Slice", "Squeeze", "Transpose", "Unsqueeze"}
)
"""Operators that hand on numbers of their first input, and no others."""


def rewrite_recurrent(model: Any) -> None:
    """Rewrite a graph in place.

    Args:
        model: an ``onnx_ir.Model`` of torch's exporter.
    """
    from onnxscript import ir

    graph = model.graph
    for node in list(graph):
        if node.op_type in _STATES and not node.domain:
            _leave_out_zeros(node)
            outputs = _plain_outputs(ir, graph, node)
            if _text(node, "direction", "forward") == "forward":
                for steps in outputs:
                    _take_last_state(ir, graph, node, steps)
    ir.passes.common.RemoveUnusedNodesPass()(model)


def _leave_out_zeros(node: Any) -> None:
    for place in _STATES[node.op_type]:
        given = node.inputs[place] if place < len(node.inputs) else None
        if given is not None and _is_zero(given):
            node.replace_input_with(place, None)


def _is_zero(value: Any) -> bool:
    """Whether a value is known to hold zeros alone."""
    if value.const_value is not None:
        return not np.any(value.const_value.numpy())
    node = value.producer()
    if node is None:
        return False
    if node.op_type == "ConstantOfShape":
        filled = node.attributes.get("value")
        return filled is None or not np.any(filled.value.numpy())
    return node.op_type in _MOVING and _is_zero(node.inputs[0])


def _plain_outputs(ir: Any, graph: Any, node: Any) -> list[Any]:
    """The layer's outputs with directions side by side, ``(steps, rows, width)``, written plainly."""
    found = []
    for turned in _takers(node.outputs[0], "Transpose"):
        if _numbers(turned, "perm") != [0, 2, 1, 3]:
            continue
        for shaped in _takers(turned.outputs[0], "Reshape"):
            if not _joins_last(shaped.inputs[1], turned.outputs[0]):
                continue
            if _text(node, "direction", "forward") == "bidirectional":
                if shaped.inputs[1].const_value is None:
                    shaped.replace_input_with(1, _constant(ir, graph, [0, 0, -1]))  # 0: as it was
                found.append(shaped.outputs[0])
            else:
                inputs = [node.outputs[0], _constant(ir, graph, [1])]
                found.append(_replace(ir, graph, shaped, "Squeeze", inputs))
    return found


def _take_last_state(ir: Any, graph: Any, node: Any, steps: Any) -> None:
    """Where the last of all steps is taken of an output, take the last state."""
    at_steps = [(taker, 0) for taker in _takers(steps, "Gather")]
    for turned in _takers(steps, "Transpose"):
        if _numbers(turned, "perm") == [1, 0, 2]:
            at_steps += [(taker, 1) for taker in _takers(turned.outputs[0], "Gather")]
    for taker, axis in at_steps:
        which = taker.inputs[1].const_value
        is_last = which is not None and which.numpy().shape == () and int(which.numpy()) == -1
        if is_last and _number(taker, "axis", 0) == axis:
            if len(node.outputs) < 2:
                node.resize_outputs(2)
                node.outputs[1].name = f"{node.outputs[0].name}_last"
            _replace(ir, graph, taker, "Squeeze", [node.outputs[1], _constant(ir, graph, [0])])


def _joins_last(shape: Any, value: Any) -> bool:
    """Whether a shape makes the last two axes of four one, and leaves the first two."""
    if shape.const_value is not None:
        said, known = shape.const_value.numpy().tolist(), list(value.shape or ())
        if (
            len(said) != 3
            or len(known) != 4
            or not all(isinstance(known[at], int) for at in (0, 2, 3))
        ):
            return False
        return bool(said == [known[0], -1, known[2] * known[3]])
    node = shape.producer()
    if node is None or node.op_type != "Concat" or len(node.inputs) != 3:
        return False
    waiting, seen = [one for one in node.inputs if one is not None], []
    while waiting:
        one = waiting.pop().producer()
        if one is None:
            continue
        if one.op_type == "Shape":
            seen.append(one.inputs[0] is value)
        else:
            waiting += [other for other in one.inputs if other is not None]
    return bool(seen) and all(seen)


def _replace(ir: Any, graph: Any, old: Any, op_type: str, inputs: list[Any]) -> Any:
    """Put a node in another's place; its output."""
    new = ir.node(op_type, inputs)
    new.metadata_props.update(old.metadata_props)
    output, was = new.outputs[0], old.outputs[0]
    output.type, output.shape, output.name = was.type, was.shape, was.name
    graph.insert_before(old, new)
    ir.convenience.replace_all_uses_with(was, output, replace_graph_outputs=True)
    return output


def _constant(ir: Any, graph: Any, numbers: list[int]) -> Any:
    name = f"axes_{'_'.join(map(str, numbers))}"
    if name not in graph.initializers:
        tensor = ir.tensor(np.array(numbers, dtype=np.int64), name=name)
        graph.register_initializer(ir.Value(name=name, const_value=tensor, shape=tensor.shape,
                                            type=ir.TensorType(tensor.dtype)))  # fmt: skip
    return graph.initializers[name]


def _takers(value: Any, op_type: str) -> list[Any]:
    return [
        node for node in value.consumers() if node.op_type == op_type and node.inputs[0] is value
    ]


def _numbers(node: Any, name: str) -> list[int]:
    found = node.attributes.get(name)
    return [] if found is None else list(found.as_ints())


def _number(node: Any, name: str, default: int) -> int:
    found = node.attributes.get(name)
    return default if found is None else int(found.as_int())


def _text(node: Any, name: str, default: str) -> str:
    found = node.attributes.get(name)
    return default if found is None else str(found.as_string())
