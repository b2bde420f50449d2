"""`nbautoml.compress` and the run that it gives, on real digits."""

from __future__ import annotations

import html
import re
import subprocess
import sys
from pathlib import Path

import powercap
import pytest
import torch
from learnt import learnt
from sklearn.datasets import load_digits
from torch import nn

import nbautoml
from nbautoml.compress import Distillation, LowRank, Pruning, Quantization, Sharing
from nbautoml.compress.space import techniques_of
from nbautoml.compress.students import own_student
from nbautoml.errors import (
    DataError,
    EnergyError,
    ModelError,
    NbAutomlError,
    RecipeError,
    StoreError,
    UsageError,
)


class Block(nn.Module):
    """A part of the model that is a class of its own."""

    def __init__(self, n_in: int, n_out: int) -> None:
        super().__init__()
        self.linear = nn.Linear(n_in, n_out)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return torch.relu(self.linear(x))


class Net(nn.Module):
    def __init__(self, hidden: int = 48) -> None:
        super().__init__()
        self.first, self.second = Block(64, hidden), Block(hidden, hidden)
        self.last = nn.Linear(hidden, 10)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.last(self.second(self.first(x)))


class Branching(nn.Module):
    """Control flow that cannot be exported."""

    def __init__(self) -> None:
        super().__init__()
        self.net = Net(24)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        scores = self.net(x)
        return scores * 2 if float(scores.detach().sum()) > 0 else scores


class Looking(nn.Module):
    """Attention over the rows of an image."""

    def __init__(self) -> None:
        super().__init__()
        self.enter = nn.Linear(8, 16)
        self.attention = nn.MultiheadAttention(16, 4, batch_first=True)
        self.out = nn.Linear(16, 10)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.enter(x.view(-1, 8, 8))
        return self.out((x + self.attention(x, x, x)[0]).mean(1))


@pytest.fixture(scope="module")
def data():
    digits = load_digits()
    X = torch.tensor(digits.data, dtype=torch.float32) / 16
    return X[:600], torch.tensor(digits.target)[:600]


@pytest.fixture(scope="module")
def trained(data) -> nn.Module:
    torch.manual_seed(0)
    return learnt(Net(), data)


@pytest.fixture
def asked(data, tmp_path):
    return {"data": data, "home": tmp_path / "home", "executor": "inline", "wait": True}


@pytest.fixture(scope="module")
def weights_before(trained) -> list[torch.Tensor]:
    return [weight.detach().clone() for weight in trained.parameters()]


@pytest.fixture(scope="module")
def pruned(weights_before, trained, data, tmp_path_factory):
    """A finished compression of the trained model, to be looked at; each takes seconds."""
    return nbautoml.compress(
        trained,
        method="prune",
        epochs=1,
        max_drop=0.5,
        max_latency="2ms",
        data=data,
        home=tmp_path_factory.mktemp("pruned") / "home",
        executor="inline",
        wait=True,
    )


def test_named_techniques_make_one_smaller_model(trained, data, asked):
    run = nbautoml.compress(
        trained,
        method=[LowRank(0.9, epochs=0), Pruning(0.4, epochs=4, lr=0.01)],
        max_drop=0.2,
        **asked,
    )
    assert run.state == "finished"
    assert len(run.trials) == 2
    origin, small = run.trial(0), run.trial(1)
    assert small.metrics["weights"] < 0.6 * origin.metrics["weights"]
    assert small.metrics["macs"] < 0.6 * origin.metrics["macs"]
    assert small.values[2] < 0.8 * origin.values[2]
    model = run.model(1)
    with torch.no_grad():
        right = (model(data[0]).argmax(1) == data[1]).float().mean()
    assert right > 0.8
    assert sum(weight.numel() for weight in model.parameters()) == small.metrics["weights"]


def test_what_only_stores_smaller_is_the_pick_and_its_coded_size_a_figure(trained, asked):
    steps = [Pruning(0.8, granularity="weights", epochs=0), Sharing(16, epochs=0)]
    run = nbautoml.compress(trained, steps, max_drop=1.0, **asked)
    assert run.best.number == 1, run.message
    origin, small = (run.trial(number).metrics for number in (0, 1))
    assert origin["stored_bytes"] > 4 * origin["weights"]
    assert small["stored_bytes"] < origin["stored_bytes"] / 10
    assert "smaller once entropy coded" in run.message
    coded = run.measure(run.best_model, batch_sizes=(1,))["stored_bytes"]
    assert coded.value == small["stored_bytes"]
    assert 0 < small["latency_spread_ms"] < small["latency_p95_ms"]


