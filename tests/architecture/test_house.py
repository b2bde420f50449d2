"""The house: layers, public names, what a load costs, no circles."""

from __future__ import annotations

import ast
import importlib
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PACKAGE = ROOT / "nbautoml"
HEAVY = ["torch", "optuna", "sqlalchemy", "pandas", "matplotlib", "sklearn", "anywidget", "alembic"]


def modules() -> list[Path]:
    skipped = {"static", "labextension", "migrations"}
    return [p for p in PACKAGE.rglob("*.py") if not skipped & set(p.relative_to(PACKAGE).parts)]


def run_python(code: str) -> str:
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=False, cwd=ROOT
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_layers_and_circles_are_kept():
    tool = Path(sys.executable).with_name("lint-imports")
    done = subprocess.run([str(tool)], capture_output=True, text=True, check=False, cwd=ROOT)
    assert done.returncode == 0, done.stdout


def test_import_loads_nothing_heavy():
    found = run_python(f"import sys, nbautoml; print([m for m in {HEAVY} if m in sys.modules])")
    assert found.strip() == "[]"


def test_load_ext_loads_nothing_heavy():
    found = run_python(
        "import os, sys; os.environ['NBAUTOML_PREHEAT'] = '0'\n"
        "from IPython.core.interactiveshell import InteractiveShell\n"
        "shell = InteractiveShell.instance()\n"
        "before = set(sys.modules)\n"
        "shell.run_line_magic('load_ext', 'nbautoml')\n"
        "assert 'automl' in shell.magics_manager.magics['cell']\n"
        f"print([m for m in {HEAVY} if m in sys.modules and m not in before])"
    )
    assert found.strip().splitlines()[-1] == "[]"


def test_supervisor_loads_no_torch():
    found = run_python(
        "import sys, nbautoml.engine.supervisor, nbautoml.tune.driver\n"
        "print('torch' in sys.modules)"
    )
    assert found.strip() == "False"


def test_public_names_are_few_present_and_documented():
    import nbautoml

    assert len(nbautoml.__all__) <= 22
    for name in nbautoml.__all__:
        value = getattr(nbautoml, name)
        if not isinstance(value, str):
            assert value.__doc__, f"{name} has no docstring"


@pytest.mark.parametrize("path", modules(), ids=lambda p: str(p.relative_to(PACKAGE)))
def test_module_says_what_it_is_and_names_what_it_offers(path):
    tree = ast.parse(path.read_text(encoding="utf-8"))
    assert ast.get_docstring(tree), f"{path} has no docstring"
    for node in tree.body:
        if isinstance(node, (ast.FunctionDef, ast.ClassDef)) and not node.name.startswith("_"):
            assert ast.get_docstring(node), f"{path}:{node.lineno} {node.name} has no docstring"


@pytest.mark.parametrize("path", modules(), ids=lambda p: str(p.relative_to(PACKAGE)))
def test_all_lists_names_that_exist(path):
    name = ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")
    if name.endswith("__main__"):
        return
    module = importlib.import_module(name)
    for public in getattr(module, "__all__", ()):
        assert hasattr(module, public), f"{name}.__all__ names {public!r}"
