"""Frames of the panel in a real browser: 10,000 trials, 1,000 points a second (F38, F39).

What is counted: the time from one animation frame to the next, and the tasks of the page's main thread
that took longer than 50 ms. Beside it stands what an empty page of the same browser gets, and the
processor's time that the page's main thread took for a frame, which other work hardly changes.
"""

from __future__ import annotations

from typing import Any

import pytest
from fault_runs import Figures
from lab import shown
from playwright.sync_api import CDPSession, Page
from streamed import streamed

from nbautoml.store import Home

pytestmark = [pytest.mark.browser, pytest.mark.nightly, pytest.mark.timeout(600)]

N_TRIALS = 10_000
POINTS_A_SECOND = 1_000
SECONDS = 10

COUNT = """
([seconds, selector, pixels]) => new Promise(resolve => {
  const frames = [], tasks = [];
  const observer = new PerformanceObserver(list => tasks.push(...list.getEntries().map(e => e.duration)));
  observer.observe({ type: 'longtask' });
  const node = selector ? document.querySelector(selector) : null;
  const begin = performance.now();
  let last = begin, rows = new Set(), way = 1;
  const frame = now => {
    frames.push((now - last) / 1000);
    last = now;
    if (node && pixels) {
      node.scrollTop += way * pixels;
      if (node.scrollTop <= 0 || node.scrollTop + node.clientHeight >= node.scrollHeight - 1) way = -way;
      for (const row of node.querySelectorAll('[data-trial]')) rows.add(row.dataset.trial);
    }
    if (now - begin < 1000 * seconds) requestAnimationFrame(frame);
    else {
      observer.disconnect();
      resolve({ frames: frames.slice(1), tasks, rows: rows.size });
    }
  };
  requestAnimationFrame(frame);
})
"""


def counted(page: Page, selector: str = "", pixels: int = 0) -> dict[str, Any]:
    """Frames and long tasks of some seconds; with pixels, of a node that is scrolled by so many a frame."""
    asking = page.context.new_cdp_session(page)
    asking.send("Performance.enable", {"timeDomain": "threadTicks"})
    before = task_seconds(asking)
    found: dict[str, Any] = page.evaluate(COUNT, [SECONDS, selector, pixels])
    found["worked"] = task_seconds(asking) - before
    asking.detach()
    return found


def task_seconds(asking: CDPSession) -> float:
    """The processor's time that the main thread has spent on tasks."""
    metrics = asking.send("Performance.getMetrics")["metrics"]
    return float(next(item["value"] for item in metrics if item["name"] == "TaskDuration"))


def note(figures: Figures, name: str, found: dict[str, Any]) -> None:
    frames = sorted(found["frames"])
    figures.add(
        name,
        frames_a_second=round(len(frames) / sum(frames), 1),
        cpu_ms_a_frame=round(1000 * found["worked"] / len(frames), 2),
        frame_s=frames,
        frame_s_p95=round(frames[int(0.95 * len(frames))], 6),
        long_tasks=len(found["tasks"]),
        long_tasks_ms=round(sum(found["tasks"])),
    )


@pytest.mark.timed
def test_f38_panel_of_ten_thousand_trials_draws_while_points_stream_and_the_table_scrolls(
    lab, chromium, figures
):
    page = chromium.new_context(viewport={"width": 1280, "height": 1000}).new_page()
    note(figures, "F38 frames, an empty page", counted(page))
    home = Home(lab.work.parent / "home")
    with streamed(home, "wide", n_trials=N_TRIALS, points_a_second=POINTS_A_SECOND) as run:
        _, stream = run
        notebook = shown(lab, page, "wide")
        note(figures, "F38 frames, 10,000 trials", counted(page))
        note(figures, "F38 frames, the table scrolled", counted(page, ".nba-grid", 30))
        stream.start()
        page.wait_for_timeout(2_000)
        before, said = stream.n_points, notebook.panel.locator(".nba-counts strong").inner_text()
        note(figures, "F39 frames, 1,000 points a second", counted(page))
        # Points were written, and the panel was told of them.
        assert stream.n_points > before + SECONDS * POINTS_A_SECOND / 4
        assert notebook.panel.locator(".nba-counts strong").inner_text() != said
        scrolled = counted(page, ".nba-grid", 30)
        note(figures, "F39 frames, 1,000 points a second, the table scrolled", scrolled)
        assert scrolled["rows"] > 100  # of a table that shows some twenty
    page.context.close()
