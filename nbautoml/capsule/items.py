"""The parts of a capsule: one item a name, made from the object that the name stands for."""

from __future__ import annotations

import ast
import builtins
import inspect
import sys
import textwrap
import types
from collections.abc import Mapping, Sequence
from typing import Any

from nbautoml.capsule.container import Captured
from nbautoml.capsule.expressions import NoExpressionError, express
from nbautoml.capsule.history import (
    History,
    Snippet,
    closure_of,
    is_future_annotated,
    lambda_at,
)
from nbautoml.capsule.item import Item
from nbautoml.capsule.names import needs_of
from nbautoml.capsule.replay import replay
from nbautoml.capsule.values import NotCapturableError, describe, pack

__all__ = ["Maker"]

_NEVER = (
    "a socket, file, lock, thread or generator lives in this process alone: make it inside the "
    "class or function that uses it"
)


class Maker:
    """Makes items from the objects of a namespace.

    Args:
        namespace: the notebook's names.
        history: what the cells said.

    Attributes:
        extra: names that the maker invents for things that have none (a closure's values).
        prepared: items beside those of names: what fills a table when all is there.
    """

    def __init__(self, namespace: Mapping[str, Any], history: History) -> None:
        self._history = history
        self._own = {"__main__", str(namespace.get("__name__", "__main__"))}
        self.extra: dict[str, Any] = {}
        self.prepared: dict[str, Item] = {}
        self._namespace = namespace

    def is_plain_builtin(self, name: str) -> bool:
        """Whether a name means what it means everywhere: no cell has given it another meaning."""
        if not hasattr(builtins, name):
            return False
        value = self._namespace[name]
        plain = inspect.unwrap(value) if callable(value) else value
        if plain is getattr(builtins, name):
            return True
        # A shell puts functions of its own under such names: open, exit.
        is_bound = next(self._history.bindings(name), None) is not None
        return not is_bound and str(getattr(value, "__module__", "")).startswith("IPython")

    def make(self, name: str, value: Any) -> Item:
        """The item of a name.

        Raises:
            NotCapturableError: there is no way to ship the value; the text says why.
        """
        if isinstance(value, types.ModuleType):
            return self._module(name, value)
        item = self._imported(name, value)
        if item is not None:
            return item
        if isinstance(value, type):
            return self._class(name, value)
        if isinstance(value, types.FunctionType):
            return self._function(name, value)
        return self._value(name, value)

    # -- imports ----------------------------------------------------------------------------

    def _module(self, name: str, module: types.ModuleType) -> Item:
        path = module.__name__
        if path == name or path.startswith(name + "."):
            source = f"import {path}"
        elif "." in path and path.rpartition(".")[2] == name:
            source = f"from {path.rpartition('.')[0]} import {name}"
        else:
            source = f"import {path} as {name}"
        return Item(name=name, source=source, is_import=True, module=module)

    def _imported(self, name: str, value: Any) -> Item | None:
        """An import statement of the cells, or the place where the object says it is from."""
        for snippet in self._history.bindings(name):
            node = snippet.node
            if isinstance(node, ast.ImportFrom) and node.module and not node.level:
                for alias in node.names:
                    bound = alias.asname or alias.name
                    if bound == name and _held(node.module, alias.name) is value:
                        return self._from(name, node.module, alias.name)
        if not isinstance(value, (type, types.FunctionType, types.BuiltinFunctionType)) and not (
            callable(value) and hasattr(value, "__qualname__")
        ):
            return None
        home = getattr(value, "__module__", None)
        original = getattr(value, "__qualname__", "")
        if home in self._own or not home or not original.isidentifier():
            return None
        return self._from(name, home, original) if _held(home, original) is value else None

    def _from(self, name: str, module: str, original: str) -> Item:
        alias = "" if original == name else f" as {name}"
        source = f"from {module} import {original}{alias}"
        return Item(name=name, source=source, is_import=True, module=sys.modules.get(module))

    # -- classes and functions --------------------------------------------------------------

    def _class(self, name: str, value: type) -> Item:
        snippet = self._history.definition(value)
        if snippet is None:
            item = self._replayed(name, value)  # a named tuple, an enum, made by a call
            if item is None:
                raise NotCapturableError(f"the source of class {value.__qualname__} was not found")
            return item
        return self._defined(name, value, snippet)

    def _function(self, name: str, value: types.FunctionType) -> Item:
        snippet = self._decorated(name, value)
        if snippet is None and value.__name__ == "<lambda>":
            return self._lambda(name, value)
        snippet = snippet or self._history.definition(value)
        if snippet is None:
            raise NotCapturableError(f"the source of function {value.__qualname__} was not found")
        return self._defined(name, value, snippet)

    def _decorated(self, name: str, value: types.FunctionType) -> Snippet | None:
        """The decorated ``def`` that a wrapper stands for, where functools.wraps does not say so."""
        newest = next(self._history.bindings(name), None)
        is_wrapper = value.__name__ != name and "<locals>" in value.__qualname__
        if newest is None or not is_wrapper or self._namespace.get(name) is not value:
            return None
        return newest if getattr(newest.node, "decorator_list", []) else None

    def _lambda(self, name: str, value: types.FunctionType) -> Item:
        source = lambda_at(value)
        if source is None:
            raise NotCapturableError("the source of this lambda was not found: write it with def")
        snippet = Snippet(source, ast.Pass(), 1, "")
        held = closure_of(value)
        if held:
            inside = f"function = {source}"
            return self._factory(name, "function", inside, value, held, snippet)
        return self._item(name, f"{name} = {source}", value, snippet)

    def _defined(self, name: str, value: Any, snippet: Snippet) -> Item:
        """A def or class, under another name where that is asked for.

        One that was made in a function is made again in a function, which is called with what
        it holds.
        """
        source = snippet.source
        defined = getattr(snippet.node, "name", name)
        is_decorated = bool(getattr(snippet.node, "decorator_list", []))
        is_made_here = self._namespace.get(defined) is value
        if is_decorated and not is_made_here:
            source = _undecorated(source)  # what a decorator was given, not what it made
        if is_decorated and is_made_here and _is_wrapper(value, defined):
            # It is made again by its decorator, with all that it closes over.
            return self._item(name, source, value, snippet)
        is_inside = "<locals>" in getattr(value, "__qualname__", "")
        if defined != name and not is_inside and is_made_here:
            return Item(name=name, source=f"{name} = {defined}", eager=(defined,))
        held = closure_of(value)
        if held:
            return self._factory(name, defined, source, value, held, snippet)
        if defined != name:
            source += f"\n{name} = {defined}"
        return self._item(name, source, value, snippet)

    def _item(
        self,
        name: str,
        source: str,
        value: Any,
        snippet: Snippet,
        *,
        held: Sequence[str] = (),
    ) -> Item:
        is_future = is_future_annotated(value)
        needs = needs_of(source, are_annotations_lazy=is_future)
        return Item(
            name=name,
            source=source,
            eager=(*held, *(n for n in needs.eager if n not in held)),
            lazy=(*needs.lazy, *self._filled(name, value)),
            soft=needs.soft,
            made=needs.made,
            is_future=is_future,
            original=snippet,
        )

    def _factory(
        self,
        name: str,
        defined: str,
        source: str,
        value: Any,
        held: Mapping[str, Any],
        snippet: Snippet,
    ) -> Item:
        """A closure as a function that is called with what it holds."""
        made = {}
        for inner, thing in held.items():
            made[inner] = f"_{name}_{inner}"
            self.extra[made[inner]] = thing
        words = ", ".join(f"{inner}={outer}" for inner, outer in made.items())
        body = textwrap.indent(source, "    ")
        head = f"def _make_{name}({', '.join(made)}):"
        text = f"{head}\n{body}\n    return {defined}\n{name} = _make_{name}({words})"
        return self._item(name, text, value, snippet, held=list(made.values()))

    # -- values -----------------------------------------------------------------------------

    def _value(self, name: str, value: Any) -> Item:
        names: list[str] = []

        def name_of(thing: Any) -> str:
            return self._name_of(name, thing, names)

        if type(value).__module__.startswith("nbautoml.spec"):
            return self._replayed(name, value) or self._written(name, value, repr(value))
        if type(value).__module__ in {"typing", "types"}:
            item = self._replayed(name, value)
            if item is not None:
                return item
        try:
            text = express(value, name_of)
        except NoExpressionError:
            pass  # no literal: a file, or the statement again
        else:
            needed = tuple(dict.fromkeys(names))
            return self._table(name, text, needed) or Item(
                name=name, source=f"{name} = {text}", eager=needed
            )
        try:
            tree, files = pack(value)
        except NotCapturableError as error:
            return self._rebuilt(name, value, error)
        described = describe(value)
        return Item(
            name=name,
            captured=Captured(tree=tree, files=files, description=described),
        )

    def _table(self, name: str, text: str, names: tuple[str, ...]) -> Item | None:
        """A container that was made empty and filled later, by a decorator perhaps.

        It is made empty again, so that what fills it finds it, and filled when all is there.
        """
        newest = next(self._history.bindings(name), None)
        node = getattr(newest, "node", None)
        if not names or newest is None or not isinstance(node, (ast.Assign, ast.AnnAssign)):
            return None
        empty = ast.unparse(node.value) if node.value is not None else ""
        if empty not in _FILLING:
            return None
        filled = f"{name} filled"
        line = _FILLING[empty].format(name=name, text=text)
        self.prepared[filled] = Item(
            name=filled, source=line, eager=(name, *names), is_filling=True
        )
        return Item(name=name, source=f"{name} = {empty}", lazy=(filled,), original=newest)

    def _filled(self, name: str, value: Any) -> tuple[str, ...]:
        """Implementations that a `functools.singledispatch` function was given."""
        registry = getattr(value, "registry", None)
        if not isinstance(registry, types.MappingProxyType):
            return ()
        names: list[str] = []

        def name_of(thing: Any) -> str:
            return self._name_of(name, thing, names)

        lines = [
            f"{name}.register({name_of(kind)})({name_of(function)})"
            for kind, function in registry.items()
            if kind is not object
        ]
        filled = f"{name} filled"
        self.prepared[filled] = Item(
            name=filled,
            source="\n".join(lines),
            eager=(name, *dict.fromkeys(names)),
            is_filling=True,
        )
        return (filled,) if lines else ()

    def _written(self, name: str, value: Any, text: str) -> Item:
        kind = type(value).__name__
        self.extra.setdefault(kind, type(value))
        return Item(name=name, source=f"{name} = {text}", eager=(kind,))

    def _name_of(self, name: str, thing: Any, names: list[str]) -> str:
        """The name under which the capsule has a class, function or module."""
        own = getattr(thing, "__name__", "").rpartition(".")[2]
        candidates = [own, *(n for n, v in self._namespace.items() if v is thing)]
        for candidate in candidates:
            if candidate.isidentifier() and self._namespace.get(candidate) is thing:
                names.append(candidate)
                return candidate
        invented = f"_{name}_{own if own.isidentifier() else 'function'}"
        if isinstance(thing, types.BuiltinFunctionType) and _held("builtins", own) is thing:
            return own
        if isinstance(thing, type) and _held("builtins", own) is thing:
            return own
        self.extra[invented] = thing
        names.append(invented)
        return invented

    def _replayed(self, name: str, value: Any) -> Item | None:
        """The statement that made it, run again."""
        found = replay(name, value, self._history, self._namespace)
        if found is None:
            return None
        needs = needs_of(found.source)
        return Item(
            name=name,
            source=found.source,
            eager=needs.eager + needs.lazy,
            captured=found.weights,
            original=found.original,
        )

    def _rebuilt(self, name: str, value: Any, error: NotCapturableError) -> Item:
        """An object that is made again by its own statement.

        Modules with their weights, and objects that come out equal.
        """
        item = self._replayed(name, value)
        if item is not None:
            return item
        for snippet in self._history.bindings(name):
            if isinstance(snippet.node, ast.FunctionDef):  # decorated into an object
                return self._defined(name, value, snippet)
            break
        raise error


# How a container that was made empty is filled in one statement.
_FILLING = {
    "{}": "{name}.update({text})",
    "dict()": "{name}.update({text})",
    "[]": "{name}[:] = {text}",
    "list()": "{name}[:] = {text}",
    "set()": "{name}.update({text})",
}


def _is_wrapper(value: Any, defined: str) -> bool:
    """Whether it is what a decorator made, not what stands in the source."""
    code = getattr(value, "__code__", None)
    is_renamed = code is not None and code.co_name != defined
    return getattr(value, "__name__", "") != defined or is_renamed


def _undecorated(source: str) -> str:
    node = ast.parse(source).body[0]
    return "\n".join(source.splitlines()[node.lineno - 1 :])


def _held(module: str, name: str) -> Any:
    return getattr(sys.modules.get(module), name, None)
