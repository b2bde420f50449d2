"""The plain PyTorch cell: free of nbautoml, and it reaches the trial's metric again."""

from __future__ import annotations

import contextlib
import io
import re
import subprocess
import sys

import numpy as np
import pandas as pd
import pytest
import torch
from torch import nn

from nbautoml.data import open_data, read_meta, snapshot
from nbautoml.data.splits import split_rows
from nbautoml.errors import CapsuleError, RecipeError
from nbautoml.spec.fit import FitSettings
from nbautoml.spec.objective import objective_for
from nbautoml.train import Silent, fit
from nbautoml.tune import portable_loop
from nbautoml.tune.portable import portable_code

SOURCE = '''\
from __future__ import annotations
import torch
from torch import nn
from nbautoml import Choice, Float, Int


class Net(nn.Module):
    """A small one."""

    def __init__(self, hidden: Int(4, 64, log=True) = 16, dropout: Float(0, 0.5) = 0.1,
                 act: Choice(nn.ReLU, nn.Tanh) = nn.ReLU, n_in: int = 64, n_out: int = 10):
        super().__init__()
        self.body = nn.Sequential(nn.Linear(n_in, hidden), act(), nn.Dropout(dropout))
        self.head = nn.Linear(hidden, n_out)  # scores

    def forward(self, x):
        return self.head(self.body(x))


lr = Float(1e-4, 1e-1, log=True)
'''

IMAGES = """\
import torch
from torch import nn

class Net(nn.Module):
    def __init__(self, channels=4):
        super().__init__()
        self.conv = nn.Conv2d(1, channels, 3)
        self.norm = nn.BatchNorm2d(channels)
        self.drop = nn.Dropout(0.2)
        self.fc = nn.Linear(channels * 36, 10)

    def forward(self, x):
        x = self.norm(self.conv(x)).relu()
        return self.fc(self.drop(%s))
"""


class Trial:
    """A fit of some source on some data, and the same again from the cell."""

    def __init__(self, home_data, value, source=SOURCE, text="(X, y)", **how):
        self.task = how.pop("task", None)
        names = {"metric", "seed", "arguments", "expressions", "loss", "names"}
        given = {name: how.pop(name) for name in names & set(how)}
        target = how.pop("target", None)
        self.names = given.get("names", {})
        self.spec = snapshot(value, home_data=home_data, target=target, task=self.task, seed=3)
        self.meta = read_meta(self.spec.digest, home_data)
        self.settings = FitSettings(**{"epochs": 3, "batch_size": 32, "lr": 0.01, **how})
        self.objective = objective_for(given.get("metric"), self.spec.task)
        self.source, self.text, self.seed = source, text, given.get("seed", 7)
        self.arguments = given.get("arguments", {})
        self.expressions = given.get("expressions", {})
        self.loss = given.get("loss", "")
        self.data = open_data(self.spec, home_data)

    def fitted(self):
        namespace: dict = {}
        exec(self.source, namespace)
        more = {name: eval(text, namespace) for name, text in self.expressions.items()}
        return fit(
            lambda: namespace["Net"](**self.arguments, **more),
            self.data,
            self.settings,
            objective=self.objective,
            seed=self.seed,
            device="cpu",
            listener=Silent(),
            loss=namespace[self.loss] if self.loss else None,
        )

    def code(self, **more):
        return portable_code(
            source=self.source,
            symbol="Net",
            data=self.spec,
            settings=self.settings,
            objective=self.objective,
            seed=self.seed,
            arguments=self.arguments,
            expressions=self.expressions,
            data_text=self.text,
            meta=self.meta,
            loss=self.loss,
            title="digits, trial 3",
            **more,
        )

    def cell(self):
        """What the cell prints as its best value, and its namespace."""
        namespace = dict(self.names)
        said = io.StringIO()
        with contextlib.redirect_stdout(said):
            exec(compile(self.code(), "<cell>", "exec"), namespace)
        found = re.search(r"best \w+: (\S+)", said.getvalue())
        return float(found[1]), namespace

    def check(self):
        result = self.fitted()
        value, namespace = self.cell()
        assert value == pytest.approx(result.value, rel=1e-5, abs=1e-4)
        for name, weight in namespace["model"].state_dict().items():
            torch.testing.assert_close(weight, result.state_dict[name], rtol=0, atol=1e-5)


