"""Modules that a capsule imports: installed ones by name, the user's own files as copies."""

from __future__ import annotations

import ast
import functools
import importlib.metadata
import importlib.util
import site
import sys
import sysconfig
import types
from collections.abc import Iterable, Iterator
from pathlib import Path

from nbautoml.errors import CapsuleError

__all__ = ["is_local", "local_imports", "local_sources"]

MAX_BYTES = 2 * 2**20


def is_local(module: types.ModuleType) -> bool:
    """Whether a module is the user's own file: neither installed, nor Python's, nor ours."""
    return _is_own_file(module.__name__.partition(".")[0], getattr(module, "__file__", None))


def _is_own_file(top: str, file: str | None) -> bool:
    if not file or top in {"nbautoml", "__main__"} or top in sys.stdlib_module_names:
        return False
    path = Path(file).resolve()
    if any(path.is_relative_to(root) for root in _installed_roots()):
        return False
    return top not in _distributed()  # an editable install is importable by name in a worker too


def local_sources(names: Iterable[str]) -> dict[str, str]:
    """Files of local modules, their packages and the local modules that they import.

    Args:
        names: of the modules, without what stands behind a dot.

    Returns:
        Path below the capsule's ``modules/`` -> source.

    Raises:
        CapsuleError: the files are larger than 2 MB together, or no text.
    """
    found: dict[str, str] = {}
    todo, seen = sorted(names), set()
    listed = ", ".join(todo)
    while todo:
        name = todo.pop()
        if name in seen:
            continue
        seen.add(name)
        for path, source in _files(name):
            found[path] = source
            todo.extend(sorted(local_imports(source)))
    if sum(map(len, found.values())) > MAX_BYTES:
        raise CapsuleError(
            f"the local modules {listed} come to more than {MAX_BYTES // 2**20} MB of source",
            hint="install them as a package, then they are imported by name",
        )
    return found


def _files(name: str) -> Iterator[tuple[str, str]]:
    spec = importlib.util.find_spec(name)
    module = sys.modules.get(name)
    origin = getattr(module, "__file__", None) or (spec.origin if spec else None)
    if not origin:
        return
    path = Path(origin)
    paths = sorted(path.parent.rglob("*.py")) if path.name == "__init__.py" else [path]
    root = path.parent.parent if path.name == "__init__.py" else path.parent
    for file in paths:
        try:
            yield file.relative_to(root).as_posix(), file.read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError) as error:
            raise CapsuleError(
                f"the local module {name!r} cannot be read as source: {file}: {error}",
                hint="compiled local modules must be installed as a package",
            ) from error


def local_imports(source: str) -> set[str]:
    """Local modules that a source imports, inside its functions too, where they may not be loaded yet."""
    try:
        tree = ast.parse(source)
    except SyntaxError:
        return set()
    names: set[str] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            names.update(alias.name.partition(".")[0] for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            names.add(node.module.partition(".")[0])
    return set(filter(_is_local_name, names))


def _is_local_name(name: str) -> bool:
    if (module := sys.modules.get(name)) is not None:
        return is_local(module)
    try:
        spec = importlib.util.find_spec(name)
    except (ImportError, ValueError):
        return False
    return spec is not None and _is_own_file(name, spec.origin)


@functools.cache
def _installed_roots() -> tuple[Path, ...]:
    roots = {sysconfig.get_path(key) for key in ("stdlib", "platstdlib", "purelib", "platlib")}
    roots |= {*site.getsitepackages(), site.getusersitepackages()}
    return tuple(Path(root).resolve() for root in roots if root)


@functools.cache
def _distributed() -> frozenset[str]:
    return frozenset(importlib.metadata.packages_distributions())
