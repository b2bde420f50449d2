"""The same panel in Notebook 7."""

from __future__ import annotations

import pytest
from lab import SETUP, TUNE, WAIT_MS
from playwright.sync_api import expect

pytestmark = [pytest.mark.browser, pytest.mark.slow]


def test_run_is_shown_live(opened):
    notebook = opened(
        "seven.ipynb", SETUP, TUNE.format(name="seven", trials=10, epochs=4), app="notebook"
    )
    notebook.start()
    notebook.run()
    notebook.run(wait=False)
    expect(notebook.panel).to_be_visible(timeout=WAIT_MS)
    expect(notebook.panel.locator(".nba-badge.nba-run-finished")).to_be_visible(timeout=WAIT_MS)
    expect(notebook.panel.locator(".nba-rows [role=row]")).to_have_count(10, timeout=WAIT_MS)
