"""Panels of a run that goes on: shown again, reloaded (F34, F35), and ten of them in one kernel (F39)."""

from __future__ import annotations

import time
import uuid

import psutil
import pytest
from fault_runs import n_points
from lab import WAIT_MS, shown
from playwright.sync_api import expect
from streamed import streamed

from nbautoml.store import Home
from nbautoml.widgets.protocol import COMMANDS_TARGET

pytestmark = [pytest.mark.timed, pytest.mark.nightly, pytest.mark.timeout(1800)]


@pytest.mark.browser
def test_f34_f35_a_panel_that_is_shown_again_or_reloaded_is_live_soon(lab, chromium, figures):
    page = chromium.new_context(viewport={"width": 1280, "height": 1000}).new_page()
    again, reloaded, n_times = [], [], max(2, n_points(2) // 4)
    with streamed(Home(lab.work.parent / "home"), "wide", n_trials=40, points_a_second=20) as run:
        run[1].start()
        notebook = shown(lab, page, "wide")
        for _ in range(n_times):
            page.evaluate(
                "() => window.jupyterapp.commands.execute('notebook:clear-all-cell-outputs')"
            )
            expect(notebook.panels).to_have_count(0, timeout=WAIT_MS)
            begin = time.perf_counter()
            page.evaluate("() => window.jupyterapp.commands.execute('notebook:run-all-cells')")
            is_live(notebook)
            again.append(time.perf_counter() - begin)
        notebook.save()
        for _ in range(n_times):
            notebook.reload()  # JupyterLab's own loading is not ours
            begin = time.perf_counter()
            is_live(notebook)
            reloaded.append(time.perf_counter() - begin)
    page.context.close()
    figures.within("F34", {"live_again_s_max": 1.0}, live_again_s=again)
    figures.within("F35", {"live_after_reload_s_max": 2.0}, live_after_reload_s=reloaded)


def is_live(notebook) -> None:
    expect(notebook.panel.locator(".nba-link.nba-live")).to_be_visible(timeout=WAIT_MS)
    expect(notebook.panel.locator("[data-trial]").first).to_be_visible(timeout=WAIT_MS)


N_PANELS, WATCHED_S = 10, 10


def test_f39_ten_panels_of_a_run_cost_its_kernel_little(home, kernel, figures):
    with streamed(home, "wide", n_trials=200, points_a_second=1000) as (folder, stream):
        kernel.run("from nbautoml.api.showing import show\nimport nbautoml")
        kernel.run("wide = nbautoml.load('wide')")
        alone = [timed(kernel) for _ in range(20)]
        for n in range(N_PANELS):
            kernel.run("show(wide)")
            say_hello(kernel, folder.id, f"page {n}")
        stream.start()
        time.sleep(1.0)
        process = psutil.Process(kernel.pid)
        worked, begin = sum(process.cpu_times()[:2]), time.monotonic()
        time.sleep(WATCHED_S)
        worked = sum(process.cpu_times()[:2]) - worked
        share = worked / (time.monotonic() - begin)
        watched = [timed(kernel) for _ in range(20)]
        assert stream.n_points > WATCHED_S * 1000 / 2
    assert int(kernel.value("len(nbautoml.widgets.live.current_link().hub._watched)")) == 1
    figures.within(
        "F39 ten panels, 1,000 points a second",
        {"kernel_busy_share_s_max": 0.05},
        kernel_busy_share_s=[share],  # seconds of its processor a second
        empty_cell_s=watched,
        empty_cell_alone_s=alone,
    )
    added = sorted(watched)[10] - sorted(alone)[10]
    figures.within("F39 added to a cell", {"added_s_max": 0.05}, added_s=[added])


def timed(kernel) -> float:
    begin = time.perf_counter()
    kernel.run("pass")
    return time.perf_counter() - begin


def say_hello(kernel, run: str, page: str) -> None:
    """What the panel of a page says when it opens."""
    comm, cid = uuid.uuid4().hex, uuid.uuid4().hex
    hello = {"type": "hello", "v": 1, "client": page, "cid": cid, "run": run, "have": None}
    for kind, content in (
        ("comm_open", {"comm_id": comm, "target_name": COMMANDS_TARGET, "data": {}}),
        ("comm_msg", {"comm_id": comm, "data": hello}),
    ):
        message = kernel.client.session.msg(kind, content)
        kernel.client.shell_channel.send(message)
