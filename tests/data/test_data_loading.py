"""Batches: the same whether the data lies on the device or is streamed."""

from __future__ import annotations

import itertools
import json
import subprocess
import sys
import threading
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from nbautoml.data import call_module, loading, open_data

STREAMED = {"device_limit_bytes": 0}


def values(layout, numbers, n=53):
    image = numbers.integers(0, 255, (n, 3, 2), dtype=np.uint8)
    table = numbers.normal(size=(n, 4)).astype(np.float32)
    codes = numbers.integers(0, 9, (n, 2))
    y = np.arange(n) % 3
    inputs = {
        "single": table,
        "pixels": image,
        "tuple": (image, table, codes),
        "dict": {"image": image, "table": table, "codes": codes},
    }[layout]
    return inputs, y


def flat(batch):
    inputs, target = batch
    parts = inputs.values() if isinstance(inputs, dict) else inputs
    return [*([inputs] if isinstance(inputs, torch.Tensor) else parts), target]


def assert_same(first, second):
    for one, other in itertools.zip_longest(first, second):
        for a, b in zip(flat(one), flat(other), strict=True):
            assert (a.dtype, a.shape, a.device) == (b.dtype, b.shape, b.device)
            assert torch.equal(a, b)


def assert_streamed_as_resident(opened, value, device, *, shuffled, drop_last):
    resident = opened(value, opening={"device": device})
    streamed = opened(value, opening={"device": device, **STREAMED})
    assert (resident.train.on_device, streamed.train.on_device) == (True, False)
    for part, other in [(resident.train, streamed.train), (resident.valid, streamed.valid)]:
        order = torch.randperm(part.n, generator=torch.Generator().manual_seed(1))
        settings = {"order": order if shuffled else None, "drop_last": drop_last}
        assert_same(part.batches(8, **settings), other.batches(8, **settings))


@pytest.mark.parametrize("shuffled", [False, True], ids=["in order", "shuffled"])
@pytest.mark.parametrize("drop_last", [False, True], ids=["all", "full batches"])
@pytest.mark.parametrize("layout", ["single", "pixels", "tuple", "dict"])
@pytest.mark.parametrize("piece_bytes", [1, 700, 32 << 20])
def test_streamed_batches_are_the_resident_ones(
    opened, numbers, monkeypatch, layout, drop_last, shuffled, piece_bytes
):
    monkeypatch.setattr(loading, "_PIECE_BYTES", piece_bytes)
    value = values(layout, numbers)
    assert_streamed_as_resident(opened, value, "cpu", shuffled=shuffled, drop_last=drop_last)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
@pytest.mark.parametrize("layout", ["single", "pixels", "tuple", "dict"])
def test_batches_streamed_to_a_gpu_are_the_resident_ones(opened, numbers, monkeypatch, layout):
    monkeypatch.setattr(loading, "_PIECE_BYTES", 700)
    value = values(layout, numbers, n=5003)
    assert_streamed_as_resident(opened, value, "cuda", shuffled=True, drop_last=False)


@pytest.mark.parametrize("gathered_bytes", [0, 1 << 30], ids=["mapped", "gathered"])
@pytest.mark.parametrize("opening", [{}, STREAMED], ids=["resident", "streamed"])
def test_batches_are_the_rows_asked_for(opened, numbers, monkeypatch, opening, gathered_bytes):
    monkeypatch.setattr(loading, "_GATHERED_BYTES", gathered_bytes)
    x, y = values("single", numbers)
    data = opened((x, y, x[:9], y[:9]), opening=opening)
    order = torch.tensor([5, 0, 8, 8, 3])
    batches = list(data.valid.batches(2, order=order))
    assert [len(target) for _, target in batches] == [2, 2, 1]
    np.testing.assert_array_equal(torch.cat([inputs for inputs, _ in batches]), x[order])
    np.testing.assert_array_equal(torch.cat([target for _, target in batches]), y[order])


def test_mapped_rows_are_the_gathered_ones(opened, numbers, monkeypatch):
    value = values("tuple", numbers)
    gathered = opened(value)
    monkeypatch.setattr(loading, "_GATHERED_BYTES", 0)
    mapped = opened(value)
    assert_same(gathered.train.batches(7), mapped.train.batches(7))
    assert_same([gathered.valid.all()], [mapped.valid.all()])


def test_all_rows_are_the_batches_joined(opened, numbers):
    data = opened(values("single", numbers))
    joined = torch.cat([inputs for inputs, _ in data.train.batches(8)])
    assert torch.equal(joined, data.train.all()[0])


@pytest.mark.parametrize("opening", [{}, STREAMED], ids=["resident", "streamed"])
def test_last_batch_may_be_dropped(opened, numbers, opening):
    data = opened(values("single", numbers), opening=opening)  # 42 and 11 rows
    assert [len(target) for _, target in data.train.batches(20)] == [20, 20, 2]
    assert [len(target) for _, target in data.train.batches(20, drop_last=True)] == [20, 20]
    assert list(data.valid.batches(20, drop_last=True)) == []


@pytest.mark.parametrize("opening", [{}, STREAMED], ids=["resident", "streamed"])
def test_module_may_write_into_its_input(opened, numbers, opening):
    data = opened(values("single", numbers), opening=opening)
    before = [inputs.clone() for inputs, _ in data.train.batches(8)]
    for inputs, _ in data.train.batches(8):
        inputs.zero_()
    after = [inputs for inputs, _ in data.train.batches(8)]
    assert all(map(torch.equal, before, after))


