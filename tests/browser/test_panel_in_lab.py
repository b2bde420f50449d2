"""The panel of a run in a real JupyterLab: live, steered, reloaded, reopened."""

from __future__ import annotations

import re

import pytest
from lab import SETUP, TUNE, WAIT_MS, panel_state
from playwright.sync_api import expect

pytestmark = [pytest.mark.browser, pytest.mark.slow]

QUICK = TUNE.format(name="quick", trials=12, epochs=4)
LONG = TUNE.format(name="long", trials=40, epochs=3000)


def in_state(panel, state):
    expect(panel.locator(f".nba-badge.nba-run-{state}")).to_be_visible(timeout=WAIT_MS)


def rows(panel):
    return panel.locator(".nba-rows [role=row]")


def column(panel, name):
    """What the shown cells of a column say, from top to bottom."""
    heads = panel.locator(".nba-head [role=columnheader] .nba-text").all_inner_texts()
    at = heads.index(name)
    found = panel.evaluate(
        """(node, at) => [...node.querySelectorAll('.nba-rows [role=row]')]
          .map(row => [Number(row.getAttribute('aria-rowindex')), row.children[at].innerText])
          .sort((a, b) => a[0] - b[0]).map(pair => pair[1].trim())""",
        at,
    )
    return [text.split("\n")[0] for text in found]


def drawn(panel):
    """Whether the chart's canvas has marks on it."""
    return panel.evaluate(
        """node => {
          const canvas = node.querySelector('.nba-plot canvas');
          if (!canvas || !canvas.width) return false;
          const data = canvas.getContext('2d').getImageData(0, 0, canvas.width, canvas.height).data;
          let marks = 0;
          for (let at = 3; at < data.length; at += 4) marks += data[at] > 0;
          return marks > 200;
        }"""
    )


def started(opened, name, cell):
    notebook = opened(name, SETUP, cell)
    notebook.start()
    notebook.run()
    notebook.run(wait=False)
    expect(notebook.panel).to_be_visible(timeout=WAIT_MS)
    return notebook


def test_rows_arrive_while_the_run_goes_on_and_curves_are_drawn(opened):
    notebook = started(opened, "live.ipynb", LONG)
    panel = notebook.panel
    expect(panel.locator(".nba-link.nba-live")).to_be_visible(timeout=WAIT_MS)
    expect(rows(panel).first).to_be_visible(timeout=WAIT_MS)
    in_state(panel, "running")
    notebook.page.wait_for_function(
        "() => document.querySelectorAll('.nba-rows [role=row]').length >= 2", timeout=WAIT_MS
    )
    notebook.page.wait_for_function(
        "() => document.querySelector('.nba-plot canvas')?.width > 0", timeout=WAIT_MS
    )
    until(notebook, lambda: drawn(panel))
    panel.get_by_role("button", name="Pause", exact=True).click()
    in_state(panel, "paused")
    panel.get_by_role("button", name="Resume", exact=True).click()
    in_state(panel, "running")
    rows(panel).first.click()
    panel.get_by_role("button", name="Cancel trial", exact=True).click()
    expect(panel.locator(".nba-count.nba-trial-cancelled").first).to_be_visible(timeout=WAIT_MS)
    panel.get_by_role("button", name="Stop", exact=True).click()
    panel.get_by_role("button", name="Stop run", exact=True).click()
    in_state(panel, "stopped")


def until(notebook, condition):
    """Poll for what only Python can ask."""
    for _ in range(int(WAIT_MS / 100)):
        if condition():
            return
        notebook.page.wait_for_timeout(100)
    raise AssertionError("it never came true")


