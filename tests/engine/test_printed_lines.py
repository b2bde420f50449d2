"""Lines that a worker prints, bounded by a rate."""

from __future__ import annotations

import os

import pytest

from nbautoml.engine.printed import (
    BURST,
    LINES_PER_S,
    LINES_PER_S_THEN,
    N_CHATTY,
    PrintedLines,
)


@pytest.fixture
def pipe():
    """Writing end, lines of the reading end, and a clock that stands until it is moved."""
    reading, writing = os.pipe()
    os.set_blocking(reading, False)
    clock = [0.0]
    yield writing, PrintedLines(reading, now=lambda: clock[0]), clock
    os.close(reading)
    os.close(writing)


def test_lines_come_whole_even_when_they_arrive_in_pieces(pipe):
    writing, printed, _ = pipe
    os.write(writing, b"one\ntw")
    printed.read()
    assert printed.take() == (["one"], 0)
    os.write(writing, b"o\n")
    printed.read()
    assert printed.take() == (["two"], 0)


def test_what_has_no_end_comes_with_the_last_take(pipe):
    writing, printed, _ = pipe
    os.write(writing, b"half")
    printed.read()
    assert printed.take() == ([], 0)
    assert printed.take(is_last=True) == (["half"], 0)


def test_a_flood_is_cut_and_counted(pipe):
    writing, printed, clock = pipe
    os.write(writing, b"line\n" * (BURST + 50))
    printed.read()
    lines, n_left_out = printed.take()
    assert (len(lines), n_left_out) == (BURST, 0)
    clock[0] += 2 / LINES_PER_S
    assert printed.take() == ([], 50)


def test_the_rate_lets_lines_through_again_later(pipe):
    writing, printed, clock = pipe
    os.write(writing, b"line\n" * (BURST + 1))
    printed.read()
    printed.take(is_last=True)
    clock[0] += 10 / LINES_PER_S
    os.write(writing, b"later\n" * 30)
    printed.read()
    lines, _ = printed.take()
    assert lines == ["later"] * 10


def test_who_prints_all_night_is_kept_at_a_lower_rate_from_some_line_on(pipe):
    writing, printed, clock = pipe
    kept = 0
    for _ in range(2 * 3600):  # every ten seconds, twenty hours
        clock[0] += 10
        os.write(writing, b"line\n" * (BURST + 100))
        printed.read()
        kept += len(printed.take()[0])
    expected = N_CHATTY + BURST + (clock[0] - N_CHATTY / LINES_PER_S) * LINES_PER_S_THEN
    assert 0.8 * expected < kept <= expected


def test_bytes_that_are_no_text_are_shown_as_such(pipe):
    writing, printed, _ = pipe
    os.write(writing, b"\xff\n")
    printed.read()
    assert printed.take() == (["\ufffd"], 0)


def test_a_pipe_that_nobody_can_write_into_is_known_to_be_closed():
    reading, writing = os.pipe()
    os.set_blocking(reading, False)
    printed = PrintedLines(reading)
    printed.read()
    assert not printed.is_closed
    os.close(writing)
    printed.read()
    assert printed.is_closed
    os.close(reading)