def test_reading_ahead_ends_when_the_caller_stops_early(opened, numbers, monkeypatch):
    monkeypatch.setattr(loading, "_PIECE_BYTES", 1)
    batches = opened(values("single", numbers), opening=STREAMED).train.batches(4)
    next(batches)
    batches.close()
    assert not any(t.name.startswith("nbautoml-data") for t in threading.enumerate())


def test_streamed_part_has_no_all(opened, numbers, data_error):
    data = opened(values("single", numbers), opening=STREAMED)
    assert "streamed" in data_error(data.train.all).message
    assert "streamed to cpu" in data.placement
    assert repr(data.train) == "Part(42 rows streamed to cpu)"


def test_batch_size_must_be_positive(opened, numbers, data_error):
    data = opened(values("single", numbers))
    assert "got 0" in data_error(lambda: data.train.batches(0)).message


@pytest.mark.parametrize("row", [-1, 42])
def test_order_beyond_the_part_is_told(opened, numbers, data_error, row):
    data = opened(values("single", numbers))
    error = data_error(lambda: data.train.batches(4, order=torch.tensor([0, row])))
    assert f"row {row} of 42" in error.message


def test_data_within_the_limit_stays_on_the_device(opened, numbers):
    value = values("single", numbers)
    n_bytes = value[0].nbytes + value[1].nbytes
    assert opened(value, opening={"device_limit_bytes": n_bytes}).train.on_device
    assert not opened(value, opening={"device_limit_bytes": n_bytes - 1}).train.on_device


def test_resident_rows_on_the_cpu_are_not_copied(home, opened, numbers, monkeypatch):
    monkeypatch.setattr(loading, "_GATHERED_BYTES", 0)
    x, y = values("single", numbers)
    data = opened((x, y, x, y))
    stored = data.valid._sources[0].values
    assert stored.data_ptr() == data.valid.all()[0].data_ptr()


class Takes(nn.Module):
    def forward(self, image, table, codes):
        return image.sum() + table.sum() + codes.sum()


@pytest.mark.parametrize("layout", ["tuple", "dict"])
def test_modules_take_several_inputs(opened, numbers, layout):
    value = values(layout, numbers)
    if layout == "dict":
        value = ({name: value[0][name] for name in ("codes", "image", "table")}, value[1])
    inputs, _ = next(opened(value).train.batches(5))
    named = (
        inputs
        if isinstance(inputs, dict)
        else dict(zip(("image", "table", "codes"), inputs, strict=True))
    )
    expected = named["image"].sum() + named["table"].sum() + named["codes"].sum()
    torch.testing.assert_close(call_module(Takes(), inputs), expected)


def test_module_takes_a_single_input(opened, numbers):
    inputs, _ = next(opened(values("single", numbers)).train.batches(5))
    assert call_module(nn.Linear(4, 2), inputs).shape == (5, 2)


def test_training_on_streamed_data_gives_the_same_weights(opened, numbers, monkeypatch):
    monkeypatch.setattr(loading, "_PIECE_BYTES", 200)

    def weights(opening):
        data = opened(value, opening=opening)
        module = nn.Linear(4, 3)
        nn.init.constant_(module.weight, 0.1)
        nn.init.zeros_(module.bias)
        for epoch in range(3):
            order = torch.randperm(data.train.n, generator=torch.Generator().manual_seed(epoch))
            for inputs, target in data.train.batches(8, order=order):
                nn.functional.cross_entropy(module(inputs), target).backward()
            with torch.no_grad():
                module.weight -= 0.1 * module.weight.grad
        return module.weight.detach()

    value = values("single", numbers)
    assert torch.equal(weights({}), weights(STREAMED))


def test_another_process_sees_the_same_rows(home, opened, numbers):
    data = opened(values("single", numbers), seed=5)
    code = (
        "import json, sys; from pathlib import Path\n"
        "from nbautoml.data import open_data; from nbautoml.spec.data import DataSpec\n"
        "spec = DataSpec.from_json(json.loads(sys.argv[1]))\n"
        "print(open_data(spec, Path(sys.argv[2])).valid.all()[0].double().sum().item())"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, json.dumps(data.spec.to_json()), str(home)],
        cwd=Path(__file__).parents[2],
        capture_output=True,
        text=True,
        check=True,
    )
    assert float(done.stdout) == data.valid.all()[0].double().sum().item()


def test_snapshot_and_its_package_load_nothing_heavy(home):
    code = (
        "import sys; from pathlib import Path; import numpy as np\n"
        "from nbautoml.data import snapshot\n"
        "spec = snapshot((np.zeros((9, 2)), [0, 1, 1] * 3), home_data=Path(sys.argv[1]))\n"
        "print([m for m in ('torch', 'pandas', 'sklearn', 'scipy') if m in sys.modules])"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, str(home)],
        cwd=Path(__file__).parents[2],
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.strip() == "[]"


def test_reopening_is_the_same_data(home, snap, numbers):
    spec = snap(values("pixels", numbers))
    assert_same(open_data(spec, home).train.batches(9), open_data(spec, home).train.batches(9))


def test_tensor_tuples_follow_the_order_given(opened, numbers):
    data = opened(values("tuple", numbers))
    assert [item.dtype for item in data.spec.inputs] == ["float32", "float32", "int64"]
    assert [part.dtype for part in next(data.train.batches(3))[0]] == [
        torch.float32,
        torch.float32,
        torch.int64,
    ]