def test_finished_run_is_sorted_filtered_picked_and_walked_by_keys(opened):
    notebook = started(opened, "finished.ipynb", QUICK)
    panel = notebook.panel
    in_state(panel, "finished")
    expect(rows(panel)).to_have_count(12, timeout=WAIT_MS)

    panel.get_by_role("columnheader", name="lr", exact=True).get_by_role("button").click()
    expect(panel.get_by_role("columnheader", name="lr", exact=True)).to_have_attribute(
        "aria-sort", re.compile("ascending|descending")
    )
    values = [float(text) for text in column(panel, "lr")]
    assert values in (sorted(values), sorted(values, reverse=True))
    panel.get_by_role("columnheader", name="lr", exact=True).get_by_role("button").click()
    assert [float(text) for text in column(panel, "lr")] == values[::-1]

    panel.get_by_role("searchbox").fill("hidden>16")
    until(notebook, lambda: 0 < rows(panel).count() < 12)
    assert all(int(text) > 16 for text in column(panel, "hidden"))
    panel.get_by_role("searchbox").fill("")
    expect(rows(panel)).to_have_count(12)

    grid = panel.get_by_role("grid")
    grid.focus()
    grid.press("Home")
    grid.press("ArrowDown")
    grid.press(" ")
    expect(panel.locator(".nba-rows [role=row][aria-selected=true]")).to_have_count(1)
    expect(panel.locator(".nba-detail").first).to_contain_text("Trial")
    grid.press("Escape")
    expect(panel.locator(".nba-rows [role=row][aria-selected=true]")).to_have_count(0)
    until(notebook, lambda: drawn(panel))


def test_first_column_stays_in_sight_when_a_narrow_table_is_scrolled_aside(opened):
    notebook = started(opened, "narrow.ipynb", TUNE.format(name="narrow", trials=3, epochs=1))
    in_state(notebook.panel, "finished")
    expect(rows(notebook.panel)).to_have_count(3, timeout=WAIT_MS)
    notebook.page.set_viewport_size({"width": 700, "height": 1000})
    grid, first = (
        notebook.panel.get_by_role("grid"),
        rows(notebook.panel).first.locator(".nba-first"),
    )
    before = first.bounding_box()["x"]
    grid.evaluate("node => { node.scrollLeft = 60; }")
    expect(notebook.panel.locator(".nba-is-aside")).to_be_visible()
    assert grid.evaluate("node => node.scrollLeft") == 60
    assert first.bounding_box()["x"] == before


def test_page_is_reloaded_during_and_after_the_run(opened):
    notebook = started(
        opened, "reloaded.ipynb", TUNE.format(name="reloaded", trials=30, epochs=3000)
    )
    expect(rows(notebook.panel).first).to_be_visible(timeout=WAIT_MS)
    notebook.save()
    notebook.reload()
    panel = notebook.panel
    expect(panel).to_be_visible(timeout=WAIT_MS)
    expect(panel.locator(".nba-link.nba-live")).to_be_visible(timeout=WAIT_MS)
    panel.get_by_role("button", name="Stop", exact=True).click()
    panel.get_by_role("button", name="Stop run", exact=True).click()
    in_state(panel, "stopped")
    notebook.save()
    notebook.reload()
    in_state(notebook.panel, "stopped")
    expect(rows(notebook.panel).first).to_be_visible(timeout=WAIT_MS)


def test_saved_run_is_drawn_without_a_kernel(opened, lab):
    notebook = started(opened, "kept.ipynb", TUNE.format(name="kept", trials=12, epochs=4))
    in_state(notebook.panel, "finished")
    expect(rows(notebook.panel)).to_have_count(12, timeout=WAIT_MS)
    best = notebook.panel.locator(".nba-best-value").inner_text()
    until(notebook, lambda: '"finished' in notebook.save_text())
    notebook.page.context.close()
    lab.shut_all_kernels()
    later = opened("kept.ipynb")
    later.page.evaluate(
        "() => window.jupyterapp.shell.currentWidget.context.sessionContext.shutdown()"
    )
    expect(later.panel).to_be_visible(timeout=WAIT_MS)
    in_state(later.panel, "finished")
    expect(rows(later.panel)).to_have_count(12)
    assert later.panel.locator(".nba-best-value").inner_text() == best
    until(later, lambda: drawn(later.panel))
    expect(later.panel.locator(".nba-link.nba-live")).to_have_count(0)


