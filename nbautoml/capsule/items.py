"""The parts of a capsule: one item a name, made from the object that the name stands for."""

from __future__ import annotations

import ast
import sys
import textwrap
import types
from collections.abc import Mapping
from dataclasses import dataclass
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
from nbautoml.capsule.names import needs_of
from nbautoml.capsule.values import NotCapturableError, pack, pack_state

__all__ = ["Item", "Maker"]

_NEVER = (
    "a socket, file, lock, thread or generator lives in this process alone: make it inside the "
    "class or function that uses it"
)


@dataclass(frozen=True, kw_only=True)
class Item:
    """One name of the capsule.

    Attributes:
        source: the statement that makes it, "" for a value that is put in from a file.
        eager: names that must be there before it; ``lazy``: names that its functions use later;
            ``soft``: names that only annotations use.
        is_import: it belongs to the head of the module.
        module: the module that it is, or comes from.
    """

    name: str
    source: str = ""
    eager: tuple[str, ...] = ()
    lazy: tuple[str, ...] = ()
    soft: tuple[str, ...] = ()
    made: frozenset[str] = frozenset()
    is_import: bool = False
    is_future: bool = False
    module: types.ModuleType | None = None
    captured: Captured | None = None
    original: Snippet | None = None


class Maker:
    """Makes items from the objects of a namespace.

    Args:
        namespace: the notebook's names; ``extra`` receives names that the maker invents for
            things that have none (a closure's values).
    """

    def __init__(self, namespace: Mapping[str, Any], history: History) -> None:
        self._history = history
        self._own = {"__main__", str(namespace.get("__name__", "__main__"))}
        self.extra: dict[str, Any] = {}
        self._namespace = namespace

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
            raise NotCapturableError(f"the source of class {value.__qualname__} was not found")
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
        held = closure_of(value)
        return self._item(
            name, f"{name} = {source}", value, held, Snippet(source, ast.Pass(), 1, "")
        )

    def _defined(self, name: str, value: Any, snippet: Snippet) -> Item:
        """A def or class; under another name when an alias is asked for, inside a factory when it
        is a closure.
        """
        source = snippet.source
        defined = getattr(snippet.node, "name", name)
        is_decorated = bool(getattr(snippet.node, "decorator_list", []))
        if is_decorated and self._namespace.get(defined) is not value:
            source = _undecorated(source)  # what a decorator was given, not what it made
        # A wrapper is made again by its decorator, with all that it closes over.
        is_wrapper = is_decorated and getattr(value, "__name__", "") != defined
        held = closure_of(value) if isinstance(value, types.FunctionType) and not is_wrapper else {}
        if is_wrapper:
            return self._item(name, source, value, {}, snippet)
        if defined != name and "<locals>" not in getattr(value, "__qualname__", ""):
            if self._namespace.get(defined) is value:
                return Item(name=name, source=f"{name} = {defined}", eager=(defined,))
            source += f"\n{name} = {defined}"
        elif defined != name:
            source += f"\n{name} = {defined}"
        return self._item(name, source, value, held, snippet)

    def _item(
        self, name: str, source: str, value: Any, held: Mapping[str, Any], snippet: Snippet
    ) -> Item:
        if "__class__" in held:
            held = {key: item for key, item in held.items() if key != "__class__"}
        eager_extra: list[str] = []
        if held:
            source, eager_extra = self._factory(name, source, held)
        is_future = is_future_annotated(value)
        needs = needs_of(source, are_annotations_lazy=is_future)
        return Item(
            name=name,
            source=source,
            eager=(*eager_extra, *(n for n in needs.eager if n not in eager_extra)),
            lazy=needs.lazy,
            soft=needs.soft,
            made=needs.made,
            is_future=is_future,
            original=snippet,
        )

    def _factory(self, name: str, source: str, held: Mapping[str, Any]) -> tuple[str, list[str]]:
        """Wrap a closure into a function that is called with what it holds."""
        made = {}
        for inner, value in held.items():
            made[inner] = f"_{name}_{inner}"
            self.extra[made[inner]] = value
        words = ", ".join(f"{inner}={outer}" for inner, outer in made.items())
        body = textwrap.indent(source, "    ")
        text = f"def _make_{name}({', '.join(made)}):\n{body}\n    return {name}\n{name} = _make_{name}({words})"
        return text, list(made.values())

    # -- values -----------------------------------------------------------------------------

    def _value(self, name: str, value: Any) -> Item:
        names: list[str] = []

        def name_of(thing: Any) -> str:
            return self._name_of(name, thing, names)

        if type(value).__module__.startswith("nbautoml.spec"):
            return self._replayed(name, value) or self._written(name, value, repr(value))
        try:
            text = express(value, name_of)
            return Item(name=name, source=f"{name} = {text}", eager=tuple(dict.fromkeys(names)))
        except NoExpressionError:
            pass  # no literal: a file, or the statement again
        try:
            tree, files = pack(value)
        except NotCapturableError as error:
            return self._rebuilt(name, value, error)
        described = _describe(value)
        return Item(
            name=name,
            captured=Captured(tree=tree, files=files, description=described),
        )

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

    def _rebuilt(self, name: str, value: Any, error: NotCapturableError) -> Item:
        """An object that is made again by its own statement: modules with their weights, and
        objects that come out equal.
        """
        item = self._replayed(name, value)
        if item is not None:
            return item
        for snippet in self._history.bindings(name):
            if isinstance(snippet.node, ast.FunctionDef):  # decorated into an object
                return self._defined(name, value, snippet)
            break
        raise error

    def _replayed(self, name: str, value: Any) -> Item | None:
        for snippet in self._history.bindings(name):
            node = snippet.node
            if not isinstance(node, ast.Assign) or len(node.targets) != 1:
                return None
            if not isinstance(node.targets[0], ast.Name) or not isinstance(node.value, ast.Call):
                return None
            captured = None
            if _is_torch_module(value):
                tree, files = pack_state(value)
                captured = Captured(tree=tree, files=files, description="weights")
                if not value.state_dict():
                    captured = None
            elif not _comes_out_equal(node.value, value, self._namespace):
                return None
            source = f"{name} = {ast.unparse(node.value)}"
            needs = needs_of(source)
            return Item(
                name=name,
                source=source,
                eager=needs.eager + needs.lazy,
                captured=captured,
                original=snippet,
            )
        return None


