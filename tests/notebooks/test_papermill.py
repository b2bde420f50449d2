"""Papermill, as people schedule notebooks with it: no widgets, parameters, and an exit code."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import nbformat
import pytest

from nbautoml.store import Home

SETUP = "%load_ext nbautoml\nfrom torch import nn"
TUNE = """%%automl tune {name} --data {data} --trials $n_trials --epochs 2 --workers 1 --stopper none
class Net(nn.Module):
    def __init__(self, hidden: Int(8, 16) = 8):
        super().__init__()
        self.layers = nn.Sequential(nn.Linear(64, hidden), nn.ReLU(), nn.Linear(hidden, 10))

    def forward(self, x):
        return self.layers(x)
"""


@pytest.fixture
def papermill(tmp_path, monkeypatch):
    """Executes a notebook of these cells: its exit code, what was printed, and the notebook."""
    monkeypatch.setenv("NBAUTOML_HOME", str(tmp_path / "home"))

    def execute(*cells: str) -> tuple[int, str, nbformat.NotebookNode]:
        parameters = nbformat.v4.new_code_cell("n_trials = 1", metadata={"tags": ["parameters"]})
        notebook = nbformat.v4.new_notebook(
            cells=[parameters, *map(nbformat.v4.new_code_cell, cells)],
            metadata={
                "kernelspec": {"name": "python3", "display_name": "Python 3", "language": "python"}
            },
        )
        source, made = tmp_path / "in.ipynb", tmp_path / "out.ipynb"
        nbformat.write(notebook, source)
        words = [sys.executable, "-m", "papermill", str(source), str(made), "-p", "n_trials", "3"]
        done = subprocess.run(
            words, capture_output=True, text=True, check=False, env=os.environ, cwd=tmp_path
        )
        told = done.stdout + done.stderr
        assert made.exists(), told
        return done.returncode, told, nbformat.read(made, as_version=4)

    return execute


def outputs_of(notebook: nbformat.NotebookNode) -> list[nbformat.NotebookNode]:
    return [output for cell in notebook.cells for output in cell.get("outputs", [])]


def test_a_run_is_whole_and_its_end_stands_in_the_notebook(papermill, tmp_path: Path):
    code, told, notebook = papermill(
        SETUP, TUNE.format(name="digits", data="digits"), "digits.wait()"
    )
    assert code == 0, told
    with Home(tmp_path / "home").find("digits").reader() as reader:
        assert [row.state for row in reader.trials()] == ["complete"] * 3
    data = [output.data for output in outputs_of(notebook) if "data" in output]
    assert any("finished, 3/3 trials" in one.get("text/plain", "") for one in data)
    assert any("<table" in one.get("text/html", "") for one in data)
    assert "widgets" not in notebook.metadata
    assert (tmp_path / "out.ipynb").stat().st_size < 300_000


def test_a_mistake_is_an_exit_code_and_a_sentence(papermill):
    code, told, notebook = papermill(SETUP, TUNE.format(name="digits", data="nowhere"), "1 / 0")
    assert code != 0
    assert "nowhere" in told
    assert "ZeroDivisionError" not in told  # nothing after it was executed
    assert any(output.output_type == "error" for output in outputs_of(notebook))