@pytest.fixture
def trial(home_data):
    def make(value, *args, **how):
        return Trial(home_data, value, *args, **how)

    return make


@pytest.fixture
def table():
    random = np.random.RandomState(1)
    X = random.normal(size=(150, 5)).astype("float32")
    return X, X @ np.arange(5.0), random


# -- the whole --------------------------------------------------------------------------------


def test_the_cell_runs_alone_where_nbautoml_cannot_be_imported(trial, tmp_path):
    made = trial(
        "digits",
        text="digits",
        arguments={"hidden": 32, "dropout": 0.3},
        expressions={"act": "nn.Tanh"},
    )
    path = tmp_path / "cell.py"
    path.write_text(
        "import sys; sys.modules['nbautoml'] = None\n" + _first_line_last(made.code(n_threads=1))
    )
    done = subprocess.run(
        [sys.executable, str(path)], capture_output=True, text=True, timeout=120, check=False
    )
    assert done.returncode == 0, done.stderr
    value = float(re.search(r"best accuracy: (\S+)", done.stdout)[1])
    assert value == pytest.approx(made.fitted().value, abs=1e-4)


def _first_line_last(code):
    # The line above the cell would stand before `from __future__`, which must be first.
    return code.replace("from __future__ import annotations\n", "")


def test_the_cell_holds_the_users_code_and_nothing_of_ours(trial):
    code = trial("digits", text="digits", arguments={"hidden": 32}).code()
    assert "nbautoml" not in code
    assert "Int(" not in code
    assert "Float(" not in code
    assert "hidden=16, dropout=0.1" in code
    assert "self.head = nn.Linear(hidden, n_out)  # scores" in code
    assert "model = Net(hidden=32)" in code
    assert code.startswith("# digits, trial 3\n\nfrom __future__ import annotations\n")


@pytest.mark.parametrize("name", ["wine", "breast_cancer", "diabetes"])
def test_sets_known_by_name(name, trial):
    sizes = {"wine": (13, 3), "breast_cancer": (30, 1), "diabetes": (10, 1)}[name]
    trial(name, text=name, arguments={"n_in": sizes[0], "n_out": sizes[1]}).check()


@pytest.mark.parametrize(
    "how",
    [
        {"optimizer": "sgd", "clip": 0.5},
        {"optimizer": "nesterov", "schedule": "cosine", "warmup": 0.2},
        {"optimizer": "adamw", "weight_decay": 0.01, "schedule": "onecycle"},
        {"optimizer": "rmsprop", "schedule": "linear", "label_smoothing": 0.1},
        {"optimizer": "adagrad", "schedule": "step"},
        {"optimizer": "momentum", "class_balance": 1.0},
        {"optimizer": "adam", "warmup": 0.3, "seed": 2**31 + 5},
        {"amp": True},
    ],
    ids=lambda how: how.get("optimizer", "amp"),
)
def test_settings_of_the_fit(how, trial):
    trial("digits", text="digits", **how).check()


@pytest.mark.parametrize("metric", ["loss", "accuracy", "precision", "recall", "f1", "auroc"])
def test_metrics_of_classes(metric, trial):
    trial("digits", text="digits", metric=metric, optimizer="adam").check()


@pytest.mark.parametrize("n_out", [1, 2])
@pytest.mark.parametrize("metric", ["loss", "accuracy", "f1", "auroc"])
def test_metrics_of_two_classes(metric, n_out, trial, table):
    X, score, _ = table
    y = np.where(score > 0, "yes", "no")
    made = trial(
        (X, y), arguments={"n_in": 5, "n_out": n_out}, metric=metric, names={"X": X, "y": y}
    )
    made.check()


@pytest.mark.parametrize("n_out", [1, 2])
@pytest.mark.parametrize("smoothing", [0.0, 0.2])
def test_rare_classes_that_weigh_more(n_out, smoothing, trial, table):
    X, score, _ = table
    y = np.where(score > 1, "yes", "no")
    made = trial(
        (X, y),
        arguments={"n_in": 5, "n_out": n_out},
        metric="loss",
        names={"X": X, "y": y},
        class_balance=0.5,
        label_smoothing=smoothing,
    )
    made.check()


