"""The program for a GPU, tried out without one."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import gpu
import pages
import pytest
import torch

PROGRAM = [sys.executable, "-W", "ignore", str(pages.HERE / "gpu.py")]


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
def test_without_a_gpu_it_says_so() -> None:
    done = subprocess.run(PROGRAM, capture_output=True, text=True, check=False)

    assert done.returncode == 2
    assert "no GPU that torch" in done.stderr
    assert "--device cpu --quick" in done.stderr


@pytest.mark.slow
def test_all_of_it_runs_on_a_processor(tmp_path: Path) -> None:
    subprocess.run([*PROGRAM, "--device", "cpu", "--quick", "--out", str(tmp_path)], check=True)

    about = json.loads((tmp_path / "gpu.json").read_text(encoding="utf-8"))
    names = [figure["figure"] for figure in about["figures"]]
    assert about["machine"].startswith("NOT A GPU")
    assert names[:2] == ["cpu: one fit, MLP on digits", "cpu: a trial in a stack, MLP on digits"]
    assert "cpu: a trial of 4, MLP on digits" in names
    assert all(figure["rows"] for figure in about["figures"])
    assert (tmp_path / "gpu.md").read_text(encoding="utf-8") == pages.page(about)


def test_figures_that_time_does_not_allow_are_told(tmp_path: Path) -> None:
    words = ["--device", "cpu", "--quick", "--limit-s", "0", "--out", str(tmp_path)]

    assert gpu.main(words) == 0
    about = json.loads((tmp_path / "gpu.json").read_text(encoding="utf-8"))
    assert [figure["figure"] for figure in about["figures"]] == ["gpu: not finished"]
