"""The inbox: whole commands, in order, and nothing else."""

from __future__ import annotations

import json
import os
import threading

import pytest

from nbautoml.errors import StoreError
from nbautoml.events import CancelTrial, Enqueue, Interrupt, Pause, Resume, Stop
from nbautoml.store import Inbox


@pytest.fixture
def inbox(tmp_path):
    return Inbox(tmp_path / "inbox")


def test_commands_come_out_in_the_order_they_went_in(inbox):
    commands = [Pause(), Resume(), CancelTrial(trial=3), Enqueue(params={"lr": 0.1}), Stop()]
    keys = [inbox.drop(command) for command in commands]
    assert inbox.take() == list(zip(keys, commands, strict=True))
    assert inbox.take() == []


def test_empty_inbox_has_nothing(inbox):
    assert not inbox.has_any()
    assert inbox.take() == []


def test_dropped_command_is_noticed_until_it_is_taken(inbox):
    inbox.drop(Interrupt(reason="bye"))
    assert inbox.has_any()
    inbox.take()
    assert not inbox.has_any()


def test_commands_that_mean_what_is_over_are_forgotten(inbox):
    for command in (Stop(), Enqueue(params={"lr": 0.1}), Pause(), CancelTrial(trial=3)):
        inbox.drop(command)
    (inbox.path / "0.json").write_text("{")  # no command: left for `take` to put aside
    inbox.forget((Stop, Pause))
    assert [command for _, command in inbox.take()] == [
        Enqueue(params={"lr": 0.1}),
        CancelTrial(trial=3),
    ]
    assert (inbox.path / "refused" / "0.json").exists()


def test_commands_of_many_threads_are_all_there(inbox):
    threads = [
        threading.Thread(target=lambda n=n: [inbox.drop(CancelTrial(trial=n)) for _ in range(20)])
        for n in range(8)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    taken = [command.trial for _, command in inbox.take()]
    assert sorted(taken) == sorted(list(range(8)) * 20)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "{",
        "[]",
        "null",
        '{"type": "Explode"}',
        '{"type": "CancelTrial"}',
        '{"type": "CancelTrial", "trial": "1; rm"}',
        '{"type": "Pause", "extra": 1}',
        '{"type": "Enqueue", "params": ' + "[" * 30 + "]" * 30 + "}",
        "[" * 60_000,
        '{"type": "Interrupt", "reason": "' + "x" * 70_000 + '"}',
    ],
    ids=str,
)
def test_what_is_no_command_is_put_aside_and_named(inbox, text):
    inbox.drop(Pause())
    (inbox.path / "0000-bad.json").write_text(text)
    inbox.drop(Stop())
    refused = []
    taken = inbox.take(lambda name, reason: refused.append((name, reason)))
    assert [command for _, command in taken] == [Pause(), Stop()]
    assert [name for name, _ in refused] == ["0000-bad.json"]
    assert refused[0][1]
    assert (inbox.path / "refused" / "0000-bad.json").exists()
    assert not inbox.has_any()


def test_what_is_no_file_is_put_aside(inbox, tmp_path):
    secret = tmp_path / "secret.json"
    secret.write_text(json.dumps({"type": "Stop"}))
    inbox.path.mkdir()
    (inbox.path / "1-link.json").symlink_to(secret)
    os.mkfifo(inbox.path / "2-pipe.json")
    (inbox.path / "3-folder.json").mkdir()
    refused = []
    assert inbox.take(lambda name, reason: refused.append(name)) == []
    assert refused == ["1-link.json", "2-pipe.json", "3-folder.json"]
    assert secret.exists()


def test_half_written_command_is_not_seen(inbox):
    inbox.path.mkdir()
    (inbox.path / ".1-x.json.abc.tmp").write_text("{")
    assert not inbox.has_any()
    assert inbox.take() == []


def test_command_that_is_too_large_is_refused_where_it_is_made(inbox):
    with pytest.raises(StoreError, match="65,536"):
        inbox.drop(Enqueue(params={"x": "y" * 70_000}))
