"""From what was asked to a recipe: each step refuses with its own words, and no option is idle."""

from __future__ import annotations

import numpy as np
import pytest

import nbautoml
from nbautoml import Choice, Float, Int
from nbautoml.api import submit as steps
from nbautoml.api import trying
from nbautoml.api.ask import Ask, checked_options
from nbautoml.api.verb_table import VERBS, in_python
from nbautoml.errors import (
    DataError,
    ModelError,
    RecipeError,
    RunNameTakenError,
    SpaceError,
    UsageError,
)
from nbautoml.measure import fixed_threads
from nbautoml.spec import Space

torch = pytest.importorskip("torch")
nn = torch.nn

DATA = (np.random.default_rng(0).normal(size=(40, 4)).astype("float32"), np.arange(40) % 2)


class Net(nn.Module):
    def __init__(self, hidden: Int(4, 8) = 5, depth=1):
        super().__init__()
        self.first = nn.Linear(4, hidden)
        self.last = nn.Linear(hidden, 2)

    def forward(self, x):
        return self.last(torch.relu(self.first(x)))


class Crooked(Net):
    def forward(self, x):
        return self.last(x)


class Needy(nn.Module):
    def __init__(self, width):
        super().__init__()


def objective(trial):
    return trial.suggest_float("x", 0, 1)


def maker(hidden, width=8):
    return nn.Sequential(nn.Linear(4, hidden), nn.ReLU(), nn.Linear(hidden, 2))


def my_loss(output, target):
    return nn.functional.cross_entropy(output, target)


class Sent(Exception):
    """Instead of starting a supervisor."""


@pytest.fixture
def sent(home, monkeypatch):
    """Submits up to the engine's door; returns the recipe and the capsule that arrive there."""
    torch.set_num_threads(1)

    def ask(verb="tune", model=Net, **given):
        if model is not objective:
            given.setdefault("data", DATA)
        caught = []

        def at_the_door(_home, recipe, capsule):
            caught.append((recipe, capsule))
            raise Sent

        monkeypatch.setattr("nbautoml.engine.client.submit", at_the_door)
        with pytest.raises(Sent):
            getattr(nbautoml, verb)(model, **given)
        return caught[0]

    return ask


def refused(kind, model=Net, verb="tune", **given):
    given.setdefault("data", DATA)
    with pytest.raises(kind) as caught:
        getattr(nbautoml, verb)(model, **given)
    return caught.value


def test_recipe_holds_what_was_said(sent):
    recipe, capsule = sent(lr=Float(1e-3, 0.1), epochs=3, trials=7, seed=4, sampler="tpe")
    assert set(recipe.space) == {"hidden", "lr"}
    assert recipe.fixed == {"epochs": 3}
    assert (recipe.budget.n_trials, recipe.seed, recipe.sampler) == (7, 4, "tpe")
    assert (recipe.target.symbol, recipe.target.capsule_hash) == ("Net", capsule.hash)
    assert recipe.data.task == "binary"
    assert recipe.objectives[0].metric == "accuracy"


def test_name_is_made_up_and_free(sent):
    assert sent()[0].name == "net"


def test_without_a_budget_fifty_trials_are_tried(sent):
    assert sent()[0].budget.n_trials == 50


