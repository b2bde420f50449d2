"""What the cells said: which statement bound a name last, and the source behind an object."""

from __future__ import annotations

import ast
import inspect
import linecache
import textwrap
import types
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

__all__ = ["History", "Snippet", "cells_from_shell"]

CO_FUTURE_ANNOTATIONS = 0x1000000
_BODY_MAGICS = ("automl", "time", "capture")


@dataclass(frozen=True)
class Snippet:
    """A statement as it was written, with where it stands."""

    source: str
    node: ast.stmt
    line: int
    cell: str


class History:
    """The cells of a session, in the order in which they were executed.

    Args:
        cells: their sources as valid Python; one that does not parse is passed over.
    """

    def __init__(self, cells: Sequence[str]) -> None:
        self._bindings: dict[str, list[Snippet]] = {}
        for cell in cells:
            try:
                tree = ast.parse(cell)
            except (SyntaxError, ValueError):
                continue
            for node in _statements(tree.body):
                for name in _bound(node):
                    snippet = Snippet(_segment(cell, node), node, node.lineno, cell)
                    self._bindings.setdefault(name, []).append(snippet)

    def bindings(self, name: str) -> Iterator[Snippet]:
        """Statements that bind a name, the newest first."""
        yield from reversed(self._bindings.get(name, []))

    def definition(self, target: Any) -> Snippet | None:
        """The ``def`` or ``class`` statement that made an object, or None.

        The object decides, not the newest text: its code knows its file and line, so that a cell
        that was edited but not run, or failed before it got there, is not taken for it.
        """
        name = getattr(target, "__name__", "")
        for code in _codes(target):
            found = _at(code.co_filename, code.co_firstlineno, name)
            if found is not None:
                return found
        # Code that was compiled under a name which has no text: the body of %%time.
        firsts = {code.co_firstlineno for code in _codes(target)}
        kind = ast.ClassDef if isinstance(target, type) else (ast.FunctionDef, ast.AsyncFunctionDef)
        for snippet in self.bindings(name):
            node = snippet.node
            inside = range(_first_line(node), (node.end_lineno or node.lineno) + 1)
            if isinstance(node, kind) and (not firsts or any(line in inside for line in firsts)):
                return snippet
            if not firsts:
                return None  # nothing tells the age of the object: only the newest binding counts
        return None


def cells_from_shell(shell: Any) -> list[str]:
    """The session's cells as valid Python (magics translated), in order of execution.

    Args:
        shell: the running IPython shell.
    """
    cells: list[str] = []
    for cell in shell.history_manager.input_hist_parsed:
        if cell:
            cells.append(cell)
            cells.extend(shell.transform_cell(body) for body in _magic_bodies(cell))
    return cells


def _magic_bodies(cell: str) -> Iterator[str]:
    """Bodies of cell magics that run them as ordinary cells."""
    try:
        tree = ast.parse(cell)
    except (SyntaxError, ValueError):
        return
    for node in tree.body:
        call = node.value if isinstance(node, ast.Expr) else None
        if isinstance(call, ast.Call) and isinstance(call.func, ast.Attribute):
            words = [a.value for a in call.args if isinstance(a, ast.Constant)]
            if call.func.attr == "run_cell_magic" and len(words) == 3 and words[0] in _BODY_MAGICS:
                yield str(words[2])


def is_future_annotated(target: Any) -> bool:
    """Whether the object was compiled under ``from __future__ import annotations``."""
    return any(code.co_flags & CO_FUTURE_ANNOTATIONS for code in _codes(target))


def _functions(target: Any) -> Iterator[types.FunctionType]:
    """A function itself, or those in the body of a class."""
    if isinstance(target, type):
        prefix = target.__qualname__ + "."
        for value in vars(target).values():
            inner = getattr(value, "__func__", None) or getattr(value, "fget", None) or value
            inner = inspect.unwrap(inner) if callable(inner) else inner
            if not isinstance(inner, types.FunctionType):
                continue
            # Methods that dataclass, namedtuple and their like have made have no source.
            is_written = inner.__code__.co_filename != "<string>"
            is_own = inner.__module__ == target.__module__ and is_written
            if is_own and inner.__qualname__.startswith(prefix):
                yield inner
    elif isinstance(target, types.FunctionType):
        yield target


