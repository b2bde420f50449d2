"""What a `Run` says, drawn from its record alone."""

from __future__ import annotations

import html
import math

import pytest

import nbautoml
from nbautoml.api.run import Run
from nbautoml.api.trials import OF_STUDIES
from nbautoml.api.waiting import ProgressLine, WaitingStopped, wait_for
from nbautoml.errors import EngineError, NbAutomlError, RunNotFoundError, SpaceError
from nbautoml.store.peek import peek


def test_repr_says_where_the_run_stands_without_an_address(digits):
    assert repr(digits) == "Run('digits', finished, 6/10 trials, best accuracy 0.95)"


def test_best_is_the_best_whole_trial(digits):
    best = digits.best
    assert (best.number, best.value, best.state) == (2, 0.95, "complete")
    assert best.params == {"hidden": 128, "lr": 0.02, "optimizer": "adam"}


def test_best_is_a_stopped_trial_only_while_no_whole_one_is_there(record):
    made = record()
    made.trial(0, 0.4, {"hidden": 32, "lr": 0.001, "optimizer": "adam"}, state="stopped_early")
    assert made.run.best.number == 0


def test_best_says_what_failed_when_nothing_completed(record):
    made = record()
    made.trial(0, None, {"hidden": 32}, state="failed", error="ValueError: no good")
    made.state("failed", "no trial finished")
    with pytest.raises(
        NbAutomlError, match="1 of 1 failed, the last with: ValueError: no good"
    ) as caught:
        _ = made.run.best
    assert "digits.trial(0).traceback" in caught.value.hint


def test_best_says_to_wait_while_the_first_trial_runs(record):
    made = record()
    made.trial(0, 0.2, {"hidden": 32}, state="running")
    with pytest.raises(NbAutomlError, match="no trial of run 'digits' is complete yet") as caught:
        _ = made.run.best
    assert "digits.wait()" in caught.value.hint


def test_a_trial_of_nan_is_never_the_best(record):
    made = record()
    made.trial(0, math.nan, {"hidden": 32, "lr": 0.001, "optimizer": "adam"})
    made.trial(1, 0.1, {"hidden": 32, "lr": 0.001, "optimizer": "adam"})
    assert made.run.best.number == 1


def test_trials_has_a_row_a_trial_and_a_column_a_parameter_and_a_metric(digits):
    frame = digits.trials
    assert list(frame.columns[:4]) == ["number", "state", "value", "duration_s"]
    assert {"hidden", "lr", "optimizer", "momentum", "accuracy", "loss"} <= set(frame.columns)
    assert len(frame) == 6
    assert frame.set_index("number").loc[2, "accuracy"] == 0.95


def test_a_parameter_that_was_not_active_is_empty_in_the_table(digits):
    frame = digits.trials.set_index("number")
    assert frame["momentum"].isna().tolist() == [True, False, True, True, True, False]


def test_a_parameter_called_like_a_column_does_not_hide_it(record):
    made = record()
    made.trial(0, 0.5, {"value": 3, "loss": 4})
    frame = made.run.trials
    assert frame.loc[0, ["value", "param_value", "loss", "metric_loss"]].tolist() == [
        0.5,
        3,
        4,
        0.3,
    ]


def test_curves_are_long_and_a_trial_has_its_own(digits):
    assert list(digits.curves.columns) == ["trial", "name", "epoch", "step", "value"]
    own = digits.best.curves
    assert set(own["trial"]) == {2}
    accuracy = own[own["name"] == "accuracy"]
    assert accuracy["epoch"].tolist() == [1, 2, 3]
    assert accuracy["value"].iloc[-1] == pytest.approx(0.95)


def test_failed_trial_tells_its_error_and_the_users_frames(digits):
    trial = digits.trial(4)
    assert (trial.state, trial.error, trial.traceback) == (
        "failed",
        "ValueError: no good",
        "Cell In[3], line 7",
    )
    assert repr(trial).startswith("Trial(4, failed, hidden=16")


def test_a_trial_that_is_not_there_is_named(digits):
    with pytest.raises(NbAutomlError, match="has no trial 77") as caught:
        digits.trial(77)
    assert "0 to 5" in caught.value.hint


def test_study_is_optunas_own_with_every_trial(digits):
    import optuna

    study = digits.study
    assert isinstance(study, optuna.Study)
    assert len(study.trials) == 6
    assert study.best_value == 0.95


def test_to_optuna_writes_a_study_that_optuna_opens(digits, tmp_path):
    import optuna

    url = f"sqlite:///{tmp_path / 'study.db'}"
    assert digits.to_optuna(url) == "digits"
    assert len(optuna.load_study(study_name="digits", storage=url).trials) == 6


def test_load_finds_a_run_by_name_and_by_id(digits):
    assert nbautoml.load("digits") == digits == nbautoml.load(digits.id)


def test_load_names_the_nearest_run(digits):
    with pytest.raises(RunNotFoundError, match="digits"):
        nbautoml.load("digts")


def test_runs_are_a_table_and_a_sequence(digits, record):
    record("wine")
    listed = nbautoml.runs()
    assert {run.name for run in listed} == {"digits", "wine"}
    assert isinstance(listed[0], Run)
    assert "digits" in repr(listed)
    assert "<table>" in listed._repr_mimebundle_()["text/html"]


def test_a_hostile_name_is_escaped_in_the_table(record):
    record("<script>alert(1)</script>")
    assert "<script>" not in nbautoml.runs()._repr_mimebundle_()["text/html"]