@pytest.mark.parametrize("given", [{"time": "5m"}, {"sampler": "grid"}, {"sampler": "brute"}])
def test_another_limit_takes_the_place_of_the_number_of_trials(sent, given):
    assert sent(**given)[0].budget.n_trials is None


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("name", "other"),
        ("data", (DATA[0] * 2, DATA[1])),
        ("target", "label"),
        ("task", "multiclass"),
        ("metric", "f1"),
        ("maximize", True),
        ("minimize", True),
        ("valid", 0.5),
        ("space", {"depth": Int(1, 3)}),
        ("trials", 3),
        ("time", "1h"),
        ("timeout_per_trial", 30),
        ("sampler", "random"),
        ("stopper", "none"),
        ("enqueue", [{"hidden": 4}]),
        ("workers", 3),
        ("seed", 9),
        ("executor", "process"),
        ("device", "cpu"),
        ("detach", True),
        ("deterministic", True),
    ],
)
def test_no_option_of_tune_is_idle(sent, name, value):
    given = {name: value}
    model = objective if name in {"maximize", "minimize"} else Net
    before = sent(model=model, **({"minimize": True} if name == "maximize" else {}))[0]
    if name == "minimize":
        before = sent(model=model, maximize=True)[0]
    if name == "target":
        import pandas as pd

        frame = pd.DataFrame(DATA[0][:, :3], columns=list("abc"))
        given["data"] = frame.assign(label=DATA[1], more=DATA[1][::-1])
        before = sent(data=given["data"], target="more")[0]
    after = sent(model=model, **given)[0]
    unequal = {"run_id", "created_at"}
    facts = [{k: v for k, v in r.to_json().items() if k not in unequal} for r in (before, after)]
    assert facts[0] != facts[1]


def test_every_option_of_tune_is_in_the_test_above():
    marks = test_no_option_of_tune_is_idle.pytestmark
    tried = {name for mark in marks for name, _ in mark.args[1]}
    # `wait` and `home` are no part of a recipe: see test_run_handle and test_magic_runs.
    assert {option.name for option in in_python(VERBS["tune"])} - tried == {"wait", "home"}


def test_a_plain_value_fixes_what_the_signature_lets_vary(sent):
    recipe, _ = sent(hidden=6, lr=Float(0.01, 0.1))
    assert (set(recipe.space), recipe.fixed) == ({"lr"}, {"hidden": 6})


def test_train_takes_defaults_and_has_one_trial(sent):
    recipe, _ = sent("train", epochs=2)
    assert (recipe.kind, recipe.budget.n_trials, len(recipe.space)) == ("train", 1, 0)


def test_train_takes_the_best_params_of_another_run(sent):
    assert sent("train", params={"hidden": 7, "lr": 0.1})[0].fixed == {"hidden": 7, "lr": 0.1}


def test_a_loss_of_the_users_own_travels_in_the_capsule(sent):
    recipe, capsule = sent(loss=my_loss)
    assert recipe.target.loss == "my_loss"
    assert "def my_loss" in capsule.source


def test_an_objective_needs_no_data(sent):
    recipe, _ = sent(model=objective)
    assert (recipe.data, recipe.objectives[0].direction) == (None, "minimize")


def test_an_objective_refuses_data_that_it_would_not_see(home):
    assert "brings its own data" in refused(DataError, objective).message


def test_a_function_with_data_makes_a_module(sent):
    recipe, capsule = sent(model=maker, hidden=Int(4, 8), lr=Float(1e-3, 1e-1))
    assert (recipe.target.role, recipe.target.symbol) == ("module", "maker")
    assert list(recipe.space) == ["hidden", "lr"]
    assert "def maker(hidden" in capsule.source


@pytest.mark.parametrize("verb", ["tune", "train"])
def test_data_without_its_name_is_answered_with_how_to_say_it(verb):
    with pytest.raises(UsageError) as caught:
        getattr(nbautoml, verb)(Net, *DATA)
    assert caught.value.hint == f"{verb}(Net, data=(X, y), ...)"


@pytest.mark.parametrize(
    ("given", "ours"),
    [
        ({"n_trials": 5}, "trials"),
        ({"timeout": 60}, "time"),
        ({"direction": "maximize"}, "maximize=True"),
    ],
)
def test_options_under_optunas_names_lead_to_ours(home, given, ours):
    error = refused(UsageError, objective, data=None, **given)
    assert error.message == f"tune has no option {next(iter(given))!r}"
    assert error.hint == f"it is called {ours} here"


def test_a_parameter_of_the_model_may_be_called_like_an_option_elsewhere(sent):
    recipe, _ = sent(model=of_jobs, n_jobs=Int(4, 8))
    assert list(recipe.space) == ["n_jobs"]


def pipeline(C, n_neighbors=3):
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler
    from sklearn.svm import SVC

    torch.rand(1), np.random.rand()  # noqa: NPY002
    return make_pipeline(StandardScaler(), SVC(C=C))


