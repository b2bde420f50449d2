"""The hub: who is told what, without comms, threads or clocks."""

from __future__ import annotations

import json
from typing import Any

import pytest

from nbautoml.errors import EngineError, RunNotFoundError
from nbautoml.events import LogLine, RunStateChanged
from nbautoml.widgets.checking import problem_with
from nbautoml.widgets.controller import Controller
from nbautoml.widgets.hub import Hub
from nbautoml.widgets.merge import apply_delta
from nbautoml.widgets.protocol import ToBrowser


class Folders:
    """A controller over one home."""

    def __init__(self, home: Any) -> None:
        self.home = home
        self.asked: list[tuple[str, Any]] = []

    def submit(self, recipe: Any, capsule: Any) -> Any:
        return self.home.create_run(recipe, capsule)

    def load(self, run_id: str) -> Any:
        return self.home.find(run_id)

    def command(self, run_id: str, command: Any) -> str:
        if type(command).__name__ == "Interrupt":
            raise ZeroDivisionError("a bug")
        if type(command).__name__ == "Resume":
            raise EngineError("nobody is there to resume", hint="%automl resume digits")
        self.asked.append((run_id, command))
        return "asked"


class Way:
    """A channel that remembers, and checks what it carries."""

    def __init__(self) -> None:
        self.sent: list[Any] = []

    def send(self, message: Any) -> None:
        assert problem_with(message, ToBrowser) == ""
        json.dumps(message, allow_nan=False)
        self.sent.append(message)

    def of(self, kind: str, to: str | None = None) -> list[Any]:
        return [m for m in self.sent if m["type"] == kind and (to is None or m["to"] == to)]


def hello(run_id: str, client: str = "a", have: int | None = None, v: int = 1) -> dict[str, Any]:
    return {
        "type": "hello",
        "v": v,
        "client": client,
        "cid": f"c-{client}",
        "run": run_id,
        "have": have,
    }


@pytest.fixture
def run(record):
    record.plan(0)
    record.start(0)
    record.epoch(0, 1)
    return record


@pytest.fixture
def way():
    return Way()


@pytest.fixture
def hub(home):
    hub = Hub(Folders(home))
    yield hub
    hub.close()


def test_folders_are_a_controller(home):
    assert isinstance(Folders(home), Controller)


def test_hello_brings_welcome_and_snapshot(hub, way, run):
    hub.receive(hello(run.folder.id), way, "s", 0)
    assert [m["type"] for m in way.sent] == ["welcome", "snapshot"]
    assert way.sent[0]["seq"] == way.sent[1]["snapshot"]["seq"]


def test_hello_of_who_is_up_to_date_brings_no_snapshot(hub, way, run):
    hub.receive(hello(run.folder.id), way, "s", 0)
    seq = way.sent[0]["seq"]
    way.sent.clear()
    hub.receive(hello(run.folder.id, have=seq), way, "s", 1)
    [delta] = way.of("tick", to="a")[0]["runs"]
    assert [m["type"] for m in way.sent] == ["welcome", "tick"]
    assert (delta["base"], delta["seq"], delta["trials"]["number"]) == (seq, seq, [])


def test_tick_brings_what_is_new(hub, way, run):
    hub.receive(hello(run.folder.id), way, "s", 0)
    shown = way.of("snapshot")[0]["snapshot"]
    run.epoch(0, 2)
    hub.tick(1.0)
    [delta] = way.of("tick")[0]["runs"]
    assert apply_delta(shown, delta)["trials"]["epoch"] == [2]


def test_tick_without_news_sends_nothing(hub, way, run):
    hub.receive(hello(run.folder.id), way, "s", 0)
    hub.tick(1.0)
    assert way.of("tick") == []


