"""Objects that are made again by the statement that made them."""

from __future__ import annotations

import ast
import sys
import types
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from nbautoml.capsule.container import Captured
from nbautoml.capsule.history import History, Snippet
from nbautoml.capsule.values import pack_state

__all__ = ["Replay", "replay"]

# What these modules' calls open lives in this process alone.
_ALIVE = frozenset({"socket", "_io", "io", "threading", "sqlite3"})
_TYPE_WORDS = frozenset({"typing", "types"})


@dataclass(frozen=True)
class Replay:
    """A statement to run again, and the weights that it does not know."""

    source: str
    original: Snippet
    weights: Captured | None = None


def replay(name: str, value: Any, history: History, namespace: Mapping[str, Any]) -> Replay | None:
    """The newest assignment to the name, if running it again gives the value.

    Aliases of types are taken as they were written; an ``nn.Module`` gets its weights from a
    file; any other object must come out equal.
    """
    snippet = next(history.bindings(name), None)
    node = snippet.node if snippet is not None else None
    if snippet is None or not isinstance(node, ast.Assign) or len(node.targets) != 1:
        return None
    if not isinstance(node.targets[0], ast.Name):
        return None
    source = f"{name} = {ast.unparse(node.value)}"
    if type(value).__module__ in _TYPE_WORDS:
        return Replay(source, snippet)
    if not isinstance(node.value, ast.Call):
        return None
    if _is_torch_module(value):
        return Replay(source, snippet, _weights(value))
    return Replay(source, snippet) if _comes_out_equal(node.value, value, namespace) else None


def _is_torch_module(value: Any) -> bool:
    torch = sys.modules.get("torch")
    return torch is not None and isinstance(value, torch.nn.Module)


def _weights(module: Any) -> Captured | None:
    if not module.state_dict():
        return None
    tree, files = pack_state(module)
    return Captured(tree=tree, files=files, description="weights")


def _comes_out_equal(call: ast.Call, value: Any, namespace: Mapping[str, Any]) -> bool:
    """Whether running the call again gives an object of the same kind with equal contents.

    Only for plain objects and classes: what a call opens has no comparable contents, and a
    function's source decides.
    """
    is_plain = hasattr(value, "__dict__") and not isinstance(
        value, (types.GeneratorType, types.FunctionType)
    )
    if not is_plain or type(value).__module__.partition(".")[0] in _ALIVE:
        return False
    code = compile(ast.Expression(call), "<capsule>", "eval")
    try:
        again = eval(code, dict(namespace))  # noqa: S307 - the user's own call, run once more
        if type(again) is not type(value):
            return False
        if isinstance(value, type):
            return bool(again.__name__ == value.__name__ and set(vars(again)) == set(vars(value)))
        return bool(vars(again) == vars(value))
    except Exception:  # noqa: BLE001 - the user's call may raise anything: then it is no way
        return False
