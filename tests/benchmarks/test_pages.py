"""What is written of figures, and that the README shows what is recorded."""

from __future__ import annotations

import json
from pathlib import Path

import pages
import pytest
from figures import Figure, Goal

FIGURE = Figure(
    "tuning: a trial",
    "ms",
    {"nbautoml": [1.0, 2.0, 3.0], "Peer": [10.0, 20.0, 30.0]},
    [Goal(1 / 5, "Peer"), Goal(0.5)],
    notes=["A note."],
)


def test_readme_shows_what_is_recorded() -> None:
    text = pages.README.read_text(encoding="utf-8")

    assert text == pages.readme_with(pages.recorded(), text), "run: python benchmarks/pages.py"


def test_recorded_page_is_that_of_the_recorded_figures() -> None:
    about, path = pages.recorded(), pages.HERE / "results.md"

    assert path.exists() == (about is not None)
    if about is not None:
        assert path.read_text(encoding="utf-8") == pages.page(about)


def test_results_are_written_with_machine_versions_and_goals(tmp_path: Path) -> None:
    results = pages.Results(figures=[FIGURE.about()], seconds={"tuning": 1.0}, load=[0.1, 1.9])

    text = pages.write(results, tmp_path)
    about = json.loads((tmp_path / "results.json").read_text(encoding="utf-8"))

    assert (tmp_path / "results.md").read_text(encoding="utf-8") == text == pages.page(about)
    assert about["versions"]["torch"]
    assert "Load average before and after: 0.1 and 1.9." in text
    assert "| Peer | 20 ms | 10 to 30 | 3 | 10.00 |" in text
    assert "Goal 5x faster than Peer: reached: 10.0x faster." in text
    assert "Goal <= 0.5 ms: **not reached**: 2 ms." in text
    assert text.endswith("A note.\n")


def test_readme_shows_ours_the_peer_and_each_goal() -> None:
    results = {"machine": "m", "versions": {}, "load": [], "is_quick": False}
    before = f"a\n{pages.BEGIN}\nold\n{pages.END}\nb\n"

    text = pages.readme_with({**results, "figures": [FIGURE.about()]}, before)

    row = (
        "| tuning: a trial | 2 ms | Peer 20 ms | 5x faster than Peer: reached (10.0x faster); "
        "<= 0.5 ms: **not reached** (2 ms) |"
    )
    assert row in text
    assert "old" not in text
    assert text.startswith("a\n")
    assert text.endswith("b\n")


def test_readme_without_a_place_for_the_table_is_refused() -> None:
    with pytest.raises(ValueError, match="no place for the table"):
        pages.readme_with(None, "# nothing\n")
