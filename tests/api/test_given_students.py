"""`nbautoml.compress(model, student=...)`: a student of another class, from what was asked to a fresh process."""

from __future__ import annotations

import json
import subprocess
import sys
from types import SimpleNamespace

import pytest
import torch
from learnt import learnt
from sklearn.datasets import load_digits
from torch import nn

import nbautoml
from nbautoml.api.compressed import layers_frame
from nbautoml.api.help import help_on
from nbautoml.api.verb_table import VERBS
from nbautoml.compress import Distillation, Pruning, Quantization
from nbautoml.compress.work import STUDENT, shop_for
from nbautoml.errors import CompressError, ModelError, NbAutomlError, RecipeError, StoreError
from nbautoml.store import load_artifact

GAIN = 2.0


class Teacher(nn.Module):
    def __init__(self, hidden: int = 64) -> None:
        super().__init__()
        self.first, self.second = nn.Linear(64, hidden), nn.Linear(hidden, hidden)
        self.last = nn.Linear(hidden, 10)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.last(torch.relu(self.second(torch.relu(self.first(x)))))


def scaled(x: torch.Tensor) -> torch.Tensor:
    """What only the student needs."""
    return GAIN * torch.relu(x)


class Student(nn.Module):
    def __init__(self, width: int = 6, n_out: int = 10) -> None:
        super().__init__()
        self.conv = nn.Conv2d(1, width, 3, padding=1)
        self.out = nn.Linear(16 * width, n_out)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = scaled(self.conv(x.reshape(-1, 1, 8, 8)))
        return self.out(nn.functional.max_pool2d(x, 2).flatten(1))


TAUGHT = Distillation(student="given", epochs=8, lr=0.02)


@pytest.fixture(scope="module")
def data():
    digits = load_digits()
    X = torch.tensor(digits.data, dtype=torch.float32) / 16
    return X[:600], torch.tensor(digits.target)[:600]


@pytest.fixture(scope="module")
def teacher(data) -> nn.Module:
    torch.manual_seed(0)
    return learnt(Teacher(), data)


@pytest.fixture
def asked(data, tmp_path):
    return {"data": data, "home": tmp_path / "home", "executor": "inline", "wait": True}


@pytest.fixture(scope="module")
def pruned(teacher, data, tmp_path_factory):
    """A finished run in which a student was taught and then pruned, to be looked at."""
    torch.manual_seed(1)
    return nbautoml.compress(
        teacher,
        method=[TAUGHT, Pruning(0.5, scope="layer", epochs=2)],
        student=Student(),
        max_drop=1.0,
        data=data,
        home=tmp_path_factory.mktemp("given") / "home",
        executor="inline",
        wait=True,
    )


def test_a_student_of_another_class_is_taught_pruned_and_comes_back(pruned, data):
    assert pruned.state == "finished", pruned.message
    model = pruned.model(1)
    assert (type(model).__name__, model.conv.out_channels) == ("Student", 3)
    with torch.no_grad():
        right = (model(data[0]).argmax(1) == data[1]).float().mean()
    assert right > 0.8
    assert pruned.trial(1).metrics["weights"] < 0.1 * pruned.trial(0).metrics["weights"]
    assert "student Student: 1,030 weights, its teacher Teacher 8,970" in pruned.notes


def test_the_record_says_that_another_class_has_taken_the_place(pruned):
    with pruned.folder.reader() as reader:
        texts = [row.text for row in reader.logs()]
        (file,) = (row for row in reader.artifacts(1) if row.kind == "layers")
    told = "the student Student takes the place of Teacher: 1,030 weights instead of 8,970"
    assert told in texts
    rows = json.loads(load_artifact(file))["layers"]
    assert [row["name"] for row in rows if row["after"] is None] == ["first", "second", "last"]
    assert [row["name"] for row in rows if row["before"] is None] == ["conv", "out"]


def test_its_layers_are_a_table_with_one_side_each(pruned):
    table = pruned.layers(1).set_index("name")
    assert table["weights_before"].dropna().sum() == pruned.trial(0).metrics["weights"]
    assert table["weights_after"].dropna().sum() == pruned.trial(1).metrics["weights"]
    assert table.loc["conv", "kind"] == "Conv2d"
    assert table.loc["conv", "out_after"] == 3
    assert table.loc["conv", ["out_before", "ms_before"]].isna().all()
    assert table.loc["first", "macs_before"] == 64 * 64
    assert pruned.layers().equals(pruned.layers(pruned.best.number))