def test_techniques_may_stand_second(trained, asked):
    steps = [Pruning(0.5, epochs=0)]
    run = nbautoml.compress(trained, steps, max_drop=1.0, **asked)
    assert run.recipe.settings["techniques"] == [steps[0].to_json()]
    with pytest.raises(TypeError, match="method"):
        nbautoml.compress(trained, steps, method="prune", **asked)


def test_words_train_for_as_many_passes_as_were_said(pruned):
    (step,) = pruned.recipe.settings["techniques"]
    assert (step["technique"], step["epochs"]) == ("Pruning", 1)
    assert len(pruned.trial(1).curves.query("name == 'accuracy'")) == 1


def test_techniques_that_were_named_get_one_sentence(pruned):
    (verdict,) = pruned.verdicts
    assert verdict.text.startswith("prune: ")
    assert "(trial 1)" in verdict.text


def test_the_model_is_left_as_it_was(weights_before, pruned, trained):
    assert pruned.state == "finished"
    after = trained.parameters()
    assert all(torch.equal(a, b) for a, b in zip(weights_before, after, strict=True))


def test_each_technique_gets_a_sentence_in_the_log_and_in_the_report_too(trained, asked, tmp_path):
    run = nbautoml.compress(trained, trials=5, epochs=1, max_drop=0.3, **asked)
    texts = [verdict.text for verdict in run.verdicts]
    with run.folder.reader() as reader:
        assert [row.text for row in reader.logs()][-len(texts) :] == texts
    page = html.unescape(run.report(tmp_path / "small.html").read_text(encoding="utf-8"))
    assert all(text in page for text in [run.message, *texts])
    assert f"trial {run.best.number}" in run.verdicts.about or run.best.number == 0
    tried = {
        switch if value == "on" else value
        for number in range(5)
        for switch, value in run.trial(number).params.items()
        if switch in {"pruning", "low_rank", "distillation", "quantization"} and value != "off"
    }
    told = [verdict.text.partition(":")[0] for verdict in run.verdicts]
    assert len(tried) >= 2
    assert all(any(name in names for names in told) for name in tried)
    for verdict in run.verdicts:
        (number,) = re.findall(r"\(trial (\d+)\)", verdict.text)
        before, after = run.trial(0).value, run.trial(int(number)).value
        assert f"accuracy {before:.4g} to {after:.4g}" in verdict.text
        assert verdict.is_kept is verdict.text.endswith(": kept")
        assert verdict.is_kept is (int(number) == run.best.number)


def test_limits_and_the_original_stand_in_the_plan(pruned):
    with pruned.folder.reader() as reader:
        details = reader.run().plan_details
    assert details["limits"]["latency_ms"] == {"max": 2.0}
    assert details["baseline"]["accuracy"] == pruned.trial(0).value
    origin = pruned.trial(0).metrics
    latency, spread = origin["latency_ms"], origin["latency_spread_ms"]
    assert f"the original takes {latency:.3g} ms (spread {spread:.2g})" in pruned.plan


def test_a_limit_that_nothing_meets_is_named(trained, asked):
    run = nbautoml.compress(
        trained, method="prune", epochs=1, max_size="100", max_drop=0.6, **asked
    )
    assert run.state == "finished"
    assert "no model keeps to the limit of size_bytes" in run.message
    assert run.best_model is not None


def test_a_limit_of_the_memory_decides_between_the_two(pruned, trained, asked):
    origin, small = (pruned.trial(number).metrics["memory_bytes"] for number in (0, 1))
    assert small < origin
    limit = int((small + origin) / 2)
    run = nbautoml.compress(
        trained, method="prune", epochs=1, max_drop=0.6, max_memory=f"{limit}B", **asked
    )
    assert run.best.number == 1, run.message
    assert "no model keeps" not in run.message
    with run.folder.reader() as reader:
        assert reader.run().plan_details["limits"]["memory_bytes"] == {"max": float(limit)}
    assert "memory is that of eager calls of the float module" in run.plan


