"""Every notebook that is shipped, executed in a kernel of its own and read as others will read it."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import nbformat
import pytest
from nbclient import NotebookClient
from nbconvert import HTMLExporter

ROOT = Path(__file__).resolve().parents[2]
NOTEBOOKS = sorted((ROOT / "notebooks").glob("*.ipynb"))
SANITIZE = Path(__file__).with_name("nbval_sanitize.cfg")
RUN = "application/vnd.nbautoml.run.v1+json"

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module", params=NOTEBOOKS, ids=lambda path: path.stem)
def executed(request, tmp_path_factory):
    """The notebook after Run All, with a home and a folder of its own."""
    folder = tmp_path_factory.mktemp(request.param.stem)
    notebook = nbformat.read(request.param, as_version=4)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("NBAUTOML_HOME", str(folder / "home"))
        patch.setenv("NBAUTOML_MNIST", str(folder / "none"))
        client = NotebookClient(
            notebook,
            timeout=300,
            kernel_name="python3",
            resources={"metadata": {"path": str(folder)}},
        )
        client.execute()
    return notebook


def outputs(notebook):
    return [output for cell in notebook.cells for output in cell.get("outputs", [])]


def test_notebooks_are_there():
    assert "00_quickstart" in {path.stem for path in NOTEBOOKS}


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_shipped_notebook_holds_no_outputs(path):
    assert outputs(nbformat.read(path, as_version=4)) == []


def test_every_cell_runs_without_an_error(executed):
    assert [output for output in outputs(executed) if output.output_type == "error"] == []


def test_runs_end_finished_and_are_shown_by_snapshot_table_and_text(executed):
    shown = [output for output in outputs(executed) if RUN in output.get("data", {})]
    assert shown
    for output in shown:
        assert "finished" in output.data[RUN]["text"]
        assert "<table" in output.data["text/html"]
        assert output.data["text/plain"]


def test_notebook_stays_small_and_holds_no_widget_state(executed):
    assert len(nbformat.writes(executed)) < 300_000
    assert "widgets" not in executed.metadata


def test_page_for_the_web_shows_table_and_curves_without_scripts_of_ours(executed):
    exporter = HTMLExporter(sanitize_html=True)
    page, _ = exporter.from_notebook_node(executed)
    assert re.search(r"<table.*?trial", page, re.DOTALL | re.IGNORECASE)
    assert "accuracy" in page
    whole, _ = HTMLExporter().from_notebook_node(executed)
    assert 'src="data:image/' in whole


def test_a_good_model_is_found(executed):
    texts = " ".join(
        str(output.get("data", {}).get("text/plain", "")) for output in outputs(executed)
    )
    found = re.search(r"Trial\(\d+, complete, accuracy (0\.\d+|1)", texts)
    assert found, texts[:2000]
    assert float(found[1]) > 0.95


def test_quickstart_passes_under_nbval(tmp_path):
    """As authors of courses run it. The shipped notebooks hold no outputs, so that nothing is compared: one is enough."""
    path = ROOT / "notebooks" / "00_quickstart.ipynb"
    shutil.copy(path, tmp_path)
    environment = {
        **os.environ,
        "NBAUTOML_HOME": str(tmp_path / "home"),
        "NBAUTOML_MNIST": str(tmp_path / "none"),
    }
    words = ["--nbval-lax", f"--nbval-sanitize-with={SANITIZE}", "-p", "no:cacheprovider", "-q"]
    done = subprocess.run(
        [sys.executable, "-m", "pytest", *words, path.name],
        cwd=tmp_path,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout[-3000:]
    assert re.search(r"\d+ passed", done.stdout)