def test_layers_are_those_of_a_compression_and_of_a_model_that_was_kept(pruned, asked):
    one = nbautoml.train(Student, epochs=1, **asked)
    with pytest.raises(NbAutomlError, match="only a compression has layers before and after"):
        one.layers(0)
    with pytest.raises(NbAutomlError, match=r"trial 7 .* was not kept") as told:
        layers_frame(pruned.folder, pruned.recipe, 7)
    assert told.value.hint == "kept are those of trials 0, 1"


def test_it_loads_and_runs_as_onnx_in_a_fresh_process(pruned, data, tmp_path):
    with torch.no_grad():
        here = pruned.model(1)(data[0][:4])
    torch.save(data[0][:4], tmp_path / "rows.pt")
    with pruned.folder.reader() as reader:
        (file,) = (row for row in reader.artifacts(1) if row.kind == "onnx")
    (tmp_path / "model.onnx").write_bytes(load_artifact(file))
    code = (
        "import torch, nbautoml, onnxruntime\n"
        f"run = nbautoml.load({pruned.name!r}, home={str(pruned.home.path)!r})\n"
        f"rows = torch.load({str(tmp_path / 'rows.pt')!r})\n"
        "print(run.model(1, run_code=True)(rows).tolist())\n"
        f"session = onnxruntime.InferenceSession({str(tmp_path / 'model.onnx')!r})\n"
        "print(session.run(None, {session.get_inputs()[0].name: rows.numpy()})[0].tolist())\n"
    )
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    for line in found.stdout.splitlines():
        assert torch.allclose(torch.tensor(json.loads(line)), here, atol=1e-4)


def test_a_search_tries_it_and_gives_it_a_sentence(teacher, asked):
    run = nbautoml.compress(
        teacher, student=Student(), method="distill,quantize", trials=7, epochs=8, lr=0.01, **asked
    )
    assert run.state == "finished", run.message
    tried = [
        trial
        for trial in map(run.trial, range(7))
        if trial.params.get("student") == "given" and trial.params["epochs"] == 8
    ]
    assert tried
    assert tried[0].metrics["weights"] == 1030
    assert any(verdict.name == "given_student" for verdict in run.verdicts)


def test_words_teach_it_and_quantise_it_afterwards(teacher, asked):
    run = nbautoml.compress(
        teacher, student=Student(), method="distill,quantize", max_drop=1.0, lr=0.02, **asked
    )
    assert run.state == "finished", run.message
    taught, quantised = run.recipe.settings["techniques"]
    assert (taught["student"], quantised["to"]) == ("given", "int8")
    assert run.trial(1).metrics["size_bytes"] < 0.2 * run.trial(0).metrics["size_bytes"]
    with torch.no_grad():
        right = (run.model(1)(asked["data"][0]).argmax(1) == asked["data"][1]).float().mean()
    assert right > 0.7


def test_a_run_may_be_the_student(teacher, asked):
    small = nbautoml.train(Student, epochs=2, params={"width": 3}, name="small", **asked)
    run = nbautoml.compress(teacher, student=small, method=[TAUGHT], max_drop=1.0, **asked)
    assert run.model(1).conv.out_channels == 3


def test_the_student_that_was_given_is_left_as_it_was_and_lazy_layers_are_made(teacher, asked):
    student = nn.Sequential(nn.Unflatten(1, (1, 64)), nn.Flatten(), nn.LazyLinear(10))
    run = nbautoml.compress(
        teacher, student=student, method=[Distillation(student="given", epochs=1)], **asked
    )
    assert run.state == "finished", run.message
    assert isinstance(student[2], nn.LazyLinear)
    assert run.model(1)[2].weight.shape == (10, 64)


def shop_of(run):
    place = SimpleNamespace(run_folder=run.folder.path, home_data=run.home.data_dir, device="cpu")
    from nbautoml.compress import work

    work._shop.cache_clear()
    return shop_for(place)