def test_run_is_live_in_two_cells_and_as_a_widget(opened):
    notebook = opened(
        "twice.ipynb",
        SETUP,
        TUNE.format(name="twice", trials=30, epochs=3000),
        "%automl show twice",
        "twice.panel()",
        height=2600,  # JupyterLab attaches only the cells in view
    )
    notebook.start()
    notebook.run()
    for _ in range(3):
        notebook.run(wait=False)
    expect(notebook.panels).to_have_count(3, timeout=WAIT_MS)
    for at in range(3):
        expect(rows(notebook.panels.nth(at)).first).to_be_visible(timeout=WAIT_MS)
    widget = notebook.panels.nth(2)
    widget.get_by_role("button", name="Stop", exact=True).click()
    widget.get_by_role("button", name="Stop run", exact=True).click()
    for at in range(3):
        in_state(notebook.panels.nth(at), "stopped")
    saved = notebook.save()
    assert panel_state(notebook.panel) == "stopped"
    assert "widgets" not in saved["metadata"] or notebook.path.stat().st_size < 300_000


def stop(panel):
    panel.get_by_role("button", name="Stop", exact=True).click()
    panel.get_by_role("button", name="Stop run", exact=True).click()


def test_f34_panel_whose_output_was_cleared_is_live_where_it_is_shown_again(opened):
    notebook = opened(
        "cleared.ipynb",
        SETUP,
        TUNE.format(name="cleared", trials=30, epochs=3000),
        "%automl show cleared",
    )
    notebook.start()
    notebook.run()
    notebook.run(wait=False)
    expect(rows(notebook.panel).first).to_be_visible(timeout=WAIT_MS)
    notebook.page.evaluate(
        "() => window.jupyterapp.commands.execute('notebook:clear-all-cell-outputs')"
    )
    expect(notebook.panels).to_have_count(0, timeout=WAIT_MS)
    notebook.run(wait=False)
    expect(notebook.panels).to_have_count(1, timeout=WAIT_MS)
    expect(notebook.panel.locator(".nba-link.nba-live")).to_be_visible(timeout=WAIT_MS)
    expect(rows(notebook.panel).first).to_be_visible(timeout=WAIT_MS)
    stop(notebook.panel)
    in_state(notebook.panel, "stopped")


@pytest.mark.nightly
def test_f35_notebook_in_two_pages_is_live_and_obeyed_in_both(opened):
    cell = TUNE.format(name="pages", trials=30, epochs=3000)
    first = started(opened, "pages.ipynb", cell)
    expect(rows(first.panel).first).to_be_visible(timeout=WAIT_MS)
    first.save()
    second = opened("pages.ipynb")
    for page in (first, second):
        expect(page.panel.locator(".nba-link.nba-live")).to_be_visible(timeout=WAIT_MS)
        expect(rows(page.panel).first).to_be_visible(timeout=WAIT_MS)
    stop(second.panel)
    for page in (first, second):
        in_state(page.panel, "stopped")


def test_saved_notebook_is_small_and_holds_no_widget_state(opened):
    notebook = started(opened, "small.ipynb", TUNE.format(name="small", trials=12, epochs=4))
    in_state(notebook.panel, "finished")
    until(notebook, lambda: '"finished' in notebook.save_text())
    saved = notebook.save()
    assert "widgets" not in saved["metadata"]
    assert notebook.path.stat().st_size < 100_000
    kinds = saved["cells"][1]["outputs"][0]["data"]
    assert set(kinds) == {"application/vnd.nbautoml.run.v1+json", "text/html", "text/plain"}


def test_kernel_restart_leaves_the_panel_static_until_the_extension_is_loaded(opened):
    notebook = started(opened, "again.ipynb", TUNE.format(name="again", trials=8, epochs=3))
    in_state(notebook.panel, "finished")
    notebook.page.evaluate(
        "() => window.jupyterapp.shell.currentWidget.context.sessionContext.session.kernel.restart()"
    )
    expect(notebook.panel.locator(".nba-link.nba-static")).to_be_visible(timeout=WAIT_MS)
    notebook.wait_for_idle()
    notebook.page.locator(".jp-CodeCell .jp-InputArea-editor .cm-content").first.click()
    notebook.run()
    expect(rows(notebook.panel)).to_have_count(8, timeout=WAIT_MS)
