"""Captured values as files: arrays, tensors, frames and containers of them. No pickle anywhere.

A value becomes a *tree*, plain JSON that names files: ``{"kind": "array", "file": "0.npy"}``,
``{"kind": "list", "items": [...]}``. Reading a tree builds the value and runs nothing.
"""

from __future__ import annotations

import io
import math
import sys
from collections.abc import Callable, Mapping
from typing import Any

from nbautoml.tensors import array_of, tensors_of

__all__ = ["NotCapturableError", "describe", "pack", "pack_state", "unpack"]

MAX_DEPTH = 20


class NotCapturableError(TypeError):
    """The value has no form in which it could travel; the text names the part."""


def pack(value: Any) -> tuple[dict[str, Any], dict[str, bytes]]:
    """A value as (tree, files by name).

    Raises:
        NotCapturableError: a part of it is neither plain data nor an array, tensor or frame.
    """
    files: dict[str, bytes] = {}
    return _pack(value, files, 0), files


def unpack(tree: Mapping[str, Any], read: Callable[[str], bytes]) -> Any:
    """The value of a tree; ``read`` gives a file's bytes."""
    kind = tree["kind"]
    if kind == "plain":
        return _float(tree["value"]) if tree.get("is_float") else tree["value"]
    if kind in _SEQUENCES:
        return _SEQUENCES[kind](unpack(item, read) for item in tree["items"])
    if kind == "dict":
        return {unpack(key, read): unpack(item, read) for key, item in tree["items"]}
    if kind == "complex":
        return complex(_float(tree["real"]), _float(tree["imag"]))
    if kind == "bytes":
        return read(tree["file"])
    if kind in {"array", "scalar"}:
        array = array_of(read(tree["file"]))
        return array if kind == "array" else array[()]
    if kind == "tensor":
        tensor = tensors_of(read(tree["file"]))["value"]
        return tensor.requires_grad_(tree["requires_grad"])
    if kind == "state":
        return tensors_of(read(tree["file"]))
    if kind == "frame":
        return _unpack_frame(tree, read)
    raise NotCapturableError(f"unknown kind of captured value {kind!r}")


_SEQUENCES: dict[str, Any] = {"list": list, "tuple": tuple, "set": set, "frozenset": frozenset}


def _pack(value: Any, files: dict[str, bytes], depth: int) -> dict[str, Any]:
    if depth > MAX_DEPTH:
        raise NotCapturableError(f"it is nested more than {MAX_DEPTH} deep")
    if value is None or type(value) in {bool, int, str}:
        return {"kind": "plain", "value": value}
    if type(value) is float:
        return {"kind": "plain", "value": str(value), "is_float": True}
    if type(value) is complex:
        return {"kind": "complex", "real": str(value.real), "imag": str(value.imag)}
    if type(value) is bytes:
        return {"kind": "bytes", "file": _add(files, "bin", value)}
    if type(value) in {list, tuple, set, frozenset}:
        items = sorted(value, key=repr) if isinstance(value, (set, frozenset)) else value
        packed = [_pack(item, files, depth + 1) for item in items]
        return {"kind": type(value).__name__, "items": packed}
    if type(value) is dict:
        pairs = [
            [_pack(key, files, depth + 1), _pack(item, files, depth + 1)]
            for key, item in value.items()
        ]
        return {"kind": "dict", "items": pairs}
    return _pack_data(value, files, depth)


