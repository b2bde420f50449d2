"""What was kept of a trial, as a browser is told: the line that gives its model, its layers, what is wrong with them."""

from __future__ import annotations

import json
import types

import pytest

import __main__
from nbautoml.store import save_artifact
from nbautoml.widgets import protocol
from nbautoml.widgets.checking import problem_with
from nbautoml.widgets.hub import Hub
from nbautoml.widgets.snapshot import Tail

SIDE = {"weights": 500, "macs": 288_000, "bits": 32, "out": 20}


def table(*layers, version=1):
    return {"version": version, "layers": list(layers)}


@pytest.fixture
def kept_of(record):
    """What is told of a trial whose table of layers has these bytes or this content."""

    def kept(content, *, then=lambda path: None):
        record.plan(3)
        record.start(3)
        data = content if isinstance(content, bytes) else json.dumps(content).encode()
        written = save_artifact(record.folder, data, "layers", 3, suffix=".json")
        record.apply(written)
        record.end(3, 0.9)
        then(record.folder.artifacts_dir / written.path)
        with Tail(record.folder) as tail:
            return tail.kept(3)

    return kept


def test_layers_come_as_they_were_written(kept_of):
    layer = {"name": "conv1", "kind": "Conv2d", "before": SIDE, "after": {**SIDE, "out": 8}}
    gone = {"name": "conv2", "kind": "Conv2d", "before": SIDE, "after": None}
    kept = kept_of(table(layer, gone))
    assert kept["layers"] == [
        {
            **layer,
            "before": {**SIDE, "ms": None},
            "after": {**SIDE, "out": 8, "ms": None},
        },
        {**gone, "before": {**SIDE, "ms": None}},
    ]
    assert kept["problem"] == ""


def test_nothing_in_the_file_is_believed(kept_of):
    odd = {
        "name": "\u202eeno\x1b[31m\nlayer" + "x" * 500,
        "kind": ["Conv2d"],
        "before": {"weights": "500", "macs": True, "bits": -8, "out": 10**400, "more": {}},
        "after": "gone",
    }
    [layer] = kept_of(table(odd, "no layer", None))["layers"]
    assert layer["name"].isprintable()
    assert len(layer["name"]) <= 100
    assert layer["before"] == dict.fromkeys(("weights", "macs", "bits", "out", "ms"))
    assert layer["after"] is None
    assert problem_with(layer, protocol.LayerRow) == ""


def test_values_that_json_does_not_know_are_no_numbers(kept_of):
    text = b'{"version": 1, "layers": [{"name": "a", "before": {"macs": NaN, "out": Infinity}}]}'
    [layer] = kept_of(text)["layers"]
    assert (layer["before"]["macs"], layer["before"]["out"]) == (None, None)


def test_layers_that_are_too_many_are_counted(kept_of):
    kept = kept_of(table(*({"name": str(at), "before": SIDE} for at in range(600))))
    assert (len(kept["layers"]), kept["n_layers_left_out"]) == (500, 100)


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        (b"{", "the table of layers is no JSON"),
        (b"[" * 100_000, "the table of layers is no JSON"),
        (b"\xff\xfe", "the table of layers is no JSON"),
        ([], "the table of layers has version None, not 1"),
        (table(version=2), "the table of layers has version 2, not 1"),
        (b" " * 2_000_001, "the table of layers has 2,000,001 bytes, more than 2,000,000"),
    ],
)
def test_file_that_is_no_table_is_told(kept_of, content, problem):
    kept = kept_of(content)
    assert kept["layers"] == []
    assert kept["problem"] == problem


def test_file_that_was_changed_is_told(kept_of):
    kept = kept_of(table(), then=lambda path: path.write_bytes(path.read_bytes()[::-1]))
    assert "is not what was written" in kept["problem"]


def test_link_out_of_the_folder_is_not_followed(kept_of, tmp_path):
    def swap(path):
        (tmp_path / "secret").write_bytes(path.read_bytes())
        path.unlink()
        path.symlink_to(tmp_path / "secret")

    kept = kept_of(table(), then=swap)
    assert kept["layers"] == []
    assert kept["problem"]


def test_line_for_the_model_needs_kept_weights_and_uses_the_name_where_it_means_this_run(
    record, monkeypatch
):
    record.plan(0)
    record.start(0)
    record.end(0, 0.9)
    with Tail(record.folder) as tail:
        assert tail.kept(0)["use"] == ""
        record.apply(save_artifact(record.folder, b"...", "weights", 0))
        assert tail.kept(0)["use"] == (
            f"import nbautoml; model = nbautoml.load('{record.folder.id}').model(0)"
        )
        same = types.SimpleNamespace(id=record.folder.id)
        monkeypatch.setattr(__main__, "digits", same, raising=False)
        assert tail.kept(0)["use"] == "model = digits.model(0)"
        monkeypatch.setattr(__main__, "digits", types.SimpleNamespace(id="another"))
        assert "load(" in tail.kept(0)["use"]


def test_hub_answers_whoever_said_hello(record, home):
    class Shows:
        def load(self, run_id):
            assert run_id == record.folder.id
            return record.folder

    class Keeps:
        def __init__(self):
            self.messages = []

        def send(self, message):
            self.messages.append(message)

    record.plan(0)
    record.start(0)
    record.apply(save_artifact(record.folder, json.dumps(table()).encode(), "layers", 0))
    record.end(0, 0.9)
    hub, channel = Hub(Shows()), Keeps()
    ask = {"type": "trial", "client": "a", "cid": "1", "run": record.folder.id, "trial": 0}
    hub.receive(ask, channel, "comm", 1.0)
    assert (channel.messages[0]["type"], channel.messages[0]["ok"]) == ("ack", False)
    hello = {
        "type": "hello",
        "v": 1,
        "client": "a",
        "cid": "2",
        "run": record.folder.id,
        "have": None,
    }
    hub.receive(hello, channel, "comm", 1.0)
    hub.receive(ask, channel, "comm", 1.0)
    hub.receive({**ask, "trial": 77}, channel, "comm", 1.0)
    for answer, trial in zip(channel.messages[-2:], (0, 77), strict=True):
        assert problem_with(answer, protocol.TrialMessage) == ""
        assert (answer["trial"], answer["cid"], answer["use"]) == (trial, "1", "")
    hub.close()