def test_a_function_may_make_a_pipeline_and_is_tried_without_a_trace(sent):
    before = torch.get_rng_state(), np.random.get_state()[1].copy()  # noqa: NPY002
    recipe, _ = sent(model=pipeline, C=Float(1e-2, 1e2, log=True))
    assert (recipe.target.role, list(recipe.space)) == ("estimator", ["C"])
    assert torch.equal(torch.get_rng_state(), before[0])
    assert (np.random.get_state()[1] == before[1]).all()  # noqa: NPY002


def test_an_optimizer_of_torch_is_answered_with_its_word(home):
    error = refused(SpaceError, optimizer=torch.optim.AdamW, space={"hidden": Int(4, 8)})
    assert "did you mean 'adamw'?" in error.hint


def of_jobs(n_jobs):
    return nn.Linear(4, 2) if n_jobs else None


def test_a_function_that_makes_a_module_needs_data(home):
    error = refused(DataError, maker, data=None, hidden=Int(4, 8))
    assert "maker makes a module, and there is no data" in error.message
    assert "needs --data" in refused(RecipeError, two_needed, data=None).hint


def two_needed(hidden, width):
    return nn.Linear(hidden, width)


def makes_a_class(hidden):
    return nn.Linear


def test_a_function_that_makes_something_else_is_refused(home):
    assert "gave a type, not a" in refused(ModelError, makes_a_class, hidden=Int(1, 2)).message


@pytest.mark.parametrize(
    ("model", "hint"),
    [
        (nn.Sequential(nn.Linear(64, 10)), "return nn.Sequential(...)"),
        (Net(), "class: Net, without"),
    ],
)
def test_a_module_that_is_made_already_is_refused(home, model, hint):
    assert hint in refused(RecipeError, model).hint


def test_an_objective_cannot_be_deterministic(home):
    error = refused(RecipeError, objective, data=None, deterministic=True)
    assert "numbers of its own" in error.message
    assert "trial.number" in error.hint


def test_an_objective_refuses_dimensions_that_it_would_not_see(home):
    assert "nothing takes 'lr'" in refused(SpaceError, objective, data=None, lr=Float(0, 1)).message


@pytest.mark.parametrize(
    ("kind", "given", "message", "hint"),
    [
        (SpaceError, {"hiden": Int(1, 2)}, "nothing takes 'hiden'", "did you mean 'hidden'"),
        (RecipeError, {"metric": "rmse"}, "rmse does not suit", "accuracy"),
        (RecipeError, {"metric": "acuracy"}, "no metric", "did you mean 'accuracy'"),
        (RecipeError, {"metric": ["n_parameters"]}, "cannot come first", "accuracy,n_parameters"),
        (RecipeError, {"metric": ["f1", "f1"]}, "named twice", ""),
        (UsageError, {"metric": []}, "metric is []", "several with commas"),
        (UsageError, {"metric": ["f1", 3]}, "metric is ['f1', 3]", "also a list"),
        (RecipeError, {"minimize": True}, "was to be minimized", "leave out"),
        (SpaceError, {"lr": Float(-1, 1)}, "lr varies over", "above 0"),
        (RecipeError, {"epochs": 0}, "epochs is 0", "at least 1"),
        (UsageError, {"trials": 0}, "trials is 0", "at least 1"),
        (UsageError, {"maximize": True, "minimize": True}, "both True", ""),
        (RecipeError, {"device": "cuda:7"}, "device 'cuda:7'", "cpu"),
        (RecipeError, {"device": "gpu"}, "device 'gpu'", "cpu"),
        (DataError, {"data": None}, "no data", "--data digits"),
        (DataError, {"data": "digts"}, "digts", "digits"),
        (SpaceError, {"enqueue": [{"hidden": 99}]}, "hidden is 99", ""),
        (SpaceError, {"enqueue": [3]}, "enqueue holds 3", "lr"),
        (SpaceError, {"space": 3}, "space is 3, which is no dict", "lr"),
        (SpaceError, {"hidden": 5}, "nothing varies", "or use train"),
        (RecipeError, {"deterministic": True, "time": "1m"}, "a clock would decide", "--trials"),
        (
            RecipeError,
            {"deterministic": True, "timeout_per_trial": 5},
            "--deterministic and --timeout-per-trial contradict",
            "leave out --timeout-per-trial",
        ),
    ],
)
def test_what_makes_no_sense_is_refused_before_anything_starts(home, kind, given, message, hint):
    error = refused(kind, **given)
    assert message in error.message
    assert hint in error.hint
    assert home.runs() == []


