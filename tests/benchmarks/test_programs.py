"""What the programs import of each other is there: some of them run for an hour, or on a GPU only."""

from __future__ import annotations

import ast
from pathlib import Path

import pages
import pytest

PROGRAMS = sorted(pages.HERE.glob("*.py"))


def names_of(path: Path) -> set[str]:
    """All names that a module has at its top."""
    found = set()
    for node in ast.parse(path.read_text(encoding="utf-8")).body:
        if isinstance(node, ast.FunctionDef | ast.ClassDef):
            found.add(node.name)
        elif isinstance(node, ast.Import | ast.ImportFrom):
            found |= {(alias.asname or alias.name).partition(".")[0] for alias in node.names}
        else:
            found |= {item.id for item in ast.walk(node) if isinstance(item, ast.Name)}
    return found


@pytest.mark.parametrize("program", PROGRAMS, ids=lambda path: path.stem)
def test_what_a_program_imports_of_the_others_is_there(program: Path) -> None:
    others = {path.stem: path for path in PROGRAMS}
    missing = [
        f"{node.module}.{alias.name}"
        for node in ast.walk(ast.parse(program.read_text(encoding="utf-8")))
        if isinstance(node, ast.ImportFrom) and node.module in others
        for alias in node.names
        if alias.name not in names_of(others[node.module])
    ]
    assert not missing


def test_a_name_that_is_gone_is_seen(tmp_path: Path) -> None:
    module = tmp_path / "figures.py"
    module.write_text("from pages import grid\nN = 1\ndef told(): ...\n", encoding="utf-8")
    assert names_of(module) == {"grid", "N", "told"}
