"""Collect what the roots need, put it into an order that executes, and write the module's text."""

from __future__ import annotations

import builtins
import re
import sys
import types
import warnings
from collections.abc import Collection, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from nbautoml.capsule.container import Capsule
from nbautoml.capsule.history import History
from nbautoml.capsule.item import Item
from nbautoml.capsule.items import Maker
from nbautoml.capsule.modules import is_local, local_imports, local_sources
from nbautoml.capsule.values import NotCapturableError
from nbautoml.errors import CapsuleError, nearest

__all__ = ["build_capsule"]

WARN_BYTES, MAX_BYTES = 10 * 2**20, 100 * 2**20


def build_capsule(
    roots: Sequence[str],
    namespace: Mapping[str, Any],
    *,
    cells: Sequence[str] = (),
    data_names: Collection[str] = (),
) -> Capsule:
    """Make the capsule of some names of a notebook or script.

    Args:
        roots: the names that are wanted, e.g. the class of the model.
        namespace: all names as they are now; objects decide, cells only say how they were written.
        cells: sources of the executed cells in order, as valid Python; of a script, its file is
            read when this is left out.
        data_names: names that the user gave as data: they may be as large as they like.

    Raises:
        CapsuleError: a name is not defined, or its value has no form in which it could travel;
            the message gives the line that needs it.
    """
    if not cells and (script := namespace.get("__file__")):
        path = Path(str(script))
        cells = [path.read_text(encoding="utf-8")] if path.is_file() else []
    items = _Collector(namespace, History(cells)).collect(roots)
    _check_sizes(items, data_names)
    ordered = _in_order(items, roots)
    modules = local_sources({name for item in items.values() for name in _local_modules(item)})
    captured = {item.name: item.captured for item in ordered if item.captured is not None}
    return Capsule(
        source=_text(ordered),
        captured=dict(sorted(captured.items())),
        modules=dict(sorted(modules.items())),
        roots=tuple(roots),
    )


def _local_modules(item: Item) -> set[str]:
    """The user's own modules that an item is, or that its functions import when they are called."""
    if item.module is not None:
        return {item.module.__name__.partition(".")[0]} if is_local(item.module) else set()
    return local_imports(item.source)


class _Collector:
    """Follows names from the roots to all that they need."""

    def __init__(self, namespace: Mapping[str, Any], history: History) -> None:
        self._namespace = namespace
        self._maker = Maker(namespace, history)
        self._items: dict[str, Item] = {}

    def collect(self, roots: Sequence[str]) -> dict[str, Item]:
        for root in roots:
            self._add(root, needed_by=None)
        made = {name for item in self._items.values() for name in item.made}
        for name in [n for n, item in self._items.items() if item.name in made and not item.source]:
            del self._items[name]
        for item in list(self._items.values()):
            self._add_submodules(item)
        return self._items

    def _add(self, name: str, needed_by: Item | None, *, is_soft: bool = False) -> None:
        todo: list[tuple[str, Item | None, bool]] = [(name, needed_by, is_soft)]
        while todo:
            wanted, asker, may_lack = todo.pop()
            if wanted in self._items:
                continue
            item = self._make(wanted, asker, may_lack=may_lack)
            if item is None:
                continue
            self._items[wanted] = item
            todo += [(n, item, False) for n in (*item.eager, *item.lazy)]
            todo += [(n, item, True) for n in item.soft]

    def _make(self, name: str, asker: Item | None, *, may_lack: bool) -> Item | None:
        if name in self._maker.prepared:
            return self._maker.prepared[name]
        if name in self._maker.extra:
            value = self._maker.extra[name]
        elif name in self._namespace and not self._maker.is_plain_builtin(name):
            value = self._namespace[name]
        elif hasattr(builtins, name) or may_lack or (asker is not None and name in asker.made):
            return None
        else:
            near = nearest(name, self._namespace)
            raise CapsuleError(
                f"{name!r} is not defined{_where(name, asker)}",
                hint=f"did you mean {near!r}?" if near else "define it in a cell and run that cell",
            )
        if isinstance(value, types.ModuleType) and name in {"__builtins__", "builtins"}:
            return None
        try:
            return self._maker.make(name, value)
        except NotCapturableError as error:
            if may_lack:
                return None
            kind = f"{type(value).__module__}.{type(value).__qualname__}".removeprefix("builtins.")
            raise CapsuleError(
                f"{name!r} ({kind}) cannot be shipped to a worker{_where(name, asker)}: {error}",
                hint="make it inside the class or function that uses it, or give it as --data",
            ) from error

    def _add_submodules(self, item: Item) -> None:
        """``import torch`` alone does not load ``torch.nn.utils.parametrize``: name those in use."""
        for name in (*item.eager, *item.lazy):
            module = self._namespace.get(name)
            if not isinstance(module, types.ModuleType) or name not in self._items:
                continue
            for chain in re.findall(rf"\b{name}((?:\.[A-Za-z_]\w*)+)", item.source):
                path = module.__name__
                for part in chain.split(".")[1:]:
                    if f"{path}.{part}" not in sys.modules:
                        break
                    path = f"{path}.{part}"
                key = f"{name}:{path}"
                if path != module.__name__ and key not in self._items:
                    source = f"import {path}"
                    self._items[key] = Item(name=key, source=source, is_import=True)