@pytest.mark.parametrize("metric", ["loss", "mae", "rmse", "r2"])
def test_metrics_of_numbers(metric, trial, table):
    X, y, _ = table
    made = trial((X, y), arguments={"n_in": 5, "n_out": 1}, metric=metric, names={"X": X, "y": y})
    made.check()


@pytest.mark.parametrize("metric", ["accuracy", "recall", "auroc"])
def test_metrics_of_several_labels(metric, trial, table):
    X, score, _ = table
    y = (np.stack([score, X[:, 0], X[:, 1]], axis=1) > 0).astype(int)
    made = trial((X, y), arguments={"n_in": 5, "n_out": 3}, metric=metric, names={"X": X, "y": y})
    made.check()


# -- forms of data ------------------------------------------------------------------------------


def test_a_validation_set_that_was_given(trial, table):
    X, y, _ = table
    names = {"A": X[:100], "b": y[:100], "C": X[100:], "d": y[100:]}
    args = {"n_in": 5, "n_out": 1}
    value = (names["A"], names["b"], names["C"], names["d"])
    trial(value, text="(A, b, C, d)", arguments=args, names=names).check()
    pairs = ((names["A"], names["b"]), (names["C"], names["d"]))
    trial(pairs, text="((A, b), (C, d))", arguments=args, names=names).check()
    trial(value, text="everything", arguments=args, names={"everything": value}).check()


def test_a_frame_with_words_gaps_and_a_target_column(trial, table):
    X, y, _ = table
    frame = pd.DataFrame(X[:, :3], columns=["a", "b", "c"])
    frame["hue"] = np.array(["red", "green", "blue"])[np.arange(len(X)) % 3]
    frame.loc[::7, "b"] = np.nan
    frame.loc[::11, "hue"] = None
    frame["price"] = y
    frame.loc[::13, "price"] = np.nan
    made = trial(
        frame,
        text="frame",
        target="price",
        arguments={"n_in": 6, "n_out": 1},
        names={"frame": frame},
    )
    made.check()


def test_frames_as_features_beside_labels(trial, table):
    X, y, _ = table
    frame = pd.DataFrame(X, columns=list("abcde"))
    labels = pd.Series(np.where(y > 0, "up", "down"))
    made = trial(
        (frame, labels),
        text="frame, labels",
        arguments={"n_in": 5, "n_out": 1},
        names={"frame": frame, "labels": labels},
    )
    made.check()


def test_datasets_loaders_and_bunches(trial, table):
    from sklearn.datasets import load_wine

    X, y, _ = table
    dataset = torch.utils.data.TensorDataset(torch.tensor(X), torch.tensor(y).float())
    args = {"n_in": 5, "n_out": 1}
    trial(dataset, text="dataset", arguments=args, names={"dataset": dataset}).check()
    pair = torch.utils.data.random_split(dataset, [100, 50], torch.Generator().manual_seed(0))
    trial(tuple(pair), text="(a, b)", arguments=args, names={"a": pair[0], "b": pair[1]}).check()
    loader = torch.utils.data.DataLoader(dataset, batch_size=8, shuffle=True)
    trial(loader, text="loader", arguments=args, names={"loader": loader}).check()
    bunch = load_wine()
    made = trial(
        bunch, text="bunch", arguments={"n_in": 13, "n_out": 3}, names={"bunch": bunch}, lr=1e-4
    )
    made.check()


def test_pictures_of_bytes_one_hot_labels_and_channels_last(trial, digits):
    X, y = digits.train.all()
    pixels = (X * 255).byte().reshape(-1, 1, 8, 8).numpy()
    labels = np.eye(10)[y.numpy()]
    for flat in ("x.flatten(1)", "x.view(len(x), -1)"):
        made = trial(
            (pixels, labels), IMAGES % flat, names={"X": pixels, "y": labels}, batch_size=64
        )
        made.check()
    assert "channels_last" in made.code()