def test_a_limit_of_the_memory_that_nothing_meets_is_named(trained, asked):
    run = nbautoml.compress(
        trained, method="prune", epochs=1, max_drop=0.6, max_memory="100B", **asked
    )
    assert run.state == "finished"
    assert "no model keeps to the limit of memory_bytes; trial 1 is nearest" in run.message
    assert run.best.number == 1


def test_energy_is_measured_beside_the_original_and_may_be_limited(
    trained, asked, tmp_path, monkeypatch
):
    counters = powercap.server(tmp_path / "powercap")
    monkeypatch.setenv("NBAUTOML_POWERCAP", str(tmp_path / "powercap"))
    with powercap.running(counters["intel-rapl:0"], watts=20):
        run = nbautoml.compress(
            trained, method="prune", epochs=1, max_energy="1J", max_drop=0.6, **asked
        )
    assert run.state == "finished", run.message
    assert all(run.trial(number).metrics["energy_mj"] > 0 for number in (0, 1))
    with run.folder.reader() as reader:
        assert reader.run().plan_details["limits"]["energy_mj"] == {"max": 1000.0}


def test_a_limit_of_an_energy_that_nothing_counts_is_refused_at_once(
    trained, asked, tmp_path, monkeypatch
):
    monkeypatch.setenv("NBAUTOML_POWERCAP", str(tmp_path / "nowhere"))
    with pytest.raises(EnergyError, match=r"max_energy cannot be kept to.*nowhere") as told:
        nbautoml.compress(trained, max_energy="5mJ", **asked)
    assert "leave max_energy out" in told.value.hint
    assert not list(nbautoml.runs(home=asked["home"]))


@pytest.fixture(scope="module")
def searched(trained, data, tmp_path_factory):
    """A search among two techniques, long enough to come back to its good models."""
    return nbautoml.compress(
        trained,
        method="prune,quantize",
        trials=14,
        epochs=1,
        max_drop=0.5,
        data=data,
        home=tmp_path_factory.mktemp("searched") / "home",
        executor="inline",
        wait=True,
    )


def test_words_with_a_number_of_trials_are_a_search_among_them(searched):
    assert searched.state == "finished", searched.message
    assert len(searched.trials) == 14
    varied = set(searched.recipe.space)
    assert {"pruning", "quantization", "epochs"} <= varied
    assert not varied & {"low_rank", "distillation"}
    assert len({str(searched.trial(number).params) for number in range(14)}) == 14


def test_a_good_model_is_stored_in_other_forms_and_not_trained_again(searched):
    trials = searched.trials
    pruned = trials[(trials["state"] == "complete") & (trials["pruning"] == "channels")]
    again = pruned[pruned["train_s"] == 0]
    assert len(again)
    for _, row in again.iterrows():
        lead = pruned[(pruned["weights"] == row["weights"]) & (pruned["train_s"] > 0)].iloc[0]
        assert lead["number"] < row["number"]
        assert lead["quantization"] != row["quantization"]
        assert lead["size_bytes"] != row["size_bytes"]


def test_a_search_refuses_what_it_cannot_judge(trained, asked):
    with pytest.raises(RecipeError, match="method names share, which a search cannot judge"):
        nbautoml.compress(trained, method="prune,share", trials=5, **asked)


def test_a_search_in_which_nothing_can_vary_is_refused(data, asked):
    torch.manual_seed(0)
    with pytest.raises(RecipeError, match="nothing of Sequential can vary under the method prune"):
        nbautoml.compress(nn.Sequential(nn.Linear(64, 10)), method="prune", trials=5, **asked)


def test_with_many_validation_rows_half_of_them_choose_the_model(trained, asked):
    X = asked["data"][0].repeat(4, 1)
    y = asked["data"][1].repeat(4)
    run = nbautoml.compress(
        trained, method="prune", epochs=1, valid=0.4, **{**asked, "data": (X, y)}
    )
    assert run.state == "finished", run.message
    for number in (0, 1):
        assert 0 < run.trial(number).metrics["held_out_accuracy"] <= 1
    assert "(by 480 validation rows that the search did not see)" in run.message
    assert run.verdicts.about == run.message


