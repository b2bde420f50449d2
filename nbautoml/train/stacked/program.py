"""A tape made ready to run for a stack of trials."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from nbautoml.train.stacked.rules import RULES, vmapped
from nbautoml.train.stacked.tape import Op, Ref, Tape, tensors_of

__all__ = ["Program"]

Values = list[Any]


class Program:
    """Runs what a tape says with a first dimension of trials.

    Args:
        tape: of one trial.
    """

    def __init__(self, tape: Tape) -> None:
        self.tape = tape
        n_noises = 0
        self._steps: list[Callable[[Values, Sequence[Tensor | None]], None]] = []
        for op in tape.ops:
            if op.noise is not None:
                self._steps.append(_dropout(op, n_noises))
                n_noises += 1
            else:
                self._steps.append(_compiled(op))

    def __call__(
        self,
        inputs: Sequence[Tensor],
        weights: Mapping[str, Tensor],
        masks: Sequence[Tensor | None],
    ) -> Tensor:
        """The stacked output.

        Args:
            inputs: each ``(K, B, ...)``.
            weights: parameters and buffers by name, each ``(K, ...)``.
            masks: a factor for each dropout layer, see `Noise`; None leaves values alone.
        """
        tape, n = self.tape, len(inputs[0])
        values: Values = [None] * tape.n_values
        for at, tensor in zip(tape.inputs, inputs, strict=True):
            values[at] = tensor
        for name, at in tape.weights.items():
            values[at] = weights[name]
        for at, tensor in tape.constants.items():
            values[at] = tensor.expand(n, *tensor.shape)
        for step in self._steps:
            step(values, masks)
        output: Tensor = values[tape.output]
        return output


def _dropout(op: Op, which: int) -> Callable[[Values, Sequence[Tensor | None]], None]:
    source, target = op.args[0].index, op.outputs[0]

    def run(values: Values, masks: Sequence[Tensor | None]) -> None:
        mask = masks[which] if masks else None
        values[target] = values[source] if mask is None else values[source] * mask

    return run


def _compiled(op: Op) -> Callable[[Values, Sequence[Tensor | None]], None]:
    if not any(True for _ in _refs((op.args, op.kwargs))):
        return _made(op)
    rule = RULES.get(op.function, vmapped)
    is_flat = not any(
        isinstance(item, list | tuple | dict) and any(True for _ in _refs(item))
        for item in (*op.args, *op.kwargs.values())
    )
    places = [(at, item.index) for at, item in enumerate(op.args) if isinstance(item, Ref)]
    named = [(key, item.index) for key, item in op.kwargs.items() if isinstance(item, Ref)]
    single = op.outputs[0] if len(op.outputs) == 1 else None

    def run(values: Values, _: Sequence[Tensor | None]) -> None:
        if is_flat:
            args, kwargs = list(op.args), dict(op.kwargs) if named else op.kwargs
            for at, index in places:
                args[at] = values[index]
            for key, index in named:
                kwargs[key] = values[index]
        else:
            args, kwargs = _filled(list(op.args), values), _filled(op.kwargs, values)
        result = rule(op, *args, **kwargs)
        if single is not None and isinstance(result, Tensor):
            values[single] = result
            return
        for index, tensor in zip(op.outputs, tensors_of(result), strict=False):
            values[index] = tensor

    return run


def _made(op: Op) -> Callable[[Values, Sequence[Tensor | None]], None]:
    """A tensor made in forward (zeros, arange): each trial its own, forward may write into it."""

    def run(values: Values, _: Sequence[Tensor | None]) -> None:
        n = len(next(value for value in values if value is not None))
        result = op.function(*op.args, **op.kwargs)
        for index, tensor in zip(op.outputs, tensors_of(result), strict=True):
            values[index] = tensor.expand(n, *tensor.shape).contiguous()

    return run


def _refs(value: Any) -> Any:
    if isinstance(value, Ref):
        yield value
    elif isinstance(value, list | tuple):
        for item in value:
            yield from _refs(item)
    elif isinstance(value, dict):
        for item in value.values():
            yield from _refs(item)


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
