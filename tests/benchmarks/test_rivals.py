"""The table of rivals: what counts, what is picked, and how it reads."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

import pytest
import torch
from rival_nets import NETS, parted
from rival_ways import WAYS, Candidate, exported, lstm_rule
from rivals import Tried, merged, page, picked, verdicts
from torch import nn

from nbautoml.measure import export_onnx


def candidate(n_bytes: int = 100) -> Candidate:
    return Candidate(
        setting="",
        runs_in="",
        start=lambda: lambda: None,
        answer=lambda rows: rows,
        n_bytes=n_bytes,
    )


def test_every_rival_has_ten_settings_at_least() -> None:
    assert {way: len(settings) for way, settings in WAYS.items()} == {
        "Torch-Pruning": 15, "ONNX Runtime": 10, "torchao": 10,
    }  # fmt: skip


def test_the_pick_has_the_smallest_product_among_those_within_a_point() -> None:
    small = Tried(setting="small", candidate=candidate(10), ratio=0.5, drop=0.02)
    fast = Tried(setting="fast", candidate=candidate(90), ratio=0.1, drop=0.01)
    slow = Tried(setting="slow", candidate=candidate(50), ratio=0.9, drop=0.0)
    failed = Tried(setting="failed", error="RuntimeError: no")
    assert picked([small, slow, failed, fast]) is fast
    assert picked([small, failed]) is None


@pytest.mark.parametrize("name", [name for name in NETS if "digits" in name])
def test_the_networks_take_their_rows(name: str) -> None:
    train, valid, test = parted(NETS[name], seed=0)
    assert len(train[1]) + len(valid[1]) + len(test[1]) == 1797
    assert NETS[name].build()(valid[0][:3]).shape == (3, 10)


def test_the_rule_for_an_lstm_leaves_the_other_units_as_they_were() -> None:
    gone, kept = [0, 3], [1, 2, 4]
    whole = nn.LSTM(2, 5, batch_first=True)
    with torch.no_grad():
        whole.weight_hh_l0[:, gone] = 0  # nothing hears them any more
    rows = torch.rand(3, 4, 2)
    wanted = whole(rows)[0][..., kept]
    small = lstm_rule().prune_out_channels(whole, gone)
    assert small.hidden_size == 3
    assert torch.allclose(small(rows)[0], wanted, atol=1e-6)


def test_a_file_is_a_candidate_of_its_size() -> None:
    module = nn.Linear(4, 2)
    rows = torch.rand(5, 4)
    data = export_onnx(module, rows)
    made = exported("float", data, job=None)
    assert made.n_bytes == len(data)
    assert torch.allclose(made.answer(rows), module(rows), atol=1e-6)


def test_the_page_says_where_a_goal_is_missed_and_what_failed() -> None:
    row = {
        "setting": "s", "runs_in": "ONNX Runtime", "n_bytes": 1000, "ms": 1.0,
        "quartiles_ms": [0.9, 1.1], "n": 3, "valid_drop": 0.01, "test_drop": 0.0,
    }  # fmt: skip
    ways = {"nbautoml": row, "torchao": {**row, "ms": 2.0}, "ONNX Runtime": {**row, "ms": 2.0}}
    ways["ONNX Runtime"]["n_bytes"] = 3000
    found = {
        "ways": ways,
        "verdicts": verdicts(ways),
        "tried": {"torchao": [dataclasses.asdict(Tried(setting="int4", error="no kernel"))]},
    }
    about = {"machine": "m", "versions": {}, "load": "1.0", "seeds": {"0": {"net": found}}}
    text = page(about)
    assert "none of its settings" in text  # Torch-Pruning has no model here
    assert "2.00x faster, 1.00x smaller: **not reached**" in text
    assert "2.00x faster, 3.00x smaller: reached" in text
    assert "Failed, net, torchao: int4 (no kernel)" in text


def seed_of(faster: float, *, is_reached: bool) -> dict[str, Any]:
    verdict = {"faster": faster, "smaller": 2.0, "is_reached": is_reached}
    return {"net": {"ways": {}, "tried": {}, "verdicts": {"torchao": verdict}}}


def test_seeds_of_several_runs_are_told_together(tmp_path: Path) -> None:
    files = []
    for seed, faster in ((1, 0.9), (0, 1.5), (2, 1.1)):
        about = {"machine": "m", "versions": {}, "load": seed, "n_trials": 30}
        file = tmp_path / f"{seed}.json"
        file.write_text(
            json.dumps({**about, "seeds": {seed: seed_of(faster, is_reached=faster > 1)}})
        )
        files.append(file)
    together = merged(files)
    assert list(together["seeds"]) == ["0", "1", "2"]
    text = page(together)
    assert (
        "1.10x (0.90 to 1.50) faster, 2.00x (2.00 to 2.00) smaller: **reached in 2 of 3**" in text
    )
    assert "0.90x faster, 2.00x smaller: **not reached**" in text


def test_runs_of_two_machines_are_not_one(tmp_path: Path) -> None:
    files = []
    for name in "ab":
        about = {"machine": name, "versions": {}, "load": "0", "n_trials": 30, "seeds": {}}
        files.append(tmp_path / name)
        files[-1].write_text(json.dumps(about))
    with pytest.raises(ValueError, match="machine differ: b and a"):
        merged(files)
