"""The README's pictures: a real JupyterLab in a real Chromium runs a cell; light and dark.

::

    make screenshots      writes docs/panel-light.png and panel-dark.png
"""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / "tests" / "support"))

from lab import SETUP, Lab, Notebook, launch
from playwright.sync_api import expect, sync_playwright

CELL = """\
%%automl tune digits --data (X, y) --trials 40 --epochs 20 --seed 1
class Net(nn.Module):
    def __init__(self, hidden: Int(8, 128, log=True) = 32, dropout: Float(0, 0.5) = 0.1):
        super().__init__()
        self.layers = nn.Sequential(
            nn.Linear(64, hidden), nn.ReLU(), nn.Dropout(dropout), nn.Linear(hidden, 10)
        )

    def forward(self, x):
        return self.layers(x)

lr = Float(1e-4, 1e-1, log=True)
optimizer = Choice("sgd", "momentum", "adam", "adamw")
"""
DARK = (
    "() => window.jupyterapp.commands.execute('apputils:change-theme', {theme: 'JupyterLab Dark'})"
)


def main() -> None:
    docs = ROOT / "docs"
    docs.mkdir(exist_ok=True)
    lab = Lab(Path(tempfile.mkdtemp()))
    try:
        with sync_playwright() as playwright:
            browser = launch(playwright)
            page = browser.new_page(viewport={"width": 1180, "height": 1000})
            lab.write("digits.ipynb", SETUP, CELL)
            notebook = Notebook(page, lab, "digits.ipynb")
            notebook.start()
            notebook.run()
            notebook.run(wait=False)
            finished = notebook.panel.locator(".nba-badge.nba-run-finished")
            expect(finished).to_be_visible(timeout=600_000)
            notebook.panel.locator(".nba-best .nba-chip").click()
            cell = page.locator(".jp-CodeCell").nth(1)
            cell.scroll_into_view_if_needed()
            page.get_by_role("button", name="No", exact=True).click()
            page.mouse.move(5, 5)
            page.wait_for_timeout(800)
            cell.screenshot(path=docs / "panel-light.png")
            page.evaluate(DARK)
            page.wait_for_timeout(2000)
            cell.screenshot(path=docs / "panel-dark.png")
            browser.close()
    finally:
        lab.close()


if __name__ == "__main__":
    main()