def _pack_data(value: Any, files: dict[str, bytes], depth: int) -> dict[str, Any]:
    """Values of numpy, torch and pandas, where those are loaded at all."""
    numpy, torch, pandas = (sys.modules.get(name) for name in ("numpy", "torch", "pandas"))
    if numpy is not None and isinstance(value, (numpy.ndarray, numpy.generic)):
        if value.dtype.hasobject:
            raise NotCapturableError("an array of objects (dtype object) has no safe form")
        kind = "scalar" if isinstance(value, numpy.generic) else "array"
        buffer = io.BytesIO()
        numpy.save(buffer, numpy.asarray(value), allow_pickle=False)
        return {"kind": kind, "file": _add(files, "npy", buffer.getvalue())}
    if torch is not None and isinstance(value, torch.Tensor):
        from safetensors.torch import save

        if value.is_sparse or value.is_quantized:
            raise NotCapturableError("a sparse or quantised tensor has no safe form")
        data = save({"value": value.detach().cpu().contiguous()})
        return {
            "kind": "tensor",
            "file": _add(files, "safetensors", data),
            "requires_grad": bool(value.requires_grad),
        }
    if pandas is not None and isinstance(value, (pandas.DataFrame, pandas.Series, pandas.Index)):
        return _pack_frame(value, files, depth)
    raise NotCapturableError(f"{type(value).__module__}.{type(value).__qualname__}")


def pack_state(module: Any) -> tuple[dict[str, Any], dict[str, bytes]]:
    """The state dict of an ``nn.Module`` as (tree, files)."""
    from safetensors.torch import save

    state = {name: t.detach().cpu().contiguous().clone() for name, t in module.state_dict().items()}
    return {"kind": "state", "file": "0.safetensors"}, {"0.safetensors": save(state)}


def _pack_frame(value: Any, files: dict[str, bytes], depth: int) -> dict[str, Any]:
    import pandas as pd

    if isinstance(value, pd.Index):
        return {"kind": "frame", "form": "index", "column": _column(value, files, depth)}
    index = None
    if not (
        isinstance(value.index, pd.RangeIndex) and value.index.equals(pd.RangeIndex(len(value)))
    ):
        index = _column(value.index, files, depth)
    if isinstance(value, pd.Series):
        name = _pack(value.name, files, depth + 1)
        column = _column(value, files, depth)
        return {"kind": "frame", "form": "series", "name": name, "column": column, "index": index}
    columns = [
        [_pack(name, files, depth + 1), _column(value.iloc[:, place], files, depth)]
        for place, name in enumerate(value.columns)
    ]
    return {"kind": "frame", "form": "frame", "columns": columns, "index": index}


def _column(column: Any, files: dict[str, bytes], depth: int) -> dict[str, Any]:
    """One column: numbers and dates as an array, everything else as a list of plain values."""
    import pandas as pd

    if isinstance(column, pd.MultiIndex):
        raise NotCapturableError("a frame with several levels of index has no safe form")
    dtype = str(column.dtype)
    array = column.to_numpy()
    if array.dtype.hasobject:
        items = [None if item is None or item is pd.NA else item for item in array.tolist()]
        return {"dtype": dtype, "data": _pack(items, files, depth + 1)}
    return {"dtype": dtype, "data": _pack_data(array, files, depth)}


def _unpack_frame(tree: Mapping[str, Any], read: Callable[[str], bytes]) -> Any:
    import pandas as pd

    def column(found: Mapping[str, Any]) -> Any:
        return pd.array(unpack(found["data"], read), dtype=found["dtype"])

    if tree["form"] == "index":
        return pd.Index(column(tree["column"]))
    index = None if tree["index"] is None else pd.Index(column(tree["index"]))
    if tree["form"] == "series":
        return pd.Series(column(tree["column"]), index=index, name=unpack(tree["name"], read))
    names = [unpack(name, read) for name, _ in tree["columns"]]
    frame = pd.DataFrame({i: column(c) for i, (_, c) in enumerate(tree["columns"])}, index=index)
    frame.columns = pd.Index(names)
    return frame


def _add(files: dict[str, bytes], suffix: str, data: bytes) -> str:
    name = f"{len(files)}.{suffix}"
    files[name] = data
    return name


def _float(text: str) -> float:
    value = float(text)
    return math.nan if math.isnan(value) else value


def describe(value: Any) -> str:
    """A value in a word or two: its kind and its size."""
    shape = getattr(value, "shape", None)
    kind = type(value).__name__
    if shape is not None:
        return f"{kind} {'x'.join(map(str, shape)) or 'scalar'}"
    return f"{kind} of {len(value)}" if hasattr(value, "__len__") else kind
