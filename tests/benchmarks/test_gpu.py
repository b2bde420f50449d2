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
from figures import Figure
from models import Mlp, digits
from peers import Job
from turns import Clock

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
    assert names[0] == "cpu: a trial of 4, MLP on digits"
    assert "cpu: one fit, MLP on digits" in names
    assert "cpu: a trial in a stack, MLP on digits" in names
    assert all(figure["rows"] for figure in about["figures"])
    assert (tmp_path / "gpu.md").read_text(encoding="utf-8") == pages.page(about)


def test_figures_that_time_does_not_allow_are_told(tmp_path: Path) -> None:
    words = ["--device", "cpu", "--quick", "--limit-s", "0", "--out", str(tmp_path)]

    assert gpu.main(words) == 0
    about = json.loads((tmp_path / "gpu.json").read_text(encoding="utf-8"))
    names = [figure["figure"] for figure in about["figures"]]
    assert names
    assert all(name.endswith(": not finished") for name in names)


def test_what_goes_wrong_is_told_and_the_rest_is_measured() -> None:
    def broken() -> list[Figure]:
        raise RuntimeError("no kernel image is available\nmore")

    (told,) = gpu.measured("one fit", broken)
    assert told.name == "one fit: failed"
    assert told.notes == ["RuntimeError: no kernel image is available"]


@pytest.mark.parametrize("part", ["fitting", "stacking"])
def test_data_lies_where_the_module_is(monkeypatch: pytest.MonkeyPatch, part: str) -> None:
    class Asked(Exception):
        pass

    def opened(*args: object, device: str, **options: object) -> None:
        raise Asked(device)

    monkeypatch.setattr("nbautoml.data.open_data", opened)
    job = Job(Mlp, digits(), epochs=1, device="cuda:7")
    more = {"widths": (2,)} if part == "stacking" else {}
    with pytest.raises(Asked, match="cuda:7"):
        getattr(gpu, part)("MLP", job, clock=Clock(), n=1, **more)
