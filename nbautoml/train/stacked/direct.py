"""Gradients of a stack without autograd, where its forward pass is made of a few plain functions.

::

    forward    linear -> relu -> dropout -> linear -> loss, and its gradient
    backward   linear <- relu <- dropout <- linear <---'      weights' gradients into their columns

Of a small model's step autograd is most: nodes made and taken apart, Python functions called from C++
and back, gradients gathered into one matrix. Here each function's backward pass is called in turn, and
a weight's gradient is written where the optimiser reads it: the same kernels on the same numbers, so
that the gradients are the same bit for bit. 64-64-10, one thread, busy machine, microseconds a step:
3 trials of 16 rows 291 with autograd and 118 without, 8 of 16 rows 338 and 169, 8 of 64 rows 492 and 309.

Known are linear layers, dropout, batch norm, changes of shape, sums and a few activations, on a CPU also
convolutions and pooling (whose numbers agree to rounding: a bias's gradient is summed apart); each weight
is used once, and no value is written into that somebody else reads. Anything else is left to autograd
(`direct_of` gives None), as is the loss, but for cross entropy. What a function's two ways are:
`gradients`, `image_gradients`.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Mapping, Sequence

import torch
from torch import Tensor

from nbautoml.train.stacked.calls import Call, Into, Step, Values
from nbautoml.train.stacked.gradients import step_of, unmoved
from nbautoml.train.stacked.losses import StackedLoss, with_gradient
from nbautoml.train.stacked.noise import Draws
from nbautoml.train.stacked.tape import Tape, refs_in

__all__ = ["Direct", "direct_of"]


class Direct:
    """One step's losses and gradients.

    Args:
        tape: of a forward pass in training.
        steps: of each of its functions.
    """

    def __init__(self, tape: Tape, steps: Sequence[Step]) -> None:
        self._tape, self._forward = tape, [forward for forward, _ in steps]
        backwards = [
            (op.outputs[0], tape.n_values + at, backward)
            for at, (op, (_, backward)) in enumerate(zip(tape.ops, steps, strict=True))
            if backward is not None
        ]
        self._backward = backwards[::-1]

    def __call__(
        self,
        inputs: Sequence[Tensor],
        weights: Mapping[str, Tensor],
        draws: Draws,
        target: Tensor,
        loss: StackedLoss,
        into: Into,
    ) -> Tensor:
        """The losses ``(K,)``.

        Args:
            inputs: each ``(K, B, ...)``.
            weights: by name, each ``(K, ...)``.
            draws: what is random in this step.
            target: ``(K, B, ...)``.
            loss: of a stack.
            into: where the gradients of the trained weights are put, by name.
        """
        tape = self._tape
        with torch.no_grad():
            # Last: what each call's backward pass needs beside its values.
            values: Values = [None] * (tape.n_values + len(tape.ops))
            for at, tensor in zip(tape.inputs, inputs, strict=True):
                values[at] = tensor
            for name, at in tape.weights.items():
                values[at] = weights[name]
            for at, tensor in tape.constants.items():
                values[at] = tensor.expand(len(target), *tensor.shape)
            for forward in self._forward:
                forward(values, draws)
            grads: Values = [None] * tape.n_values
            losses, grads[tape.output] = with_gradient(loss, values[tape.output], target)
            for at, beside, backward in self._backward:
                if grads[at] is not None:  # what hangs on no trained weight has none
                    backward(values, grads, draws, into)
                # The next one takes that memory while the caches have it.
                values[at] = values[beside] = grads[at] = None
        return losses


def direct_of(tape: Tape, trained: Collection[str], device: torch.device) -> Direct | None:
    """How a forward pass and its gradients are computed directly; None where that is not known.

    Args:
        tape: of a forward pass in training.
        trained: names of the weights that gradients are wanted of.
        device: where it runs.
    """
    uses = Counter(ref.index for op in tape.ops for ref in refs_in((op.args, op.kwargs)))
    names = {index: name for name, index in tape.weights.items()}
    if any(uses[tape.weights.get(name, -1)] != 1 for name in trained) or tape.output in uses:
        return None
    live: set[int] = set()  # what hangs on trained weights
    steps: list[Step] = []
    n_noises = 0
    for at, op in enumerate(tape.ops):
        refs = [ref.index for ref in refs_in((op.args, op.kwargs))]
        own = {names[index] for index in refs if names.get(index) in trained}
        call = Call(
            op=op, tape=tape, names=names, own=own, live=live, uses=uses,
            which_noise=n_noises, slot=tape.n_values + at, device=device,
        )  # fmt: skip
        is_live = bool(own or live.intersection(refs))
        step = step_of(call) if is_live or op.noise is not None else unmoved(op)
        if step is None or (is_live and (op.is_random or not op.has_grad or len(op.outputs) != 1)):
            return None
        n_noises += op.noise is not None
        if is_live:
            live.update(op.outputs)
        steps.append(step)
    return Direct(tape, steps) if tape.output in live else None
