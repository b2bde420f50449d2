"""A magic's line as words."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nbautoml.errors import UsageError
from nbautoml.magics.tokens import expand, split_words


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("tune a --data (X, y)", ["tune", "a", "--data", "(X, y)"]),
        ("--data df[['a', 'b c']] x", ["--data", "df[['a', 'b c']]", "x"]),
        ("--lr 'Float(1e-4, 1e-1, log=True)'", ["--lr", "Float(1e-4, 1e-1, log=True)"]),
        ('--lr="Float(1, 2)" --trials=5', ["--lr", "Float(1, 2)", "--trials", "5"]),
        ("--space {'lr': Float(0, 1)}", ["--space", "{'lr': Float(0, 1)}"]),
        (r"--target 'it\'s'", ["--target", "it's"]),
        ("a  # a note (with a bracket", ["a"]),
        ("--target don't x", ["--target", "don't", "x"]),
        ("--data (')', \"(\") x", ["--data", "(')', \"(\")", "x"]),
        ("--data '(X, y)'", ["--data", "(X, y)"]),
        ("", []),
    ],
)
def test_brackets_and_quotes_hold_words_together(line, words):
    assert split_words(line) == words


@pytest.mark.parametrize(
    ("line", "at", "message"),
    [
        ("tune a --data (X, y", 14, "this ( is not closed"),
        ("tune a --data X, y)", 18, "this ) closes nothing"),
        ("tune a --data (X]", 16, "this ] closes nothing"),
        ("tune a --target 'abc", 16, "this quote ' is not closed"),
    ],
)
def test_what_is_not_closed_is_pointed_at(line, at, message):
    with pytest.raises(UsageError, match="this") as caught:
        split_words(line)
    told, _, carets = caught.value.message.splitlines()
    assert told == message
    assert carets.index("^") - 4 == at


def test_words_know_where_they_stand():
    line = "tune a --data (X, y)"
    assert [line[word.start : word.end] for word in split_words(line)] == split_words(line)


@given(st.text(alphabet="ab ({[)]}'\"\\=-$#", max_size=30))
def test_any_line_is_split_or_refused(line):
    try:
        words = split_words(line)
    except UsageError:
        words = split_words(line, is_open=True) if not set(line) & set(")]}") else []
    assert all(0 <= word.start <= word.end <= len(line) for word in words)


def test_braces_and_dollars_are_expanded_as_whole_words_only():
    line = "{n + 1} $n a{n}b {'k': n} {n, n}"
    words = expand(split_words(line), {"n": 2}, line=line)
    values = [word.value if word.is_expanded else str(word) for word in words]
    assert values == [3, 2, "a{n}b", "{'k': n}", (2, 2)]


def test_an_expansion_that_fails_is_an_error_and_not_silence():
    line = "tune a --trials {trails}"
    with pytest.raises(UsageError, match="trails is not defined here") as caught:
        expand(split_words(line), {"trials": 3}, line=line)
    assert caught.value.hint == "did you mean trials?"


def test_an_expansion_that_raises_tells_the_users_error():
    line = "--trials {1 / 0}"
    with pytest.raises(UsageError, match="ZeroDivisionError: division by zero"):
        expand(split_words(line), {}, line=line)
