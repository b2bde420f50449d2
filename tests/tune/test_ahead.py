"""What a waiting worker does on a device before there is a run: it works, and leaves nothing."""

from __future__ import annotations

import random

import pytest
import torch
from fits import one_thread  # noqa: F401  a fixture

from nbautoml.train import loop
from nbautoml.train.seeds import numpy_state
from nbautoml.train.stacked import StackedFit
from nbautoml.tune import ahead

DEVICES = [
    "cpu",
    pytest.param(
        "cuda:0",
        marks=pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device"),
    ),
]


@pytest.fixture(params=DEVICES)
def device(request):
    return request.param


def test_it_trains_alone_and_in_stacks(device, monkeypatch):
    done = []
    for owner, name in ((loop._Course, "run"), (StackedFit, "step_epoch")):
        original = getattr(owner, name)

        def counted(*args, _own=original, _name=name):
            done.append(_name)
            return _own(*args)

        monkeypatch.setattr(owner, name, counted)
    ahead.rehearse_training(device)
    assert done == ["run"] + ["step_epoch"] * 2 * ahead.SETTINGS.epochs


def generators():
    """What all global generators are at."""
    found = [random.getstate(), numpy_state(), torch.get_rng_state().tolist()]
    if torch.cuda.is_initialized():
        found.append(torch.cuda.get_rng_state(0).tolist())
    return found


def test_random_generators_are_as_before(device):
    if device != "cpu":
        torch.cuda.init()
    before = generators()
    ahead.rehearse_training(device)
    assert generators() == before


def test_nothing_is_printed(device, capfd):
    ahead.rehearse_training(device)
    assert capfd.readouterr() == ("", "")


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_only_what_libraries_keep_is_left_on_a_gpu():
    ahead.rehearse_training("cuda:0")
    before = torch.cuda.memory_reserved(0)
    ahead.rehearse_training("cuda:0")
    assert torch.cuda.memory_reserved(0) == before
    assert torch.cuda.max_memory_reserved(0) == before


def test_a_device_that_cannot_be_used_is_told(monkeypatch):
    def no_device(_device):
        raise RuntimeError("CUDA error: no device")

    monkeypatch.setattr(ahead, "_pictures", no_device)
    with pytest.raises(RuntimeError, match="no device"):
        ahead.rehearse_training("cpu")
