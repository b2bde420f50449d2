"""Whole runs through the magic: a cell in, a trained model out; and a new kernel that finds it again."""

from __future__ import annotations

import time
from collections.abc import Iterator

import psutil
import pytest

import nbautoml
from nbautoml.engine import client
from nbautoml.errors import CapsuleError, EngineError, NbAutomlError, RunNameTakenError
from nbautoml.events import Interrupt, Stop

pytestmark = pytest.mark.slow

SETUP = """
import torch
from torch import nn
from sklearn.datasets import load_digits
torch.set_num_threads(1)
found = load_digits()
X = torch.tensor(found.data, dtype=torch.float32) / 16
y = torch.tensor(found.target)
"""
NET = """
class Net(nn.Module):
    def __init__(self, hidden: Int(8, 16) = 8):
        super().__init__()
        self.layers = nn.Sequential(nn.Linear(64, hidden), nn.ReLU(), nn.Linear(hidden, 10))

    def forward(self, x):
        return self.layers(x)

lr = Float(1e-3, 1e-1, log=True)
"""
TUNE = "%%automl tune small --data (X, y) --trials 2 --epochs 2\n" + NET
# What is asked of the run afterwards does not hang on who trained it, and this starts no process.
HERE = TUNE.replace("--epochs 2", "--epochs 2 --executor inline")
LONG = "%%automl tune long --data (X, y) --trials 2 --epochs 4000 --workers 1\n" + NET


@pytest.fixture
def cells(notebook) -> Iterator:
    """A notebook with data; no process of its runs may be left behind."""
    notebook.run(SETUP)
    yield notebook
    client.forget_warm()
    ours = [p for p in psutil.Process().children(recursive=True) if _is_ours(p)]
    _, alive = psutil.wait_procs(ours, timeout=60)
    for process in alive:
        process.kill()
    assert not alive, "processes were left behind"


def _is_ours(process: psutil.Process) -> bool:
    try:
        return any("nbautoml" in word for word in process.cmdline())
    except psutil.Error:
        return False


def test_a_cell_becomes_a_run_and_the_run_a_trained_model(cells):
    cells.run(TUNE)
    assert cells.error is None
    small = cells.names["small"].wait()
    assert small.state == "finished"
    assert list(small.trials["state"]) == ["complete", "complete"]
    model = small.best_model
    assert type(model) is cells.names["Net"]
    accuracy = (model(cells.names["X"]).argmax(1) == cells.names["y"]).float().mean().item()
    assert accuracy == pytest.approx(small.best.value, abs=0.1)


def test_a_cell_with_a_function_that_makes_a_module_becomes_one_too(cells):
    cells.run(
        "%%automl tune made --data (X, y) --trials 2 --epochs 2 --executor inline\n"
        "def make(hidden: Int(8, 16) = 8, act: Choice('relu', 'tanh') = 'relu'):\n"
        "    layer = {'relu': nn.ReLU, 'tanh': nn.Tanh}[act]()\n"
        "    return nn.Sequential(nn.Linear(64, hidden), layer, nn.Linear(hidden, 10))\n"
    )
    assert cells.error is None
    made = cells.names["made"].wait()
    assert list(made.trials["state"]) == ["complete", "complete"]
    model = made.best_model
    assert model[0].out_features == made.best.params["hidden"]
    accuracy = (model(cells.names["X"]).argmax(1) == cells.names["y"]).float().mean().item()
    assert accuracy == pytest.approx(made.best.value, abs=0.1)
    cells.run(f"%automl code made --trial {made.best.number}")
    said = cells.run(cells.shell.rl_next_input)
    assert cells.error is None
    assert f"{made.best.value:.4f}"[:5] in said


def test_a_setting_under_another_tools_name_is_told_not_passed_over(cells):
    text = HERE.replace(
        "lr = Float(1e-3, 1e-1, log=True)", "num_epochs = 9\nwd = 0.1\nprint(wd)\npath = 1"
    )
    said = cells.run(text.replace("--epochs 2", "--epochs 1"))
    assert cells.error is None
    assert "num_epochs does nothing here: the setting is called epochs" in said
    assert "wd does nothing" not in said  # the cell reads it
    assert "path does" not in said
    said = cells.run(HERE.replace("lr = Float", "learning_rate = Float"))
    assert "did you mean 'lr'?" in said


