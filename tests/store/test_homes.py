"""Homes: where runs lie, what they are called, how they are found and removed."""

from __future__ import annotations

import dataclasses
import json
import os
import signal
import stat
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from nbautoml.errors import RunNameTakenError, RunNotFoundError, StoreError
from nbautoml.events import RunStateChanged
from nbautoml.spec.budget import Budget
from nbautoml.store import Home, Owner, RunFolder, files
from nbautoml.store.interrupts import interrupts_held
from nbautoml.testing.store_events import tiny_recipe, whole_trial


def finished(home: Home, name: str = "digits", **changes: object) -> RunFolder:
    folder = home.create_run(tiny_recipe(name, **changes), None)
    with folder.writer(Owner.this_process()) as writer:
        writer.create(folder.recipe())
        writer.apply([RunStateChanged(state="running"), *whole_trial(0), *whole_trial(7)])
        writer.apply([RunStateChanged(state="finished")])
    return folder


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def test_home_lies_beside_the_notebook(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert Home().path == tmp_path / ".nbautoml"


def test_home_follows_the_environment(tmp_path, monkeypatch):
    monkeypatch.setenv("NBAUTOML_HOME", str(tmp_path / "elsewhere"))
    assert Home().path == tmp_path / "elsewhere"


def test_home_is_made_by_the_first_run_only(home):
    assert home.runs() == []
    assert not home.path.exists()


def test_home_keeps_itself_out_of_git(home):
    home.create_run(tiny_recipe(), None)
    assert (home.path / ".gitignore").read_text() == "*\n"


def test_only_the_owner_can_enter(home):
    folder = home.create_run(tiny_recipe(), None)
    with folder.writer(Owner.this_process()) as writer:
        writer.create(folder.recipe())
        writer.apply(whole_trial(0))
        everything = [home.path, *home.path.rglob("*")]
        assert {mode(path) for path in everything if path.is_dir()} == {0o700}
        files = {path.name for path in folder.path.iterdir() if path.is_file()}
        assert {"record.db", "record.db-wal", "recipe.json", "owner.lock"} <= files
        loose = [p for p in everything if p.is_file() and mode(p) & 0o077]
        assert not loose


def test_capsule_is_saved_into_the_folder(home):
    class Capsule:
        def save(self, folder: Path) -> None:
            (folder / "capsule.py").write_text("x = 1\n")

    folder = home.create_run(tiny_recipe(), Capsule())
    assert (folder.capsule_dir / "capsule.py").exists()


class PressingCapsule:
    """Ctrl-C is pressed while it is saved."""

    def save(self, folder: Path) -> None:
        signal.raise_signal(signal.SIGINT)
        (folder / "capsule.py").write_text("x = 1\n")


@pytest.fixture
def hears_interrupts() -> Iterator[None]:
    """As in a kernel; a shell that starts the tests in the background ignores the signal for them."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.mark.usefixtures("hears_interrupts")
def test_interrupt_while_a_run_is_made_leaves_it_whole_and_the_home_open(home):
    with pytest.raises(KeyboardInterrupt):
        home.create_run(tiny_recipe("pressed"), PressingCapsule())
    folder = home.find("pressed")
    assert folder.is_ours
    assert (folder.capsule_dir / "capsule.py").exists()
    assert home.create_run(tiny_recipe("next"), None).is_ours


def press_and_fail() -> None:
    with interrupts_held():
        signal.raise_signal(signal.SIGINT)
        raise ValueError("of its own")


def press_in_the_inner_of_two(reached: list[str]) -> None:
    with interrupts_held("has begun"):
        with interrupts_held():
            signal.raise_signal(signal.SIGINT)
        reached.append("the end of the outer one")


@pytest.mark.usefixtures("hears_interrupts")
def test_interrupt_of_a_section_that_fails_does_not_hide_its_error():
    with pytest.raises(ValueError, match="of its own"):
        press_and_fail()


@pytest.mark.usefixtures("hears_interrupts")
def test_interrupt_waits_for_the_outermost_section():
    reached: list[str] = []
    with pytest.raises(KeyboardInterrupt, match="has begun"):
        press_in_the_inner_of_two(reached)
    assert reached
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


def test_run_whose_capsule_cannot_be_saved_is_no_run(home):
    class Broken:
        def save(self, folder: Path) -> None:
            raise ValueError("no")

    with pytest.raises(ValueError, match="no"):
        home.create_run(tiny_recipe(), Broken())
    assert home.runs() == []


def test_recipe_comes_back(home):
    folder = home.create_run(tiny_recipe("näme", seed=7), None)
    recipe = folder.recipe()
    assert (recipe.name, recipe.seed, recipe.run_id) == ("näme", 7, folder.id)
    assert recipe.created_at > 0


def test_given_run_id_is_used(home):
    folder = home.create_run(tiny_recipe(run_id="20261124-021500-3f2a9c"), None)
    assert folder.id == "20261124-021500-3f2a9c"


@pytest.mark.parametrize("run_id", ["../x", "x", "20261124-021500-3f2a9c/..", "CON"])
def test_run_id_that_could_be_a_path_is_refused(home, run_id):
    with pytest.raises(StoreError, match="run id"):
        home.create_run(tiny_recipe(run_id=run_id), None)


@pytest.mark.parametrize("name", ["", "  ", "x" * 101, "a\nb", "a\x00b", "\ud800", "a\u2028b"])
def test_names_that_cannot_be_shown_are_refused(home, name):
    with pytest.raises(StoreError, match="name") as caught:
        home.create_run(tiny_recipe(name), None)
    assert caught.value.hint


@pytest.mark.parametrize(
    "name",
    ["../../etc", "/abs", "CON", "%2e%2e", "#x", "\u202ertl", "数字", "a b", "'; DROP TABLE run"],
)
def test_names_are_labels_and_never_paths(home, name):
    folder = home.create_run(tiny_recipe(name), None)
    assert folder.path.parent == home.runs_dir
    assert home.find(name).path == folder.path
    assert home.runs()[0].name == name


def test_running_run_keeps_its_name(home):
    folder = home.create_run(tiny_recipe(), None)
    with folder.writer(Owner.this_process()) as writer:
        writer.create(folder.recipe())
        writer.apply([RunStateChanged(state="running")])
        finished(home, "digits_2")
        with pytest.raises(RunNameTakenError, match="digits_3"):
            home.create_run(tiny_recipe(), None)


def test_run_that_was_just_submitted_keeps_its_name(home):
    home.create_run(tiny_recipe(), None)
    with pytest.raises(RunNameTakenError):
        home.create_run(tiny_recipe(), None)


def test_run_that_nobody_picked_up_frees_its_name(home):
    home.create_run(tiny_recipe(created_at=time.time() - 3600), None)
    home.create_run(tiny_recipe(), None)
    assert len(home.runs()) == 2


def test_name_of_a_finished_run_can_be_used_again(home):
    finished(home, created_at=1000.0)
    newest = finished(home, created_at=3000.0)
    finished(home, created_at=2000.0)
    assert home.find("digits").id == newest.id


def test_free_name_counts_up(home):
    assert home.free_name("digits") == "digits"
    finished(home)
    finished(home, "digits_2")
    assert home.free_name("digits") == "digits_3"


def test_run_is_found_by_id_and_by_its_first_letters(home):
    folder = finished(home, run_id="20261124-021500-3f2a9c")
    finished(home, "other", run_id="20261125-021500-3f2a9c")
    assert home.find("20261124-021500-3f2a9c").path == folder.path
    assert home.find("20261124").path == folder.path


def test_letters_of_several_ids_are_no_answer(home):
    finished(home, run_id="20261124-021500-3f2a9c")
    finished(home, "other", run_id="20261125-021500-3f2a9c")
    with pytest.raises(RunNotFoundError, match="2 runs"):
        home.find("202611")


def test_mistyped_name_offers_the_nearest(home):
    finished(home)
    with pytest.raises(RunNotFoundError, match="did you mean 'digits'"):
        home.find("digit")


def test_unknown_name_in_an_empty_home_says_so(home):
    with pytest.raises(RunNotFoundError, match="no runs yet"):
        home.find("digits")


def test_list_tells_state_counts_and_best(home):
    finished(home, created_at=2000.0)
    home.create_run(tiny_recipe("new", created_at=3000.0), None)
    new, old = home.runs()
    assert (new.name, new.state, new.n_trials, new.best_value) == ("new", "queued", 0, None)
    assert (old.state, old.n_trials, old.n_finished, old.best_value) == ("finished", 2, 2, 0.007)


def test_best_of_a_run_that_minimises_is_the_lowest(home):
    objective = {"metric": "loss", "direction": "minimize"}
    folder = finished(home)
    stated = json.loads((folder.path / "recipe.json").read_text())
    (folder.path / "recipe.json").write_text(json.dumps({**stated, "objectives": [objective]}))
    assert home.runs()[0].best_value == 0.0


def test_damaged_record_does_not_hide_the_other_runs(home):
    bad, good = finished(home, "bad"), finished(home, "good")
    (bad.path / "record.db").write_bytes(b"x" * 5000)
    problems = {info.name: bool(info.problem) for info in home.runs()}
    assert problems == {"bad": True, "good": False}
    assert home.find("good").id == good.id


def test_damaged_recipe_does_not_hide_the_other_runs(home):
    bad = finished(home, "bad")
    finished(home, "good")
    (bad.path / "recipe.json").write_text("{")
    assert sorted(info.name for info in home.runs()) == ["", "good"]


def test_removed_run_can_be_brought_back(home):
    folder = finished(home)
    home.remove("digits")
    assert home.runs() == []
    with pytest.raises(RunNotFoundError):
        home.find("digits")
    assert home.restore("digits").path == folder.path
    assert home.runs()[0].n_trials == 2


def test_running_run_is_not_removed(home):
    folder = home.create_run(tiny_recipe(), None)
    with folder.writer(Owner.this_process()) as writer:
        writer.create(folder.recipe())
        writer.apply([RunStateChanged(state="running")])
        with pytest.raises(StoreError, match="stop it first"):
            home.remove("digits")
    assert home.remove("digits").exists()


def test_emptied_trash_is_gone(home):
    finished(home)
    home.remove("digits")
    assert home.empty_trash() == 1
    with pytest.raises(RunNotFoundError):
        home.restore("digits")


def test_linked_run_folder_is_refused(home, tmp_path):
    folder = finished(home)
    link = home.runs_dir / "20200101-000000-aaaaaa"
    link.symlink_to(folder.path)
    assert len(home.runs()) == 1
    with pytest.raises(StoreError, match="symbolic link"):
        RunFolder(link)


def test_linked_recipe_is_refused(home, tmp_path):
    folder = finished(home)
    secret = tmp_path / "secret.json"
    (folder.path / "recipe.json").rename(secret)
    (folder.path / "recipe.json").symlink_to(secret)
    with pytest.raises(StoreError, match="symbolic link"):
        folder.recipe()


def test_file_in_place_of_a_run_is_no_run(home):
    finished(home)
    (home.runs_dir / "20200101-000000-aaaaaa").write_text("")
    assert len(home.runs()) == 1


def test_home_in_a_file_says_so(tmp_path):
    (tmp_path / "home").write_text("")
    with pytest.raises(StoreError, match="cannot make the folder"):
        Home(tmp_path / "home").create_run(tiny_recipe(), None)


_CREATE = """
import sys
from nbautoml.errors import RunNameTakenError
from nbautoml.store import Home
from nbautoml.testing.store_events import tiny_recipe
sys.stdin.readline()
try:
    Home(sys.argv[1]).create_run(tiny_recipe(), None)
    print("made")
except RunNameTakenError:
    print("taken")
"""


def test_of_eight_processes_that_want_a_name_one_gets_it(home):
    processes = [
        subprocess.Popen(
            [sys.executable, "-c", _CREATE, str(home.path)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        for _ in range(8)
    ]
    answers = [process.communicate("go\n")[0].strip() for process in processes]
    assert sorted(answers) == ["made"] + ["taken"] * 7
    assert len(home.runs()) == 1


def test_importing_and_listing_loads_no_sqlalchemy(home):
    finished(home)
    code = (
        "import sys; from nbautoml.store import Home, Owner, Inbox, RunFolder;"
        f"runs = Home({str(home.path)!r}).runs(); assert runs[0].n_trials == 2, runs;"
        "print([m for m in ('sqlalchemy', 'alembic', 'torch', 'pandas') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


@pytest.mark.skipif(os.name == "nt", reason="needs POSIX modes")
def test_read_only_home_says_what_to_do(as_nobody):
    with as_nobody() as place:
        place.chmod(0o555)
        with pytest.raises(StoreError, match="read-only") as caught:
            Home(place / "home").create_run(tiny_recipe(), None)
        assert "NBAUTOML_HOME" in caught.value.hint


def test_a_run_with_another_budget_is_still_ours(home):
    folder = finished(home)
    recipe = folder.recipe()
    folder.replace_recipe(dataclasses.replace(recipe, budget=Budget(n_trials=50)))
    assert folder.is_ours
    assert folder.recipe().budget == Budget(n_trials=50)
    assert folder.recipe().name == recipe.name


@pytest.mark.parametrize("n_written", [1, 2])
def test_a_budget_whose_writing_is_cut_off_leaves_a_run_of_ours(home, monkeypatch, n_written):
    folder = finished(home)
    recipe = dataclasses.replace(folder.recipe(), budget=Budget(n_trials=50))
    real, n = files.write_whole, 0

    def dies(*args: object, **more: object) -> None:
        nonlocal n
        if n == n_written:
            raise KeyboardInterrupt
        n += 1
        real(*args, **more)

    monkeypatch.setattr("nbautoml.store.folder.write_whole", dies)
    monkeypatch.setattr("nbautoml.store.signature.write_whole", dies)
    with pytest.raises(KeyboardInterrupt):
        folder.replace_recipe(recipe)
    assert folder.is_ours
    assert folder.recipe().budget.n_trials == (
        50 if n_written == 2 else tiny_recipe().budget.n_trials
    )


def test_a_run_of_somebody_else_gets_no_other_budget(home):
    folder = finished(home)
    text = (folder.path / "recipe.json").read_text()
    (folder.path / "recipe.json").write_text(text.replace('"digits"', '"dig1ts"'))
    with pytest.raises(StoreError, match="not submitted by you"):
        folder.replace_recipe(folder.recipe())
    assert not folder.is_ours
