"""A module as an ONNX model: written, opened, compared with what it came from.

Latency is measured on what would be deployed, so most figures start here. The two libraries are
optional; without them `MissingExtraError` gives the pip command.
"""

from __future__ import annotations

import contextlib
import importlib
import io
import logging
import warnings
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import nn

from nbautoml.errors import MissingExtraError, ModelError
from nbautoml.measure.attention import OPSET, attention_as_one_node, has_such_attention
from nbautoml.measure.counting import call, evaluating
from nbautoml.measure.graphs import name_nodes, slim
from nbautoml.measure.rewrites import rewrite_recurrent

__all__ = [
    "Exported",
    "export_onnx",
    "extra",
    "held_file",
    "largest_difference",
    "open_onnx",
    "parts_of",
    "quiet",
]

_NOISY = (
    "torch.onnx",
    "onnxscript",
    "onnx_ir",
    "torch.export",
    "torch.fx",
    "torch._dynamo",
    "torch._inductor",
    "root",
)


def extra(name: str) -> Any:
    """An optional package of the extra "compress".

    Raises:
        MissingExtraError: it is not installed.
    """
    try:
        with quiet():
            return importlib.import_module(name)
    except ImportError as error:
        raise MissingExtraError(
            f"{name.partition('.')[0]} is not installed; measuring and compressing modules need it ({error})",
            hint="pip install 'nbautoml[compress]'",
        ) from None


@dataclass(frozen=True)
class Exported:
    """An ONNX model in a session of ONNX Runtime on the CPU: called with arrays by input name.

    Attributes:
        data: the model's file.
        inputs: names of its inputs, in order.
    """

    data: bytes = field(repr=False)
    session: Any = field(repr=False)
    inputs: tuple[str, ...]

    @property
    def n_bytes(self) -> int:
        """Size of the file."""
        return len(self.data)

    def feeds(self, example: Any) -> dict[str, npt.NDArray[Any]]:
        """An example as the session takes it."""
        parts = parts_of(example)
        return {
            name: np.ascontiguousarray(part.detach().cpu().numpy())
            for name, part in zip(self.inputs, parts, strict=True)
        }

    def __call__(self, example: Any) -> list[torch.Tensor]:
        """The outputs for an example, as tensors."""
        found = self.session.run(None, self.feeds(example))
        return [torch.from_numpy(np.asarray(part)) for part in found]


def export_onnx(module: nn.Module, example: Any) -> bytes:
    """A module as the bytes of an ONNX file whose first axes may have any size.

    Nodes are named after layers (see `graphs`); traces and scopes are left out.

    Args:
        module: exported as it is in evaluation; it is left as it was.
        example: inputs of at least two rows.

    Raises:
        ModelError: the module cannot be exported (control flow that depends on values, say).
        MissingExtraError: onnx or onnxscript is not installed.
    """
    extra("onnx")
    extra("onnxscript")
    dynamic = torch.export.Dim.DYNAMIC
    is_named = isinstance(example, dict)
    parts = parts_of(example)
    shapes: Any = tuple({0: dynamic} for _ in parts)
    options: dict[str, Any] = {"dynamic_shapes": shapes}
    if is_named:
        options = {"kwargs": example, "dynamic_shapes": {name: {0: dynamic} for name in example}}
    try:
        with evaluating(module), torch.no_grad(), quiet(), contextlib.ExitStack() as stack:
            if has_such_attention(module, example):
                stack.enter_context(attention_as_one_node(module))
                options["opset_version"] = OPSET
            program = torch.onnx.export(
                module, () if is_named else parts, dynamo=True, verbose=False, **options
            )
            assert program is not None  # it is None only when a path is given
            rewrite_recurrent(program.model)
            model = program.model_proto
    except Exception as error:
        raise ModelError(
            f"{type(module).__name__} cannot be exported to ONNX: {_reason(error)}",
            hint="avoid Python branches on values of tensors in forward; eager figures need none",
        ) from error
    name_nodes(model, [name for name, _ in module.named_modules()])
    slim(model)
    data: bytes = model.SerializeToString(deterministic=True)
    return data


def _reason(error: BaseException) -> str:
    """The first line of what lies at the bottom of the exporter's error."""
    while error.__cause__ is not None:
        error = error.__cause__
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return f"{type(error).__name__}: {lines[0]}"[:300] if lines else repr(error)[:300]


def open_onnx(data: bytes, *, n_threads: int = 1) -> Exported:
    """An ONNX file in a session with a fixed number of threads.

    Raises:
        MissingExtraError: onnxruntime is not installed.
        ModelError: the runtime does not take the file.
    """
    runtime = extra("onnxruntime")
    options = runtime.SessionOptions()
    options.intra_op_num_threads = n_threads
    options.inter_op_num_threads = 1
    options.log_severity_level = 3
    # Spinning threads steal time from whatever else is being measured.
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    try:
        session = runtime.InferenceSession(data, options, providers=["CPUExecutionProvider"])
    except Exception as error:
        raise ModelError(f"ONNX Runtime does not take the model: {error}") from error
    return Exported(data, session, tuple(item.name for item in session.get_inputs()))


def held_file(module: nn.Module) -> bytes | None:
    """The ONNX file that a module runs instead of layers of its own; None where it is no such one.

    Such a module has a property ``exported``, an `Exported`: that is all that is asked of it.
    """
    exported = getattr(module, "exported", None)
    return exported.data if isinstance(exported, Exported) else None


def largest_difference(module: nn.Module, exported: Exported, example: Any) -> float:
    """How far outputs of the exported model lie from the module's, relative to the largest one."""
    with evaluating(module), torch.no_grad():
        output = call(module, example)
    ours = list(output) if isinstance(output, (tuple, list)) else [output]
    worst = 0.0
    for mine, theirs in zip(ours, exported(example), strict=True):
        scale = max(float(mine.abs().max()), 1e-6)
        worst = max(worst, float((mine - theirs).abs().max()) / scale)
    return worst


def parts_of(example: Any) -> tuple[torch.Tensor, ...]:
    """The tensors of an example, in order."""
    if isinstance(example, dict):
        return tuple(example.values())
    return example if isinstance(example, tuple) else (example,)


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """The exporter and its friends warn about themselves; nothing of it is the user's."""
    loggers = [logging.getLogger(name) for name in _NOISY]
    levels = [logger.level for logger in loggers]
    for logger in loggers:
        logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):
            warnings.simplefilter("ignore")
            with contextlib.redirect_stderr(io.StringIO()):
                yield
    finally:
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)
