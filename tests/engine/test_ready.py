"""Who of some pipes has something to say; where it matters, as the library's own `wait` says it."""

from __future__ import annotations

import multiprocessing
import os
import select
from multiprocessing import connection

import pytest

from nbautoml.engine.ready import has_data, ready


@pytest.fixture
def pipe():
    ours, theirs = multiprocessing.Pipe()
    yield ours, theirs
    ours.close()
    theirs.close()


@pytest.fixture(params=["poll", "wait"])
def way(request, monkeypatch):
    """With the system's poll, and where there is none."""
    if request.param == "wait":
        monkeypatch.delattr(select, "poll")


@pytest.mark.usefixtures("way")
def test_who_has_said_something_is_named_and_nobody_else(pipe):
    ours, theirs = pipe
    reading, writing = os.pipe()
    assert ready([ours, reading], 0.0) == []
    theirs.send_bytes(b"word")
    assert ready([ours, reading], 5.0) == [ours]
    os.write(writing, b"x")
    assert sorted(map(str, ready({ours: 1, reading: 2}, 5.0))) == sorted(map(str, [ours, reading]))
    os.close(reading)
    os.close(writing)


@pytest.mark.usefixtures("way")
def test_a_pipe_that_was_closed_at_the_other_end_is_ready(pipe):
    ours, theirs = pipe
    theirs.close()
    assert has_data(ours)
    with pytest.raises(EOFError):
        ours.recv_bytes()


@pytest.mark.usefixtures("way")
def test_the_end_of_a_process_is_heard():
    process = multiprocessing.get_context("fork").Process(target=int)
    process.start()
    assert ready([process.sentinel], 60.0) == [process.sentinel]
    process.join()


def test_nobody_is_waited_for_where_there_is_nobody():
    assert ready([], 60.0) == connection.wait([], 0.0) == []
