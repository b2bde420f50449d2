"""Stacks on a GPU: they need one, and are left out where there is none.

Numbers there are those of one by one to rounding, as on a CPU, but rounding is another: sums are split
by other kernels for a stack's shapes. In float32, with TF32 switched off, losses of some twenty steps
agree to 1e-3; in bfloat16, whose numbers have eight bits, to 5 %.

Steps must not wait for the device: from the second batch of an epoch to its last one, torch is told to
raise where something does. What an epoch begins with (orders and tables that are sent there) and ends
with (losses that are fetched) may wait.
"""

from __future__ import annotations

from functools import partial
from importlib import import_module

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from nbautoml.data import open_data
from nbautoml.spec.fit import OPTIMIZERS
from nbautoml.train.stacked import why_not
from nbautoml.train.stacked.philox import agrees

pytestmark = [
    pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device"),
    # cuDNN copies the weights of each trial together, and says so.
    pytest.mark.filterwarnings("ignore:RNN module weights are not part of"),
    pytest.mark.filterwarnings("ignore:Synchronization debug mode is a prototype"),
]
DEVICE = "cuda:0"
EPOCHS, BATCH_SIZE = 4, 16  # of 96 rows: six batches
N_BATCHES = 6
TOLERANCES = {False: 1e-3, True: 5e-2}
needs_bfloat16 = pytest.mark.skipif(
    not torch.cuda.is_bf16_supported(including_emulation=False), reason="needs bfloat16"
)
both_precisions = pytest.mark.parametrize("amp", [False, pytest.param(True, marks=needs_bfloat16)])


class Mlp(nn.Module):
    def __init__(self):
        super().__init__()
        self.fc, self.drop, self.out = nn.Linear(4, 16), nn.Dropout(0.3), nn.Linear(16, 3)

    def forward(self, x):
        return self.out(self.drop(F.relu(self.fc(x))))


class Convolutional(nn.Module):
    def __init__(self):
        super().__init__()
        # No bias: before a norm its gradient is rounding alone.
        self.conv, self.norm = nn.Conv2d(1, 8, 3, padding=1, bias=False), nn.BatchNorm2d(8)
        self.out = nn.Linear(8 * 4 * 4, 3)

    def forward(self, x):
        return self.out(F.max_pool2d(F.relu(self.norm(self.conv(x))), 2).flatten(1))


class Words(nn.Module):
    def __init__(self, has_lstm=False):
        super().__init__()
        self.words, self.out = nn.Embedding(12, 8), nn.Linear(8, 3)
        self.read = nn.LSTM(8, 8, batch_first=True) if has_lstm else None

    def forward(self, x):
        x = self.words(x)
        return self.out(x.mean(1) if self.read is None else self.read(x)[0][:, -1])


KINDS = {
    "dropout": (Mlp, "blobs"),
    "convolution and norm": (Convolutional, "images"),
    "embedding": (Words, "sequences"),
    "lstm": (lambda: Words(has_lstm=True), "sequences"),
}


@pytest.fixture(autouse=True)
def no_tf32():
    """TF32 has ten bits; which kernels take it is cuDNN's choice, for a stack another than for one."""
    places = (torch.backends.cudnn.conv, torch.backends.cudnn.rnn, torch.backends.cuda.matmul)
    before = [place.fp32_precision for place in places]
    for place in places:
        place.fp32_precision = "ieee"
    yield
    for place, usual in zip(places, before, strict=True):
        place.fp32_precision = usual


@pytest.fixture
def on_gpu(bench):
    """The bench on a GPU."""
    return type("OnGpu", (bench,), {"device": DEVICE})


@pytest.fixture(params=KINDS)
def case(request, home_data):
    """How to build a module, and its data on the GPU."""
    build, name = KINDS[request.param]
    spec = request.getfixturevalue(name).spec
    return build, open_data(spec, home_data, device=DEVICE)


def settings_of(amp, **more):
    # Not Adam: where a gradient is rounding alone it makes whole steps of it.
    fixed = {"optimizer": "momentum", "lr": 0.05, "batch_size": BATCH_SIZE, "epochs": EPOCHS}
    return {**fixed, "amp": amp, **more}


