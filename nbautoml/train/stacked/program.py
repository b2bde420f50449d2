"""A tape made ready to run for a stack of trials."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from nbautoml.train.stacked.noise import Draws
from nbautoml.train.stacked.reordered import pooled_first
from nbautoml.train.stacked.rules import RULES, each, vmapped_or_each
from nbautoml.train.stacked.tape import Op, Ref, Tape, refs_in, tensors_of

__all__ = ["Program", "compiled"]

Values = list[Any]
Step = Callable[[Values, Draws], None]


class Program:
    """Runs what a tape says with a first dimension of trials.

    Args:
        tape: of one trial.
    """

    def __init__(self, tape: Tape) -> None:
        self.tape = tape = pooled_first(tape)
        n_noises = 0
        self._steps: list[Step] = []
        self._dead = _last_read(tape)
        for op in tape.ops:
            if op.noise is not None:
                self._steps.append(_dropout(op, n_noises))
                n_noises += 1
            else:
                step = compiled(op)
                self._steps.append(step if op.has_grad else torch.no_grad()(step))

    def __call__(
        self,
        inputs: Sequence[Tensor],
        weights: Mapping[str, Tensor],
        draws: Draws,
    ) -> Tensor:
        """The stacked output.

        Args:
            inputs: each ``(K, B, ...)``.
            weights: parameters and buffers by name, each ``(K, ...)``.
            draws: what is random in this step.
        """
        tape, n = self.tape, len(inputs[0])
        values: Values = [None] * tape.n_values
        for at, tensor in zip(tape.inputs, inputs, strict=True):
            values[at] = tensor
        for name, at in tape.weights.items():
            values[at] = weights[name]
        for at, tensor in tape.constants.items():
            values[at] = tensor.expand(n, *tensor.shape)
        for step, dead in zip(self._steps, self._dead, strict=True):
            step(values, draws)
            for at in dead:
                values[at] = None
        output: Tensor = values[tape.output]
        return output


def _last_read(tape: Tape) -> list[tuple[int, ...]]:
    """By call: the values that nobody reads after it, whose memory the next one may take."""
    last = {
        ref.index: at for at, op in enumerate(tape.ops) for ref in refs_in((op.args, op.kwargs))
    }
    for at in (*tape.inputs, *tape.weights.values(), *tape.constants, tape.output):
        last.pop(at, None)
    dead: list[list[int]] = [[] for _ in tape.ops]
    for value, at in last.items():
        dead[at].append(value)
    return [tuple(item) for item in dead]


def _dropout(op: Op, which: int) -> Step:
    source, target = op.args[0].index, op.outputs[0]
    multiply = torch.Tensor.mul_ if op.kwargs["inplace"] else torch.mul

    def run(values: Values, draws: Draws) -> None:
        factor, x = draws.factor(which), values[source]
        values[target] = x if factor is None else multiply(x, factor)

    return run


def compiled(op: Op) -> Step:
    """How a call is computed for a stack."""
    if not any(True for _ in refs_in((op.args, op.kwargs))):
        return _made(op)
    rule = RULES.get(op.function)
    if op.is_random:
        rule = None
    elif rule is None:
        rule = vmapped_or_each()
    fill = _filler(op)
    single = op.outputs[0] if len(op.outputs) == 1 else None

    def run(values: Values, draws: Draws) -> None:
        args, kwargs = fill(values)
        result = (
            each(op, *args, trial=draws.trial, **kwargs)
            if rule is None
            else rule(op, *args, **kwargs)
        )
        if single is not None and isinstance(result, Tensor):
            values[single] = result
            return
        for index, tensor in zip(op.outputs, tensors_of(result), strict=False):
            values[index] = tensor

    return run


def _filler(op: Op) -> Callable[[Values], tuple[Sequence[Any], dict[str, Any]]]:
    """Puts values into the arguments; the usual ones hold tensors at their top only."""
    is_flat = not any(
        isinstance(item, list | tuple | dict) and any(True for _ in refs_in(item))
        for item in (*op.args, *op.kwargs.values())
    )
    if not is_flat:
        return lambda values: (_filled(list(op.args), values), _filled(op.kwargs, values))
    places = [(at, item.index) for at, item in enumerate(op.args) if isinstance(item, Ref)]
    named = [(key, item.index) for key, item in op.kwargs.items() if isinstance(item, Ref)]

    def fill(values: Values) -> tuple[Sequence[Any], dict[str, Any]]:
        args, kwargs = list(op.args), dict(op.kwargs) if named else op.kwargs
        for at, index in places:
            args[at] = values[index]
        for key, index in named:
            kwargs[key] = values[index]
        return args, kwargs

    return fill


def _made(op: Op) -> Step:
    """A tensor made in forward (zeros, arange): each trial its own, forward may write into it."""

    def run(values: Values, draws: Draws) -> None:
        n = len(next(value for value in values if value is not None))
        if op.is_random:
            drawn = []
            for at in range(n):
                with draws.trial(at):
                    drawn.append(op.function(*op.args, **op.kwargs))
            values[op.outputs[0]] = torch.stack(drawn)
            return
        result = op.function(*op.args, **op.kwargs)
        for index, tensor in zip(op.outputs, tensors_of(result), strict=True):
            values[index] = tensor.expand(n, *tensor.shape).contiguous()

    return run


def _filled(value: Any, values: Values) -> Any:
    if isinstance(value, Ref):
        return values[value.index]
    if isinstance(value, list):
        return [_filled(item, values) for item in value]
    if isinstance(value, tuple):
        return tuple(_filled(item, values) for item in value)
    if isinstance(value, dict):
        return {key: _filled(item, values) for key, item in value.items()}
    return value
