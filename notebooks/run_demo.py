"""`make demo`: run the quickstart headless on real data, and say where its results lie."""

from __future__ import annotations

import argparse
import sys
import time
from pathlib import Path

import nbformat
from nbclient import NotebookClient
from nbconvert import HTMLExporter

HERE = Path(__file__).resolve().parent
NOTEBOOK = HERE / "00_quickstart.ipynb"


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, default=Path("out"))
    out: Path = parser.parse_args().out.resolve()
    out.mkdir(parents=True, exist_ok=True)
    notebook = nbformat.read(NOTEBOOK, as_version=4)
    client = NotebookClient(
        notebook, timeout=600, kernel_name="python3", resources={"metadata": {"path": str(HERE)}}
    )
    started = time.monotonic()
    n_code = sum(cell.cell_type == "code" for cell in notebook.cells)
    n_done = 0

    def tell(cell, **_):
        nonlocal n_done
        n_done += cell.cell_type == "code"
        first = cell.source.splitlines()[0][:70] if cell.source else ""
        print(
            f"[{time.monotonic() - started:5.1f} s] cell {n_done} of {n_code}: {first}", flush=True
        )

    client.on_cell_executed = tell
    client.execute()
    took = time.monotonic() - started
    executed, page = out / NOTEBOOK.name, out / f"{NOTEBOOK.stem}.html"
    nbformat.write(notebook, executed)
    html, _ = HTMLExporter().from_notebook_node(notebook)
    page.write_text(html, encoding="utf-8")
    best = next(
        (
            output["data"]["text/plain"]
            for cell in notebook.cells
            if cell.source.strip() == "digits_run.best"
            for output in cell.outputs
            if "data" in output
        ),
        "(the notebook showed no best trial)",
    )
    print(f"\nThe quickstart ran in {took:.0f} s. Best trial:\n  {best}")
    print(f"\nExecuted notebook  {executed} ({executed.stat().st_size / 1024:.0f} KB)")
    print(f"HTML copy          {page}")
    print("Live in JupyterLab  make lab, then open 00_quickstart.ipynb and run it")
    return 0


if __name__ == "__main__":
    sys.exit(main())