def test_runs_of_a_tick_share_one_message(hub, way, new_record):
    records = [new_record(f"run{i}").begin() for i in range(5)]
    for record in records:
        hub.receive(hello(record.folder.id), way, "s", 0)
        record.plan(0)
    hub.tick(1.0)
    [tick] = way.of("tick")
    assert {delta["run"] for delta in tick["runs"]} == {record.folder.id for record in records}


def test_hundred_updates_a_second_make_ten_messages(hub, way, run):
    hub.receive(hello(run.folder.id), way, "s", 0)
    for hundredth in range(100):
        run.apply(LogLine(text=f"{hundredth}"))
        hub.tick(1 + hundredth / 100 + 1e-6)
    assert len(way.of("tick")) <= 11


def test_client_that_comes_late_is_where_the_others_are(hub, way, run):
    hub.receive(hello(run.folder.id), way, "s", 0)
    run.epoch(0, 2)
    hub.receive(hello(run.folder.id, client="b"), way, "s", 0.5)
    hub.tick(1.0)
    [delta] = way.of("tick")[0]["runs"]
    seqs = {m["snapshot"]["seq"] for m in way.of("snapshot")}
    assert seqs == {delta["base"]}


def test_gap_is_healed_by_one_hello(hub, way, run):
    hub.receive(hello(run.folder.id), way, "s", 0)
    shown = way.of("snapshot")[0]["snapshot"]
    for epoch in (2, 3):
        run.epoch(0, epoch)
        hub.tick(float(epoch))
    lost, kept = (tick["runs"][0] for tick in way.of("tick"))
    assert apply_delta(shown, kept) is None
    hub.receive(hello(run.folder.id, have=shown["seq"]), way, "s", 4)
    healed = way.of("snapshot")[-1]["snapshot"]
    assert (healed["seq"], healed["trials"]["epoch"]) == (kept["seq"], [3])
    assert lost["seq"] == kept["base"]


def test_two_clients_have_one_writer(hub, way, run):
    for client in "ab":
        hub.receive(hello(run.folder.id, client), way, "s", 0)
    newest = {m["to"]: m["writer"] for m in way.of("welcome")}
    assert newest == {"a": False, "b": True}


def test_writer_that_leaves_is_followed_by_another(hub, way, run):
    for client in "ab":
        hub.receive(hello(run.folder.id, client), way, "s", 0)
    hub.receive({"type": "bye", "client": "b", "run": run.folder.id}, way, "s", 1)
    assert way.of("welcome")[-1]["to"] == "a"
    assert way.of("welcome")[-1]["writer"] is True


def test_sign_of_life_does_not_take_the_pen(hub, way, run):
    for client in "aba":
        hub.receive(hello(run.folder.id, client), way, "s", 10)
    assert way.of("welcome")[-1]["writer"] is False


def test_writer_that_fell_silent_loses_the_pen(hub, way, run):
    for client in "ab":
        hub.receive(hello(run.folder.id, client), way, "s", 0)
    hub.receive(hello(run.folder.id, "a"), way, "s", 200)
    last = {m["to"]: m["writer"] for m in way.of("welcome")}
    assert last == {"a": True, "b": False}


def test_closed_connection_takes_its_clients_along(hub, way, run):
    hub.receive(hello(run.folder.id, "a"), way, "first", 0)
    hub.receive(hello(run.folder.id, "b"), way, "second", 0)
    hub.forget("second", 1)
    assert way.of("welcome")[-1]["to"] == "a"
    hub.forget("first", 1)
    assert hub.is_idle


def test_tabs_that_were_closed_silently_do_not_pile_up(hub, way, run):
    for number in range(100):
        hub.receive(hello(run.folder.id, f"tab{number}"), way, "s", number)
    assert len(hub._watched[run.folder.id].clients) == 32


def test_last_bye_closes_the_record(hub, way, run):
    hub.receive(hello(run.folder.id), way, "s", 0)
    hub.receive({"type": "bye", "client": "a", "run": run.folder.id}, way, "s", 1)
    assert hub.is_idle
    assert hub.next_due(0) is None


