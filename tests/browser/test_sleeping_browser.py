"""A browser that slept while its run went on, with and without its connection: F35.

Chromium freezes no page that is in front, so all its processes are stopped, as when a lid is closed
over a notebook whose server runs elsewhere.
"""

from __future__ import annotations

import copy
import json
import os
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from asleep import asleep, browser_processes
from lab import SETUP, TUNE, WAIT_MS, Lab, Notebook
from playwright.sync_api import Browser, Page, expect
from wire import Wire

from nbautoml.store import Home, RunFolder

pytestmark = [pytest.mark.browser, pytest.mark.slow, pytest.mark.timeout(600)]

AWAY_S = float(os.environ.get("NBAUTOML_TEST_AWAY_S", "5"))
N_TRIALS, N_EPOCHS = 12, 25


@pytest.fixture
def wire(lab: Lab) -> Iterator[Wire]:
    made = Wire(lab.port)
    yield made
    made.close()


@pytest.fixture
def page(chromium: Browser) -> Iterator[Page]:
    made = chromium.new_context(viewport={"width": 1280, "height": 1400}).new_page()
    yield made
    made.context.close()


@pytest.fixture
def began(lab: Lab, wire: Wire, page: Page) -> Iterator[Callable[..., Notebook]]:
    """Starts a run in a notebook over the wire, and waits until its panel is live."""

    def begin(name: str, trials: int, epochs: int) -> Notebook:
        cell = TUNE.format(name=name, trials=trials, epochs=epochs)
        lab.write(f"{name}.ipynb", SETUP, cell)
        beyond = copy.copy(lab)
        beyond.port = wire.port
        notebook = Notebook(page, beyond, f"{name}.ipynb")
        notebook.start()
        notebook.run()
        notebook.run(wait=False)
        expect(notebook.panel.locator(".nba-link.nba-live")).to_be_visible(timeout=WAIT_MS)
        return notebook

    yield begin
    lab.shut_all_kernels()


def in_state(notebook: Notebook, state: str) -> None:
    expect(notebook.panel.locator(f".nba-badge.nba-run-{state}")).to_be_visible(timeout=WAIT_MS)


def until_finished(lab: Lab, name: str) -> RunFolder:
    """Wait for the end of a run without asking the browser."""
    home = Home(lab.work.parent / "home")
    limit = time.monotonic() + WAIT_MS / 1000
    while time.monotonic() < limit:
        for info in home.runs():
            if info.name == name and info.state == "finished":
                return home.find(info.id)
        time.sleep(0.2)
    raise AssertionError(f"{name} did not finish")


def saved_of(notebook: Notebook) -> dict[str, Any]:
    """The run as the notebook's file holds it."""
    [output] = notebook.save()["cells"][1]["outputs"]
    found: dict[str, Any] = json.loads(
        output["data"]["application/vnd.nbautoml.run.v1+json"]["text"]
    )
    return found


def is_whole(notebook: Notebook, folder: RunFolder) -> None:
    """Panel and saved notebook hold every trial, and every epoch of every curve."""
    in_state(notebook, "finished")
    counts = notebook.panel.locator(".nba-counts strong")
    expect(counts).to_contain_text(f"{N_TRIALS} of {N_TRIALS}", timeout=WAIT_MS)
    rows = notebook.panel.locator(".nba-rows [role=row]")
    expect(rows).to_have_count(N_TRIALS, timeout=WAIT_MS)
    saved = saved_of(notebook)
    limit = time.monotonic() + WAIT_MS / 1000
    # The writer lets the kernel's own last display come first.
    while saved["header"]["state"] != "finished" and time.monotonic() < limit:
        notebook.page.wait_for_timeout(500)
        saved = saved_of(notebook)
    assert saved["header"]["state"] == "finished"
    assert saved["trials"]["number"] == list(range(N_TRIALS))
    with folder.reader() as reader:
        assert saved["trials"]["state"] == [row.state for row in reader.trials()]
        epochs = [row.epoch for row in reader.trials()]
    metric = saved["curves"]["metric"]
    drawn = {
        line["trial"]: line["x"] for line in saved["curves"]["lines"] if line["name"] == metric
    }
    assert drawn == {trial: list(range(1, n + 1)) for trial, n in enumerate(epochs)}


def test_f35_run_that_ended_while_the_browser_slept_is_shown_and_saved_whole(began, lab):
    notebook = began("dozed", N_TRIALS, N_EPOCHS)
    with asleep(browser_processes()):
        folder = until_finished(lab, "dozed")
        time.sleep(1)
    is_whole(notebook, folder)


@pytest.mark.nightly
def test_f35_run_that_ended_while_the_browser_slept_without_a_connection_is_whole(began, lab, wire):
    notebook = began("apart", N_TRIALS, N_EPOCHS)
    with asleep(browser_processes()):
        assert wire.cut()
        folder = until_finished(lab, "apart")
        wire.mend()
    is_whole(notebook, folder)


def test_f35_run_that_goes_on_after_the_browser_slept_is_live_and_obeys(began, wire):
    notebook = began("onward", 40, 3000)
    with asleep(browser_processes()):
        assert wire.cut()
        time.sleep(AWAY_S)
        wire.mend()
    expect(notebook.panel.locator(".nba-link.nba-live")).to_be_visible(timeout=WAIT_MS)
    in_state(notebook, "running")
    notebook.panel.get_by_role("button", name="Stop", exact=True).click()
    notebook.panel.get_by_role("button", name="Stop run", exact=True).click()
    in_state(notebook, "stopped")
