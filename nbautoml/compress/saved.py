"""A module as one safetensors file that needs neither its constructor nor pickle.

A pruned module has other widths than its class would build, so the weights alone are not enough.
The file's metadata holds a *blueprint*: the tree of modules, each with its class's name and its
plain attributes. Nothing of it is executed but the classes' ``forward``, later::

    {"class": "Net", "attributes": {"width": 7}, "parameters": {}, "buffers": {}, "modules": {
        "fc": {"class": "torch.nn.modules.linear:Linear", "attributes": {"in_features": 7, ...},
               "parameters": {"weight": "fc.weight", "bias": "fc.bias"}, ...}}}

Classes come from torch, or from the names that the caller hands over (the notebook's, or a
capsule's); other packages' only where they have been imported already.
"""

from __future__ import annotations

import importlib
import json
import sys
from collections.abc import Mapping
from typing import Any

import torch
from torch import nn

from nbautoml.compress.values import decode, encode, resolved_class, symbols_of
from nbautoml.errors import CompressError, StoreError
from nbautoml.tensors import metadata_of, tensors_of

__all__ = ["blueprint_of", "dump_module", "load_module", "rebuilt"]

VERSION = 1
# What a file may have imported: torch has modules that do things when they are.
_LAYERS = ("torch.nn.", "torch.ao.nn.")
_INTERNAL = frozenset(nn.Module().__dict__)
# A recurrent layer keeps its weights a second time, in a list that it can make again.
_DERIVED = frozenset({"_flat_weights", "_flat_weight_refs"})
_HOOKS = ("_forward_hooks", "_forward_pre_hooks", "_backward_hooks", "_backward_pre_hooks")


def dump_module(
    module: nn.Module, names: Mapping[str, Any], *, details: Mapping[str, str] | None = None
) -> bytes:
    """A module as the bytes of one safetensors file.

    Args:
        module: on the CPU.
        names: where the classes that are not torch's are found when it is loaded.
        details: further texts for the file's metadata.

    Raises:
        CompressError: something in it has no form in which it could be stored; says where.

    >>> data = dump_module(nn.Linear(2, 1), {})
    >>> load_module(data, {})
    Linear(in_features=2, out_features=1, bias=True)
    """
    from safetensors.torch import save

    blueprint, tensors = blueprint_of(module, names)
    metadata = {"nbautoml": json.dumps({"version": VERSION, "module": blueprint})}
    return bytes(save(tensors, metadata={**(details or {}), **metadata}))


def load_module(data: bytes, names: Mapping[str, Any]) -> nn.Module:
    """The module of a file that `dump_module` wrote, in evaluation mode.

    Args:
        data: the file; verify its sha256 first.
        names: the classes that are not torch's, by name.

    Raises:
        StoreError: not such a file, or a class is not there.
    """
    found = metadata_of(data).get("nbautoml", "")
    try:
        body = json.loads(found)
        version, blueprint = body["version"], body["module"]
    except (ValueError, KeyError, TypeError, RecursionError):
        raise StoreError("this file holds weights, but no module that nbautoml wrote") from None
    if version != VERSION:
        raise StoreError(
            f"this module has format {version!r}, this nbautoml reads {VERSION}",
            hint="upgrade nbautoml to open it",
        )
    return rebuilt(blueprint, tensors_of(data), names).eval()


def blueprint_of(
    module: nn.Module, names: Mapping[str, Any]
) -> tuple[dict[str, Any], dict[str, torch.Tensor]]:
    """The tree of a module as plain JSON, and its tensors by name; tied ones come once."""
    writer = _Writer(symbols_of(names))
    return writer.node(module, ""), writer.tensors


