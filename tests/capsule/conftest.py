"""Real shells that run cells, and capsules made of what is then there."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import types
from collections.abc import Iterator
from pathlib import Path

import pytest
from capsule_shell import Shell, own_shell
from IPython.core.interactiveshell import InteractiveShell

READ = """
import json, sys, traceback
from pathlib import Path
from nbautoml.capsule import import_capsule
found = {}
for name, folder, asked in json.loads(sys.stdin.read()):
    try:
        module = import_capsule(Path(folder))
        found[name] = repr(eval(asked, module.__dict__))
    except BaseException:
        found[name] = traceback.format_exc()
print(json.dumps(found))
"""


@pytest.fixture(scope="module")
def one_shell() -> Iterator[tuple[InteractiveShell, types.ModuleType]]:
    main = sys.modules["__main__"]
    with own_shell() as shell:
        ours, sys.modules["__main__"] = sys.modules["__main__"], main
        yield shell, ours


@pytest.fixture
def shell(one_shell) -> Iterator[Shell]:
    shell, ours = one_shell
    main, sys.modules["__main__"] = sys.modules["__main__"], ours
    yield Shell(shell)
    sys.modules["__main__"] = main


@pytest.fixture(scope="session")
def read_elsewhere():
    """Import capsules in a process of its own, and evaluate an expression in each."""

    def read(asked: list[tuple[str, Path, str]], *, hash_seed: str = "77") -> dict[str, str]:
        words = json.dumps([[name, str(folder), text] for name, folder, text in asked])
        done = subprocess.run(
            [sys.executable, "-W", "error", "-c", READ],
            input=words,
            capture_output=True,
            text=True,
            check=True,
            env={**os.environ, "PYTHONHASHSEED": hash_seed},
        )
        return json.loads(done.stdout.splitlines()[-1])

    return read
