"""Lines and cells of ``%automl`` in a real shell: what they say and bind, before anything is trained."""

from __future__ import annotations

import pytest

from nbautoml.errors import RunNotFoundError, UsageError

NET = """
class Net(nn.Module):
    def __init__(self, channels: Int(4, 8) = 5):
        super().__init__()
        self.layer = nn.Linear(64, 10)
    def forward(self, x):
        return self.layer(x)
"""


@pytest.fixture
def with_torch(notebook):
    notebook.run("import torch; from torch import nn; torch.set_num_threads(1)")
    return notebook


def test_alone_it_tells_what_it_can_do_and_which_runs_there_are(notebook):
    said = notebook.run("%automl")
    assert "%%automl tune NAME" in said
    assert "no runs yet" in said


def test_help_is_everywhere(notebook):
    for line in ("%automl help tune", "%automl tune --help", "%automl tune x --trials 3 -h"):
        assert "--timeout-per-trial" in notebook.run(line)


def test_help_above_a_cell_runs_nothing_of_it(notebook):
    notebook.run("%%automl tune --help\nmark = 1\n")
    assert "mark" not in notebook.names


@pytest.mark.parametrize(
    ("cell", "message", "hint"),
    [
        ("%automl tnue a", "there is no verb 'tnue'", "did you mean tune?"),
        ("%%automl runs\nx = 1", "runs takes no cell", "use one %"),
        ("%automl tune a --data digits", "needs a model", "--model Net"),
        ("%automl tune a --model Nett --data digits", "Nett is not defined", "run the cell"),
        ("%automl tune a --model Net --data (X, y", "this ( is not closed", "a ) is missing"),
        ("%automl tune list --data digits", "word of Python's own", "list_run"),
        (
            "%%automl tune a --trails 4\nx = 1",
            "tune has no flag --trails",
            "did you mean --trials?",
        ),
        (
            "%%automl tune --name a --trials 4\nx = 1",
            "tune has no flag --name",
            "the name needs no flag: tune NAME",
        ),
        ("%automl runs --home {nowhere}", "nowhere is not defined", ""),
        ("%automl compress a --data digits", "compress needs a model", "--model"),
        ("%automl compress a --model Net --method prun", "method is 'prun'", "mean 'prune'"),
        ("%automl compress a --model Net --max-latency 2parsecs", "2parsecs", "2ms, 500us"),
        ("%automl compress a --model Net --max-energy 2lightyears", "2lightyears", "5mJ, 200uJ"),
        ("%automl compress a --model Net --max-size big", "big", "500KB, 2MB"),
        ("%automl compress a --model Net --max-drop x", "x", "0.01 or 1%"),
    ],
)
def test_error_points_at_the_word_in_two_lines(notebook, cell, message, hint):
    said = notebook.run(cell)
    assert message in said
    assert hint in said
    assert "Traceback" not in said
    assert isinstance(notebook.error, UsageError)


def test_a_typo_in_a_flag_runs_nothing_of_the_cell(notebook):
    notebook.run("%%automl tune a --metrc f1\nmark = 1\n")
    assert "mark" not in notebook.names


def test_an_error_fails_the_cell_so_that_run_all_stops(notebook):
    notebook.run("%automl show nowhere")
    assert isinstance(notebook.error, RunNotFoundError)


@pytest.mark.parametrize(
    ("flags", "message", "under"),
    [
        ("--data digits --metric rmse", "rmse does not suit", "rmse"),
        ("--data digit", "digit is not defined here", "digit"),
        ("--data digits --optimizer adm", "optimizer is 'adm'", "adm"),
        ("--data digits --lr Float(0,1)", "lr varies over Float(0, 1)", "Float(0,1)"),
        ("--data digits --lr 'Float(1,'", "no Python expression", "'Float(1,'"),
        ("--data digits --enqueue 1/0", "ZeroDivisionError", "1/0"),
        ("--data digits --chanels 3", "tune has no flag --chanels", "--chanels"),
    ],
)
def test_values_that_are_off_are_pointed_at(with_torch, flags, message, under):
    said = with_torch.run(f"%%automl tune a {flags}\n{NET}")
    lines = said.splitlines()
    carets = next(line for line in lines if set(line.strip()) == {"^"})
    typed = lines[lines.index(carets) - 1]
    assert message in said
    assert typed[carets.index("^") : carets.rindex("^") + 1] == under
    assert "a" not in with_torch.names


def test_a_name_that_is_a_variable_of_another_kind_is_left_alone(notebook):
    notebook.run("digits = [1, 2]")
    said = notebook.run("%%automl tune digits --data digits\nmark = 1\n")
    assert "digits is taken by a variable of type list" in said
    assert "call the run digits_run" in said
    assert notebook.names["digits"] == [1, 2]
    assert "mark" not in notebook.names


def test_a_class_called_like_the_run_is_left_alone(with_torch):
    said = with_torch.run(f"%%automl tune Net --data digits\n{NET}")
    assert "Net is taken by a variable of type type" in said
    assert isinstance(with_torch.names["Net"], type)


def test_ipython_expands_nothing_by_itself(notebook):
    notebook.run("n = 3")
    said = notebook.run("%automl tune a --target x{n}y --trials {n + } --model Net")
    assert "n + is no Python expression" in said


def test_a_backslash_continues_the_line(notebook):
    said = notebook.run("%%automl tune a --data digits \\\n    --trails 3\nmark = 1\n")
    assert "tune has no flag --trails" in said


def test_error_below_a_continued_line_names_the_line_that_the_user_sees(notebook):
    said = notebook.run("%%automl tune a --data digits \\\n    --trials 3\n\n1 / 0\n")
    assert "----> 4 1 / 0" in said
