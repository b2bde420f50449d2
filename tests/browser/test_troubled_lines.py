"""A panel whose kernel slept, whose connection was cut, or whose messages were dropped: F35 and F41."""

from __future__ import annotations

import copy
import os
import re
import time
from collections.abc import Callable, Iterator

import pytest
from asleep import asleep
from lab import SETUP, TUNE, WAIT_MS, Lab, Notebook
from playwright.sync_api import Browser, expect
from wire import Wire

pytestmark = [pytest.mark.browser, pytest.mark.slow, pytest.mark.timeout(600)]

AWAY_S = float(os.environ.get("NBAUTOML_TEST_AWAY_S", "5"))  # how long a laptop sleeps here
MOST_A_SECOND = 200  # of messages: what this server lets through; Jupyter's own limit is 1,000


@pytest.fixture(scope="module")
def narrow(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lab]:
    """A server of this file's own, that lets through few messages a second."""
    made = Lab(tmp_path_factory.mktemp("narrow"), iopub_msg_rate_limit=MOST_A_SECOND)
    yield made
    made.close()


@pytest.fixture
def wire(narrow: Lab) -> Iterator[Wire]:
    made = Wire(narrow.port)
    yield made
    made.close()


@pytest.fixture
def opened(narrow: Lab, wire: Wire, chromium: Browser) -> Iterator[Callable[..., Notebook]]:
    """Opens notebooks over the wire."""
    beyond = copy.copy(narrow)
    beyond.port = wire.port
    pages = []

    def open_notebook(name: str, *cells: str) -> Notebook:
        narrow.write(name, SETUP, *cells)
        pages.append(chromium.new_context(viewport={"width": 1280, "height": 1400}).new_page())
        notebook = Notebook(pages[-1], beyond, name)
        notebook.start()
        notebook.run()
        return notebook

    yield open_notebook
    for page in pages:
        page.context.close()
    narrow.shut_all_kernels()


def in_state(panel, state: str) -> None:
    expect(panel.locator(f".nba-badge.nba-run-{state}")).to_be_visible(timeout=WAIT_MS)


def is_live(panel) -> None:
    expect(panel.locator(".nba-link.nba-live")).to_be_visible(timeout=WAIT_MS)


def n_rows(panel) -> int:
    return int(panel.locator(".nba-rows [role=row]").count())


def has_all(panel, n: int) -> None:
    """Of a long table only the rows in view are in the page, so the header's count is asked."""
    said = re.compile(f"^{n} of {n}( |$)")
    expect(panel.locator(".nba-counts strong")).to_have_text(said, timeout=WAIT_MS)


def stop(panel) -> None:
    panel.get_by_role("button", name="Stop", exact=True).click()
    panel.get_by_role("button", name="Stop run", exact=True).click()
    in_state(panel, "stopped")


def began(opened, name: str, trials: int, epochs: int, *more: str) -> Notebook:
    notebook = opened(f"{name}.ipynb", TUNE.format(name=name, trials=trials, epochs=epochs), *more)
    notebook.run(wait=False)
    expect(notebook.panel).to_be_visible(timeout=WAIT_MS)
    is_live(notebook.panel)
    expect(notebook.panel.locator(".nba-rows [role=row]").first).to_be_visible(timeout=WAIT_MS)
    return notebook


def test_f35_server_kernel_and_run_that_slept_go_on_where_they_were(opened, narrow):
    notebook = began(opened, "slept", 40, 3000)
    with asleep(narrow.processes()):
        time.sleep(AWAY_S)
    is_live(notebook.panel)
    in_state(notebook.panel, "running")
    stop(notebook.panel)


@pytest.mark.nightly
def test_f35_run_that_ended_while_server_and_kernel_slept_is_shown_as_ended(opened, narrow):
    notebook = began(opened, "ended", 24, 60)
    server = narrow.processes()[0]
    kernels = server.children()
    with asleep([server, *kernels]):  # the supervisor goes on
        time.sleep(max(AWAY_S, 15.0))
    in_state(notebook.panel, "finished")
    has_all(notebook.panel, 24)


def test_f35_panel_whose_connection_was_cut_is_live_again_and_obeyed(opened, wire):
    notebook = began(opened, "cut", 40, 3000)
    for _ in range(2):
        assert wire.cut()
        notebook.page.wait_for_timeout(AWAY_S * 1000)
        wire.mend()
        is_live(notebook.panel)
        # JupyterLab says so in a dialog of its own.
        said = notebook.page.locator(".jp-Dialog button")
        if said.count():
            said.first.click()
    stop(notebook.panel)


@pytest.mark.nightly
def test_f35_run_that_ended_while_the_connection_was_cut_is_shown_as_ended(opened, wire):
    notebook = began(opened, "away", 24, 60)
    wire.cut()
    notebook.page.wait_for_timeout(max(AWAY_S, 15.0) * 1000)
    wire.mend()
    in_state(notebook.panel, "finished")
    has_all(notebook.panel, 24)


FLOOD = """\
import time

def flood(seconds):
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        print("a line of a message of its own", flush=True)

flood(4)
flooded.stop()
while flooded.state != "stopped":
    flood(0.2)
flood(2)
"""


def test_f41_panel_beside_a_cell_that_floods_is_right_when_its_run_has_ended(opened):
    notebook = began(opened, "flooded", 40, 3000, FLOOD)
    notebook.run(wait=False)
    dropped = notebook.page.locator(".jp-OutputArea-output", has_text="IOPub message rate exceeded")
    expect(dropped.first).to_be_attached(timeout=WAIT_MS)
    in_state(notebook.panel, "stopped")  # told within a sign of life, every 30 s, at the latest
    shown = notebook.panel.locator(".nba-count.nba-trial-running")
    expect(shown).to_have_count(0)