def test_run_that_is_not_here_is_unknown(hub, way):
    hub.receive(hello("20200101-000000-ffffff"), way, "s", 0)
    assert [m["type"] for m in way.sent] == ["unknown"]


def test_run_that_is_shown_is_known_wherever_it_lies(home, way, run, tmp_path):
    hub = Hub(Folders(type(home)(tmp_path / "elsewhere")))
    hub.add_source(run.folder)
    hub.receive(hello(run.folder.id), way, "s", 0)
    assert way.of("snapshot")
    hub.close()


def test_page_of_another_version_is_told_to_reload(hub, way, run):
    hub.receive(hello(run.folder.id, v=2), way, "s", 0)
    assert [(m["type"], m["ok"]) for m in way.sent] == [("ack", False)]
    assert "reload the page" in way.sent[0]["text"]


def test_command_is_passed_on_and_acknowledged(hub, way, run):
    message = {"type": "command", "client": "a", "cid": "1", "run": run.folder.id}
    hub.receive({**message, "command": {"type": "CancelTrial", "trial": 0}}, way, "s", 0)
    [(_, command)] = hub.controller.asked
    assert command.trial == 0
    assert way.sent[0] == {
        "type": "ack", "v": 1, "to": "a", "cid": "1", "ok": True, "text": "asked"
    }  # fmt: skip


def test_command_that_is_said_again_is_obeyed_once_and_answered_again(hub, way, run):
    message = {"type": "command", "client": "a", "cid": "1", "run": run.folder.id}
    message["command"] = {"type": "Enqueue", "params": {"lr": 0.1}}
    for twice in (message, message, {**message, "cid": "2"}, {**message, "client": "b"}):
        hub.receive(twice, way, "s", 0)
    assert len(hub.controller.asked) == 3
    assert [(m["to"], m["cid"], m["ok"]) for m in way.sent] == [
        ("a", "1", True), ("a", "1", True), ("a", "2", True), ("b", "1", True)
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("command", "word"),
    [
        ({"type": "Explode"}, "unknown message type"),
        ({"type": "CancelTrial", "trial": -1}, "trial must be"),
        ({"type": "CancelTrial"}, "trial"),
        ({"type": "Resume"}, "%automl resume digits"),
        ({"type": "Interrupt"}, "a bug"),
        ({}, "type"),
    ],
)
def test_command_that_cannot_be_is_refused_with_the_reason(hub, way, run, command, word):
    message = {"type": "command", "client": "a", "cid": "1", "run": run.folder.id}
    hub.receive({**message, "command": command}, way, "s", 0)
    assert way.sent[0]["ok"] is False
    assert word in way.sent[0]["text"]


@pytest.mark.parametrize("raw", [None, 3, "x", {}, {"type": "nonsense"}, {"type": "hello"}])
def test_nonsense_without_a_sender_is_left_out(hub, way, raw):
    hub.receive(raw, way, "s", 0)
    assert way.sent == []


def test_nonsense_with_a_sender_is_refused(hub, way):
    hub.receive({"type": "nonsense", "client": "a", "cid": "1"}, way, "s", 0)
    assert way.sent[0]["ok"] is False


def test_curves_are_answered(hub, way, run):
    hub.receive(hello(run.folder.id), way, "s", 0)
    ask = {"type": "curves", "client": "a", "cid": "9", "run": run.folder.id, "trials": [0]}
    hub.receive({**ask, "name": "train_loss"}, way, "s", 0)
    [lines] = way.of("lines", to="a")
    assert (lines["cid"], lines["lines"][0]["x"]) == ("9", [1])


def test_curves_before_hello_are_refused(hub, way, run):
    ask = {"type": "curves", "client": "a", "cid": "9", "run": run.folder.id, "trials": [0]}
    hub.receive({**ask, "name": "loss"}, way, "s", 0)
    assert way.sent[0]["ok"] is False


