"""Trials whose layers differ in width as members of one stack, padded with zeros.

::

    template: hidden = 128          a trial with hidden = 37
    fc.weight  (128, 64)            own (37, 64), rows 37.. are 0
    out.weight (10, 128)            own (10, 37), columns 37.. are 0

A padded unit's input weights are zero, and so are the weights that read it: whatever the unit
computes, nobody sees it, and the trial's own numbers are those that it would have on its own
(but for the rounding of longer sums). Its weights' gradients are set to zero (`Weights.inside`), so
that it stays so under every optimiser; weight decay keeps zero at zero, and norms of gradients
don't notice.

That holds for layers which treat units or channels apart or sum over them: linear layers,
convolutions, batch norm, what is elementwise, pooling, flattening with the channels in front. A
norm over the padded dimension, a softmax over it or a recurrent layer must not be padded: there,
shapes belong to the key as before. And as everywhere in a stack, a step of each new shape is
compared with the module's own before it is let in (`groups`).
"""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence

from torch import Tensor

from nbautoml.train.stacked.rules import PADDABLE, SHAPING
from nbautoml.train.stacked.tape import Op, Ref, Tape, frozen, name_of, refs_in

__all__ = ["Shape", "Shapes", "Strided", "corner", "is_within", "loose_key", "padded", "resized"]

Shape = tuple[int, ...]
Shapes = Mapping[str, Shape]
Strided = tuple[Shape, Shape]
"""Shape and strides of what a dropout layer draws."""


def loose_key(tape: Tape) -> Hashable:
    """Equal for two forward passes that are the same but for the sizes of what may be padded."""
    lines = [(name_of(op.function), *_told(op, tape), op.outputs, op.has_grad) for op in tape.ops]
    return (
        tape.inputs,
        tuple(tape.weights.items()),
        tuple(sorted(tape.constants)),
        tuple(lines),
        tape.output,
        tape.shapes[tape.output],
    )


def _told(op: Op, tape: Tape) -> tuple[Hashable, ...]:
    if op.noise is not None:
        return (frozen(op.args), frozen(op.kwargs))
    if op.function in SHAPING:  # the sizes that it is told follow from the template's
        return tuple(item for item in op.args if isinstance(item, Ref))
    shapes: Hashable = ()
    if op.is_random or op.function not in PADDABLE:
        seen = [tape.shapes[ref.index] for ref in refs_in((op.args, op.kwargs))]
        shapes = (tuple(seen), op.shapes)
    return (frozen(op.args), frozen(op.kwargs), shapes)


def is_within(tape: Tape, wide: Tape) -> bool:
    """Whether every value of a forward pass fits into the corner of the other's."""
    return len(tape.shapes) == len(wide.shapes) and all(
        len(own) == len(other) and all(n <= m for n, m in zip(own, other, strict=True))
        for own, other in zip(tape.shapes, wide.shapes, strict=True)
    )


def corner(shape: Shape) -> tuple[slice, ...]:
    """The index of a trial's own part of a padded tensor.

    >>> corner((2, 3))
    (slice(None, 2, None), slice(None, 3, None))
    """
    return tuple(slice(n) for n in shape)


def padded(tensor: Tensor, shape: Shape) -> Tensor:
    """A tensor in the corner of a larger one of zeros.

    >>> import torch
    >>> padded(torch.ones(1, 2), (2, 3)).tolist()
    [[1.0, 1.0, 0.0], [0.0, 0.0, 0.0]]
    """
    if tuple(tensor.shape) == shape:
        return tensor
    wide = tensor.new_zeros(shape)
    wide[corner(tuple(tensor.shape))] = tensor
    return wide


def resized(own: Sequence[Strided], before: Sequence[Shape], now: Sequence[Shape]) -> list[Strided]:
    """What a trial's dropout layers draw for a batch of another size.

    Args:
        own: for the batch that was taped.
        before: the template's shapes for that batch.
        now: the template's shapes for the other one.

    >>> resized([((32, 5), (5, 1))], [(32, 8)], [(7, 8)])
    [((7, 5), (5, 1))]
    """
    made = []
    for (shape, strides), old, new in zip(own, before, now, strict=True):
        wanted = tuple(
            n if size == wide else size for size, wide, n in zip(shape, old, new, strict=True)
        )
        made.append((wanted, _dense(wanted, strides)))
    return made


def _dense(shape: Shape, strides: Shape) -> Shape:
    """Strides of a dense tensor whose dimensions lie in memory in the order of ``strides``."""
    order = sorted(range(len(shape)), key=lambda at: (strides[at], shape[at]))
    found, size = [0] * len(shape), 1
    for at in order:
        found[at] = size
        size *= shape[at]
    return tuple(found)