def test_a_folder_of_idx_files(trial, digits, tmp_path):
    X, y = digits.train.all()
    pixels = (X * 255).byte().reshape(-1, 8, 8).numpy()
    for kind, values in (("images", pixels), ("labels", y.byte().numpy())):
        head = bytes([0, 0, 8, values.ndim])
        sizes = np.array(values.shape, dtype=">u4").tobytes()
        path = tmp_path / f"train-{kind}-idx{values.ndim}-ubyte"
        path.write_bytes(head + sizes + values.tobytes())
    trial(str(tmp_path), IMAGES % "x.flatten(1)", text=str(tmp_path), batch_size=64).check()


def test_several_inputs_by_place_and_by_name(trial, table):
    X, y, _ = table
    source = """
from torch import nn
class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.a, self.b = nn.Linear(2, 1), nn.Linear(3, 1)
    def forward(self, left, right):
        return self.a(left) + self.b(right)
"""
    left, right = X[:, :2], X[:, 2:]
    names = {"left": left, "right": right, "y": y}
    trial(((left, right), y), source, text="(left, right), y", names=names).check()
    named = {"right": right, "left": left}
    trial((named, y), source, text="inputs, y", names={"inputs": named, "y": y}).check()


def test_a_last_batch_of_one_lazy_layers_and_numpys_numbers(trial, table):
    X, y, _ = table  # 120 rows to train on: 8 batches of 17 leave one, with 17 * 7 = 119
    source = """
import numpy as np
from torch import nn
class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.fc, self.norm, self.last = nn.LazyLinear(8), nn.BatchNorm1d(8), nn.LazyLinear(1)
        self.scale = float(np.random.rand()) + 0.5
    def forward(self, x):
        if self.training:
            x = x * (1 + 0.01 * float(np.random.rand()))
        return self.last(self.norm(self.fc(x))) * self.scale
"""
    trial((X, y), source, names={"X": X, "y": y}, batch_size=17).check()


def test_a_loss_of_the_users_own(trial, table):
    X, y, _ = table
    source = (
        SOURCE + "\n\ndef loss(output, target):\n    return (output - target).abs().mean() ** 1.5\n"
    )
    made = trial(
        (X, y), source, arguments={"n_in": 5, "n_out": 1}, loss="loss", names={"X": X, "y": y}
    )
    made.check()


# -- the source -------------------------------------------------------------------------------


def test_the_split_that_is_written_out_is_the_one_that_is_made(trial):
    namespace: dict = {}
    code = trial("digits", text="digits").code()
    exec(code[: code.index("def load_data")], namespace)
    random = np.random.RandomState(0)
    for n_rows in (10, 37, 200):
        labels = random.randint(0, 4, n_rows)
        for given in (None, labels):
            ours = split_rows(n_rows, 0.2, 3, labels=given)
            theirs = namespace["split_rows"](n_rows, given)
            assert all(np.array_equal(a, b) for a, b in zip(ours, theirs, strict=True))


@pytest.mark.parametrize(
    "text",
    ["X, y\nimport os", "X; y", "__import__('os').system('touch pwned');", "lambda: (", "\0"],
)
def test_data_that_is_no_expression_is_refused(text, trial, table):
    X, y, _ = table
    with pytest.raises(RecipeError, match="no expression"):
        trial((X, y), text=text).code()


@pytest.mark.parametrize(
    "arguments",
    [
        {"hidden": "64); import os; print('x"},
        {"hidden": "'''\nimport os\n'''"},
        {"hidden": ("a", {"b": [1, None]})},
        {"hidden": float("inf")},
        {"hidden": "\\' + chr(10)"},
    ],
)
def test_values_stay_values(arguments, trial):
    code = trial("digits", text="digits", arguments=arguments).code()
    namespace = {"Net": lambda **given: given}
    line = next(line for line in code.splitlines() if "model = Net(" in line)
    exec(line.strip(), namespace)
    assert namespace["model"] == arguments


def test_names_and_values_that_cannot_be_code_are_refused(trial):
    for arguments in ({"a b": 1}, {"class": 1}, {"x": object()}, {"x=1)#": 1}):
        with pytest.raises(RecipeError, match="cannot be written"):
            trial("digits", text="digits", arguments=arguments).code()


def test_a_title_stays_a_comment(trial):
    made = trial("digits", text="digits")
    made.code()
    code = portable_code(
        source=made.source,
        symbol="Net",
        data=made.spec,
        settings=made.settings,
        objective=made.objective,
        seed=0,
        data_text="digits",
        meta=made.meta,
        title="a\nimport os\u2028b\r\x0cc",
    )
    assert code.splitlines()[0] == "# a import os b c"


