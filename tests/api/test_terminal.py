"""``python -m nbautoml``: the same words in a terminal, with exit codes."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import nbautoml
from nbautoml.api.terminal import main
from nbautoml.api.verb_table import VERBS


def test_runs_and_show_tell_what_there_is(digits, capsys):
    assert main(["runs"]) == 0
    assert "digits" in capsys.readouterr().out
    assert main(["show", "digits"]) == 0
    assert "best accuracy 0.95 (trial 2)" in capsys.readouterr().out


def test_a_run_that_is_not_there_is_refused(digits, capsys):
    assert main(["show", "digts"]) == 1
    assert "did you mean 'digits'?" in capsys.readouterr().err


def test_words_that_are_off_have_their_own_code(digits, capsys):
    assert main(["shwo", "digits"]) == 2
    said = capsys.readouterr().err
    assert "python -m nbautoml shwo digits\n" in said
    assert "did you mean show?" in said


def test_what_needs_a_notebook_says_so(capsys):
    assert main(["tune", "a"]) == 2
    assert "nbautoml.tune(...)" in capsys.readouterr().err


def test_help_lists_the_verbs_of_a_terminal(capsys):
    assert main([]) == 0
    said = capsys.readouterr().out
    assert all((f" {v.name} " in said) == v.in_terminal for v in VERBS.values())


def test_rm_moves_to_the_trash_and_says_where(digits, capsys):
    assert main(["rm", "digits"]) == 0
    assert "in the trash" in capsys.readouterr().out
    assert len(nbautoml.runs()) == 0


def test_report_and_export_say_where_the_file_lies(digits, tmp_path, capsys):
    assert main(["report", "digits", "--path", str(tmp_path / "r.html")]) == 0
    assert main(["export", "digits", "--path", str(tmp_path / "r.zip")]) == 0
    assert main(["import", str(tmp_path / "r.zip"), "--home", str(tmp_path / "h")]) == 0
    assert main(["runs", "--home", str(tmp_path / "h")]) == 0
    assert capsys.readouterr().out.count("digits") >= 2


def test_stop_of_a_finished_run_is_refused(digits, capsys):
    assert main(["stop", "digits"]) == 1
    assert "nothing to stop" in capsys.readouterr().err


def test_the_module_runs_as_a_program(digits, home):
    done = subprocess.run(
        [sys.executable, "-m", "nbautoml", "runs", "--home", str(home.path)],
        capture_output=True,
        text=True,
        check=True,
        cwd=Path(nbautoml.__file__).parents[1],
    )
    assert "digits" in done.stdout
