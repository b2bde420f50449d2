"""The body of a magic cell: run it as IPython runs a cell, and see what it defines.

A nested ``shell.run_cell`` would report success on errors, and Run All would go on. So the body is
compiled under the shell's own cell name and executed here: an error is the user's own, at the
user's own line, and stops the cell.
"""

from __future__ import annotations

import ast
import contextlib
import functools
import types
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from nbautoml.api.roles import is_maker, is_module_class
from nbautoml.errors import RecipeError, UsageError, nearest
from nbautoml.spec import Dimension

__all__ = ["CellBody", "assigned_names", "run_cell_body"]


@dataclass(frozen=True, kw_only=True)
class CellBody:
    """A cell that was run.

    Attributes:
        source: its text as valid Python, magics and ``!`` lines transformed.
        names: what it assigned or defined, in order, as the namespace holds it now.
    """

    source: str
    names: Mapping[str, Any]

    def model(self) -> tuple[str, Any]:
        """What the cell wants trained, with its name.

        In this order: what it assigns to ``model``, its ``objective(trial)``, the ``nn.Module``
        class that no other class of the cell uses (the last, if there are several), and the last
        function whose signature says that it makes a module.

        Raises:
            RecipeError: there is nothing of the kind.
        """
        if "model" in self.names and not isinstance(self.names["model"], Dimension):
            return "model", self.names["model"]
        objective = self.names.get("objective")
        if isinstance(objective, types.FunctionType):
            return "objective", objective
        modules = [name for name, value in self.names.items() if is_module_class(value)]
        if modules:
            name = self._not_used_by_others(modules)[-1]
            return name, self.names[name]
        if makers := [name for name, value in self.names.items() if is_maker(value)]:
            return makers[-1], self.names[makers[-1]]
        raise RecipeError(
            "the cell defines nothing to train",
            hint="define an nn.Module class, an objective(trial), or model = a function that makes "
            f"a module, or a scikit-learn class; or name one that exists with --model{self._near_miss()}",
        )

    def _not_used_by_others(self, modules: list[str]) -> list[str]:
        """The classes that are no part of another: blocks of a network are defined beside it."""
        used: dict[str, set[str]] = {}
        for node in ast.walk(ast.parse(self.source)):
            if isinstance(node, ast.ClassDef) and node.name in modules:
                inside = {n.id for n in ast.walk(node) if isinstance(n, ast.Name)}
                used[node.name] = inside - {node.name}
        parts = set().union(*used.values()) if used else set()
        return [name for name in modules if name not in parts] or modules

    def _near_miss(self) -> str:
        functions = [n for n, v in self.names.items() if isinstance(v, types.FunctionType)]
        near = nearest("objective", functions)
        return f" (did you mean {near} to be called objective?)" if near else ""


def run_cell_body(shell: Any, body: str, *, n_lines_above: int = 1) -> CellBody:
    """Execute a cell's body in the notebook's namespace.

    Args:
        shell: the IPython shell.
        body: the text under the magic's line.
        n_lines_above: lines of the cell that stand above the body, so that an error names the
            line that the user sees.

    Raises:
        UsageError: the body is empty.
        Exception: whatever the body raises; shown with the user's frames alone.
    """
    if not body.strip():
        raise UsageError(
            "the cell is empty",
            hint="define the model under the magic's line, or use %automl (one %) with --model",
        )
    # IPython drops the empty lines that a cell begins with, and the line numbers with them.
    lead = next(place for place, line in enumerate(body.splitlines()) if line.strip())
    above = "\n" * (n_lines_above + lead)
    try:
        source = shell.transform_cell(body)
        shifted = above + source
        filename = shell.compile.cache(shifted, _cell_number(shell), raw_code=above + source)
        tree = shell.transform_ast(shell.compile.ast_parse(shifted, filename=filename))
        code = shell.compile(tree, filename, "exec")
    except SyntaxError as error:
        raise _unreadable(error) from None
    _execute(shell, code)
    namespace = shell.user_ns
    names = {name: namespace[name] for name in assigned_names(tree) if name in namespace}
    return CellBody(source=source, names=names)


def _cell_number(shell: Any) -> int:
    """The number of the cell that runs; IPython counts on before the cell or after it, by version."""
    history = getattr(shell, "history_manager", None)
    return len(history.input_hist_parsed) - 1 if history is not None else shell.execution_count


def _unreadable(error: SyntaxError) -> UsageError:
    line = (error.text or "").rstrip()
    bare = line.lstrip()
    at = max(0, (error.offset or 1) - 1 - (len(line) - len(bare)))
    return UsageError(
        f"line {error.lineno} of the cell is no Python: {error.msg}\n    {bare}\n    {' ' * at}^",
        hint="nothing was run",
    )


def _execute(shell: Any, code: types.CodeType) -> None:
    try:
        exec(code, shell.user_global_ns, shell.user_ns)  # noqa: S102 - this is what a cell is
    except Exception as error:
        # The traceback begins at the user's cell: our frame and IPython's are cut off.
        if error.__traceback__ is not None and not hasattr(error, "_render_traceback_"):
            _show_from(error, error.__traceback__.tb_next, shell)
        raise


def _show_from(error: Exception, start: types.TracebackType | None, shell: Any) -> None:
    def render() -> list[str]:
        lines: list[str] = shell.InteractiveTB.structured_traceback(type(error), error, start)
        return lines

    with contextlib.suppress(AttributeError):  # one with slots is shown with all frames
        error._render_traceback_ = render  # type: ignore[attr-defined]


def assigned_names(tree: ast.Module) -> list[str]:
    """Names that a module assigns or defines at its top level, in order; a name counts where last.

    >>> assigned_names(ast.parse("a = 1; b, *c = 2, 3; f = lambda x: [y for y in x]; a = 2"))
    ['b', 'c', 'f', 'a']
    """
    names: list[str] = []
    for statement in tree.body:
        names += _bound_by(statement)
    return list(dict.fromkeys(reversed(names)))[::-1]


@functools.singledispatch
def _bound_by(node: ast.AST) -> list[str]:
    """Names that a statement binds; bodies of functions and classes have names of their own."""
    return [name for child in ast.iter_child_nodes(node) for name in _bound_by(child)]


@_bound_by.register(ast.FunctionDef)
@_bound_by.register(ast.AsyncFunctionDef)
@_bound_by.register(ast.ClassDef)
def _(node: ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef) -> list[str]:
    return [node.name]


@_bound_by.register(ast.Lambda)
@_bound_by.register(ast.ListComp)
@_bound_by.register(ast.SetComp)
@_bound_by.register(ast.DictComp)
@_bound_by.register(ast.GeneratorExp)
def _(_node: ast.AST) -> list[str]:
    return []


@_bound_by.register(ast.Name)
def _(node: ast.Name) -> list[str]:
    return [node.id] if isinstance(node.ctx, ast.Store) else []
