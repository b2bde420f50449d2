"""The capsule as an object and as a folder: hashed, verified, and executed only when asked."""

from __future__ import annotations

import difflib
import hashlib
import json
import linecache
import re
import sys
import types
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from nbautoml.capsule.values import unpack
from nbautoml.errors import CapsuleError, NbAutomlError

__all__ = ["Capsule", "Captured", "import_capsule"]

VERSION = 1
SOURCE, MANIFEST = "capsule.py", "manifest.json"
_SAFE = re.compile(r"(capsule\.py|captured/[0-9]+-[0-9]+\.[a-z]+|modules/[\w./-]+\.py)", re.ASCII)


@dataclass(frozen=True, kw_only=True)
class Captured:
    """A value that travels as files: its tree (see `values`) and the files' bytes."""

    tree: Mapping[str, Any]
    files: Mapping[str, bytes]
    description: str

    @property
    def n_bytes(self) -> int:
        """Size of all its files."""
        return sum(map(len, self.files.values()))


@dataclass(frozen=True, kw_only=True)
class Capsule:
    """An importable module made from cells, with the values and local files that it needs.

    Attributes:
        source: the module's text.
        captured: values by name, put into the module before the text is executed (a module's
            weights after it).
        modules: local files by their path below ``modules/``.
        roots: the names that it was made for.
    """

    source: str
    captured: Mapping[str, Captured] = field(default_factory=dict)
    modules: Mapping[str, str] = field(default_factory=dict)
    roots: tuple[str, ...] = ()

    @property
    def hash(self) -> str:
        """sha256 over everything that decides what the module does."""
        digest = hashlib.sha256()
        for path, data in sorted(self._files().items()):
            digest.update(f"{path}\0{len(data)}\0".encode())
            digest.update(data)
        trees = {name: found.tree for name, found in self.captured.items()}
        digest.update(json.dumps([trees, list(self.roots)], sort_keys=True).encode())
        return digest.hexdigest()

    def __str__(self) -> str:
        return self.source

    def __repr__(self) -> str:
        n_lines = self.source.count("\n")
        return f"Capsule({', '.join(self.roots)}; {n_lines} lines, hash {self.hash[:12]})"

    def diff(self, other: Capsule) -> str:
        """What changed from this capsule to another, as a unified diff; "" when nothing did."""
        pages = [
            *difflib.unified_diff(
                self.source.splitlines(), other.source.splitlines(), "this", "other", lineterm=""
            )
        ]
        for path in sorted({*self.modules, *other.modules}):
            ours, theirs = self.modules.get(path, ""), other.modules.get(path, "")
            pages += difflib.unified_diff(
                ours.splitlines(), theirs.splitlines(), f"this/{path}", f"other/{path}", lineterm=""
            )
        for name in sorted({*self.captured, *other.captured}):
            pair = [held.captured.get(name) for held in (self, other)]
            if pair[0] is None or pair[1] is None or dict(pair[0].files) != dict(pair[1].files):
                said = [found.description if found else "not there" for found in pair]
                pages.append(f"captured {name}: {said[0]} -> {said[1]}")
        return "\n".join(pages)

    def save(self, folder: Path) -> None:
        """Write the capsule into a folder that does not hold one yet."""
        files = self._files()
        for path, data in files.items():
            place = folder / path
            place.parent.mkdir(parents=True, exist_ok=True)
            place.write_bytes(data)
        manifest = {
            "version": VERSION,
            "hash": self.hash,
            "roots": list(self.roots),
            "files": {path: hashlib.sha256(data).hexdigest() for path, data in files.items()},
            "captured": [
                {
                    "name": name,
                    "tree": found.tree,
                    "files": sorted(found.files),
                    "place": i,
                    "description": found.description,
                }
                for i, (name, found) in enumerate(self.captured.items())
            ],
        }
        (folder / MANIFEST).write_text(json.dumps(manifest, indent=1), encoding="utf-8")

    @classmethod
    def load(cls, folder: Path) -> Capsule:
        """Read and verify a capsule; nothing of it is executed.

        Raises:
            CapsuleError: a file is missing, changed, or lies outside the folder.
        """
        manifest = _manifest(folder)
        files = {path: _verified(folder, path, sha) for path, sha in manifest["files"].items()}
        captured = {
            item["name"]: Captured(
                tree=item["tree"],
                files={n: _held(files, f"captured/{item['place']}-{n}") for n in item["files"]},
                description=item["description"],
            )
            for item in manifest["captured"]
        }
        modules = {
            path.removeprefix("modules/"): data.decode("utf-8")
            for path, data in files.items()
            if path.startswith("modules/")
        }
        found = cls(
            source=files[SOURCE].decode("utf-8"),
            captured=captured,
            modules=modules,
            roots=tuple(manifest["roots"]),
        )
        if found.hash != manifest["hash"]:
            raise CapsuleError(
                f"the capsule in {folder} is not what was submitted: its hash differs",
                hint="it is damaged or was changed; submit the cell again",
            )
        return found

    def _files(self) -> dict[str, bytes]:
        files = {SOURCE: self.source.encode()}
        for place, found in enumerate(self.captured.values()):
            files.update({f"captured/{place}-{name}": data for name, data in found.files.items()})
        files.update({f"modules/{path}": text.encode() for path, text in self.modules.items()})
        return files