@pytest.mark.parametrize(
    ("flags", "is_told"), [("", True), ("--maximize", False), ("--metric accuracy", False)]
)
def test_an_objective_without_a_direction_is_told_which_it_has(cells, flags, is_told):
    said = cells.run(
        f"%%automl tune line --trials 2 --executor inline {flags}\n"
        "def objective(trial):\n    return trial.suggest_float('x', 0, 1)\n"
    )
    assert cells.error is None
    assert ("the value is minimized; say maximize" in said) == is_told


def test_a_function_that_makes_a_pipeline_is_cross_validated(cells):
    cells.run(
        "%%automl tune forest --data (X, y) --trials 3 --executor inline --seed 4\n"
        "from sklearn.ensemble import RandomForestClassifier\n"
        "from sklearn.pipeline import make_pipeline\n"
        "from sklearn.preprocessing import StandardScaler\n"
        "def model(n: Int(2, 5) = 3):\n"
        "    return make_pipeline(StandardScaler(), RandomForestClassifier(n_estimators=n))\n"
    )
    assert cells.error is None
    forest = cells.names["forest"].wait()
    assert list(forest.trials["state"]) == ["complete"] * 3
    values = list(forest.trials["value"])
    said = cells.run("%automl verify forest --trials 3")
    assert "3 of 3 trials equal" in said  # each step of the pipeline has the trial's seed
    assert len(set(values)) == 3
    with pytest.raises(NbAutomlError, match="leaves no module") as caught:
        _ = forest.best_model
    assert caught.value.hint == "model(**forest.best.params).fit(X, y) makes and fits one"


def test_members_of_an_enumeration_may_be_options(cells):
    cells.run(
        "from enum import Enum\nclass Act(Enum):\n    RELU = nn.ReLU\n    TANH = nn.Tanh\n",
    )
    cells.run(
        HERE.replace("small", "acts")
        .replace("hidden: Int(8, 16) = 8", "act: Choice(*Act) = Act.RELU")
        .replace("nn.Linear(64, hidden), nn.ReLU(), nn.Linear(hidden, 10)",
                 "nn.Linear(64, 8), act.value(), nn.Linear(8, 10)")
    )  # fmt: skip
    assert cells.error is None
    acts = cells.names["acts"].wait()
    assert set(acts.trials["act"]) <= {"Act.RELU", "Act.TANH"}
    chosen = cells.names["Act"][acts.best.params["act"].partition(".")[2]]
    assert type(acts.best_model.layers[1]) is chosen.value
    cells.run(f"%automl code acts --trial {acts.best.number}")
    said = cells.run(cells.shell.rl_next_input)
    assert cells.error is None
    assert f"{acts.best.value:.4f}"[:5] in said


def test_the_second_run_finds_a_warm_supervisor_too(cells, monkeypatch):
    monkeypatch.setenv("NBAUTOML_PREHEAT", "1")
    cells.run("%reload_ext nbautoml")
    first = _warm_one()
    cells.run(TUNE)
    cells.names["small"].wait()
    second = _warm_one()
    assert first != second
    cells.run(TUNE.replace("small", "again"))
    assert client._started.children[-1].pid == second
    assert cells.names["again"].wait().state == "finished"


def _warm_one() -> int:
    """The process that waits for the next run, once it is there."""
    deadline = time.monotonic() + 60
    while client._started.warm is None:
        assert time.monotonic() < deadline, "nothing was warmed up"
        time.sleep(0.05)
    return client._started.warm.pid


def test_the_written_cell_reaches_the_metric_again(cells):
    cells.run(HERE)
    small = cells.names["small"].wait()
    cells.run(f"%automl code small --trial {small.best.number}")
    written = cells.shell.rl_next_input
    assert "nbautoml" not in written.replace("run small", "")
    said = cells.run(written)
    assert cells.error is None
    assert f"{small.best.value:.4f}"[:5] in said


def test_wait_ends_with_the_run_and_train_gives_one_trial(cells):
    cells.run(
        "%%automl train one --data (X, y) --epochs 1 --wait --lr 0.01" + NET.replace("lr =", "mu =")
    )
    assert "nothing takes 'mu'" in str(cells.error)
    cells.run("%automl train one --model Net --data (X, y) --epochs 1 --hidden 9 --lr 0.01 --wait")
    one = cells.names["one"]
    assert (one.state, len(one.trials)) == ("finished", 1)
    assert one.recipe.fixed == {"epochs": 1, "hidden": 9, "lr": 0.01}
    assert one.best_model.layers[0].out_features == 9


