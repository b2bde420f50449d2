"""Modules as files without pickle."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from torch import nn

import nbautoml.testing.small_networks as networks
from nbautoml.compress.saved import blueprint_of, dump_module, load_module, rebuilt
from nbautoml.errors import CompressError, StoreError
from nbautoml.measure import call
from nbautoml.tensors import metadata_of
from nbautoml.testing.small_networks import NETWORKS


@pytest.mark.parametrize("name", NETWORKS)
def test_a_loaded_module_gives_the_outputs_it_gave(name: str) -> None:
    network = NETWORKS[name]
    module, example = network.build().eval(), network.example(4)
    again = load_module(dump_module(module, vars(networks)), vars(networks))
    with torch.no_grad():
        assert torch.equal(call(again, example), call(module, example))
    assert repr(again) == repr(module)
    assert again.state_dict().keys() == module.state_dict().keys()


def test_a_module_loads_in_another_process_that_has_no_runner(tmp_path: Path) -> None:
    network = NETWORKS["lstm"]
    module, example = network.build().eval(), network.example(2)
    (tmp_path / "model.safetensors").write_bytes(dump_module(module, vars(networks)))
    torch.save(example, tmp_path / "example.pt")
    code = (
        "import sys, torch\n"
        "import nbautoml.testing.small_networks as networks\n"
        "from nbautoml.compress.saved import load_module\n"
        "module = load_module(open('model.safetensors', 'rb').read(), vars(networks))\n"
        "example = torch.load('example.pt')\n"
        "print(module(example).tolist())\n"
        "assert not [name for name in sys.modules if name.startswith('nbautoml.engine')]\n"
    )
    found = subprocess.run(
        [sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, check=True
    )
    with torch.no_grad():
        assert json.loads(found.stdout) == module(example).tolist()


def test_widths_that_the_class_would_not_build_come_back() -> None:
    module = networks.MLP(hidden=16)
    module.layers[0] = nn.Linear(8, 3)
    module.layers[2] = nn.Linear(3, 16)
    again = load_module(dump_module(module, vars(networks)), vars(networks))
    assert again.layers[0].out_features == 3


class Tied(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.embed = nn.Embedding(10, 4)
        self.out = nn.Linear(4, 10, bias=False)
        self.out.weight = self.embed.weight
        self.again = self.embed

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.out(self.again(x).mean(1))


def test_tied_weights_stay_tied_and_are_stored_once() -> None:
    data = dump_module(Tied(), globals())
    again = load_module(data, globals())
    assert again.out.weight is again.embed.weight
    assert again.again is again.embed
    assert sum(1 for _ in again.parameters()) == 1


class Holding(nn.Module):
    """Plain attributes of many kinds."""

    def __init__(self) -> None:
        super().__init__()
        self.fc = nn.Linear(2, 2)
        self.activation = F.gelu
        self.also = torch.relu
        self.limits = (0.5, float("inf"), None)
        self.sizes = {"a": [1, 2]}
        self.kind = torch.float32
        self.plain = torch.arange(3.0)
        self.register_buffer("passing", torch.ones(2), persistent=False)
        self.fc.bias.requires_grad_(False)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.activation(self.fc(x)) * self.passing


def test_plain_attributes_come_back() -> None:
    module = Holding()
    again = load_module(dump_module(module, globals()), globals())
    assert again.activation is F.gelu
    assert again.also is torch.relu
    assert (again.limits, again.sizes, again.kind) == (module.limits, module.sizes, module.kind)
    assert torch.equal(again.plain, module.plain)
    assert "passing" not in again.state_dict()
    assert not again.fc.bias.requires_grad
    assert again.fc.weight.requires_grad


def test_what_cannot_be_stored_is_named() -> None:
    module = Holding()
    module.activation = lambda x: x
    with pytest.raises(CompressError, match="activation is a function"):
        dump_module(module, globals())


def test_hooks_are_refused() -> None:
    module = nn.Linear(2, 2)
    module.register_forward_hook(lambda *_: None)
    with pytest.raises(CompressError, match="hooks"):
        dump_module(module, {})


def test_parametrized_layers_are_refused() -> None:
    module = nn.utils.parametrizations.weight_norm(nn.Linear(2, 2))
    with pytest.raises(CompressError, match="parametrized"):
        dump_module(module, {})


def test_a_class_of_a_function_has_no_name() -> None:
    class Inner(nn.Module):
        pass

    with pytest.raises(CompressError, match="no name at the top level"):
        dump_module(Inner(), {})


@pytest.mark.parametrize(
    "name",
    ["os:system", "subprocess:Popen", "torch:load", "torch.nn:Sequential.append", "Evil", ""],
)
def test_a_forged_class_is_refused(name: str) -> None:
    blueprint, tensors = blueprint_of(nn.Linear(2, 1), {})
    with pytest.raises(StoreError, match=r"is not here|damaged"):
        rebuilt({**blueprint, "class": name}, tensors, {"Evil": object})


@pytest.mark.parametrize(
    "value",
    [
        {"function": "torch:load"},
        {"function": "os:system"},
        {"symbol": "nothing"},
        {"dtype": "load"},
        {"odd": 1, "odder": 2},
        {},
    ],
)
def test_a_forged_attribute_is_refused(value: dict[str, object]) -> None:
    blueprint, tensors = blueprint_of(nn.Linear(2, 1), {})
    with pytest.raises(StoreError):
        rebuilt({**blueprint, "attributes": {"out_features": value}}, tensors, {})


def test_internals_of_a_module_cannot_be_set() -> None:
    blueprint, tensors = blueprint_of(nn.Linear(2, 1), {})
    with pytest.raises(StoreError, match="_forward_hooks"):
        rebuilt({**blueprint, "attributes": {"_forward_hooks": {"dict": {}}}}, tensors, {})


def test_a_file_without_a_module_says_so() -> None:
    from safetensors.torch import save

    with pytest.raises(StoreError, match="no module that nbautoml wrote"):
        load_module(save({"a": torch.ones(1)}), {})
    with pytest.raises(StoreError, match="no safetensors"):
        load_module(b"\x10\0\0\0\0\0\0\0not json at all.", {})


def test_a_newer_format_is_refused() -> None:
    from safetensors.torch import save

    data = save({"a": torch.ones(1)}, metadata={"nbautoml": '{"version": 99, "module": {}}'})
    with pytest.raises(StoreError, match="format 99"):
        load_module(data, {})


def test_details_stand_in_the_header() -> None:
    assert metadata_of(dump_module(nn.Linear(1, 1), {}, details={"by": "x"}))["by"] == "x"
