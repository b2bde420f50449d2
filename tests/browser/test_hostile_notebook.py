"""A notebook from a stranger is opened in a real JupyterLab: nothing in it runs or fetches (T1)."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from lab import WAIT_MS
from playwright.sync_api import expect

from nbautoml.widgets.protocol import MIME

pytestmark = [pytest.mark.browser, pytest.mark.slow]

FIXTURES = Path(__file__).parents[1] / "fixtures" / "protocol"
RUNS = "window.__ran = (window.__ran || 0) + 1; fetch('http://127.0.0.1:9/canary')"
MARKUP = (
    f"<script>{RUNS}</script>"
    f'"><img src="http://127.0.0.1:9/canary.png" onerror="{RUNS}">'
    f"<svg onload=\"{RUNS}\"></svg><a href='javascript:{RUNS}'>x</a>"
    '<iframe src="http://127.0.0.1:9/canary.html"></iframe>'
)
# Of plain HTML JupyterLab itself fetches pictures, in any notebook and whoever draws the output:
# its table of contents looks for headings there.
PLAIN = MARKUP.replace("canary.png", "picture.png")
MODULE = f"export default {{ render() {{ {RUNS} }} }}; {RUNS}"


def poisoned(value):
    """The same, with every text that is no key replaced by markup that would act."""
    if isinstance(value, dict):
        return {key: poisoned(item) for key, item in value.items()}
    if isinstance(value, list):
        return [poisoned(item) for item in value]
    return MARKUP if isinstance(value, str) and ("<" in value or ":" in value) else value


def forged_outputs() -> list[dict[str, object]]:
    snapshot = json.loads((FIXTURES / "hostile_snapshot.json").read_text(encoding="utf-8"))
    saved = json.loads((FIXTURES / "saved.json").read_text(encoding="utf-8"))
    hostile = poisoned(snapshot)
    hostile["header"]["state"] = "finished"
    whole = {**saved, "text": json.dumps(hostile)}
    widget = {"model_id": "a" * 32, "version_major": 2, "version_minor": 0}
    bundles = [
        {MIME: whole, "text/html": PLAIN},
        {MIME: {**saved, "text": "not JSON " + MARKUP}},
        {MIME: {**saved, "run": MARKUP, "text": "{}"}},
        {MIME: MARKUP},
        {MIME: {**saved, "_esm": MODULE, "url": "http://127.0.0.1:9/canary.js"}},
        {"application/vnd.jupyter.widget-view+json": widget, "text/html": PLAIN},
        {"text/html": PLAIN},
        {"application/javascript": RUNS},
    ]
    texts = [json.dumps(data).replace("canary", f"canary{n}") for n, data in enumerate(bundles)]
    return [
        {"output_type": "display_data", "data": json.loads(text), "metadata": {}} for text in texts
    ]


def forged_widgets() -> dict[str, object]:
    """The state of an anywidget that brings its own code."""
    state = {
        "_anywidget_id": "nbautoml.widgets.panel.Panel",
        "_esm": MODULE,
        "_css": "@import 'http://127.0.0.1:9/canary.css';",
        "_model_module": "anywidget",
        "_model_name": "AnyModel",
        "_view_module": "anywidget",
        "_view_name": "AnyView",
    }
    model = {"model_module": "anywidget", "model_name": "AnyModel", "state": state}
    return {"state": {"a" * 32: model}, "version_major": 2, "version_minor": 0}


def test_t1_a_hostile_notebook_runs_and_fetches_nothing(lab, opened):
    path = lab.write("hostile.ipynb", "print('not run')", "# the last")
    notebook = json.loads(path.read_text())
    notebook["cells"][0]["outputs"] = forged_outputs()
    notebook["metadata"]["widgets"] = {
        "application/vnd.jupyter.widget-state+json": forged_widgets()
    }
    path.write_text(json.dumps(notebook))
    page = opened("hostile.ipynb")
    asked = []
    page.page.on("request", lambda request: asked.append(request.url))
    page.page.reload(wait_until="domcontentloaded", timeout=WAIT_MS)
    expect(page.panel).to_be_visible(timeout=WAIT_MS)
    page.page.wait_for_load_state("networkidle")
    assert not page.page.evaluate("() => window.__ran || 0")
    assert set(page.dialogs) <= {"beforeunload"}  # Lab's own question about an unsaved page
    assert [url for url in asked if "canary" in url] == []
    assert page.panel.locator("script, img, iframe, a").count() == 0
    assert "<script>" in page.panel.inner_text()
    page.complaints.clear()  # that a bundle cannot be read may be said