def test_compress_takes_a_run_and_a_cell_may_say_how(cells):
    cells.run("from nbautoml import Float, Int\n" + NET.partition("lr =")[0])
    cells.run(
        "%automl train big --model Net --data (X, y) --epochs 8 --hidden 40 --lr 0.02 --executor inline"
    )
    cells.run(
        "%%automl compress little --model big --max-drop 0.5 --epochs 2 --wait\n"
        "from nbautoml.compress import Pruning\n"
        "method = [Pruning(0.5, epochs=2)]\n"
    )
    assert cells.error is None
    little = cells.names["little"]
    assert little.state == "finished", little.message
    small = little.best_model
    assert small.layers[0].out_features < 40
    assert type(small) is cells.names["Net"]
    said = cells.run("little.verdicts")
    assert "trial 1: " in said


SMALL = """
GAIN = 2.0
class Small(nn.Module):
    def __init__(self, width=6):
        super().__init__()
        self.conv = nn.Conv2d(1, width, 3, padding=1)
        self.out = nn.Linear(16 * width, 10)

    def forward(self, x):
        x = GAIN * torch.relu(self.conv(x.reshape(-1, 1, 8, 8)))
        return self.out(torch.max_pool2d(x, 2).flatten(1))
"""


def test_a_student_of_another_class_learns_in_processes_and_is_found_again(cells):
    cells.run("from nbautoml import Float, Int\n" + NET.partition("lr =")[0])
    cells.run(
        "%automl train big --model Net --data (X, y) --epochs 8 --hidden 40 --lr 0.02 --executor inline"
    )
    cells.run(
        "%%automl compress little --model big --student Small(5) --method distill --epochs 5"
        f" --max-drop 1 --trials 6\n{SMALL}"
    )
    assert cells.error is None
    little = cells.names["little"]
    assert [note for note in little.notes if note.startswith("student Small: 860 weights")]
    while not little.info.n_finished:
        little.wait(timeout=0.1)
    client.send(little.folder, Interrupt())
    assert little.wait().state == "interrupted"
    little.resume().wait()
    assert little.state == "finished", little.message
    taught = little.trial(1)
    assert taught.state == "complete"
    assert (taught.params["student"], taught.params["epochs"]) == ("given", 5)
    small = little.model(1)
    assert type(small) is cells.names["Small"]
    assert small.conv.out_channels == 5


def test_a_cell_may_give_the_student_of_a_model_that_is_all_torchs(cells):
    cells.run("model = nn.Sequential(nn.Linear(64, 200), nn.ReLU(), nn.Linear(200, 10))")
    cells.run(
        "%%automl compress little --model model --data (X, y) --executor inline --max-drop 1\n"
        "from nbautoml.compress import Distillation\n"
        'method = [Distillation(student="given", epochs=1)]\n'
        f"{SMALL}\nstudent = Small(4)\n"
    )
    assert cells.error is None
    assert cells.names["little"].state == "finished", cells.names["little"].message
    assert type(cells.names["little"].model(1)) is cells.names["Small"]
    assert "GAIN = 2.0" in cells.names["little"].code


def test_a_student_that_does_not_fit_is_told_at_its_word(cells):
    cells.run("from nbautoml import Float, Int\n" + NET.partition("lr =")[0])
    cells.run("model = Net()")
    said = cells.run(
        "%automl compress little --model model --data (X, y) --student nn.Linear(64,7) --wait"
    )
    assert "student does not fit: the student Linear answers with shape (4, 7)" in said
    pointed, marks = said.splitlines()[1:3]
    assert pointed[marks.index("^") : marks.rindex("^") + 1] == "nn.Linear(64,7)"


def test_train_goes_on_where_tune_ended(cells):
    cells.run(HERE)
    cells.names["small"].wait()
    cells.run(
        "%automl train last --model Net --data (X, y) --params {small.best.params} --executor inline"
    )
    assert cells.error is None
    assert (
        cells.names["last"].best_model.layers[0].out_features
        == (cells.names["small"].best.params["hidden"])
    )


def test_a_run_is_paused_resumed_and_stopped(cells):
    cells.run(LONG)
    long = cells.names["long"]
    while not len(long.curves):
        long.wait(timeout=0.1)
    assert "paused" in cells.run("%automl pause long")
    cells.run("%automl resume long")
    assert long.state == "running"
    cells.run(LONG)
    assert isinstance(cells.error, RunNameTakenError)
    assert "long_2" in cells.error.hint
    cells.run("%automl stop long")
    assert long.wait().state == "stopped"
    cells.run("%automl stop long")
    assert isinstance(cells.error, EngineError)


