"""The body of a magic cell: what it defines, and how its errors are shown."""

from __future__ import annotations

import pytest

from nbautoml.api.cell import run_cell_body
from nbautoml.errors import RecipeError, UsageError


def body_of(notebook, text):
    return run_cell_body(notebook.shell, text)


def test_names_are_bound_in_the_notebook_and_listed_in_order(notebook):
    body = body_of(notebook, "import math\nlr = 0.1\ndef f(): hidden = 3\nlr, k = 0.2, 1\n")
    assert list(body.names) == ["f", "lr", "k"]
    assert notebook.names["lr"] == 0.2


def test_magics_and_shell_lines_work_inside(notebook):
    assert body_of(notebook, "x = %pwd\n").names["x"]


def test_users_error_is_shown_at_their_line_without_our_frames(notebook):
    said = notebook.run("%%automl tune a --data digits\ndef f(x):\n    return 1 / x\n\nf(0)\n")
    assert isinstance(notebook.error, ZeroDivisionError)
    assert "line 5" in said
    assert "----> 3     return 1 / x" in said
    assert "nbautoml" not in said
    assert "run_cell_magic" not in said


def test_a_syntax_error_names_the_line_of_the_cell_and_runs_nothing(notebook):
    said = notebook.run("%%automl tune a --data digits\nmark = 1\nlr = = 2\n")
    assert "line 3 of the cell is no Python" in said
    assert "mark" not in notebook.names


def test_an_empty_cell_is_refused(notebook):
    with pytest.raises(UsageError, match="the cell is empty"):
        body_of(notebook, "\n")


MODULES = """
import torch
from torch import nn

class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.block = Block()

class Block(nn.Module):
    pass
"""


def test_the_module_that_no_other_uses_is_the_model(notebook):
    assert body_of(notebook, MODULES).model()[0] == "Net"


def test_of_several_such_modules_the_last_is_the_model(notebook):
    assert (
        body_of(notebook, MODULES + "\nclass Other(nn.Module):\n    pass\n").model()[0] == "Other"
    )


def test_an_objective_wins_over_modules(notebook):
    assert (
        body_of(notebook, MODULES + "\ndef objective(trial):\n    return 1\n").model()[0]
        == "objective"
    )


def test_what_is_assigned_to_model_wins_over_all(notebook):
    text = "from sklearn.ensemble import RandomForestClassifier\nmodel = RandomForestClassifier\n"
    assert body_of(notebook, MODULES + text).model()[0] == "model"


@pytest.mark.parametrize(
    "line", ["def make(hidden: Int(4, 8) = 8): ...", "def make(hidden=8) -> nn.Sequential: ..."]
)
def test_a_function_that_says_that_it_makes_a_module_is_the_model(notebook, line):
    text = f"from torch import nn\nfrom nbautoml import Int\n{line}\ndef helper(x: Nowhere): ...\n"
    text = "from __future__ import annotations\n" + text
    assert body_of(notebook, text).model()[0] == "make"
    assert body_of(notebook, text + MODULES).model()[0] == "Net"


def test_a_cell_without_anything_to_train_says_what_it_may_define(notebook):
    with pytest.raises(RecipeError, match="defines nothing to train") as caught:
        body_of(notebook, "def objectiv(trial): ...\n").model()
    assert "did you mean objectiv to be called objective?" in caught.value.hint
