"""``%load_ext nbautoml``: what it sets up, says, and takes away again."""

from __future__ import annotations

from capsule_shell import own_shell

from nbautoml import Choice, Float, Int


def test_words_of_a_space_are_there_without_an_import(notebook):
    assert (notebook.names["Int"], notebook.names["Float"]) == (Int, Float)


def test_a_users_own_choice_is_left_alone_and_said(home, capsys):
    with own_shell() as shell:
        shell.user_ns["Choice"] = "mine"
        shell.run_line_magic("load_ext", "nbautoml")
        assert shell.user_ns["Choice"] == "mine"
        assert "nbautoml.Choice(...)" in capsys.readouterr().out
        shell.run_line_magic("unload_ext", "nbautoml")


def test_unloading_takes_the_magic_and_the_words_away(notebook):
    notebook.shell.run_line_magic("unload_ext", "nbautoml")
    assert "automl" not in notebook.shell.magics_manager.magics["line"]
    assert "Int" not in notebook.names
    notebook.shell.run_line_magic("load_ext", "nbautoml")
    assert notebook.names["Choice"] is Choice


def test_loading_twice_registers_one_matcher(notebook):
    notebook.shell.run_line_magic("reload_ext", "nbautoml")
    assert len([m for m in notebook.shell.Completer.custom_matchers if "automl" in str(m)]) == 1
