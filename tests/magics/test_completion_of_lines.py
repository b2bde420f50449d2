"""Tab completion: pure, in a shell, and through a real kernel."""

from __future__ import annotations

import pytest
from IPython.core.completer import provisionalcompleter

from nbautoml.api.verb_table import VERBS
from nbautoml.magics.complete import candidates


@pytest.mark.parametrize(
    ("line", "piece", "some"),
    [
        ("%automl ", "", ["tune", "runs", "help"]),
        ("%automl sh", "sh", ["show"]),
        ("run = %automl sh", "sh", ["show"]),
        ("%%automl t", "t", ["train", "tune"]),
        ("%automl tune a --me", "--me", ["--metric"]),
        ("%automl tune a --metric ", "", ["accuracy", "f1"]),
        ("%automl tune a --metric f1,n_p", "f1,n_p", ["f1,n_parameters"]),
        ("%automl tune a --metric f1,", "f1,", ["f1,accuracy", "f1,n_parameters"]),
        ("%automl tune a --sampler t", "t", ["tpe"]),
        ("%automl tune a --data (X, y) --tri", "--tri", ["--trials"]),
        ("%automl tune a --data (X, y", "(X, y", []),
        ("%automl help tu", "tu", ["tune"]),
        ("%automl nonsense --x", "--x", []),
        ("print('%automl ')", "", []),
    ],
)
def test_candidates_fit_the_place(line, piece, some):
    found_piece, words = candidates(line)
    assert found_piece == piece
    assert set(some) <= set(words)
    assert bool(words) == bool(some)


def test_a_flag_is_offered_once():
    assert "--metric" not in candidates("%automl tune a --metric f1 --")[1]


def test_every_flag_of_every_verb_is_offered():
    for verb in VERBS.values():
        places = " ".join("x" for place in verb.places)
        words = candidates(f"%automl {verb.name} {places} --")[1]
        assert {option.flag for option in verb.options} <= set(words)


def test_cell_magics_offer_only_verbs_that_take_a_cell():
    assert candidates("%%automl ")[1] == ["compress", "train", "tune"]


def completed(notebook, line):
    with provisionalcompleter():
        found = notebook.shell.Completer.completions(line, len(line))
        return [line[: item.start] + item.text for item in found]


def test_shell_completes_through_its_own_completer(notebook):
    assert completed(notebook, "%automl tune a --stop") == ["%automl tune a --stopper"]


def test_nothing_is_left_in_the_completer_after_unloading(notebook):
    notebook.shell.run_line_magic("unload_ext", "nbautoml")
    assert completed(notebook, "%automl tune a --stop") == []


@pytest.mark.slow
def test_kernel_completes_verbs_flags_and_names_of_runs(kernel, home):
    from nbautoml.spec import Objective, Space
    from nbautoml.spec.budget import Budget
    from nbautoml.spec.recipe import Recipe, Target

    recipe = Recipe(
        kind="tune",
        name="digits_of_the_test",
        run_id="",
        target=Target(role="module", symbol="Net", capsule_hash="0" * 64),
        data=None,
        space=Space(),
        fixed={},
        objectives=(Objective("accuracy", "maximize"),),
        budget=Budget(n_trials=1),
    )
    home.create_run(recipe, None)
    assert kernel.run("%load_ext nbautoml") == []
    assert kernel.complete("%automl sh") == ["show"]
    assert kernel.complete("%automl stop dig") == ["digits_of_the_test"]
    cell = "%%automl tune a --met\nclass Net:\n    pass\n"
    assert kernel.complete(cell, at=cell.index("\n")) == ["--metric"]
    assert kernel.complete("%%automl tune a --sampler q") == ["qmc"]