def import_capsule(folder: Path) -> types.ModuleType:
    """Execute a capsule as a module; call it only for code that this user submitted.

    The module is made once a process, and is known to `inspect` and to tracebacks.

    Raises:
        CapsuleError: the capsule does not verify.
        Exception: what the code itself raises.
    """
    capsule = Capsule.load(folder)
    name = f"nbautoml_capsule_{capsule.hash[:12]}"
    if name in sys.modules:
        return sys.modules[name]
    path = str(folder / SOURCE)
    module = types.ModuleType(name)
    module.__file__ = path
    lines = capsule.source.splitlines(keepends=True)
    linecache.cache[path] = (len(capsule.source), None, lines, path)
    if capsule.modules and (place := str(folder / "modules")) not in sys.path:
        sys.path.insert(0, place)
    later: dict[str, Any] = {}
    for value_name, found in capsule.captured.items():
        value = _value(value_name, found)
        if found.tree["kind"] == "state":
            later[value_name] = value
        else:
            module.__dict__[value_name] = value
    sys.modules[name] = module
    try:
        code = compile(capsule.source, path, "exec", dont_inherit=True)
        exec(code, module.__dict__)  # noqa: S102 - this is what a worker is for
        for value_name, state in later.items():
            _put_weights(module, value_name, state)
    except BaseException:
        del sys.modules[name]
        raise
    return module


def _value(name: str, captured: Captured) -> Any:
    try:
        return unpack(captured.tree, captured.files.__getitem__)
    except NbAutomlError as error:
        raise CapsuleError(
            f"the captured value {name}: {error.message}", hint=error.hint
        ) from error
    # What a tree, which is JSON that somebody may have written by hand, can break.
    except (KeyError, TypeError, ValueError, AttributeError, RecursionError) as error:
        raise CapsuleError(
            f"the captured value {name} is damaged: {type(error).__name__}: {error}",
            hint="submit the cell again",
        ) from error


def _put_weights(module: types.ModuleType, name: str, state: Mapping[str, Any]) -> None:
    try:
        module.__dict__[name].load_state_dict(state)
    except (KeyError, AttributeError, RuntimeError) as error:
        raise CapsuleError(
            f"the captured weights of {name} do not fit it: {error}",
            hint="what it is made from (a file, a package) has changed; submit the cell again",
        ) from error


def _held(files: Mapping[str, bytes], path: str) -> bytes:
    if path not in files:
        raise CapsuleError(f"the capsule's manifest lacks the file {path[:100]!r}")
    return files[path]


def _manifest(folder: Path) -> dict[str, Any]:
    try:
        found: Any = json.loads((folder / MANIFEST).read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise CapsuleError(
            f"there is no readable capsule in {folder}: {error}", hint="submit the cell again"
        ) from error
    if not _is_manifest(found):
        raise CapsuleError(f"{folder / MANIFEST} is no capsule's manifest")
    if found["version"] > VERSION:
        raise CapsuleError(
            f"the capsule in {folder} has format {found['version']!r}, this reads up to {VERSION}",
            hint="upgrade nbautoml",
        )
    return dict(found)


def _is_manifest(found: Any) -> bool:
    """Whether every field is there and of its kind; what the fields say is checked later."""
    if not isinstance(found, dict):
        return False
    kinds = {"version": int, "hash": str, "roots": list, "files": dict, "captured": list}
    if not all(isinstance(found.get(name), kind) for name, kind in kinds.items()):
        return False
    texts = [*found["roots"], *found["files"].values()]
    if SOURCE not in found["files"] or not all(isinstance(text, str) for text in texts):
        return False
    parts = {"name": str, "tree": dict, "files": list, "place": int, "description": str}
    return all(
        isinstance(item, dict) and all(isinstance(item.get(n), k) for n, k in parts.items())
        for item in found["captured"]
    )


def _verified(folder: Path, path: str, sha256: str) -> bytes:
    place = folder / path
    if not _SAFE.fullmatch(path) or ".." in Path(path).parts:
        raise CapsuleError(f"the capsule's manifest names {path[:100]!r}, which is no part of one")
    if place.is_symlink() or not place.resolve().is_relative_to(folder.resolve()):
        raise CapsuleError(f"{place} is a link that leads out of the capsule")
    try:
        data = place.read_bytes()
    except OSError as error:
        raise CapsuleError(f"the capsule lacks {place}: {error}") from error
    if hashlib.sha256(data).hexdigest() != sha256:
        raise CapsuleError(
            f"{place} was changed since it was written", hint="submit the cell again"
        )
    return data