def test_a_run_brings_its_model_data_and_settings(data, tmp_path):
    home = {"home": tmp_path / "home", "executor": "inline", "wait": True}
    big = nbautoml.train(Net, data=data, epochs=3, lr=0.01, batch_size=64, **home)
    run = nbautoml.compress(big, method="prune", epochs=1, **home)
    assert run.recipe.data == big.recipe.data
    assert run.recipe.fixed["batch_size"] == 64
    assert run.trial(0).value == pytest.approx(big.best.value)


class Declared(nn.Module):
    """Its author says what it may be."""

    def __init__(
        self, hidden: nbautoml.Int(4, 64) = 48, depth: nbautoml.Int(0, 3) = 2, act: str = "relu"
    ) -> None:
        super().__init__()
        self.first = nn.Linear(64, hidden)
        self.inside = nn.ModuleList(nn.Linear(hidden, hidden) for _ in range(depth))
        self.last = nn.Linear(hidden, 10)
        self.act = act

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        act = getattr(torch, self.act)
        x = act(self.first(x))
        for layer in self.inside:
            x = act(layer(x))
        return self.last(x)


def test_students_are_sought_among_what_the_class_declares(data, tmp_path):
    home = {"home": tmp_path / "home", "executor": "inline", "wait": True}
    big = nbautoml.train(Declared, data=data, epochs=8, lr=0.01, params={"hidden": 48}, **home)
    run = nbautoml.compress(big, method="distill", trials=4, epochs=4, max_drop=1.0, **home)
    assert run.state == "finished", run.message
    space, settings = run.recipe.space, run.recipe.settings
    assert all(space.explain(run.trial(number).params) == "" for number in range(1, 4))
    point = {
        "distillation": "on", "temperature": 2.0, "student": "own", "student_hidden": 9,
        "student_depth": 1, "epochs": 4,
    }  # fmt: skip
    (taught,) = techniques_of(point, settings)
    student = own_student(Declared(48), taught.arguments, seed=0)
    assert (student.first.out_features, len(student.inside)) == (9, 1)
    for name, too_much in (("student_hidden", 49), ("student_depth", 3)):
        assert name in space.explain({**point, name: too_much})


def test_a_student_of_the_models_own_class_is_taught_and_comes_back(data, tmp_path):
    home = {"home": tmp_path / "home", "executor": "inline", "wait": True}
    big = nbautoml.train(Declared, data=data, epochs=8, lr=0.01, params={"hidden": 48}, **home)
    small = Distillation(student="own", arguments={"hidden": 12, "depth": 1}, epochs=12)
    run = nbautoml.compress(big, method=[small], lr=0.02, max_drop=1.0, **home)
    assert run.state == "finished", run.message
    model = run.model(1)
    assert (model.first.out_features, len(model.inside)) == (12, 1)
    assert run.trial(1).value > 0.7
    assert run.trial(1).metrics["weights"] < 0.4 * run.trial(0).metrics["weights"]


def test_a_module_whose_classes_are_all_torchs_needs_no_code(data, asked):
    torch.manual_seed(0)
    net = learnt(nn.Sequential(nn.Linear(64, 40), nn.ReLU(), nn.Linear(40, 10)), data)
    run = nbautoml.compress(net, method="prune", epochs=1, **asked)
    assert run.state == "finished", run.message
    again = nbautoml.load(run.name, home=asked["home"])
    assert isinstance(again.model(1), nn.Sequential)


def test_a_model_loads_in_a_fresh_process(pruned, data, tmp_path):
    run = pruned
    with torch.no_grad():
        here = run.best_model(data[0][:4])
    torch.save(data[0][:4], tmp_path / "rows.pt")
    code = (
        "import torch, nbautoml\n"
        f"run = nbautoml.load({run.name!r}, home={str(run.home.path)!r})\n"
        "model = run.model(run_code=True)\n"
        f"print(model(torch.load({str(tmp_path / 'rows.pt')!r})).tolist())\n"
    )
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert torch.allclose(torch.tensor(eval(found.stdout)), here, atol=1e-6)


def test_another_process_is_not_given_the_code_unasked(pruned):
    again = nbautoml.load(pruned.name, home=pruned.home.path)
    with pytest.raises(NbAutomlError, match="submitted by another process"):
        again.model(1)