class _Writer:
    def __init__(self, symbols: Mapping[Any, str]) -> None:
        self._symbols = symbols
        self._seen: dict[int, str] = {}
        self._keys: dict[int, str] = {}
        self.tensors: dict[str, torch.Tensor] = {}

    def node(self, module: nn.Module, path: str) -> dict[str, Any]:
        if id(module) in self._seen:
            return {"same": self._seen[id(module)]}
        self._seen[id(module)] = path
        self._refuse_odd(module, path)
        return {
            "class": resolved_class(type(module), self._symbols, path),
            "attributes": self._attributes(module, path),
            "parameters": {
                name: self._key(weight, _join(path, name))
                for name, weight in module._parameters.items()  # noqa: SLF001  None included
            },
            "frozen": [
                name for name, w in module.named_parameters(recurse=False) if not w.requires_grad
            ],
            "buffers": {
                name: self._key(buffer, _join(path, name))
                for name, buffer in module._buffers.items()  # noqa: SLF001
            },
            "passing": sorted(module._non_persistent_buffers_set),  # noqa: SLF001
            "modules": {
                name: None if child is None else self.node(child, _join(path, name))
                for name, child in module._modules.items()  # noqa: SLF001
            },
        }

    def _refuse_odd(self, module: nn.Module, path: str) -> None:
        where = path or "the module"
        if any(getattr(module, hooks, None) for hooks in _HOOKS):
            raise CompressError(
                f"{where} ({type(module).__name__}) has hooks, which cannot be stored",
                hint="remove them (handle.remove()) before compressing",
            )
        if nn.utils.parametrize.is_parametrized(module):
            raise CompressError(
                f"{where} ({type(module).__name__}) is parametrized, which cannot be stored",
                hint="torch.nn.utils.parametrize.remove_parametrizations makes plain weights of it",
            )

    def _attributes(self, module: nn.Module, path: str) -> dict[str, Any]:
        found = {}
        for name, value in vars(module).items():
            if name in _INTERNAL or name in _DERIVED:
                continue
            if isinstance(value, torch.Tensor):
                found[name] = {"tensor": self._key(value, _join(path, name))}
            else:
                found[name] = encode(value, self._symbols, _join(path, name))
        return found

    def _key(self, tensor: torch.Tensor | None, path: str) -> str | None:
        if tensor is None:
            return None
        if id(tensor) not in self._keys:
            self._keys[id(tensor)] = path
            self.tensors[path] = tensor.detach().cpu().contiguous().clone()
        return self._keys[id(tensor)]


def rebuilt(
    blueprint: Mapping[str, Any], tensors: Mapping[str, torch.Tensor], names: Mapping[str, Any]
) -> nn.Module:
    """The module that a blueprint describes.

    Raises:
        StoreError: it is damaged, or names what is not here.
    """
    try:
        return _Reader(tensors, names).module(blueprint, "")
    # A RuntimeError may be a tree that is too deep, an ImportError a module that torch does not have.
    except (KeyError, TypeError, AttributeError, ValueError, RuntimeError, ImportError) as error:
        raise StoreError(f"the blueprint of a module is damaged: {error!r:.300}") from error


class _Reader:
    def __init__(self, tensors: Mapping[str, torch.Tensor], names: Mapping[str, Any]) -> None:
        self._tensors, self._names = tensors, names
        self._made: dict[str, nn.Module] = {}
        self._weights: dict[str, nn.Parameter] = {}

    def module(self, node: Mapping[str, Any], path: str) -> nn.Module:
        if "same" in node:
            return self._made[node["same"]]
        kind = self._class(node["class"])
        module: nn.Module = kind.__new__(kind)
        nn.Module.__init__(module)
        self._made[path] = module
        for name, key in node["parameters"].items():
            module.register_parameter(name, self._parameter(key, name in node["frozen"]))
        for name, key in node["buffers"].items():
            tensor = None if key is None else self._tensors[key]
            module.register_buffer(name, tensor, persistent=name not in node["passing"])
        for name, child in node["modules"].items():
            made = None if child is None else self.module(child, _join(path, name))
            module.add_module(name, made)
        for name, value in node["attributes"].items():
            if name in _INTERNAL:
                raise StoreError(f"the blueprint sets {name!r} of {path or 'the module'}")
            is_tensor = isinstance(value, dict) and "tensor" in value
            setattr(
                module,
                name,
                self._tensors[value["tensor"]] if is_tensor else decode(value, self._names),
            )
        if isinstance(module, nn.RNNBase):
            module._flat_weights = [  # noqa: SLF001  torch's own way to make them, below
                getattr(module, name, None)
                for name in module._flat_weights_names  # noqa: SLF001
            ]
            module._init_flat_weights()  # noqa: SLF001
        return module

    def _parameter(self, key: str | None, is_frozen: bool) -> nn.Parameter | None:
        if key is None:
            return None
        if key not in self._weights:
            tensor = self._tensors[key]
            can_learn = tensor.is_floating_point() and not is_frozen
            self._weights[key] = nn.Parameter(tensor, requires_grad=can_learn)
        return self._weights[key]

    def _class(self, text: str) -> type[nn.Module]:
        place, is_path, name = text.partition(":")
        found = _imported(place, name) if is_path else self._names.get(text)
        if isinstance(found, type) and issubclass(found, nn.Module):
            return found
        raise StoreError(
            f"the class {text} of this module is not here",
            hint="run the cell that defines it first",
        )


def _imported(place: str, name: str) -> Any:
    """A class of torch's layers, or of a module that somebody has imported already."""
    if f"{place}.".startswith(_LAYERS):
        return getattr(importlib.import_module(place), name, None)
    return getattr(sys.modules.get(place), name, None)


def _join(path: str, name: str) -> str:
    return f"{path}.{name}" if path else name
