"""Odd spaces (F19), as a table: each is refused where it is written, or searched as it is."""

from __future__ import annotations

import pytest
from engine_runs import wait_for_end
from fault_runs import objective_words

from nbautoml.api.run import Run
from nbautoml.capsule import Capsule
from nbautoml.errors import NbAutomlError, SpaceError
from nbautoml.events import RunStateChanged
from nbautoml.spec import Choice, Float, Int, Objective, Space
from nbautoml.spec.recipe import Execution, Target
from nbautoml.store import Home, Owner
from nbautoml.study import Study
from nbautoml.testing.store_events import tiny_recipe, whole_trial

REFUSED = {
    "low above high": (lambda: Float(1, 0), "low is above high", "write Float(0, 1)"),
    "whole low above high": (lambda: Int(5, 2), "low is above high", "write Int(2, 5)"),
    "logarithm of 0": (lambda: Float(0, 1, log=True), "log needs low to be above 0", "leave out"),
    "logarithm of less": (lambda: Float(-1, 1, log=True), "above 0", "leave out log=True"),
    "an option twice": (lambda: Choice("a", "a"), "'a' is there twice", "must differ"),
    "equal options": (lambda: Choice(1, 1.0), "1.0 is there twice", "must differ"),
    "no options": (lambda: Choice(), "no options", "write Choice("),
    "NaN": (lambda: Float(float("nan"), 1), "low is nan", "finite"),
    "no end": (lambda: Float(0, float("inf")), "high is inf", "finite"),
    "too large to be exact": (lambda: Int(0, 10**30), "beyond 2**53", "use a Float"),
    "a step over the range": (lambda: Float(0, 1, step=2), "miss 1", "0 is the last"),
    "a step of nothing": (lambda: Int(1, 10, step=0), "step is 0", "at least 1"),
    "a name of nothing": (lambda: Space({"": Int(0, 1)}), "cannot be the name", "identifier"),
    "a name of two words": (lambda: Space({"a b": Int(0, 1)}), "cannot be the name", "identifier"),
    "no dimension": (lambda: Space({"x": 3}), "x is 3", "use Int(low, high)"),
    "text for a number": (lambda: Float("a", 3), "'a', which is no number", ""),
}


@pytest.mark.parametrize("case", REFUSED)
def test_f19_an_impossible_space_is_refused_where_it_is_written(case):
    make, words, hint = REFUSED[case]
    with pytest.raises(SpaceError) as caught:
        make()
    assert words in caught.value.message
    assert hint in caught.value.hint


SEARCHED = {
    "10^12 points": Space({f"p{i}": Int(0, 99) for i in range(6)}),
    "500 dimensions": Space({f"p{i}": Float(0, 1) for i in range(500)}),
    "one value": Space({"x": Int(5, 5), "y": Choice("a")}),
}


@pytest.mark.parametrize("sampler", ["random", "tpe", "auto"])
@pytest.mark.parametrize("case", SEARCHED)
def test_f19_a_large_or_tiny_space_is_searched(case, sampler):
    space = SEARCHED[case]
    study = Study(
        space,
        (Objective(metric="value", direction="minimize"),),
        sampler=sampler,
        stopper="none",
        seed=0,
        n_trials=12,
        max_epochs=1,
    )
    n_tried = 0
    while n_tried < 12 and not study.is_exhausted:
        n_tried += 1
        number, params = study.ask()
        space.check(params)
        study.tell(number, "complete", float(number))
    assert n_tried == 12 or study.sampler in {"grid", "brute"}  # they try each point once


@pytest.fixture
def interrupted(tmp_path, monkeypatch):
    """A run of ours that can go on, and the text of its recipe."""
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "ours"))
    home = Home(tmp_path / "home")
    capsule = Capsule(source="def objective(trial):\n    return 1.0\n", roots=("objective",))
    target = Target(role="objective", symbol="objective", capsule_hash=capsule.hash)
    space = Space({"lr": Float(0.001, 0.125)})
    folder = home.create_run(tiny_recipe("digits", target=target, space=space), capsule)
    with folder.writer(Owner.this_process()) as writer:
        writer.create(folder.recipe())
        writer.apply([*whole_trial(0), RunStateChanged(state="interrupted")])
    assert folder.is_ours
    return Run(home.find(folder.id), home), folder.path / "recipe.json"


@pytest.mark.parametrize("high", ["1000.0", "0.0005"])
def test_f19_a_space_that_was_edited_by_hand_is_gone_on_with_only_when_trusted(interrupted, high):
    run, path = interrupted
    text = path.read_text()
    assert "0.125" in text
    path.write_text(text.replace("0.125", high))
    assert not run.folder.is_ours
    if high == "1000.0":  # it can be read; but nobody here has asked for it
        with pytest.raises(NbAutomlError, match="not submitted by you"):
            run.resume()
        assert len(run.trials) == 1
    else:
        with pytest.raises(NbAutomlError, match="low is above high"):
            _ = Run(run.folder, run.home).recipe
        with pytest.raises(NbAutomlError):
            Run(run.folder, run.home).resume()
    path.write_text(text)
    assert run.folder.is_ours


@pytest.mark.nightly
def test_f19_an_empty_space_of_an_objective_is_one_that_asks(runs, acked, light):
    source = "def objective(trial):\n    return trial.suggest_float('x', 0, 1)\n"
    folder = runs.submit(source, **objective_words(2, execution=Execution(n_workers=1)))
    assert wait_for_end(folder) == "finished"