def test_control_flow_is_measured_eagerly_and_said_so(data, asked):
    torch.manual_seed(0)
    run = nbautoml.compress(learnt(Branching(), data), method="prune", epochs=1, **asked)
    assert run.state == "finished", run.message
    with run.folder.reader() as reader:
        texts = [row.text for row in reader.logs()]
    assert any("those of the eager module" in text for text in texts)


def test_what_varies_follows_from_what_the_model_has(data, asked):
    torch.manual_seed(0)
    space = nbautoml.compress(Looking(), method="auto", trials=1, **asked).recipe.space
    assert space["heads"].options == ("thinner", "fewer")
    assert set(space["transfer"].options) == {"none", "hints", "attention"}
    assert "int8_static_torchao" in space["quantization"].options  # it is installed here
    branching = nbautoml.compress(Branching(), method="auto", trials=1, **asked).recipe.space
    assert "heads" not in branching
    assert "attention" not in branching["transfer"].options  # no positions to look at


def test_a_search_leaves_out_the_forms_of_what_cannot_be_exported_and_says_so(data, asked):
    torch.manual_seed(0)
    net = learnt(Branching(), data)
    run = nbautoml.compress(net, method="auto", trials=16, epochs=2, max_drop=0.2, **asked)
    assert run.state == "finished", run.message
    assert "quantization" not in run.recipe.space
    assert {"pruning", "low_rank", "distillation"} <= set(run.recipe.space)
    assert list(run.trials["state"]) == ["complete"] * 16
    (note,) = [note for note in run.notes if "cannot be exported" in note]
    assert "no quantised forms" in note
    assert "eager" in note


@pytest.mark.parametrize(
    "said",
    [
        {"method": "prune,quantize"},
        {"method": "quantize", "trials": 4},
        {"method": "prune,factorize,distill,quantize", "trials": 4},
        {"method": [Quantization("fp16")]},
    ],
)
def test_quantising_by_name_what_cannot_be_exported_is_refused_at_once(said, data, asked):
    torch.manual_seed(0)
    with pytest.raises(ModelError, match=r"Branching cannot be quantised.*exported") as told:
        nbautoml.compress(Branching(), **said, **asked)
    assert "leave quantize out" in told.value.hint
    assert not list(nbautoml.runs(home=asked["home"]))


def test_a_changed_model_file_is_refused(pruned):
    with pruned.folder.reader() as reader:
        path = next(a.path for a in reader.artifacts(1) if a.kind == "model")
    file = pruned.folder.artifacts_dir / path
    body = file.read_bytes()
    file.write_bytes(body[:-1] + bytes([body[-1] ^ 1]))
    try:
        with pytest.raises(StoreError, match="not what was written"):
            pruned.model(1)
    finally:
        file.write_bytes(body)


@pytest.mark.parametrize(
    ("said", "error", "text"),
    [
        ({"method": "prun"}, UsageError, "method is 'prun'"),
        ({"method": "quantize,prune"}, UsageError, "prune stands after quantize"),
        ({"max_latency": "2 parsecs"}, UsageError, "max_latency is '2 parsecs'"),
        ({"max_energy": "5MJ"}, UsageError, "max_energy is '5MJ'"),
        ({"max_drop": -1}, UsageError, "max_drop is -1"),
        ({"hidden": 3}, RecipeError, "nothing takes 'hidden'"),
        ({"lr": nbautoml.Float(0.1, 0.2)}, RecipeError, "lr varies"),
    ],
)
def test_bad_words_are_refused_before_anything_runs(trained, asked, said, error, text):
    with pytest.raises(error, match=text):
        nbautoml.compress(trained, **said, **asked)


def test_a_compressed_model_is_compressed_again(trained, asked):
    first = nbautoml.compress(trained, method="prune", epochs=1, name="one", **asked)
    narrow = first.model(1)
    again = nbautoml.compress(narrow, method="prune", epochs=1, name="two", **asked)
    assert again.state == "finished", again.message
    assert again.trial(0).metrics["weights"] == first.trial(1).metrics["weights"]
    assert again.trial(1).metrics["weights"] < first.trial(1).metrics["weights"]


