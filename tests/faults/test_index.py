"""The index of faults names tests that exist, and leaves out none of those that apply."""

from __future__ import annotations

import ast
import functools
import re
from pathlib import Path

import pytest
from fault_index import INDEX

ROOT = Path(__file__).parents[2]
# What is about serving and clusters comes with those parts.
EXPECTED = [f"F{n}" for n in range(1, 42)] + [f"T{n}" for n in (*range(1, 5), *range(9, 17), 18)]


@functools.cache
def names_in(path: Path) -> set[str]:
    if path.suffix == ".ts":  # a test is named by the first text of its call
        return set(
            re.findall(r"^\s*(?:it\()?'([^']+)'", path.read_text(encoding="utf-8"), re.MULTILINE)
        )
    tree = ast.parse(path.read_text(encoding="utf-8"))
    return {node.name for node in ast.walk(tree) if isinstance(node, ast.FunctionDef)}


def test_every_fault_that_applies_is_in_the_index():
    assert list(INDEX) == EXPECTED


@pytest.mark.parametrize("fault", INDEX)
def test_what_the_index_names_exists(fault):
    row = INDEX[fault]
    assert row.tests or row.open
    for node in row.tests:
        path, _, name = node.partition("::")
        assert name in names_in(ROOT / path), node
