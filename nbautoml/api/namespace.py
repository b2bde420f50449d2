"""Where names come from: the notebook's namespace, a script's module; and expressions over them."""

from __future__ import annotations

import ast
import builtins
import inspect
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from nbautoml.errors import CapsuleError, UsageError, nearest

__all__ = [
    "current_shell",
    "evaluate",
    "names_in",
    "names_of",
    "namespace_for",
    "sources_for",
    "symbol_of",
]


def current_shell() -> Any | None:
    """The running IPython shell, or None in a plain script."""
    module = sys.modules.get("IPython")
    return module.get_ipython() if module is not None else None


def names_in(expression: str) -> set[str]:
    """The names that an expression reads.

    >>> sorted(names_in("(X[rows], y)"))
    ['X', 'rows', 'y']
    """
    try:
        tree = ast.parse(expression.strip(), mode="eval")
    except SyntaxError:
        return set()
    return {node.id for node in ast.walk(tree) if isinstance(node, ast.Name)}


def evaluate(expression: str, namespace: Mapping[str, Any], **more: Any) -> Any:
    """The value of an expression that a person typed into a magic.

    Raises:
        UsageError: it is no Python, names something unknown (with the nearest name), or raises.

    >>> evaluate("n + 1", {"n": 2})
    3
    >>> evaluate("colour", {"color": 1})
    Traceback (most recent call last):
        ...
    nbautoml.errors.UsageError: colour is not defined here
    Hint: did you mean color?
    """
    try:
        code = compile(expression.strip(), "<word of %automl>", "eval", dont_inherit=True)
    except SyntaxError as error:
        raise UsageError(
            f"{_short(expression)} is no Python expression: {error.msg}",
            hint="quote it when it holds spaces outside brackets",
        ) from None
    # A dict of its own: an assignment expression must not write into the notebook.
    names = {"__builtins__": builtins, **namespace, **more}
    try:
        return eval(code, names)  # noqa: S307 - the user's own words, in the user's own kernel
    except NameError as error:
        raise _unknown_name(error, names) from None
    except Exception as error:
        raise UsageError(
            f"{_short(expression)} raised {type(error).__name__}: {error}",
            hint="try the expression in a cell of its own",
        ) from error


def _unknown_name(error: NameError, names: Mapping[str, Any]) -> UsageError:
    name = error.name or str(error)
    near = nearest(name, [other for other in names if not other.startswith("_")])
    return UsageError(
        f"{name} is not defined here",
        hint=f"did you mean {near}?" if near else "run the cell that defines it first",
    )


def symbol_of(value: Any, namespace: Mapping[str, Any]) -> str:
    """The name under which a namespace holds an object: its own name if that is it.

    Raises:
        CapsuleError: no name leads to it.
    """
    own = getattr(value, "__name__", "")
    if own and namespace.get(own) is value:
        return str(own)
    found = next(names_of(value, namespace), "")
    if not found:
        raise CapsuleError(
            f"no name leads to {_short(repr(value))}, so that a worker could not find it",
            hint="define it at the top level of a cell or module, and pass it by that name",
        )
    return found


def names_of(value: Any, namespace: Mapping[str, Any]) -> Iterator[str]:
    """All names of an object, those of the shell's own book-keeping (``_``, ``_12``) left out."""
    return (
        name for name, found in namespace.items() if found is value and not name.startswith("_")
    )


def namespace_for(model: Any) -> dict[str, Any]:
    """The names around a class or function: the notebook's, or those of its own module."""
    shell = current_shell()
    module_name = getattr(model, "__module__", None) or "__main__"
    if shell is not None:
        names: dict[str, Any] = shell.user_ns
        if module_name == "__main__" or next(names_of(model, names), ""):
            return names
    module = sys.modules.get(module_name)
    if module is None:
        return {}
    return vars(module)


def sources_for(model: Any, extra: tuple[str, ...] = ()) -> list[str]:
    """Sources in which the capsule may find definitions: cells in order, or the module's file.

    Args:
        model: what is trained.
        extra: a cell that runs at the moment, and so is in no history yet.
    """
    shell = current_shell()
    if shell is not None and namespace_for(model) is shell.user_ns:
        from nbautoml.capsule import cells_from_shell

        return [*cells_from_shell(shell), *extra]
    module = sys.modules.get(getattr(model, "__module__", None) or "__main__")
    if module is None:
        return list(extra)
    try:
        return [inspect.getsource(module), *extra]
    except (OSError, TypeError):
        path = getattr(module, "__file__", None)
        text = Path(path).read_text(encoding="utf-8") if path and Path(path).is_file() else ""
        return [text, *extra] if text else list(extra)


def _short(text: str) -> str:
    flat = " ".join(text.split())
    return flat if len(flat) <= 80 else f"{flat[:77]}..."
