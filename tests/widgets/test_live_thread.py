"""The live link's thread: sleeps, answers, survives faults, ends; and displays without our extension."""

from __future__ import annotations

import logging
import queue
import time
from typing import Any

import pytest

from nbautoml.widgets import display, live
from nbautoml.widgets.live import LiveLink
from nbautoml.widgets.shown import Shown

WAIT_S = 30


class Folders:
    def __init__(self, home: Any) -> None:
        self.home = home

    def submit(self, recipe: Any, capsule: Any) -> Any:
        raise NotImplementedError

    def load(self, run_id: str) -> Any:
        if run_id == "faulty":
            raise ZeroDivisionError
        return self.home.find(run_id)

    def command(self, run_id: str, command: Any) -> str:
        return "asked"


class Mailbox:
    """A channel, or a display, that a test can wait for."""

    def __init__(self) -> None:
        self.box: queue.Queue[Any] = queue.Queue()

    def send(self, message: Any) -> None:
        self.box.put(message)

    def __call__(self, bundle: Any, **options: Any) -> None:
        self.box.put((bundle, options))

    def next(self) -> Any:
        return self.box.get(timeout=WAIT_S)


@pytest.fixture
def box():
    return Mailbox()


@pytest.fixture
def link(home, box):
    link = LiveLink(Folders(home), box)
    yield link
    link.close()
    assert not link.is_running


@pytest.fixture
def run(record):
    record.plan(0)
    record.start(0)
    return record


def hello(run_id: str, have: int | None = None) -> dict[str, Any]:
    return {"type": "hello", "v": 1, "client": "a", "cid": "c", "run": run_id, "have": have}


def test_a_clock_that_is_set_back_stops_no_panel(link, box, run, monkeypatch):
    link.post(hello(run.folder.id), None, "s")
    assert [box.next()["type"], box.next()["type"]] == ["welcome", "snapshot"]
    real = time.time
    monkeypatch.setattr(time, "time", lambda: real() - 3600)
    run.plan(1)
    assert box.next()["type"] == "tick"


def test_thread_starts_with_the_first_message(link, box, run):
    assert not link.is_running
    link.post(hello(run.folder.id), None, "s")
    assert box.next()["type"] == "welcome"
    assert link.is_running


def test_thread_waits_for_ever_while_nobody_watches(link, box, run):
    link.post(hello(run.folder.id), None, "s")
    assert {box.next()["type"], box.next()["type"]} == {"welcome", "snapshot"}
    link.post({"type": "bye", "client": "a", "run": run.folder.id}, None, "s")
    link.post({"type": "hello", "client": "a", "cid": "last"}, None, "s")
    assert box.next()["cid"] == "last"
    assert link._pause_s() is None


def test_news_come_by_themselves(link, box, run):
    link.post(hello(run.folder.id), None, "s")
    assert {box.next()["type"], box.next()["type"]} == {"welcome", "snapshot"}
    run.epoch(0, 1)
    assert box.next()["runs"][0]["trials"]["epoch"] == [1]


def test_answers_go_to_the_channel_that_asked(link, box, run):
    other = Mailbox()
    link.post(hello(run.folder.id), other, "panel")
    assert other.next()["type"] == "welcome"
    assert box.box.empty()


def test_fault_in_one_answer_leaves_the_link_alive(link, box, run, caplog):
    with caplog.at_level(logging.ERROR):
        link.post(hello("faulty"), None, "s")
        link.post(hello(run.folder.id), None, "s")
        assert box.next()["type"] == "welcome"
    assert "it goes on" in caplog.text


def test_closed_link_takes_no_more_messages(link, box, run):
    link.close()
    link.post(hello(run.folder.id), None, "s")
    assert not link.is_running


def test_display_shows_the_end(link, run):
    shown = Mailbox()
    link.show(run.folder, Shown(shown, "id-1", -1, ""))
    assert "running" in shown.next()[0]["text/plain"]
    run.end(0, 0.9)
    run.finish()
    bundle, options = shown.next()
    while "finished" not in bundle["text/plain"]:
        bundle, options = shown.next()
    assert options == {"raw": True, "display_id": "id-1", "update": True}


def test_display_is_left_alone_while_our_extension_shows_the_run(link, box, run):
    link.post(hello(run.folder.id), None, "s")
    assert {box.next()["type"], box.next()["type"]} == {"welcome", "snapshot"}
    shown = Mailbox()
    link.show(run.folder, Shown(shown, "id-1", -1, ""))
    for epoch in (1, 2):
        run.epoch(0, epoch)
        assert box.next()["type"] == "tick"
    assert shown.box.empty()
    run.finish()
    assert "finished" in shown.next()[0]["text/plain"]


def test_display_that_cannot_be_drawn_does_not_end_the_thread(link, box, run, caplog):
    def broken(*_: Any, **__: Any) -> None:
        raise OSError("the channel is closed")

    link.show(run.folder, Shown(broken, "id-1", -1, ""))
    link.post(hello(run.folder.id), None, "s")
    assert box.next()["type"] == "welcome"
    assert "could not be redrawn" in caplog.text


@pytest.fixture
def kernel(monkeypatch):
    """As in a kernel, with a live link that ends with the test."""
    monkeypatch.setattr(display, "_has_kernel", lambda: True)
    yield
    live.stop()


def test_show_publishes_all_three_types(home, run, kernel):
    shown = Mailbox()
    display_id = display.show(run.folder, Folders(home), shown)
    bundle, options = shown.next()
    assert set(bundle) == {"application/vnd.nbautoml.run.v1+json", "text/html", "text/plain"}
    assert options == {"raw": True, "display_id": display_id}


def test_run_that_is_over_is_shown_without_a_thread(home, run, kernel):
    run.finish()
    display.show(run.folder, Folders(home), Mailbox())
    assert not live.current_link().is_running


def test_refresh_redraws_on_the_calling_thread(home, run, kernel):
    shown = Mailbox()
    display.show(run.folder, Folders(home), shown)
    shown.next()
    run.finish()
    assert display.refresh(run.folder) == 1
    bundle, options = shown.next()
    assert "finished" in bundle["text/plain"]
    assert options["update"] is True


def test_terminal_gets_no_updates(home, run):
    shown = Mailbox()
    display.show(run.folder, Folders(home), shown)
    assert "running" in shown.next()[0]["text/plain"]
    assert live.current_link() is None


def test_link_is_one_a_process(home):
    try:
        assert live.start(Folders(home)) is live.start(Folders(home))
    finally:
        live.stop()
