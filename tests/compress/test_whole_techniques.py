"""A technique arrives complete: a row in the battery, a paragraph in the README, a cell of the notebook."""

from __future__ import annotations

import re
from pathlib import Path

import nbformat
import pytest
from battery_rows import ROWS

from nbautoml.compress import Technique
from nbautoml.compress.table import TECHNIQUES

ROOT = Path(__file__).resolve().parents[2]


def configs_of_the_battery() -> set[type[Technique]]:
    found = set()
    for row in ROWS.values():
        technique = row.technique
        found.add(type(technique if isinstance(technique, Technique) else technique("mlp")))
    return found


@pytest.mark.parametrize("word", TECHNIQUES)
def test_a_technique_has_a_row_a_paragraph_and_a_cell(word):
    config = TECHNIQUES[word].config
    assert config in configs_of_the_battery()

    called = re.escape(config.__name__) + r"\("
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    (_, first), *_ = re.findall(
        rf"^\* (\*\*`{called}.*?`\*\*)(.*?)(?=^\* |^$)", readme, re.MULTILINE | re.DOTALL
    )
    assert len(first.split()) > 25, "says what it does, when it helps, when it fails"
    assert re.search(r"\b(19|20)\d\d\b", first), "names its paper"

    text = (ROOT / "notebooks" / "04_compression.ipynb").read_text(encoding="utf-8")
    notebook = nbformat.reads(text, as_version=4)
    code = [cell.source for cell in notebook.cells if cell.cell_type == "code"]
    assert any(re.search(called, source) for source in code)
