"""Which names a piece of source needs from outside, and which of them already when it is executed."""

from __future__ import annotations

import ast
import symtable
from collections.abc import Iterator
from dataclasses import dataclass

__all__ = ["Needs", "needs_of"]

_ALWAYS_THERE = frozenset({"__name__", "__file__", "__doc__", "__class__", "__builtins__"})


@dataclass(frozen=True)
class Needs:
    """Names that a statement needs from the module around it.

    Attributes:
        eager: when the statement is executed: bases, decorators, defaults, class bodies.
        lazy: when a function in it is called.
        soft: in annotations that nobody evaluates, as those written as text; nothing breaks at once when one is missing.
        made: names that its functions assign by ``global``.
    """

    eager: tuple[str, ...]
    lazy: tuple[str, ...]
    soft: tuple[str, ...]
    made: frozenset[str]

    @property
    def all(self) -> tuple[str, ...]:
        """Every name, eager ones first, without repeats."""
        return tuple(dict.fromkeys((*self.eager, *self.lazy, *self.soft)))


def needs_of(source: str, *, are_annotations_lazy: bool = False) -> Needs:
    r"""The names that a piece of top-level source needs, builtins among them.

    Args:
        source: one or more statements.
        are_annotations_lazy: ``from __future__ import annotations`` holds for it.

    >>> needs_of("def f(x: T = A):\n    return g(x)")
    Needs(eager=('A', 'T'), lazy=('g',), soft=(), made=frozenset())
    """
    tree = ast.parse(source)
    annotations = list(_annotations(tree))
    spelled = {
        node.id for found in annotations for node in ast.walk(found) if isinstance(node, ast.Name)
    }
    texts = {name for found in annotations for name in _names_in_texts(found)}
    prefix = "from __future__ import annotations\n" if are_annotations_lazy else ""
    top = symtable.symtable(prefix + source, "<capsule>", "exec")
    bound = {s.get_name() for s in top.get_symbols() if s.is_assigned() or s.is_imported()}
    bound |= {child.get_name() for child in top.get_children()}
    in_functions: set[str] = set()
    made: set[str] = set()
    at_once: set[str] = {s.get_name() for s in top.get_symbols() if s.is_referenced()}
    for child in top.get_children():
        _walk(child, at_once, in_functions, made, is_lazy=False)
    order = {name: i for i, name in enumerate(_in_order(tree))}

    def settled(names: set[str]) -> tuple[str, ...]:
        outside = names - _ALWAYS_THERE - bound - {"annotations"}
        return tuple(sorted(outside, key=lambda name: (order.get(name, len(order)), name)))

    eager = at_once if are_annotations_lazy else at_once | spelled
    soft = texts | spelled if are_annotations_lazy else texts
    # A class may use a name that it binds itself later: then both readings are asked for.
    return Needs(
        eager=settled(eager),
        lazy=settled(in_functions - eager),
        soft=settled(soft - in_functions - eager),
        made=frozenset(made),
    )


def _walk(
    table: symtable.SymbolTable,
    at_once: set[str],
    later: set[str],
    made: set[str],
    *,
    is_lazy: bool,
) -> None:
    """Sort a scope's global names by when they are needed."""
    is_function = table.get_type() == "function"
    # Lambdas and comprehensions may run at once; counting their names as eager is the safe side.
    is_deferred = is_lazy or (
        is_function and table.get_name() not in {"listcomp", "setcomp", "dictcomp", "genexpr"}
    )
    for symbol in table.get_symbols():
        if not symbol.is_global() or not (symbol.is_referenced() or symbol.is_assigned()):
            continue
        if symbol.is_assigned() and symbol.is_declared_global():
            made.add(symbol.get_name())
        (later if is_deferred else at_once).add(symbol.get_name())
    for child in table.get_children():
        _walk(child, at_once, later, made, is_lazy=is_deferred)


def _in_order(tree: ast.AST) -> Iterator[str]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Name):
            yield node.id


def _annotations(tree: ast.AST) -> Iterator[ast.expr]:
    """All annotations: of arguments, of what functions return, of variables."""
    for node in ast.walk(tree):
        found: list[ast.expr | None] = []
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)):
            arguments = node.args
            every = [*arguments.posonlyargs, *arguments.args, *arguments.kwonlyargs]
            every += [a for a in (arguments.vararg, arguments.kwarg) if a is not None]
            found = [argument.annotation for argument in every] + [node.returns]
        elif isinstance(node, ast.AnnAssign):
            found = [node.annotation]
        yield from (annotation for annotation in found if annotation is not None)


def _names_in_texts(annotation: ast.expr) -> Iterator[str]:
    """Names in types that are written as text; texts in a call or a ``Literal`` are values, and no types.

    >>> list(_names_in_texts(ast.parse("dict['A', 'B | C']", mode="eval").body))
    ['A', 'B', 'C']
    >>> list(_names_in_texts(ast.parse("Choice('A', 'B')", mode="eval").body))
    []
    """
    match annotation:
        case (
            ast.Call() | ast.Subscript(value=ast.Name(id="Literal") | ast.Attribute(attr="Literal"))
        ):
            return
        case ast.Constant(value=str(text)):
            try:
                inner = ast.parse(text, mode="eval").body
            except SyntaxError:
                return  # no type
            yield from (node.id for node in ast.walk(inner) if isinstance(node, ast.Name))
        case _:
            for child in ast.iter_child_nodes(annotation):
                if isinstance(child, ast.expr):
                    yield from _names_in_texts(child)