def test_bundle_holds_live_html_and_text(digits):
    bundle = digits._repr_mimebundle_()
    assert set(bundle) == {"application/vnd.nbautoml.run.v1+json", "text/html", "text/plain"}


def test_stop_of_a_finished_run_says_that_there_is_nothing_to_stop(digits):
    with pytest.raises(EngineError, match="is finished, there is nothing to stop"):
        digits.stop()


def test_enqueue_outside_the_space_is_refused_at_once(record):
    with pytest.raises(SpaceError, match="hidden is 9999"):
        record().run.enqueue({"hidden": 9999})


def test_wait_returns_the_run_when_the_time_is_over(record):
    run = record().run
    assert run.wait(timeout=0.0) is run
    assert run.state == "running"


def test_wait_returns_once_the_run_is_over(digits):
    assert digits.wait() is digits


def test_panels_look_at_once_at_a_run_that_was_waited_for_or_commanded(record, monkeypatch):
    run, looked = record().run, []
    monkeypatch.setattr("nbautoml.api.showing.look_soon", lambda one: looked.append(one.id))
    monkeypatch.setattr("nbautoml.api.steering.command_run", lambda *_: None)
    run.stop()
    assert looked == [run.id]
    run.wait(timeout=0.01)
    assert looked == [run.id, run.id]


def test_the_end_of_a_run_is_seen_at_once_however_seldom_one_looks(record):
    made = record()

    def told(_: object) -> str:
        if made.run.state == "running":
            made.state("finished")
            made.writer.close()  # seals the record, a moment after this look at it
        return ""

    seen_first = peek(made.folder).state
    # Were the seal not looked for, this would wait for an hour.
    info = wait_for(made.folder, timeout=None, poll=3600.0, told=told, line=ProgressLine())
    assert (seen_first, info.state) == ("running", "finished")


def test_an_interrupt_ends_the_waiting_and_says_that_the_run_goes_on(record):
    made = record()

    def interrupt(_: object) -> str:
        raise KeyboardInterrupt

    with pytest.raises(WaitingStopped, match="run 'digits' goes on"):
        wait_for(made.folder, timeout=None, poll=0.1, told=interrupt, line=ProgressLine())
    assert made.run.state == "running"


def test_a_misspelt_attribute_names_the_nearest(digits):
    with pytest.raises(AttributeError, match="did you mean 'best_model'"):
        _ = digits.best_modle


def test_names_of_optunas_studies_lead_to_ours(digits):
    with pytest.raises(AttributeError, match=r"did you mean 'best\.params'"):
        _ = digits.best_params
    for name, ours in OF_STUDIES.items():
        assert not hasattr(type(digits), name)
        assert hasattr(type(digits), ours.partition(".")[0])


def test_model_without_kept_weights_says_which_trials_have_some(digits):
    with pytest.raises(NbAutomlError, match="no weights were kept for trial 2"):
        _ = digits.best_model


def test_remove_moves_to_the_trash_and_restore_brings_back(digits):
    nbautoml.remove("digits")
    assert len(nbautoml.runs()) == 0
    assert nbautoml.restore("digits").best.number == 2


def test_remove_for_good_leaves_nothing(digits, home):
    nbautoml.remove("digits", for_good=True)
    assert list(home.trash_dir.iterdir()) == []


def test_a_run_that_is_going_on_is_not_removed(record):
    record()
    with pytest.raises(NbAutomlError, match="going on"):
        nbautoml.remove("digits")


def test_report_is_one_file_that_lets_only_its_own_script_act(digits, tmp_path):
    path = digits.report(tmp_path / "digits.html")
    text = html.unescape(path.read_text(encoding="utf-8"))
    assert "digits" in text
    assert "ValueError: no good" in text
    assert text.count("<script") == 1
    assert "default-src 'none'" in text
    assert "script-src 'sha256-" in text
    assert "http://" not in text.replace("http://www.w3.org", "")


def test_report_to_a_place_that_cannot_be_written_says_so(digits, tmp_path):
    with pytest.raises(NbAutomlError, match="cannot be written"):
        digits.report(tmp_path / "nowhere" / "digits.html")


def test_exported_run_is_the_same_when_imported_elsewhere(digits, tmp_path):
    path = nbautoml.export("digits", tmp_path / "digits.zip")
    run = nbautoml.import_run(path, home=tmp_path / "other")
    assert run.best.params == digits.best.params


def test_public_calls_have_the_signature_of_the_table():
    import inspect

    parameters = inspect.signature(nbautoml.tune).parameters
    assert {"data", "space", "trials", "metric", "timeout_per_trial"} <= set(parameters)
    assert parameters["seed"].default == 0
    assert "trials: how many" in nbautoml.tune.__doc__


@pytest.mark.parametrize(
    ("endings", "number"),
    [
        ([("complete", 0.5), ("stopped_early", 0.9), ("complete", 0.7)], 2),
        ([("stopped_early", 0.4), ("stopped_early", 0.6), ("failed", None)], 1),
        ([("complete", 0.7), ("complete", 0.7)], 0),
    ],
)
def test_handle_list_and_panel_have_the_same_best(record, endings, number):
    from nbautoml.widgets.snapshot import build_snapshot

    made = record()
    for at, (state, value) in enumerate(endings):
        made.trial(at, value, {"hidden": 16}, state=state)
    value = endings[number][1]
    shown = build_snapshot(made.folder)["header"]["best"]
    assert (made.run.best.number, made.run.best.value) == (number, value)
    assert (shown["trial"], shown["value"]) == (number, value)
    assert made.run.info.best_value == value
    with made.folder.reader() as reader:
        assert reader.counts()["high"] == value
