"""The anywidget: one model a run, the wire as custom messages."""

from __future__ import annotations

import json
import queue
from typing import Any

import pytest

from nbautoml.errors import MissingExtraError
from nbautoml.widgets import live
from nbautoml.widgets import panel as panels


class Folders:
    def __init__(self, home: Any) -> None:
        self.home = home

    def submit(self, recipe: Any, capsule: Any) -> Any:
        raise NotImplementedError

    def load(self, run_id: str) -> Any:
        return self.home.find(run_id)

    def command(self, run_id: str, command: Any) -> str:
        return "asked"


@pytest.fixture
def built(tmp_path, monkeypatch):
    """As if the front end were built."""
    script = tmp_path / "widget.js"
    script.write_text("export default {};")
    monkeypatch.setattr(panels, "_SCRIPT", script)


@pytest.fixture
def panel(built, record, home):
    found = panels.panel(record.folder, Folders(home))
    yield found
    found.close()
    live.stop()


def test_panel_is_one_a_run(panel, record, home):
    assert panels.panel(record.folder, Folders(home)) is panel


def test_panel_holds_a_snapshot_for_the_first_paint(panel, record):
    assert panel.run == record.folder.id
    assert json.loads(panel._snapshot["text"])["run"] == record.folder.id


def test_panel_answers_on_its_own_channel(panel, record, monkeypatch):
    box: queue.Queue[Any] = queue.Queue()
    monkeypatch.setattr(panel, "send", lambda content, buffers=None: box.put(content))
    hello = {
        "type": "hello",
        "v": 1,
        "client": "a",
        "cid": "c",
        "run": record.folder.id,
        "have": None,
    }
    panel._handle_custom_msg(hello, [])
    assert box.get(timeout=30)["type"] == "welcome"
    assert box.get(timeout=30)["type"] == "snapshot"


def test_panel_has_table_and_text_for_where_there_are_no_widgets(panel):
    data, _ = panel._repr_mimebundle_()
    assert "application/vnd.jupyter.widget-view+json" in data
    assert data["text/html"].startswith("<div>")
    assert "digits" in data["text/plain"]


def test_panel_that_is_not_built_says_what_to_do(record, home, tmp_path, monkeypatch):
    monkeypatch.setattr(panels, "_SCRIPT", tmp_path / "missing.js")
    with pytest.raises(MissingExtraError, match="make front"):
        panels.panel(record.folder, Folders(home))


def test_repr_has_no_address(panel, record):
    assert repr(panel) == f"RunPanel('{record.folder.id}')"