def test_a_finished_run_goes_on_with_more_trials(cells):
    cells.run(TUNE)
    small = cells.names["small"].wait()
    before = {row["number"]: row["value"] for _, row in small.trials.reset_index().iterrows()}
    small.folder.inbox.drop(Stop())  # a click that came when it had just ended
    cells.run("%automl resume small --more 3")
    assert cells.error is None
    small.wait()
    assert small.state == "finished"
    after = {row["number"]: row["value"] for _, row in small.trials.reset_index().iterrows()}
    assert sorted(after) == [0, 1, 2, 3, 4]
    assert before.items() <= after.items()
    assert "5/5" in repr(nbautoml.runs())
    assert "5/5" in repr(small)  # a variable of before
    cells.run("%automl resume small")
    assert isinstance(cells.error, EngineError)
    assert "--more" in cells.error.hint


def test_more_of_a_run_that_goes_on_is_refused(cells):
    cells.run(LONG)
    cells.run("%automl resume long --more 3")
    assert isinstance(cells.error, EngineError)
    assert "when it is over" in cells.error.hint
    cells.run("%automl stop long")
    cells.names["long"].wait()


def test_more_of_a_lone_fit_is_refused(cells):
    cells.run(HERE)
    cells.run(
        "%automl train once --model Net --data (X, y) --params {small.best.params} --executor inline"
    )
    cells.run("%automl resume once --more 3")
    assert isinstance(cells.error, EngineError)
    assert "more --epochs" in cells.error.hint


def test_refusals_of_the_supervisor_are_errors(cells):
    cells.run(LONG)
    long = cells.names["long"]
    while not len(long.curves):
        long.wait(timeout=0.1)
    with pytest.raises(EngineError, match="trial 77 is not running"):
        long.cancel(77)
    long.stop().wait()


def test_a_removed_run_is_unbound_and_comes_back(cells):
    cells.run(HERE)
    cells.names["small"].wait()
    assert "nbautoml.restore" in cells.run("%automl rm small")
    assert "small" not in cells.names
    nbautoml.restore(cells.shell.user_ns.get("_none", "small"))
    cells.run("%automl show small")
    assert len(cells.names["small"].trials) == 2


def test_a_class_that_changed_since_is_not_given_foreign_weights(cells):
    cells.run(HERE)
    small = cells.names["small"].wait()
    cells.run(NET.replace("nn.ReLU()", "nn.Tanh()"))
    with pytest.warns(UserWarning, match="Net has changed since the run"):
        model = small.best_model
    assert type(model) is not cells.names["Net"]
    assert "ReLU" in repr(model)


def test_another_kernel_runs_the_code_of_a_run_only_when_told(cells):
    cells.run(HERE)
    cells.names["small"].wait()
    cells.run("del Net")
    again = nbautoml.load("small")
    with pytest.raises(CapsuleError, match="submitted by another process") as caught:
        _ = again.best_model
    assert "run_code=True" in caught.value.hint
    assert "ReLU" in repr(again.model(run_code=True))


def test_an_objective_and_an_estimator_are_tuned_too(cells):
    cells.run(
        "%%automl tune curve --trials 3 --minimize --wait\n"
        "def objective(trial):\n    return trial.suggest_float('x', -1, 1) ** 2\n"
    )
    assert cells.names["curve"].best.value < 1
    assert cells.names["curve"].study.best_params.keys() == {"x"}
    cells.run(
        "%%automl tune tree --data (found.data, found.target) --trials 2 --wait\n"
        "from sklearn.tree import DecisionTreeClassifier\n"
        "model = DecisionTreeClassifier\nmax_depth = Int(2, 8)\n"
    )
    assert cells.error is None
    assert cells.names["tree"].best.value > 0.2


def test_inline_trains_here_and_shows_the_users_prints(cells):
    said = cells.run(
        "%%automl tune here --trials 2 --executor inline\n"
        "def objective(trial):\n    print('tried', trial.number)\n    return trial.suggest_int('n', 0, 9)\n"
    )
    assert "tried 1" in said
    assert cells.names["here"].state == "finished"


def test_an_interrupted_run_is_told_at_the_next_load(cells):
    cells.run(LONG)
    long = cells.names["long"]
    while not len(long.curves):
        long.wait(timeout=0.1)
    client.send(long.folder, Interrupt())
    assert long.wait().state == "interrupted"
    assert "%automl resume long" in cells.run("%reload_ext nbautoml")
    cells.run("%automl resume long")
    assert cells.names["long"].stop().wait().state == "stopped"