@both_precisions
def test_a_stack_on_a_gpu_gives_the_numbers_of_one_by_one(case, amp, on_gpu):
    build, data = case
    assert data.train.n == N_BATCHES * BATCH_SIZE
    trials = [on_gpu.trial(build, seed=at, **settings_of(amp)) for at in range(3)]
    assert why_not(on_gpu.member(0, trials[0]), data, device=DEVICE) is None
    alone, stacked = on_gpu.both(trials, data, 3)
    for one, other in zip(alone, stacked, strict=True):
        if isinstance(other.result, Exception):
            raise other.result
        assert other.heard.steps == one.heard.steps
        # What has been learnt is rounding: a thousandth of the first loss is as good as nothing.
        close = pytest.approx(one.heard.losses, rel=TOLERANCES[amp], abs=1e-3 if amp else 0)
        assert other.heard.losses == close


@pytest.fixture
def strict_ear(on_gpu, monkeypatch):
    """Has torch raise where a step waits for the device, once an epoch has loaded all kernels."""
    for place in ("steplog", "stacked.fit", "stacked.slots"):  # which fetch losses after a while
        monkeypatch.setattr(import_module(f"nbautoml.train.{place}"), "CHUNK_SECONDS", 1e9)

    class Strict(on_gpu.ear):
        n_begun = n_checked = 0

        def on_batch(self):
            epoch, batch = divmod(self.n_begun, N_BATCHES)
            is_checked = epoch > 0 and 1 <= batch < N_BATCHES - 1
            torch.cuda.set_sync_debug_mode("error" if is_checked else "default")
            self.n_begun += 1
            self.n_checked += is_checked

    yield Strict()
    torch.cuda.set_sync_debug_mode("default")


@pytest.mark.parametrize("is_stacked", [False, True], ids=["fit", "stack"])
@both_precisions
@pytest.mark.parametrize("optimizer", ["adam", "rmsprop"])
def test_steps_do_not_wait_for_the_device(case, is_stacked, amp, optimizer, on_gpu, strict_ear):
    build, data = case
    given = settings_of(amp, optimizer=optimizer, lr=1e-3, clip=1.0, schedule="cosine")
    trials = [on_gpu.trial(build, seed=0, listener=strict_ear, **given)]
    if is_stacked:
        trials.append(on_gpu.trial(build, seed=1, **given))
        for outcome in on_gpu.stacked(trials, data, 2):
            if isinstance(outcome.result, Exception):
                raise outcome.result
    else:
        on_gpu.alone_with(strict_ear, trials[0], data)
    assert strict_ear.n_checked == (EPOCHS - 1) * (N_BATCHES - 2)


def test_what_waits_for_the_device_would_be_seen(on_gpu, strict_ear, home_data, blobs):
    class Reads(Mlp):
        def forward(self, x):
            return super().forward(x) * float(x.sum() > -1e9)

    data = open_data(blobs.spec, home_data, device=DEVICE)
    trial = on_gpu.trial(Reads, listener=strict_ear, **settings_of(False))
    with pytest.raises(RuntimeError, match="synchronizing CUDA operation"):
        on_gpu.alone_with(strict_ear, trial, data)


def steps_of(stack):
    """What plays the steps of the trials that are in a stack."""
    return stack._steps


@both_precisions
@pytest.mark.parametrize("optimizer", OPTIMIZERS)
def test_steps_that_are_played_give_the_numbers_of_steps_that_are_launched(
    case, amp, optimizer, on_gpu
):
    build, data = case
    given = settings_of(
        amp, optimizer=optimizer, lr=1e-2, clip=1.0, schedule="cosine", weight_decay=1e-3
    )
    heard = []
    for has_graph in (False, True):
        trials = [on_gpu.trial(build, seed=at, **given) for at in range(3)]
        heard.append(
            [one.heard.losses for one in on_gpu.stacked(trials, data, 3, has_graph=has_graph)]
        )
    assert heard[1] == [pytest.approx(losses, rel=TOLERANCES[amp], abs=1e-3) for losses in heard[0]]


