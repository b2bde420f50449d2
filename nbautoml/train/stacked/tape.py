"""What a forward pass does, written down as it happens.

A `Tape` is the list of torch functions that one call of a module made, with references in the
place of tensors::

    forward(x) = self.out(F.relu(self.fc(x)))

    v0  input 0                          v3 = linear(v0, v1, v2)
    v1  fc.weight     v2  fc.bias        v4 = relu(v3)          ...

Functions are seen as torch's ``__torch_function__`` sees them: one entry for ``F.linear`` or
``F.multi_head_attention_forward``, whatever they do inside. Two trials can share a stack when
their tapes agree in all but the numbers that a stack keeps for each trial (dropout rates).

What a tape cannot hold is refused while it is written: reading a tensor's value (``item()``, an
``if`` on data), state that forward keeps in Python, random numbers of Python or NumPy.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Hashable, Iterator
from dataclasses import dataclass, field
from functools import lru_cache
from types import NoneType
from typing import Any

import numpy as np
import torch
from torch import nn
from torch.overrides import TorchFunctionMode, resolve_name

from nbautoml.train.batches import Inputs, call_module
from nbautoml.train.stacked.reasons import CannotStack
from nbautoml.train.stacked.structure import changed, python_state

__all__ = [
    "Op",
    "Ref",
    "Tape",
    "frozen",
    "name_of",
    "record",
    "refs_in",
    "tensors_of",
]

MAX_CONSTANT = 1_000_000  # numbers of a tensor that is neither weight, buffer nor input


@dataclass(frozen=True)
class Ref:
    """The place of a tensor in the arguments of an `Op`."""

    index: int


@dataclass
class Op:
    """One function call.

    Attributes:
        function: what was called.
        args: its arguments, tensors replaced by `Ref`.
        kwargs: likewise.
        outputs: values that it made, in the order of `tensors_of` its result; None for those
            that are no tensors.
        shapes: their shapes.
        noise: for dropout: shape and strides of what is drawn; None for all others.
        noise_dtype: for dropout: type of its input, which a GPU's kernel goes by.
        is_random: it draws random numbers inside (attention with dropout, ``rand_like``).
        has_grad: it was not called under ``no_grad``.
    """

    function: Callable[..., Any]
    args: tuple[Any, ...]
    kwargs: dict[str, Any]
    outputs: tuple[int, ...]
    shapes: tuple[tuple[int, ...], ...]
    noise: tuple[tuple[int, ...], tuple[int, ...]] | None = None
    noise_dtype: torch.dtype = torch.float32
    is_random: bool = False
    has_grad: bool = True


@dataclass
class Tape:
    """A forward pass.

    Attributes:
        inputs: value of each input.
        weights: value by name of each parameter and buffer that was used.
        constants: value and tensor of what else was used.
        ops: the calls in their order.
        output: value of the result.
        n_values: how many values there are.
        rates: dropout's rate in each op that has noise, in their order: each trial's own.
        shapes: of every value.
    """

    inputs: tuple[int, ...] = ()
    weights: dict[str, int] = field(default_factory=dict)
    constants: dict[int, torch.Tensor] = field(default_factory=dict)
    ops: list[Op] = field(default_factory=list)
    output: int = -1
    n_values: int = 0
    rates: list[float] = field(default_factory=list)
    shapes: tuple[tuple[int, ...], ...] = ()

    def key(self) -> Hashable:
        """Equal for two forward passes that do the same with different numbers."""
        lines = [
            (
                name_of(op.function),
                frozen(op.args),
                frozen(op.kwargs),
                op.outputs,
                op.shapes,
                op.has_grad,
            )
            for op in self.ops
        ]
        constants = tuple((index, _digest(value)) for index, value in self.constants.items())
        return (self.inputs, tuple(self.weights.items()), constants, tuple(lines), self.output)


def tensors_of(value: Any) -> Iterator[torch.Tensor]:
    """The tensors in a result or an argument, depth first."""
    if isinstance(value, torch.Tensor):
        yield value
    elif isinstance(value, list | tuple):
        for item in value:
            yield from tensors_of(item)
    elif isinstance(value, dict):
        for item in value.values():
            yield from tensors_of(item)


def refs_in(value: Any) -> Iterator[Ref]:
    """The places of tensors in an argument, depth first."""
    if isinstance(value, Ref):
        yield value
    elif isinstance(value, list | tuple):
        for item in value:
            yield from refs_in(item)
    elif isinstance(value, dict):
        for item in value.values():
            yield from refs_in(item)


def record(module: nn.Module, inputs: Inputs) -> tuple[Tape, torch.Tensor]:
    """One forward pass, with the module in the mode (training or not) it is in: tape and output.

    Buffers that forward changes are changed by this as well; the caller keeps a copy.

    Raises:
        CannotStack: forward does what a stack cannot do.
        Exception: what the module raises comes through.
    """
    recorder = _Recorder(module, inputs)
    before = python_state(module)
    with recorder:
        output = call_module(module, inputs)
    found = changed(before, python_state(module))
    if found:
        raise CannotStack(f"forward changes {found}, which a stack of trials would share")
    return recorder.finish(output), output


class _Recorder(TorchFunctionMode):
    def __init__(self, module: nn.Module, inputs: Inputs) -> None:
        super().__init__()
        self.tape = Tape()
        self._known: dict[int, int] = {}
        self._names: dict[int, str] = {}
        self._alive: list[torch.Tensor] = []  # an id means nothing once its tensor is gone
        for name, tensor in [*module.named_parameters(), *module.named_buffers()]:
            self._names[id(tensor)] = name
        self.tape.inputs = tuple(self._new(tensor) for tensor in tensors_of(inputs))

    def __torch_function__(
        self,
        func: Callable[..., Any],
        types: Any,
        args: tuple[Any, ...] = (),
        kwargs: dict[str, Any] | None = None,
    ) -> Any:
        kwargs = kwargs or {}
        name = name_of(func)
        short = name.rsplit(".", 1)[-1]
        _refuse(short, name, args, kwargs)
        # Before the call: what gives back its own input becomes a new value by that.
        place = (self._replaced(args), self._replaced(kwargs))
        noise = _noise_of(short, args, kwargs)
        source = None if noise is None else self._replaced(noise[1])
        result = func(*args, **kwargs)
        made = list(tensors_of(result))
        if not made and short != "__setitem__":
            if result is None and short not in _HARMLESS:
                raise CannotStack(f"forward calls {name}, which changes something unseen")
            return result  # a shape, a dtype: a plain number from here on
        op = Op(
            function=func,
            args=place[0],
            kwargs=place[1],
            outputs=tuple(self._new(tensor) for tensor in made),
            shapes=tuple(tuple(tensor.shape) for tensor in made),
            has_grad=torch.is_grad_enabled(),
        )
        if noise is not None:
            op.noise, op.args = _shape_of_noise(short, noise[1]), (source,)
            op.noise_dtype = noise[1].dtype
            op.kwargs = {"inplace": bool(_argument(args, kwargs, 3, "inplace", default=False))}
            self.tape.rates.append(noise[0])
        else:
            op.is_random = _is_random(short, args, kwargs)
        self.tape.ops.append(op)
        return result

    def finish(self, output: Any) -> Tape:
        """The tape, ended by what forward returned."""
        if not isinstance(output, torch.Tensor):
            raise CannotStack(f"forward returns a {type(output).__name__}, not one tensor")
        self.tape.output = self._see(output)
        self.tape.n_values = len(self._alive)
        self.tape.shapes = tuple(tuple(tensor.shape) for tensor in self._alive)
        return self.tape

    def _new(self, tensor: torch.Tensor) -> int:
        self._alive.append(tensor)
        self._known[id(tensor)] = len(self._alive) - 1
        return len(self._alive) - 1

    def _see(self, tensor: torch.Tensor) -> int:
        index = self._known.get(id(tensor))
        if index is not None:
            return index
        index = self._new(tensor)
        name = self._names.get(id(tensor))
        if name is not None:
            self.tape.weights[name] = index
        elif tensor.numel() > MAX_CONSTANT:
            raise CannotStack(
                f"forward uses a tensor of shape {tuple(tensor.shape)} that is neither a "
                "parameter nor a buffer"
            )
        else:
            self.tape.constants[index] = tensor.detach().clone()
        return index

    def _replaced(self, value: Any) -> Any:
        if isinstance(value, torch.Tensor):
            return Ref(self._see(value))
        if isinstance(value, list | tuple):
            items = [self._replaced(item) for item in value]
            is_plain = type(value) in {list, tuple, torch.Size}
            return (list(items) if isinstance(value, list) else tuple(items)) if is_plain else value
        if isinstance(value, dict):
            return {key: self._replaced(item) for key, item in value.items()}
        return value


_READS = {
    "item": "item()", "tolist": "tolist()", "numpy": "numpy()", "__bool__": "an if or while",
    "__float__": "float()", "__int__": "int()", "__index__": "an index", "__array__": "numpy",
    "equal": "torch.equal", "allclose": "torch.allclose", "__complex__": "complex()",
    "is_nonzero": "is_nonzero", "__contains__": "in", "__format__": "a text", "__repr__": "a text",
}  # fmt: skip
_RANDOM = {
    "rand", "randn", "randint", "randperm", "rand_like", "randn_like", "randint_like", "normal",
    "normal_", "uniform_", "bernoulli", "bernoulli_", "multinomial", "exponential_", "random_",
    "poisson", "cauchy_", "geometric_", "log_normal_", "gumbel_softmax", "binomial",
    "fractional_max_pool2d", "fractional_max_pool3d", "rrelu", "rrelu_", "alpha_dropout",
    "feature_alpha_dropout", "feature_dropout", "native_dropout", "dropout_", "alpha_dropout_",
    "feature_alpha_dropout_", "feature_dropout_",
}  # fmt: skip
_HARMLESS = {"_set_grad_enabled", "set_grad_enabled", "__get__", "autocast_increment_nesting"}
_RAGGED = {"masked_select", "nonzero", "argwhere", "unique", "unique_consecutive"}
_DROPOUTS = {"dropout": 0, "dropout1d": 3, "dropout2d": 4, "dropout3d": 5}
"""By name: of how many dimensions the input is (0: any) where whole channels are dropped."""


def _refuse(short: str, name: str, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
    if _READS.get(short):
        raise CannotStack(
            f"forward reads a tensor's value with {_READS[short]}: it may differ from trial to trial"
        )
    if short in _RAGGED or (short == "__getitem__" and _has_condition(args[1])):
        raise CannotStack("forward picks elements by a condition: how many differs by trial")
    if kwargs.get("out") is not None:
        raise CannotStack(f"forward calls {name} with out=")


def _has_condition(index: Any) -> bool:
    return any(item.dtype in {torch.bool, torch.uint8} for item in tensors_of(index))


def _is_random(short: str, args: tuple[Any, ...], kwargs: dict[str, Any]) -> bool:
    if short == "multi_head_attention_forward":
        is_training = _argument(args, kwargs, 13, "training", default=True)
        return bool(is_training and _argument(args, kwargs, 10, "dropout_p"))
    if short == "scaled_dot_product_attention":
        return bool(_argument(args, kwargs, 4, "dropout_p"))
    if short in {"lstm", "gru", "rnn_tanh", "rnn_relu"}:
        # input, hidden, weights, has_biases, num_layers, dropout, train, bidirectional ...
        plain = [item for item in args if isinstance(item, int | float)]
        return plain[1] > 1 and plain[2] > 0 and bool(plain[3])
    is_dropout = short in _DROPOUTS and _argument(args, kwargs, 2, "training", default=True)
    return short in _RANDOM or bool(is_dropout)


def _argument(
    args: tuple[Any, ...], kwargs: dict[str, Any], at: int, name: str, default: Any = None
) -> Any:
    return args[at] if len(args) > at else kwargs.get(name, default)


def _noise_of(
    short: str, args: tuple[Any, ...], kwargs: dict[str, Any]
) -> tuple[float, torch.Tensor] | None:
    """Rate and input of a dropout that a stack draws itself."""
    x = _argument(args, kwargs, 0, "input")
    if short not in _DROPOUTS or _DROPOUTS[short] not in {0, x.ndim}:
        return None
    is_training = _argument(args, kwargs, 2, "training", default=True)
    return (float(_argument(args, kwargs, 1, "p", default=0.5)) if is_training else 0.0), x


def _shape_of_noise(short: str, x: torch.Tensor) -> tuple[tuple[int, ...], tuple[int, ...]]:
    if short == "dropout":
        return tuple(x.shape), tuple(x.stride())
    ones = (1,) * (x.ndim - 2)
    return (*x.shape[:2], *ones), (x.shape[1], 1, *ones)


# Made once: to write `int | float | ...` where it is asked makes that union each time, which was a
# quarter of what it took to tape a small model.
_NUMBERS_AND_TEXTS = (int, float, str, bool, NoneType)
_PLAIN = (*_NUMBERS_AND_TEXTS, Ref, torch.dtype, torch.device)


@lru_cache(maxsize=2000)
def name_of(function: Callable[..., Any]) -> str:
    """A function's name, the same in every process."""
    found = resolve_name(function)
    if found:
        return str(found)
    owner = getattr(function, "__self__", None)  # the getter of a property of Tensor
    inner = getattr(owner, "__name__", "")
    return f"{inner}.{getattr(function, '__name__', repr(function))}".strip(".")


def frozen(value: Any) -> Hashable:
    """Arguments of a call as something to compare."""
    if type(value) in _PLAIN:
        return (type(value).__name__, value)
    if isinstance(value, list | tuple):
        return tuple(frozen(item) for item in value)
    if isinstance(value, dict):
        return tuple((key, frozen(item)) for key, item in value.items())
    if isinstance(value, slice):
        return ("slice", frozen(value.start), frozen(value.stop), frozen(value.step))
    if isinstance(value, _PLAIN):
        return (type(value).__name__, value)
    return repr(value)


def _digest(value: torch.Tensor) -> Hashable:
    content = np.ascontiguousarray(value.cpu().numpy()).tobytes()
    return tuple(value.shape), str(value.dtype), hashlib.sha256(content).hexdigest()