def test_a_worker_finds_it_in_the_runs_folder_and_refuses_one_that_was_changed(pruned):
    assert type(shop_of(pruned).student).__name__ == "Student"
    file = pruned.folder.given_dir / STUDENT
    body = file.read_bytes()
    file.write_bytes(body[:-1] + bytes([body[-1] ^ 1]))
    try:
        with pytest.raises(StoreError, match=f"{STUDENT} is not what the run was submitted with"):
            shop_of(pruned)
    finally:
        file.write_bytes(body)


def test_an_exported_run_takes_it_along(pruned, tmp_path):
    archive = nbautoml.export(pruned, tmp_path / "small.zip", home=pruned.home.path)
    again = nbautoml.import_run(archive, home=tmp_path / "other")
    assert (again.folder.given_dir / STUDENT).read_bytes() == (
        pruned.folder.given_dir / STUDENT
    ).read_bytes()


@pytest.mark.parametrize(
    ("said", "text", "hint"),
    [
        ({"student": Student}, "student is the class Student, and no module", "Small(16)"),
        ({"student": 3}, "student is 3, and no module", "Small(16)"),
        (
            {"student": Student(), "method": [Pruning(0.5)]},
            "none of the techniques takes it: Pruning",
            'Distillation(student="given")',
        ),
        (
            {"student": Student(), "method": "prune,quantize", "trials": 4},
            "the search does not distil: it is among prune, quantize",
            "add distill",
        ),
        ({"method": [TAUGHT]}, "no student is given", "student=my_module"),
        (
            {"student": Student(), "method": "prune,distill"},
            "what prune does would be lost",
            "put distill first",
        ),
        (
            {"student": Student(n_out=9), "method": "distill"},
            r"student does not fit: the student Student answers with shape \(4, 9\), and its teacher",
            "as many outputs",
        ),
        (
            {
                "student": Student(),
                "method": [Distillation(student="given", transfer="hints"), Quantization()],
            },
            "student does not fit: Student has no inner layers that its teacher has",
            'transfer="none"',
        ),
    ],
)
def test_what_cannot_be_is_refused_before_anything_runs(teacher, asked, said, text, hint):
    with pytest.raises(RecipeError, match=text) as told:
        nbautoml.compress(teacher, **said, **asked)
    assert hint in told.value.hint
    assert not list(nbautoml.runs(home=asked["home"]))


def test_a_student_that_fails_is_told_by_its_layer(teacher, asked):
    broken = nn.Sequential(nn.Linear(64, 8), nn.ReLU(), nn.Linear(9, 10))
    with pytest.raises(ModelError, match=r"student does not run: 2 \(Linear.* takes \(\.\.\., 9\)"):
        nbautoml.compress(teacher, student=broken, method="distill", **asked)
    assert not list(nbautoml.runs(home=asked["home"]))


def test_what_is_quantised_cannot_learn(teacher, asked):
    run = nbautoml.compress(teacher, method="quantize", name="one", **asked)
    with pytest.raises(RecipeError, match="student is quantised already"):
        nbautoml.compress(teacher, student=run.model(1), method="distill", name="two", **asked)


def test_two_classes_of_one_name_are_told(teacher, asked):
    class Other(nn.Linear):
        pass

    Other.__name__ = Other.__qualname__ = "Teacher"
    Other.__module__ = "__main__"
    with pytest.raises(CompressError, match="another class is called Teacher now") as told:
        nbautoml.compress(teacher, student=Other(64, 10), method="distill", **asked)
    assert "rename" in told.value.hint


def test_one_that_is_no_smaller_is_taken_and_told(teacher, asked):
    run = nbautoml.compress(
        teacher, student=Student(60), method=[TAUGHT], epochs=1, max_drop=1.0, **asked
    )
    assert any(note.endswith("it is no smaller") for note in run.notes)


def test_help_names_the_option():
    assert "--student EXPR" in str(help_on(VERBS["compress"]))
    assert "student" in (nbautoml.compress.__doc__ or "")


def test_another_process_is_not_given_its_code_unasked(pruned):
    again = nbautoml.load(pruned.name, home=pruned.home.path)
    with pytest.raises(NbAutomlError, match=r"Student, Teacher of run .* is not here"):
        again.model(1)