def _where(name: str, asker: Item | None) -> str:
    """As in "; needed by Net, line 3: return x + k"."""
    if asker is None:
        return ""
    snippet = asker.original
    source = snippet.source if snippet else asker.source
    for number, line in enumerate(source.splitlines()):
        if re.search(rf"\b{re.escape(name)}\b", line.partition("#")[0]):
            first = snippet.line if snippet else 1
            decorators = len(source.splitlines()) and _n_decorator_lines(snippet)
            return f"; needed by {asker.name}, line {first - decorators + number}: {line.strip()}"
    return f"; needed by {asker.name}"


def _n_decorator_lines(snippet: Any) -> int:
    decorators = getattr(getattr(snippet, "node", None), "decorator_list", [])
    return snippet.node.lineno - min(d.lineno for d in decorators) if decorators else 0


def _check_sizes(items: Mapping[str, Item], data_names: Collection[str]) -> None:
    sizes = {
        item.name: item.captured.n_bytes
        for item in items.values()
        if item.captured is not None and item.name not in data_names
    }
    total = sum(sizes.values())
    if total <= WARN_BYTES:
        return
    largest = max(sizes, key=lambda name: sizes[name])
    said = (
        f"the cell takes {total / 2**20:.0f} MB of values along; the largest is {largest!r} "
        f"({sizes[largest] / 2**20:.0f} MB)"
    )
    hint = f"give it as data (--data {largest}), or load it inside the class"
    if total > MAX_BYTES:
        raise CapsuleError(f"{said}; the limit is {MAX_BYTES // 2**20} MB", hint=hint)
    warnings.warn(f"{said}; {hint}", stacklevel=3)


def _in_order(items: Mapping[str, Item], roots: Sequence[str]) -> list[Item]:
    """Definitions before their use: what is needed at once first, functions' needs after."""
    placed: dict[str, Item] = {}

    def place(name: str, path: tuple[str, ...]) -> None:
        item = items.get(name)
        if item is None or name in placed or name in path:
            return
        if item.is_filling and any(needed in path for needed in item.eager):
            return  # what it fills the table with is being made: it comes after that
        for needed in item.eager:
            place(needed, (*path, name))
            # What runs at once may call it, and then its functions' needs must be there too.
            for later in _reached(items, needed):
                place(later, (*path, name))
        placed[name] = item

    for root in roots:
        place(root, ())
        for later in _reached(items, root):
            place(later, ())
    for name in items:
        place(name, ())
    imports = sorted((i for i in items.values() if i.is_import), key=lambda i: i.source)
    return [*imports, *(item for item in placed.values() if not item.is_import)]


def _reached(items: Mapping[str, Item], name: str) -> Iterator[str]:
    seen: dict[str, None] = {}
    todo = [name]
    while todo:
        item = items.get(todo.pop())
        if item is None:
            continue
        for needed in (*item.eager, *item.lazy, *item.soft):
            if needed not in seen and needed in items:
                seen[needed] = None
                todo.append(needed)
    return iter(seen)


def _text(ordered: Sequence[Item]) -> str:
    head = ["from __future__ import annotations"] if any(i.is_future for i in ordered) else []
    imports = [item.source for item in ordered if item.is_import]
    notes = [
        f"# {item.name}: {item.captured.description}, from a file"
        for item in ordered
        if item.captured is not None
    ]
    parts = [item.source for item in ordered if not item.is_import and item.source]
    blocks = ["\n".join([*head, *dict.fromkeys(imports)]), "\n".join(notes)]
    # One-line statements stay where the order put them: they may call what stands above.
    run: list[str] = []
    for part in parts:
        if "\n" in part:
            if run:
                blocks.append("\n".join(run))
                run = []
            blocks.append(part)
        else:
            run.append(part)
    if run:
        blocks.append("\n".join(run))
    return "\n\n\n".join(block for block in blocks if block) + "\n"