def test_a_stack_records_its_steps(case, on_gpu):
    build, data = case
    stack = on_gpu.stack(data, 2)
    for at in range(2):
        stack.add(on_gpu.member(at, on_gpu.trial(build, seed=at, **settings_of(False))))
    for _ in range(2):
        stack.step_epoch()
    assert steps_of(stack).refusal == ""
    assert steps_of(stack).is_recorded


def test_trials_that_come_later_have_the_numbers_that_they_have_alone(case, on_gpu):
    build, data = case
    trials = [
        on_gpu.trial(build, seed=at, **settings_of(False, epochs=epochs))
        for at, epochs in enumerate((2, 4, 3, 4))
    ]
    alone, stacked = on_gpu.both(trials, data, 2)
    for one, other in zip(alone, stacked, strict=True):
        assert other.heard.losses == pytest.approx(one.heard.losses, rel=2e-3)


def test_a_recording_that_fails_leaves_random_numbers_as_they_are(
    on_gpu, home_data, blobs, monkeypatch
):
    steps = import_module("nbautoml.train.stacked.steps")
    launched = steps.Steps._launched

    def waiting(self, *given):
        if torch.cuda.is_current_stream_capturing():
            torch.cuda.synchronize()
        return launched(self, *given)

    monkeypatch.setattr(steps.Steps, "_launched", waiting)
    data = open_data(blobs.spec, home_data, device=DEVICE)
    trials = [on_gpu.trial(Mlp, seed=at, **settings_of(False)) for at in range(2)]
    alone, stacked = on_gpu.both(trials, data, 2)
    assert [one.heard.losses for one in stacked] == [
        pytest.approx(one.heard.losses, rel=1e-3) for one in alone
    ]
    assert "recording one raised" in stacked[0].result.notes[-1]
    torch.rand(3, device=DEVICE)


def test_a_step_that_cannot_be_recorded_is_launched(on_gpu, home_data, blobs, monkeypatch):
    def refused(*_, **__):
        raise RuntimeError("operation not permitted when stream is capturing")

    monkeypatch.setattr(import_module("nbautoml.train.stacked.steps"), "_Recorded", refused)
    data = open_data(blobs.spec, home_data, device=DEVICE)
    trials = [on_gpu.trial(Mlp, seed=at, **settings_of(False)) for at in range(2)]
    alone, stacked = on_gpu.both(trials, data, 2)
    assert [one.heard.losses for one in stacked] == [
        pytest.approx(one.heard.losses, rel=1e-3) for one in alone
    ]
    assert (
        "recording one raised RuntimeError: operation not permitted" in stacked[0].result.notes[-1]
    )


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("shape", [(7, 3), (5, 6), (16, 100), (32, 8, 14, 14), (512, 4096)])
def test_masks_are_those_that_torch_draws_on_this_gpu(shape, dtype):
    n = torch.Size(shape).numel()
    assert agrees(n, dtype, torch.device(DEVICE))


class Drops(nn.Module):
    def __init__(self, first=0.2, second=0.5):
        super().__init__()
        self.layers = nn.Sequential(
            nn.Dropout(first), nn.Linear(4, 16), nn.ReLU(), nn.Dropout(second), nn.Linear(16, 3)
        )

    def forward(self, x):
        return self.layers(x)


def test_every_trial_drops_at_its_own_rates_what_it_drops_alone(on_gpu, home_data, blobs):
    data = open_data(blobs.spec, home_data, device=DEVICE)
    rates = [(0.2, 0.5), (0.0, 0.3), (0.7, 0.0), (0.1, 1.0)]
    trials = [
        on_gpu.trial(partial(Drops, *pair), seed=2**61 + at, **settings_of(False))
        for at, pair in enumerate(rates)
    ]
    alone, stacked = on_gpu.both(trials, data, 4)
    for one, other in zip(alone, stacked, strict=True):
        assert other.heard.losses == pytest.approx(one.heard.losses, rel=1e-3)
