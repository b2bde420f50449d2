"""Where a run's processes stand: in the notebook's folder, whose files take no module's place."""

from __future__ import annotations

import subprocess
import sys
import textwrap
from pathlib import Path

import pytest
from engine_runs import MLP, state_of, trials_of, until, wait_for_end

import nbautoml
from nbautoml.api.waiting import START_LIMIT_S
from nbautoml.engine import client
from nbautoml.engine.forking import python_flags
from nbautoml.spec import Budget
from nbautoml.spec.recipe import Execution

ONE_TRIAL = {"budget": Budget(n_trials=1), "execution": Execution(n_workers=1)}
# Names that students give to their files, of modules that a supervisor and its workers load.
SHADOWING = ("random", "optuna", "select", "sqlalchemy", "torch", "nbautoml", "queue", "types")
LOOKING = MLP.replace(
    "super().__init__()",
    textwrap.indent(
        textwrap.dedent("""\
        import beside
        print("beside", beside.VALUE, open("notes.txt").read())
        super().__init__()"""),
        " " * 8,
    ).lstrip(),
)


@pytest.fixture
def folder_of_notebook(tmp_path_factory, monkeypatch):
    """A folder that is not the home's, as with NBAUTOML_HOME or after ``%cd``."""
    folder = tmp_path_factory.mktemp("course")
    (folder / "beside.py").write_text("VALUE = 42\n")
    (folder / "notes.txt").write_text("found")
    monkeypatch.chdir(folder)
    return folder


def said(folder) -> set[str]:
    with folder.reader() as reader:
        return {line.text for line in reader.logs()}


def why(folder) -> list[str]:
    return [trial.error for trial in trials_of(folder)]


def test_a_file_with_the_name_of_a_module_stands_in_no_ones_way(runs, folder_of_notebook):
    for name in SHADOWING:
        (folder_of_notebook / f"{name}.py").write_text(f"raise RuntimeError('this is {name}.py')\n")
    folder = runs.submit(MLP, **ONE_TRIAL)
    assert wait_for_end(folder) == "finished", folder.log_path.read_text()


def test_the_folder_that_holds_the_package_itself_is_searched(tmp_path):
    assert python_flags(Path(nbautoml.__file__).parents[1]) == ()
    assert python_flags(tmp_path) == ("-P",)


@pytest.mark.parametrize("is_warm", [False, True])
def test_code_looks_for_files_and_modules_where_the_notebook_is(runs, folder_of_notebook, is_warm):
    if is_warm:
        client.preheat(runs.home)
    folder = runs.submit(LOOKING, **ONE_TRIAL)
    assert wait_for_end(folder) == "finished", why(folder)
    assert "beside 42 found" in said(folder)


def test_a_supervisor_that_cannot_begin_says_so_at_once(runs, monkeypatch):
    monkeypatch.setattr(client, "_START", "raise SystemExit('no memory is left')")
    folder = runs.submit(MLP, **ONE_TRIAL)
    assert wait_for_end(folder, wait_s=START_LIMIT_S / 2) == "failed"
    with folder.reader() as reader:
        message = reader.run().message
    assert message == (
        "its process ended with exit code 1 before it began; its last words: no memory is left"
    )
    monkeypatch.undo()
    client.resume(runs.home, folder)
    until(lambda: state_of(folder) == "finished", what="the run that was begun again")


SCRIPT = {
    "mine_layers.py": "from torch import nn\nclass Block(nn.Linear): ...\n",
    "mine_net.py": (
        "from torch import nn\n"
        "from nbautoml import Int\n"
        "class Net(nn.Module):\n"
        "    def __init__(self, hidden: Int(4, 8) = 4):\n"
        "        super().__init__()\n"
        "        from mine_layers import Block\n"
        "        self.all = nn.Sequential(Block(64, hidden), nn.ReLU(), Block(hidden, 10))\n"
        "    def forward(self, x):\n"
        "        return self.all(x)\n"
    ),
    "script.py": (
        "import warnings\n"
        "import nbautoml\n"
        "from mine_net import Net\n"
        "run = nbautoml.tune(Net, data='digits', trials=2, epochs=1, workers=1, name='scripted')\n"
        "run.wait()\n"
        "with warnings.catch_warnings(action='error'):\n"
        "    assert type(run.best_model) is Net\n"
        "print(run.state, *run.trials['state'])\n"
    ),
}


def test_a_script_elsewhere_whose_functions_import_what_lies_beside_it(tmp_path):
    sources = tmp_path / "sources"
    sources.mkdir()
    for name, text in SCRIPT.items():
        (sources / name).write_text(text)
    done = subprocess.run(
        [sys.executable, str(sources / "script.py")],
        cwd=tmp_path, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.stdout.strip() == "finished complete complete", done.stderr