def test_names_of_the_loop_are_the_loops(trial):
    with pytest.raises(CapsuleError, match="loss_of"):
        trial("digits", SOURCE + "\ndef loss_of(): pass\n", text="digits").code()


def test_nbautoml_in_the_middle_of_the_code_cannot_be_cut_out(trial):
    source = SOURCE + "\nprint(Int(1, 2).low)\n"
    with pytest.raises(CapsuleError, match="cannot be taken out"):
        trial("digits", source, text="digits").code()


def test_a_module_named_as_a_variable_of_the_loop(trial):
    made = trial("digits", text="digits")
    with pytest.raises(CapsuleError, match="model"):
        portable_code(
            source="def model():\n    return None\n",
            symbol="model",
            data=made.spec,
            settings=made.settings,
            objective=made.objective,
            seed=0,
        )


def test_other_data_of_another_length_is_noticed(trial, table):
    X, y, _ = table
    made = trial((X, y), arguments={"n_in": 5, "n_out": 1}, names={"X": X[:90], "y": y[:90]})
    with pytest.raises(AssertionError, match="not the data of the run"):
        made.cell()


def test_a_cell_on_cuda_says_so_and_still_compiles(trial):
    code = trial("digits", text="digits").code(device="cuda:0")
    assert 'device = "cuda:0" if torch.cuda.is_available() else "cpu"' in code
    assert code.count('torch.autocast("cuda", dtype=torch.bfloat16, enabled=is_mixed)') == 2


BODY = """\
from torch import nn

class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.body = nn.Sequential(%s)

    def forward(self, x):
        return self.body(x)
"""
LAZY = BODY % "nn.LazyLinear(16), nn.ReLU(), nn.LazyLinear(10)"
CONVOLVING = (
    BODY % "nn.Unflatten(1, (4, 4, 4)), nn.Conv2d(4, 4, 3), nn.Flatten(), nn.Linear(16, 10)"
)


@pytest.mark.parametrize(
    ("source", "n_weights"),
    [(LAZY, 64 * 16 + 16 + 170), (CONVOLVING, 4 * 4 * 9 + 4 + 170)],
    ids=["lazy", "convolution"],
)
@pytest.mark.parametrize("has_bfloat16", [False, True])
@pytest.mark.parametrize("is_large", [False, True])
def test_a_cell_mixes_what_a_fit_on_cuda_would(
    source, n_weights, has_bfloat16, is_large, trial, monkeypatch
):
    """No GPU is needed: the cell falls back to the processor, and what it goes by is taken down."""
    monkeypatch.setattr(portable_loop, "MIXED_FROM", n_weights + (not is_large))
    monkeypatch.setattr(
        torch.cuda, "is_bf16_supported", lambda *, including_emulation: has_bfloat16
    )
    told = []

    def autocast(kind, *, dtype, enabled):
        told.append((kind, dtype, enabled))
        return contextlib.nullcontext()

    monkeypatch.setattr(torch, "autocast", autocast)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    made = trial("digits", source, text="digits", epochs=1)
    namespace = {}
    with contextlib.redirect_stdout(io.StringIO()):
        exec(compile(made.code(device="cuda:0"), "<cell>", "exec"), namespace)
    assert set(told) == {("cuda", torch.bfloat16, is_large and has_bfloat16)}
    layers = [one for one in namespace["model"].modules() if isinstance(one, nn.Conv2d)]
    for one in layers:  # the layout pays where precision is mixed
        is_last = one.weight.is_contiguous(memory_format=torch.channels_last)
        assert is_last == (is_large and has_bfloat16)


@pytest.mark.parametrize("amp", [False, True])
def test_a_cell_of_a_fit_that_was_told_its_precision_goes_by_no_size(amp, trial):
    code = trial("digits", text="digits", amp=amp).code(device="cuda:0")
    assert "is_mixed" not in code
    assert ("torch.autocast" in code) == amp


def test_modules_keep_their_shape(trial):
    _, namespace = trial("digits", text="digits").cell()
    assert isinstance(namespace["model"], nn.Module)
