"""What verify says of numbers, and what it refuses before anything is trained."""

from __future__ import annotations

import json
import math

import pytest

import nbautoml
from nbautoml.api.terminal import main
from nbautoml.api.verification import Check, TrialCheck, Verification, compare_trial
from nbautoml.api.verify import choose_rows
from nbautoml.errors import NbAutomlError, UsageError
from nbautoml.spec.recipe import Target

NONE = ({}, {})


@pytest.mark.parametrize(
    ("recorded", "again", "verdict"),
    [
        (0.5, 0.5, "equal"),
        (math.nan, math.nan, "equal"),
        (0.5, 0.5001, "within rounding"),
        (0.5, 0.51, "differs"),
        (0.0, 0.1, "differs"),
        (0.5, None, "differs"),
        (0.5, math.nan, "differs"),
        (-2.0, -2.001, "within rounding"),
    ],
)
def test_a_number_is_equal_near_or_different(recorded, again, verdict):
    assert Check(name="loss", recorded=recorded, again=again).verdict == verdict


def test_first_losses_are_compared_more_strictly():
    same = dict.fromkeys(range(1, 40), 1.0)
    off = {**same, 3: 1.001, 35: 7.0}  # only the first thirty count
    check = compare_trial(0, {"loss": 0.5}, {"loss": 0.5}, (same, off)).worst
    assert (check.name, check.again, check.verdict) == (
        "losses of the first 30 steps",
        1.001,
        "differs",
    )


def test_digits_that_grew_are_told_from_another_trial():
    losses = dict.fromkeys(range(1, 31), 1.0)
    grown = compare_trial(0, {"f1": 0.9}, {"f1": 0.8}, (losses, {**losses, 9: 1.0 + 1e-7}))
    other = compare_trial(0, {"f1": 0.9}, {"f1": 0.8}, (losses, {**losses, 9: 1.1}))
    assert (grown.has_grown, other.has_grown) == (True, False)


def test_a_trial_is_as_good_as_its_worst_number():
    found = compare_trial(0, {"loss": 0.5, "f1": 0.9}, {"loss": 0.5001, "f1": 0.9}, NONE)
    assert found.verdict == "within rounding"
    assert TrialCheck(number=1, error="no memory").verdict == "differs"


@pytest.fixture
def found():
    good = compare_trial(1, {"loss": 0.5}, {"loss": 0.5}, NONE)
    bad = compare_trial(4, {"loss": 0.5, "f1": 0.9}, {"loss": 0.4, "f1": math.nan}, NONE)
    return Verification(
        run="<b>digits</b>", trials=(good, bad), reasons=("torch was 2.11.0, is 2.13.0",), seconds=3
    )


def test_result_is_read_in_a_terminal_and_in_a_notebook(found):
    assert found.differing == (4,)
    text = repr(found)
    assert "1 of 2 trials equal, 1 of 2 trials differ" in text
    assert "torch was 2.11.0" in text
    html = found._repr_mimebundle_()["text/html"]
    assert "&lt;b&gt;digits" in html
    assert html.count("<tr>") == 4


def test_result_is_plain_json(found):
    text = json.dumps(found.to_json(), allow_nan=False)
    assert json.loads(text)["trials"][1]["checks"][0] == {
        "name": "loss",
        "recorded": 0.5,
        "again": 0.4,
        "difference": 0.2,
        "verdict": "differs",
    }


def test_best_comes_first_and_the_others_follow_the_seed(digits):
    assert [row.number for row in choose_rows(digits, 1)] == [2]
    three = [row.number for row in choose_rows(digits, 3)]
    assert 2 in three
    assert three == [row.number for row in choose_rows(digits, 3)]
    assert [row.number for row in choose_rows(digits, 99)] == [0, 1, 2, 3, 5]
    assert [row.number for row in choose_rows(digits, [5, 0, 5])] == [0, 5]


@pytest.mark.parametrize(
    ("trials", "message"),
    [([9], "has no trial 9"), ([4], "trial 4 of run 'digits' is failed (ValueError: no good)")],
)
def test_a_trial_that_has_no_result_is_refused(digits, trials, message):
    with pytest.raises(NbAutomlError) as caught:
        choose_rows(digits, trials)
    assert message in caught.value.message


def test_a_run_that_goes_on_is_refused(record):
    made = record()
    made.trial(0, 0.8, {"hidden": 32, "lr": 0.001, "optimizer": "adam"})
    with pytest.raises(NbAutomlError, match="is running; its trials are trained again once"):
        made.run.verify()


def test_a_run_without_a_finished_trial_is_refused(record):
    made = record()
    made.state("stopped")
    with pytest.raises(NbAutomlError, match="has no finished trial"):
        choose_rows(made.run, 3)


def test_an_objective_is_refused_with_what_to_do(record):
    made = record(target=Target(role="objective", symbol="objective", capsule_hash="0" * 64))
    with pytest.raises(NbAutomlError) as caught:
        made.run.verify()
    assert "FixedTrial" in caught.value.hint


def test_code_from_an_archive_is_not_executed_unasked(digits, tmp_path):
    path = nbautoml.export(digits, tmp_path / "a.zip")
    taken = nbautoml.import_run(path, home=tmp_path / "other")
    with pytest.raises(NbAutomlError, match="is to execute its code") as caught:
        taken.verify()
    assert "--run-code" in caught.value.hint


@pytest.mark.parametrize("trials", [0, [], [1, -1], "3", 1.5, True])
def test_numbers_that_are_none_are_refused(digits, trials):
    with pytest.raises(UsageError, match="trials is"):
        nbautoml.verify(digits, trials)


def test_terminal_reads_numbers_with_commas(digits, capsys):
    assert main(["verify", "digits", "--trials", "a,b"]) == 2
    assert "how many, or their numbers" in capsys.readouterr().err
    assert main(["verify", "digits", "--trials", "9,"]) == 1
    assert "capsule" in capsys.readouterr().err
