"""Whose frames a traceback shows, and what it keeps alive."""

from __future__ import annotations

import gc
import linecache
import subprocess
import sys
import weakref

import pytest
import torch

from nbautoml.errors import ModelError
from nbautoml.train import one_line, release_frames, user_frames

CELL = "<cell digits>"
SOURCE = """\
import torch

def inner(x):
    return torch.nn.functional.linear(x, torch.ones(2, 99))

def forward(x):
    return inner(x)
"""


@pytest.fixture
def cell():
    linecache.cache[CELL] = (len(SOURCE), None, SOURCE.splitlines(keepends=True), CELL)
    namespace: dict = {}
    exec(compile(SOURCE, CELL, "exec"), namespace)
    yield namespace
    del linecache.cache[CELL]


def caught(call, *args):
    try:
        call(*args)
    except Exception as error:
        return error
    raise AssertionError("nothing was raised")


def test_only_the_frames_of_the_named_files_are_shown(cell):
    text = user_frames(caught(cell["forward"], torch.ones(1, 3)), [CELL])
    assert "return inner(x)" in text
    assert "torch.nn.functional.linear(x, torch.ones(2, 99))" in text
    assert __file__ not in text
    assert text.rstrip().splitlines()[-1].startswith("RuntimeError: ")


def test_files_may_be_folders_or_a_predicate(cell, tmp_path):
    path = tmp_path / "capsule" / "capsule.py"
    code = compile("def f():\n    return 1 / 0\n", str(path), "exec")
    namespace: dict = {}
    exec(code, namespace)
    error = caught(namespace["f"])
    assert "in f" in user_frames(error, [str(path.parent)])
    assert "in f" in user_frames(error, lambda name: name.endswith("capsule.py"))
    assert "in f" not in user_frames(error, [str(tmp_path / "cap")])


def test_unnamed_files_are_the_users_unless_installed_or_ours(cell):
    text = user_frames(caught(cell["forward"], "no tensor"))
    assert CELL in text
    assert "site-packages" not in text


def test_without_a_frame_of_theirs_only_the_exception_is_shown(cell):
    error = caught(cell["forward"], torch.ones(1, 3))
    assert user_frames(error, ["elsewhere.py"]).startswith("RuntimeError: ")
    assert "Traceback" not in user_frames(error, ["elsewhere.py"])


def test_the_cause_is_shown_with_its_frames():
    def low():
        raise KeyError("low")

    def high():
        try:
            low()
        except KeyError as error:
            raise ValueError("high") from error

    text = user_frames(caught(high), [__file__])
    assert "KeyError: 'low'" in text
    assert "direct cause" in text
    assert "in low" in text


def test_frames_that_an_error_carries_already_are_given_back():
    assert user_frames(ModelError("no", frames="  mine\n")) == "  mine\n"


def test_endless_recursion_and_endless_texts_stay_short():
    def again(n):
        return again(n + 1)

    assert len(user_frames(caught(again, 0), [__file__])) < 5000
    assert len(user_frames(ValueError("x" * 10**7))) < 5000
    assert len(one_line(ValueError("x" * 10**7))) < 1000


def test_an_error_whose_text_cannot_be_had():
    class Rude(Exception):
        def __str__(self):
            raise RuntimeError

    assert one_line(Rude()) == "Rude: <no text: RuntimeError>"
    assert "Rude" in user_frames(Rude())


def test_released_frames_let_tensors_go():
    seen = []

    def fail():
        activation = torch.ones(3)
        seen.append(weakref.ref(activation))
        try:
            raise KeyError("first")
        except KeyError as error:
            raise ValueError("second") from error

    error = caught(fail)
    assert seen[0]() is not None
    release_frames(error)
    gc.collect()
    assert seen[0]() is None


def test_tracebacks_can_be_cut_without_torch():
    code = (
        "import sys\n"
        "from nbautoml.train import TrialCancelled, user_frames\n"
        "user_frames(ValueError('x'))\n"
        "assert 'torch' not in sys.modules\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)
