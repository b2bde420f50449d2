"""The wire: one declaration, a generated file, fixtures that both sides are tested on."""

from __future__ import annotations

import json

import pytest

from nbautoml.events import WireError
from nbautoml.widgets import generate, protocol
from nbautoml.widgets.bounding import to_saved
from nbautoml.widgets.checking import problem_with, read_message
from nbautoml.widgets.merge import apply_delta

SHAPES = {
    "ack": protocol.Ack,
    "ack_refused": protocol.Ack,
    "bye": protocol.Bye,
    "command": protocol.CommandMessage,
    "curves": protocol.CurvesRequest,
    "hello": protocol.Hello,
    "hello_with_nothing": protocol.Hello,
    "hostile_snapshot": protocol.Snapshot,
    "lines": protocol.LinesMessage,
    "saved": protocol.Saved,
    "snapshot": protocol.Snapshot,
    "snapshot_after_header_only": protocol.Snapshot,
    "snapshot_after_tick": protocol.Snapshot,
    "snapshot_front": protocol.Snapshot,
    "snapshot_message": protocol.SnapshotMessage,
    "tick": protocol.Tick,
    "tick_header_only": protocol.Tick,
    "trial": protocol.TrialMessage,
    "trial_request": protocol.TrialRequest,
    "unknown": protocol.Unknown,
    "welcome": protocol.Welcome,
}
FROM_BROWSER = ["hello", "hello_with_nothing", "bye", "command", "curves", "trial_request"]


def test_typescript_is_fresh():
    assert generate.main(["--check"]) == 0


def test_stale_typescript_is_told(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(generate, "TARGET", tmp_path / "protocol.ts")
    assert generate.main(["--check"]) == 1
    assert "is stale" in capsys.readouterr().err


def test_typescript_is_written_the_same_twice():
    assert generate.render() == generate.render()


def test_every_fixture_has_a_shape(fixture_json, request):
    folder = request.path.parents[1] / "fixtures" / "protocol"
    assert {path.stem for path in folder.glob("*.json")} == set(SHAPES)


@pytest.mark.parametrize("name", SHAPES)
def test_fixture_fits_the_declaration(fixture_json, name):
    assert problem_with(fixture_json(name), SHAPES[name]) == ""


@pytest.mark.parametrize("name", FROM_BROWSER)
def test_messages_of_browsers_are_read(fixture_json, name):
    assert read_message(fixture_json(name)) == fixture_json(name)


@pytest.mark.parametrize(
    "raw",
    [
        None,
        [],
        "hello",
        {},
        {"type": ["hello"]},
        {"type": "tick"},
        {"type": "hello"},
        {"type": "bye", "client": "a", "run": 3},
        {"type": "bye", "client": "a", "run": "b", "more": 1},
        {"type": "bye", "client": "a" * 201, "run": "b"},
        {"type": "hello", "v": True, "client": "a", "cid": "b", "run": "c", "have": None},
        {"type": "hello", "v": 1, "client": "a", "cid": "b", "run": "c", "have": "57"},
        {"type": "command", "client": "a", "cid": "b", "run": "c", "command": "Stop"},
        {"type": "curves", "client": "a", "cid": "b", "run": "c", "trials": [1] * 301, "name": "x"},
        {"type": "curves", "client": "a", "cid": "b", "run": "c", "trials": ["1"], "name": "x"},
        {"type": "trial", "client": "a", "cid": "b", "run": "c", "trial": "../8"},
    ],
)
def test_what_is_no_message_is_refused(raw):
    with pytest.raises(WireError):
        read_message(raw)


def test_delta_brings_a_snapshot_up_to_date(fixture_json):
    after = apply_delta(fixture_json("snapshot"), fixture_json("tick")["runs"][0])
    assert after == fixture_json("snapshot_after_tick")


def test_delta_without_news_but_the_header_is_applied(fixture_json):
    delta = fixture_json("tick_header_only")["runs"][0]
    after = apply_delta(fixture_json("snapshot_after_tick"), delta)
    assert after == fixture_json("snapshot_after_header_only")


def test_delta_that_is_old_changes_nothing(fixture_json):
    new = fixture_json("snapshot_after_tick")
    assert apply_delta(new, fixture_json("tick")["runs"][0]) is new


def test_delta_after_a_gap_is_refused(fixture_json):
    delta = fixture_json("tick")["runs"][0] | {"base": 60}
    assert apply_delta(fixture_json("snapshot"), delta) is None


def test_snapshot_that_was_given_is_not_changed(fixture_json):
    snapshot = fixture_json("snapshot")
    apply_delta(snapshot, fixture_json("tick")["runs"][0])
    assert snapshot == fixture_json("snapshot")


def test_saved_form_holds_the_whole_snapshot(fixture_json):
    saved = to_saved(fixture_json("snapshot"))
    assert saved == fixture_json("saved")
    assert json.loads(saved["text"]) == fixture_json("snapshot")