def test_train_refuses_what_varies(home):
    error = refused(SpaceError, verb="train", lr=Float(0.01, 0.1))
    assert "a single fit needs one value" in error.message


def test_a_parameter_without_a_value_is_named(home):
    assert "Needy needs width" in refused(SpaceError, Needy).message


def test_an_instance_is_refused_with_its_class_named(home):
    assert "give the class: Net" in refused(RecipeError, Net()).hint


def test_a_model_whose_shapes_do_not_fit_is_known_before_the_first_trial(home):
    error = refused(ModelError, Crooked)
    assert "last" in error.message
    assert "test_submit_steps.py" in error.frames
    assert home.runs() == []


def test_the_dry_run_leaves_the_users_random_numbers_alone(sent):
    torch.manual_seed(3)
    expected = torch.rand(2)
    torch.manual_seed(3)
    sent()
    assert torch.equal(torch.rand(2), expected)


def test_a_choice_of_classes_is_tried_and_travels(home, sent):
    options = Choice(nn.ReLU, nn.Tanh)

    recipe, _ = sent(model=Active, space={"activation": options})
    assert recipe.space["activation"].options == ("ReLU", "Tanh")


class Active(nn.Module):
    def __init__(self, activation: Choice(nn.ReLU, nn.Tanh) = nn.ReLU):
        super().__init__()
        self.layers = nn.Sequential(nn.Linear(4, 3), activation(), nn.Linear(3, 2))

    def forward(self, x):
        return self.layers(x)


def test_a_name_of_a_running_run_is_refused_with_the_next_free_one(record):
    record("busy")
    error = refused(RunNameTakenError, name="busy")
    assert "busy_2" in error.hint


def test_a_name_of_a_finished_run_is_free(digits, sent):
    assert sent(name="digits")[0].name == "digits"


def test_a_read_only_home_is_an_error_that_names_it(home, tmp_path):
    (tmp_path / "file").write_text("in the way")
    error = refused(nbautoml.NbAutomlError, home=tmp_path / "file")
    assert str(tmp_path / "file") in error.message


def test_large_batches_are_tried_small_on_the_cpu():
    from nbautoml.spec import FitSettings
    from nbautoml.spec.data import DataSpec, InputSpec

    data = DataSpec(
        digest="0" * 64, task="binary", n_rows=10, n_valid_given=0, n_train=8, n_valid=2,
        inputs=(InputSpec(name="x", shape=(3, 224, 224), dtype="float32"),), layout="single",
        target_shape=(), target_dtype="int64",
    )  # fmt: skip
    assert trying.small_settings(FitSettings(batch_size=512), data).batch_size == trying.TRY_ROWS


def test_names_of_the_data_are_told_to_the_capsule():
    options, _ = checked_options("tune", {"data": DATA})
    ask = Ask(verb="tune", model=Net, options=options, data_text="(X[:10], y)")
    assert {"X", "y", "inputs"} <= steps.data_names(ask, {"inputs": DATA[0], "other": 3})


def test_one_thread_tries_the_batch_and_the_kernel_keeps_its_own(home):
    seen = []

    class Noted(Net):
        def forward(self, x):
            seen.append(torch.get_num_threads())
            return super().forward(x)

    options, _ = checked_options("tune", {"data": DATA})
    ask = Ask(verb="tune", model=Noted, options=options)
    data = steps.read_data(ask, "module")
    with fixed_threads(2):
        trying.try_batch(ask, "module", Space({"hidden": Int(4, 8)}), {}, data, None)
        assert (set(seen), torch.get_num_threads()) == ({1}, 2)