def _undecorated(source: str) -> str:
    node = ast.parse(source).body[0]
    return "\n".join(source.splitlines()[node.lineno - 1 :])


def _held(module: str, name: str) -> Any:
    return getattr(sys.modules.get(module), name, None)


def _is_torch_module(value: Any) -> bool:
    torch = sys.modules.get("torch")
    return torch is not None and isinstance(value, torch.nn.Module)


def _comes_out_equal(call: ast.Call, value: Any, namespace: Mapping[str, Any]) -> bool:
    """Whether running the call again gives an object of the same kind with equal contents.

    Only for plain objects: what a call opens (sockets, files, threads) has no comparable contents.
    """
    if not hasattr(value, "__dict__") or isinstance(value, types.GeneratorType):
        return False
    if type(value).__module__.partition(".")[0] in {"socket", "_io", "io", "threading", "sqlite3"}:
        return False
    code = compile(ast.Expression(call), "<capsule>", "eval")
    try:
        again = eval(code, dict(namespace))
        return type(again) is type(value) and bool(vars(again) == vars(value))
    except Exception:  # noqa: BLE001 - the user's call may raise anything: then it is no way
        return False


def _describe(value: Any) -> str:
    shape = getattr(value, "shape", None)
    kind = type(value).__name__
    if shape is not None:
        return f"{kind} {'x'.join(map(str, shape)) or 'scalar'}"
    return f"{kind} of {len(value)}" if hasattr(value, "__len__") else kind
