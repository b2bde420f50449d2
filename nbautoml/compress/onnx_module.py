"""An ONNX file that is called like the module it was made from."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn
from torch.utils import _pytree as pytree

from nbautoml.errors import UsageError
from nbautoml.measure import Exported, call, evaluating, open_onnx

__all__ = ["OnnxModule"]


class OnnxModule(nn.Module):
    """Runs a file in ONNX Runtime on the CPU: same inputs, same outputs, no weights to train.

    It is pickled and copied as the file's bytes, and a session is opened where it is first called.

    Args:
        data: the file.
        layout: how the outputs lie in what ``forward`` returns, as `layout_of` wrote it; without it
            one output is a tensor, several are a tuple.
        n_threads: that a call may use.

    >>> net = nn.Linear(4, 2)
    >>> from nbautoml.measure import export_onnx
    >>> quick = OnnxModule(export_onnx(net, torch.zeros(2, 4)))
    >>> quick(torch.zeros(3, 4)).shape
    torch.Size([3, 2])
    """

    def __init__(self, data: bytes, *, layout: str = "", n_threads: int = 1) -> None:
        super().__init__()
        self.data, self.layout, self.n_threads = data, layout, n_threads
        self._open: Exported | None = None
        self.eval()

    @classmethod
    def like(
        cls, data: bytes, module: nn.Module, example: Any, *, n_threads: int = 1
    ) -> OnnxModule:
        """A file that returns what its module returns: a tensor, or a dict or tuple of them."""
        return cls(data, layout=layout_of(module, example), n_threads=n_threads)

    @property
    def exported(self) -> Exported:
        """The session, opened on first use."""
        if self._open is None:
            self._open = open_onnx(self.data, n_threads=self.n_threads)
        return self._open

    def forward(self, *inputs: torch.Tensor, **named: torch.Tensor) -> Any:
        """What the module would return.

        Raises:
            UsageError: other inputs than it was exported with, or a gradient is asked for.
        """
        exported = self.exported
        if any(part.requires_grad for part in (*inputs, *named.values())):
            raise UsageError(
                "an ONNX file has no gradients, and an input asks for one",
                hint="train the module that it was made from",
            )
        given = dict(zip(exported.inputs, inputs, strict=False)) | named
        if len(inputs) + len(named) != len(given) or given.keys() != set(exported.inputs):
            raise UsageError(
                f"the file takes {', '.join(exported.inputs)}, and got {len(inputs)} inputs by place"
                f" and {', '.join(named) or 'none'} by name",
                hint="call it as the module that it was made from",
            )
        outputs = exported({name: given[name] for name in exported.inputs})
        if self.layout:
            return pytree.tree_unflatten(outputs, pytree.treespec_loads(self.layout))
        return outputs[0] if len(outputs) == 1 else tuple(outputs)

    def train(self, mode: bool = True) -> OnnxModule:
        """Evaluation is all there is.

        Raises:
            UsageError: training is asked for.
        """
        if mode:
            raise UsageError(
                "an ONNX file cannot be trained", hint="train the module that it was made from"
            )
        return super().train(mode)

    def __getstate__(self) -> dict[str, Any]:
        return {**super().__getstate__(), "_open": None}  # type: ignore[no-untyped-call]

    def extra_repr(self) -> str:
        """For `repr`."""
        return f"{len(self.data):,} bytes"


def layout_of(module: nn.Module, example: Any) -> str:
    """How a module's outputs lie, as text."""
    with evaluating(module), torch.no_grad():
        _, spec = pytree.tree_flatten(call(module, example))
    return pytree.treespec_dumps(spec)