def test_what_is_quantised_cannot_be_changed_again(trained, asked):
    run = nbautoml.compress(trained, method="quantize", name="one", **asked)
    model = run.model(1)
    with torch.no_grad():
        assert model(asked["data"][0][:4]).shape == (4, 10)
    found = run.measure(model, batch_sizes=(1,))
    assert found["onnx_bytes"].value == run.trial(1).metrics["size_bytes"]
    assert found["onnx_1_p50"].value > 0
    with pytest.raises(RecipeError, match="quantised already"):
        nbautoml.compress(model, name="two", **asked)


def test_torchao_quantises_a_run_whose_file_answers_as_it_was_judged(trained, asked):
    pytest.importorskip("torchao")
    run = nbautoml.compress(trained, method="quantize", quantizer="torchao", name="ao", **asked)
    assert run.state == "finished", run.message
    assert run.recipe.settings["techniques"][0]["backend"] == "torchao"
    assert run.trial(1).metrics["size_bytes"] < run.trial(0).metrics["size_bytes"]
    with torch.no_grad():
        assert run.model(1)(asked["data"][0][:4]).shape == (4, 10)


def test_what_torchao_quantised_runs_in_a_fresh_process_without_torchao(trained, asked, tmp_path):
    pytest.importorskip("torchao")
    run = nbautoml.compress(trained, method="quantize", quantizer="torchao", name="ao", **asked)
    rows = asked["data"][0][:4]
    with torch.no_grad():
        here = run.model(1)(rows)
    torch.save(rows, tmp_path / "rows.pt")
    code = (
        "import sys, torch, nbautoml\n"
        f"model = nbautoml.load('ao', home={str(run.home.path)!r}).model(1)\n"
        f"print(model(torch.load({str(tmp_path / 'rows.pt')!r})).tolist())\n"
        "print([name for name in sys.modules if name.startswith('torchao')])\n"
    )
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    answers, packages = found.stdout.splitlines()
    assert torch.allclose(torch.tensor(eval(answers)), here, atol=1e-6)
    assert packages == "[]"


def test_a_compression_is_neither_verified_nor_written_as_a_cell(pruned):
    from nbautoml.api.portable import portable_code

    with pytest.raises(NbAutomlError, match="times differ"):
        pruned.verify()
    with pytest.raises(NbAutomlError, match="no short cell repeats"):
        portable_code(pruned)


def test_an_untrained_model_is_compressed_and_its_accuracy_stated(asked):
    torch.manual_seed(0)
    run = nbautoml.compress(Net(), method="prune", epochs=1, **asked)
    assert run.state == "finished", run.message
    assert run.trial(0).value < 0.3
    assert f"accuracy {run.trial(0).value:.4g} to" in repr(run.verdicts)


class TwoOutputs(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.net, self.other = Net(24), nn.Linear(64, 4)

    def forward(self, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        return self.net(x), self.other(x)


def test_a_model_of_several_outputs_is_refused_with_their_shapes(asked):
    with pytest.raises(ModelError, match=r"TwoOutputs.forward returned a tuple of .*10.*4") as told:
        nbautoml.compress(TwoOutputs(), method="prune", **asked)
    assert "return only what the loss takes" in told.value.hint
    assert not list(nbautoml.runs(home=asked["home"]))


def test_a_class_has_learnt_nothing(asked):
    with pytest.raises(RecipeError, match="Net, a class, which has learnt nothing"):
        nbautoml.compress(Net, **asked)


def test_without_data_nothing_can_be_judged(trained, asked):
    with pytest.raises(DataError, match="no data"):
        nbautoml.compress(trained, **{**asked, "data": None})


def test_only_a_compression_has_verdicts(data, tmp_path):
    run = nbautoml.train(
        Net, data=data, epochs=1, home=tmp_path / "home", executor="inline", wait=True
    )
    with pytest.raises(NbAutomlError, match="only a compression has verdicts"):
        _ = run.verdicts


def test_an_exported_run_takes_its_model_along(pruned, tmp_path: Path):
    run = pruned
    archive = nbautoml.export(run, tmp_path / "small.zip", home=run.home.path)
    again = nbautoml.import_run(archive, home=tmp_path / "other")
    name = "model.safetensors"
    assert (again.folder.given_dir / name).read_bytes() == (
        run.folder.given_dir / name
    ).read_bytes()
