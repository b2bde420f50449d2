"""The page of compressed networks: drops against both, what others report, and the note that stays."""

from __future__ import annotations

import json
import statistics
from pathlib import Path

from compressed_page import page
from reported import REPORTED

FOLDER = Path(__file__).resolve().parents[2] / "benchmarks"


def test_the_page_in_the_folder_is_made_of_the_figures_beside_it() -> None:
    about = json.loads((FOLDER / "compressing.json").read_text(encoding="utf-8"))
    text = page(about)
    assert (FOLDER / "compressing.md").read_text(encoding="utf-8") == text + "\n"
    assert text.endswith(about["note"])
    for *_, source in REPORTED:
        assert source in text


def test_a_drop_against_the_teacher_is_taken_seed_by_seed() -> None:
    about = json.loads((FOLDER / "compressing.json").read_text(encoding="utf-8"))
    figures = about["networks"]["lenet5"]["figures"]
    seeds = zip(
        *(figures[name]["values"] for name in ("accuracy", "teacher accuracy", "weights drop")),
        strict=True,
    )
    expected = statistics.median(teacher - (own - drop) for own, teacher, drop in seeds)
    assert f"{expected:.2f} (" in page(
        {**about, "networks": {"lenet5": about["networks"]["lenet5"]}}
    )