def test_each_channel_hears_of_its_own_runs(hub, new_record):
    ways, records = (Way(), Way()), (new_record("one").begin(), new_record("two").begin())
    for way, record in zip(ways, records, strict=True):
        hub.receive(hello(record.folder.id), way, "s", 0)
        record.plan(0)
    hub.tick(1.0)
    for way, record in zip(ways, records, strict=True):
        assert [d["run"] for m in way.of("tick") for d in m["runs"]] == [record.folder.id]


def test_run_that_is_over_is_looked_at_seldom(hub, way, run):
    hub.receive(hello(run.folder.id), way, "s", 0)
    run.finish()
    hub.tick(1.0)
    assert way.of("tick")[0]["runs"][0]["final"] is True
    assert hub.next_due(1.0) >= 30


def test_run_that_goes_on_with_more_is_shown_at_once(hub, way, run):
    hub.receive(hello(run.folder.id), way, "s", 0)
    run.finish()
    hub.tick(1.0)
    run.apply(RunStateChanged(state="running"))
    hub.look_soon(run.folder.id, 2.0)
    assert hub.next_due(2.0) == 0
    hub.tick(2.0)
    assert way.of("tick")[-1]["runs"][0]["header"]["state"] == "running"
    assert hub.next_due(2.0) < 1


@pytest.mark.parametrize("n_epochs", [0, 20])
def test_run_that_goes_on_is_told_twice_a_second(hub, way, run, n_epochs):
    hub.receive(hello(run.folder.id), way, "s", 0)
    for tenth in range(1, 21):
        if tenth <= n_epochs:
            run.epoch(0, tenth + 1)
        hub.tick(tenth / 10)
    assert hub.next_due(2.0) <= 0.5
    assert len(way.of("tick")) == (4 if n_epochs else 0)


def test_what_becomes_of_a_command_shows_at_once(hub, way, run):
    hub.receive(hello(run.folder.id), way, "s", 0)
    hub.tick(10.0)
    assert hub.next_due(10.0) == pytest.approx(0.5)
    message = {"type": "command", "client": "a", "cid": "1", "run": run.folder.id}
    hub.receive({**message, "command": {"type": "Stop"}}, way, "s", 10.1)
    assert hub.next_due(10.1) == 0
    hub.tick(10.1)
    assert hub.next_due(10.1) == pytest.approx(0.1)
    hub.tick(14.0)
    assert hub.next_due(14.0) == pytest.approx(0.5)


def test_page_that_sleeps_is_sent_little_and_all_at_once_when_it_wakes(hub, way, run):
    hub.receive(hello(run.folder.id), way, "s", 0)
    for second in range(1, 3601):  # an epoch a second, and an hour in which the page says nothing
        run.epoch(0, second + 1)
        if hub.next_due(second) <= 0:
            hub.tick(float(second))
    assert len(way.of("tick")) < 90 + 3600 / 5
    hub.receive(hello(run.folder.id), way, "s", 3601)
    assert hub.next_due(3601.0) == 0
    assert way.of("snapshot")[-1]["snapshot"]["seq"] == hub.watch(run.folder.id).seq
    hub.tick(3602.0)
    assert hub.next_due(3602.0) == pytest.approx(0.5)


def test_folder_that_is_removed_ends_the_watching(hub, way, run, caplog):
    def gone(**_: Any) -> None:
        raise RunNotFoundError("the folder is gone")

    hub.receive(hello(run.folder.id), way, "s", 0)
    hub._watched[run.folder.id].tail.delta = gone
    hub.tick(1.0)
    assert hub.is_idle
    assert "not followed any more" in caplog.text


def test_run_of_ten_thousand_trials_is_told_in_bounded_messages(home, way, huge_run):
    hub = Hub(Folders(home))
    hub.add_source(huge_run)
    hub.receive(hello(huge_run.id), way, "s", 0)
    hub.close()
    assert max(len(json.dumps(message)) for message in way.sent) < 200_000
