"""A capsule's source without nbautoml: its imports, its dimensions and its annotations cut out.

What stays is the user's own text, comments and spacing included: pieces are cut out of it by
their places in the syntax tree, and nothing is printed anew.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator

from nbautoml.errors import CapsuleError

__all__ = ["bound_names", "option_source", "parameter_names", "without_nbautoml"]

OURS = frozenset({"Int", "Float", "Choice", "Space"})
"""Words that mean dimensions even where a cell does not import them: the magic provides them."""

Cut = tuple[int, int, bytes]
"""Where a piece begins and ends (bytes), and what stands there instead."""


def without_nbautoml(source: str) -> str:
    """The same code, running where nbautoml is not installed.

    Raises:
        CapsuleError: nbautoml is used in a way that cannot be cut out.

    >>> print(without_nbautoml('''
    ... from nbautoml import Int
    ... def width(hidden: Int(16, 256) = 64, depth: int = 2):  # mine
    ...     return hidden * depth
    ... ''').strip())
    def width(hidden=64, depth: int = 2):  # mine
        return hidden * depth
    """
    tree = ast.parse(source)
    names = _our_names(tree)
    text = source.encode()
    lines = _line_starts(text)
    cuts = sorted({*_statements(tree, names, text, lines), *_annotations(tree, names, text, lines)})
    kept, at = [], 0
    for start, end, instead in cuts:
        if start < at:
            continue  # inside what is cut already
        kept += [text[at:start], instead]
        at = end
    result = b"".join([*kept, text[at:]]).decode()
    _check(result, names)
    # Statements leave empty lines behind; three in a row say no more than two.
    return re.sub(r"\n{4,}", "\n\n\n", result)


def bound_names(source: str) -> set[str]:
    """Names that the code binds anywhere, for choosing others beside them."""
    found: set[str] = set()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
            found.add(node.id)
        elif isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            found.add(node.name)
        elif isinstance(node, ast.alias):
            found.add((node.asname or node.name).partition(".")[0])
    return found


def parameter_names(source: str, symbol: str) -> tuple[set[str], bool] | None:
    """What a class or function takes, and whether it takes any name; None when it is not found.

    >>> parameter_names("def make(width, **more): return Net(width, **more)", "make")
    ({'width'}, True)
    >>> parameter_names("def make(width): return Net(width); model = make".replace("; ", chr(10)), "model")
    ({'width'}, False)
    """
    tree = ast.parse(source)
    classes = {n.name: n for n in ast.walk(tree) if isinstance(n, ast.ClassDef)}
    functions = [n for n in tree.body if isinstance(n, ast.FunctionDef)]
    for statement in tree.body:
        match statement:
            case ast.Assign(targets=[ast.Name(id=name)], value=ast.Name(id=meant)) if (
                name == symbol
            ):
                symbol = meant
    taker: ast.FunctionDef | None = next((f for f in functions if f.name == symbol), None)
    seen: set[str] = set()
    while taker is None and symbol in classes and symbol not in seen:
        seen.add(symbol)
        body = classes[symbol].body
        inits = [n for n in body if isinstance(n, ast.FunctionDef) and n.name == "__init__"]
        taker = inits[-1] if inits else None
        bases = [base.id for base in classes[symbol].bases if isinstance(base, ast.Name)]
        symbol = bases[0] if bases else ""
    if taker is None:
        return None
    arguments = taker.args
    listed = [*arguments.posonlyargs, *arguments.args, *arguments.kwonlyargs]
    return {item.arg for item in listed} - {"self"}, arguments.kwarg is not None


def option_source(source: str, name: str, index: int) -> str | None:
    """How option number ``index`` of the Choice for a name is written in the source.

    >>> option_source("act = Choice(nn.ReLU, nn.GELU)", "act", 1)
    'nn.GELU'
    """
    tree = ast.parse(source)
    calls: list[ast.AST | None] = []
    for node in ast.walk(tree):
        if isinstance(node, ast.arg) and node.arg == name:
            calls.append(node.annotation)
        elif isinstance(node, ast.Assign) and any(
            isinstance(item, ast.Name) and item.id == name for item in node.targets
        ):
            calls.append(node.value)
    for call in calls:
        if isinstance(call, ast.Call) and _called(call) == "Choice" and index < len(call.args):
            if any(isinstance(argument, ast.Starred) for argument in call.args[: index + 1]):
                continue
            return ast.get_source_segment(source, call.args[index])
    return None


def _called(call: ast.Call) -> str:
    return call.func.attr if isinstance(call.func, ast.Attribute) else getattr(call.func, "id", "")


def _our_names(tree: ast.Module) -> frozenset[str]:
    imported: set[str] = set()
    theirs: set[str] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom | ast.Import):
            for alias in node.names:
                name = (alias.asname or alias.name).partition(".")[0]
                (imported if _is_our_import(node, alias) else theirs).add(name)
        elif isinstance(node, ast.FunctionDef | ast.ClassDef):
            theirs.add(node.name)
        elif isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
            theirs.add(node.id)
    return frozenset(imported | (OURS - theirs))


def _is_our_import(node: ast.ImportFrom | ast.Import, alias: ast.alias) -> bool:
    module = node.module or "" if isinstance(node, ast.ImportFrom) else alias.name
    return module.partition(".")[0] == "nbautoml"


def _mentions(node: ast.AST | None, names: frozenset[str]) -> bool:
    if node is None:
        return False
    for part in ast.walk(node):
        if isinstance(part, ast.Name) and part.id in names:
            return True
        if isinstance(part, ast.Constant) and isinstance(part.value, str):
            # An annotation as text: under `from __future__ import annotations` some write both.
            try:
                inner = ast.parse(part.value, mode="eval")
            except (SyntaxError, ValueError):
                continue
            if any(isinstance(n, ast.Name) and n.id in names for n in ast.walk(inner)):
                return True
    return False


def _statements(
    tree: ast.Module, names: frozenset[str], text: bytes, lines: list[int]
) -> Iterator[Cut]:
    """Imports of nbautoml and assignments of dimensions."""
    for parent in ast.walk(tree):
        for field in ("body", "orelse", "finalbody"):
            body = getattr(parent, field, None)
            if not isinstance(body, list):
                continue
            gone = [node for node in body if _is_ours(node, names)]
            is_all = len(gone) == len(body) and not isinstance(parent, ast.Module)
            for at, node in enumerate(gone):
                yield _cut(node, text, lines, needs_pass=is_all and at == 0)
            for node in body:
                if isinstance(node, ast.Import) and node not in gone:
                    yield from _without_ours(node, lines)


def _is_ours(node: ast.AST, names: frozenset[str]) -> bool:
    if isinstance(node, ast.Import | ast.ImportFrom):
        return all(_is_our_import(node, alias) for alias in node.names)
    if not isinstance(node, ast.Assign) or not isinstance(node.value, ast.Call):
        return False
    return _mentions(node.value.func, names)


def _without_ours(node: ast.Import, lines: list[int]) -> Iterator[Cut]:
    """``import os, nbautoml`` -> ``import os``."""
    others = [alias for alias in node.names if not _is_our_import(node, alias)]
    if len(others) < len(node.names):
        yield *_place(node, lines), ast.unparse(ast.Import(names=others)).encode()


def _cut(node: ast.AST, text: bytes, lines: list[int], *, needs_pass: bool) -> Cut:
    start, end = _place(node, lines)
    line_start = text.rfind(b"\n", 0, start) + 1
    found = text.find(b"\n", end)
    line_end = len(text) if found < 0 else found + 1
    before, after = text[line_start:start], text[end:line_end]
    stands_alone = not before.strip() and (not after.strip() or after.strip().startswith(b"#"))
    if stands_alone and not needs_pass:
        return line_start, line_end, b""
    return start, end, b"pass"


def _annotations(
    tree: ast.Module, names: frozenset[str], text: bytes, lines: list[int]
) -> Iterator[Cut]:
    for node in ast.walk(tree):
        if isinstance(node, ast.arg) and _mentions(node.annotation, names):
            start, _ = _place(node, lines)
            yield _unannotated(start + len(node.arg.encode()), node.annotation, text, lines)
        elif isinstance(node, ast.AnnAssign) and _mentions(node.annotation, names):
            if node.value is None:
                yield _cut(node, text, lines, needs_pass=True)
            else:
                _, start = _place(node.target, lines)
                start_of, end, _ = _unannotated(start, node.annotation, text, lines)
                yield start_of, end, b" = "
        elif isinstance(node, ast.FunctionDef) and _mentions(node.returns, names):
            raise _left(names)


def _unannotated(start: int, annotation: ast.AST | None, text: bytes, lines: list[int]) -> Cut:
    """From the name's end to the default's beginning, or to what follows the annotation."""
    assert annotation is not None  # it mentions one of our names
    begin, end = _place(annotation, lines)
    # Brackets around an annotation are no part of the tree's node.
    n_brackets = text[start:begin].count(b"(")
    closing = re.compile(rb"(\s*\)){%d}" % n_brackets).match(text, end)
    end = closing.end() if closing else end
    equals = re.compile(rb"\s*=\s*").match(text, end)
    return (start, equals.end(), b"=") if equals else (start, end, b"")


def _place(node: ast.AST, lines: list[int]) -> tuple[int, int]:
    # Columns of the tree count bytes of UTF-8.
    return (
        lines[node.lineno - 1] + node.col_offset,  # type: ignore[attr-defined]
        lines[node.end_lineno - 1] + node.end_col_offset,  # type: ignore[attr-defined]
    )


def _line_starts(text: bytes) -> list[int]:
    return [0, *(match.end() for match in re.finditer(rb"\r\n|\r|\n", text))]


def _check(result: str, names: frozenset[str]) -> None:
    try:
        tree = ast.parse(result)
    except SyntaxError:
        raise _left(names) from None
    for node in ast.walk(tree):
        if isinstance(node, ast.Import | ast.ImportFrom) and any(
            _is_our_import(node, alias) for alias in node.names
        ):
            raise _left(names)
        if isinstance(node, ast.Name) and node.id in names:
            raise _left(frozenset({node.id}))


def _left(names: frozenset[str]) -> CapsuleError:
    shown = ", ".join(sorted(names))
    return CapsuleError(
        f"the code uses nbautoml ({shown}) in a way that cannot be taken out of it",
        hint="use dimensions only in the signature of __init__ and as names of the cell",
    )