def _codes(target: Any) -> Iterator[types.CodeType]:
    """Code objects that belong to a function, or to the body of a class."""
    plain = inspect.unwrap(target) if callable(target) and not isinstance(target, type) else target
    yield from (function.__code__ for function in _functions(plain))


def _at(filename: str, line: int, name: str) -> Snippet | None:
    """The innermost definition of that name in a file that holds the line."""
    text = "".join(linecache.getlines(filename))
    try:
        tree = ast.parse(text)
    except (SyntaxError, ValueError):
        return None
    best: ast.stmt | None = None
    for node in ast.walk(tree):
        if not isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)):
            continue
        is_it = node.name == name and _first_line(node) <= line <= (node.end_lineno or node.lineno)
        if is_it and (best is None or _first_line(node) >= _first_line(best)):
            best = node
    return Snippet(_segment(text, best), best, best.lineno, text) if best is not None else None


def lambda_at(function: types.FunctionType) -> str | None:
    """The source of a lambda, when its line holds just one."""
    code = function.__code__
    text = "".join(linecache.getlines(code.co_filename))
    try:
        tree = ast.parse(text)
    except (SyntaxError, ValueError):
        return None
    found = [
        n for n in ast.walk(tree) if isinstance(n, ast.Lambda) and n.lineno == code.co_firstlineno
    ]
    same = [
        n
        for n in found
        if [a.arg for a in n.args.args] == list(code.co_varnames[: code.co_argcount])
    ]
    return ast.get_source_segment(text, same[0]) if len(same) == 1 else None


def _first_line(node: ast.stmt) -> int:
    decorators: list[ast.expr] = getattr(node, "decorator_list", [])
    return min([node.lineno, *(d.lineno for d in decorators)])


def _segment(text: str, node: ast.stmt) -> str:
    lines = text.splitlines()[_first_line(node) - 1 : node.end_lineno]
    is_alone = not lines or node.col_offset == len(lines[0]) - len(lines[0].lstrip())
    whole = textwrap.dedent("\n".join(lines))
    try:
        if is_alone and len(ast.parse(whole).body) == 1:
            return whole
    except SyntaxError:
        pass  # it shares its line, or a string in it stands left of its indentation
    return ast.unparse(node)


def _statements(body: Sequence[ast.stmt]) -> Iterator[ast.stmt]:
    """Statements of a module, those under if, try, with and for included."""
    for node in body:
        yield node
        if isinstance(node, (ast.If, ast.Try, ast.With, ast.For, ast.While)):
            for field in ("body", "orelse", "finalbody"):
                yield from _statements(getattr(node, field, []))
            for handler in getattr(node, "handlers", []):
                yield from _statements(handler.body)


def _bound(node: ast.stmt) -> Iterator[str]:
    if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)):
        yield node.name
    elif isinstance(node, (ast.Import, ast.ImportFrom)):
        for alias in node.names:
            yield alias.asname or alias.name.partition(".")[0]
    elif isinstance(node, ast.Assign):
        for target in node.targets:
            if isinstance(target, ast.Name):
                yield target.id
    elif isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name):
        yield node.target.id


def closure_of(target: Any) -> Mapping[str, Any]:
    """Names that a function, or the methods of a class, hold of the function that made them.

    With the values that they hold now; empty cells are left out, and the class's own.
    """
    found: dict[str, Any] = {}
    for function in _functions(target):
        code, cells = function.__code__, function.__closure__ or ()
        for name, cell in zip(code.co_freevars, cells, strict=True):
            try:
                value = cell.cell_contents
            except ValueError:
                continue
            if name != "__class__" and value is not target:
                found.setdefault(name, value)
    return found
