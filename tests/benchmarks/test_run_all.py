"""Chapters end in time, whatever they do, and what they measured before is kept."""

from __future__ import annotations

from pathlib import Path

import psutil
import pytest
import run_all

HEAD = """
from figures import Figure
def measure(*, is_quick, clock):
    yield Figure("first", "ms", {"nbautoml": [1.0]})
"""


@pytest.fixture
def chapter(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The file of a chapter named odd, which has one figure and then goes on as a test writes."""
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    path = tmp_path / "odd.py"
    path.write_text(HEAD, encoding="utf-8")
    return path


def test_figures_of_a_chapter_come_back(chapter: Path) -> None:
    found, is_whole = run_all.run_chapter("odd", 60.0, is_quick=True)

    assert is_whole
    assert [figure["figure"] for figure in found] == ["first"]


def test_chapter_that_breaks_keeps_its_first_figure(chapter: Path) -> None:
    chapter.write_text(HEAD + "    raise OSError('no such peer')\n", encoding="utf-8")

    found, is_whole = run_all.run_chapter("odd", 60.0, is_quick=True)

    assert not is_whole
    assert [figure["figure"] for figure in found] == ["first", "odd: broken"]
    assert found[1]["notes"] == ["Not measured: OSError: no such peer"]


def test_chapter_that_hangs_is_ended_with_all_that_it_started(
    chapter: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(run_all, "GRACE_S", 5.0)
    hangs = """
    import pathlib, subprocess, sys, time
    other = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"],
                             start_new_session=True)
    (pathlib.Path(__file__).parent / "pid").write_text(str(other.pid))
    time.sleep(600)
"""
    chapter.write_text(HEAD + hangs, encoding="utf-8")

    found, is_whole = run_all.run_chapter("odd", 5.0, is_quick=True)

    assert not is_whole
    assert [figure["figure"] for figure in found] == ["first", "odd: not finished"]
    assert not psutil.pid_exists(int((tmp_path / "pid").read_text()))


def test_every_chapter_is_there_and_fits_the_program() -> None:
    for name in run_all.CHAPTERS:
        text = (run_all.HERE / f"{name}.py").read_text(encoding="utf-8")
        assert "def measure(*, is_quick: bool, clock: Clock)" in text
