"""How a fit ends: all epochs, patience, a listener's word, cancelled, diverged."""

# ruff: noqa: NPY002  the global generator is what is watched here
from __future__ import annotations

import math
import random

import numpy as np
import pytest
import torch
from torch import nn

from nbautoml.errors import DivergedError, ModelError, RecipeError
from nbautoml.train import Silent, TrialCancelled, precision, setup
from nbautoml.train.precision import MIXED_FROM, precision_for
from nbautoml.train.steplog import StepLog, stride_for


class Scripted(nn.Module):
    """A loss that learns nothing and whose validation value follows a script, epoch by epoch."""

    def __init__(self, values):
        super().__init__()
        self.values, self.epoch = list(values), 0

    def forward(self, output, target):
        if torch.is_grad_enabled():
            return nn.functional.cross_entropy(output, target)
        value, self.epoch = self.values[self.epoch], self.epoch + 1
        return output.sum() * 0.0 + value


class NanFrom(nn.Module):
    """A module whose output becomes NaN at a training step (counted from 1)."""

    def __init__(self, step, value=math.nan):
        super().__init__()
        self.fc, self.step, self.value, self.n_calls = nn.Linear(4, 3), step, value, 0

    def forward(self, x):
        output = self.fc(x)
        if self.training:
            self.n_calls += 1
            if self.n_calls >= self.step:
                return output * self.value
        return output


def test_patience_ends_a_fit_that_gets_no_better(blobs, mlp, run_fit):
    loss = Scripted([5.0, 4.0, 4.5, 4.2, 1.0])
    result = run_fit(mlp, blobs, loss=loss, epochs=5, patience=2)
    assert (result.best_epoch, result.n_epochs, result.value) == (2, 4, 4.0)
    assert (result.ended_by, result.stopped) == ("patience", False)


def test_a_tie_is_no_improvement(blobs, mlp, run_fit):
    result = run_fit(mlp, blobs, loss=Scripted([4.0, 4.0, 4.0]), epochs=3)
    assert result.best_epoch == 1


def test_weights_of_the_best_epoch_are_kept(blobs, mlp, run_fit):
    best = run_fit(mlp, blobs, loss=Scripted([5.0, 1.0, 3.0, 2.0]), epochs=4, lr=0.1)
    as_long = run_fit(mlp, blobs, loss=Scripted([5.0, 1.0]), epochs=2, lr=0.1)
    assert best.best_epoch == 2
    assert best.metrics["loss"] == 1.0
    for name, weight in as_long.state_dict.items():
        assert torch.equal(best.state_dict[name], weight)


def test_kept_weights_are_the_callers_own(blobs, run_fit):
    module = nn.Linear(4, 3)
    result = run_fit(lambda: module, blobs)
    with torch.no_grad():
        module.weight.zero_()
    assert result.state_dict["weight"].abs().sum() > 0
    assert not result.state_dict["weight"].requires_grad


def test_running_statistics_are_kept_with_the_weights(blobs, run_fit):
    def build():
        return nn.Sequential(nn.Linear(4, 8), nn.BatchNorm1d(8), nn.Linear(8, 3))

    result = run_fit(build, blobs)
    assert int(result.state_dict["1.num_batches_tracked"]) > 0


def test_a_listener_can_stop_a_fit_after_an_epoch(blobs, mlp, run_fit, ear):
    class Stopper(type(ear)):
        def on_epoch(self, epoch, step, metrics):
            super().on_epoch(epoch, step, metrics)
            return epoch == 2

    listener = Stopper()
    result = run_fit(mlp, blobs, epochs=9, listener=listener)
    assert (result.stopped, result.ended_by, result.n_epochs) == (True, "stopped", 2)
    assert [epoch for epoch, _, _ in listener.epochs] == [1, 2]
    assert listener.epochs[-1][1] == result.n_steps == 12


def test_a_cancelled_fit_ends_at_the_batch_and_leaves_the_generators_alone(blobs, mlp, run_fit):
    class Canceller(Silent):
        n = 0

        def on_batch(self):
            self.n += 1
            if self.n == 4:
                raise TrialCancelled("by hand")

    listener = Canceller()
    before = torch.get_rng_state(), random.getstate(), np.random.get_state()[1].tolist()
    with pytest.raises(TrialCancelled, match="by hand"):
        run_fit(mlp, blobs, listener=listener)
    assert listener.n == 4
    assert torch.equal(torch.get_rng_state(), before[0])
    assert random.getstate() == before[1]
    assert np.random.get_state()[1].tolist() == before[2]


@pytest.mark.parametrize("step", [1, 2, 6, 7, 9])
@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_divergence_names_its_step(step, value, blobs, run_fit, ear):
    with pytest.raises(DivergedError) as caught:
        run_fit(lambda: NanFrom(step, value), blobs, listener=ear, epochs=3)  # 6 steps an epoch
    assert caught.value.step == step
    assert f"step {step}" in caught.value.message
    assert ear.steps == list(range(1, step))
    assert all(math.isfinite(loss) for loss in ear.losses)


def test_a_learning_rate_that_is_far_too_high_ends_as_diverged(line, run_fit):
    with pytest.raises(DivergedError) as caught:
        run_fit(lambda: nn.Linear(3, 1), line, optimizer="sgd", lr=1e12, epochs=20)
    assert caught.value.step > 1


def test_a_validation_loss_that_is_no_number_is_divergence_too(blobs, mlp, run_fit):
    with pytest.raises(DivergedError, match="validation loss is nan at step 6"):
        run_fit(mlp, blobs, loss=Scripted([math.nan]), epochs=1)


def test_what_the_module_raises_comes_through_unchanged(blobs, run_fit):
    class Broken(nn.Linear):
        def forward(self, x):
            raise KeyError("mine")

    with pytest.raises(KeyError, match="mine"):
        run_fit(lambda: Broken(4, 3), blobs)


def test_parameters_that_are_all_frozen_are_an_error(blobs, run_fit):
    module = nn.Linear(4, 3).requires_grad_(False)
    with pytest.raises(ModelError, match="all 2 parameters of Linear are frozen"):
        run_fit(lambda: module, blobs)


def test_frozen_parameters_stay_and_the_others_learn(blobs, mlp, run_fit):
    def build():
        module = mlp()
        module[0].requires_grad_(False)
        return module

    torch.manual_seed(0)
    start = build().state_dict()
    result = run_fit(build, blobs, seed=0, weight_decay=0.1)
    assert torch.equal(result.state_dict["0.weight"], start["0.weight"])
    assert not torch.equal(result.state_dict["3.weight"], start["3.weight"])


def test_a_last_batch_of_one_is_left_out_where_batch_norm_could_not_take_it(
    open_value, run_fit, blobs
):
    X, y = blobs.train.all()
    data = open_value((X[:33], y[:33], X[33:60], y[33:60]))

    def build():
        return nn.Sequential(nn.Linear(4, 8), nn.BatchNorm1d(8), nn.Linear(8, 3))

    assert run_fit(build, data, batch_size=16, epochs=2).n_steps == 4
    assert run_fit(lambda: nn.Linear(4, 3), data, batch_size=16, epochs=2).n_steps == 6


def test_lazy_layers_take_their_shape_from_the_data(blobs, run_fit):
    def build():
        return nn.Sequential(nn.LazyLinear(8), nn.ReLU(), nn.LazyLinear(3))

    result = run_fit(build, blobs, seed=5)
    assert result.state_dict["0.weight"].shape == (8, 4)
    assert torch.equal(
        result.state_dict["0.weight"], run_fit(build, blobs, seed=5).state_dict["0.weight"]
    )


# torch warns of its own call, once a process.
@pytest.mark.filterwarnings("ignore:Sparse invariant checks:UserWarning")
def test_sparse_gradients_train_where_the_optimiser_can(open_value, run_fit):
    X = np.arange(60).reshape(-1, 1) % 7
    data = open_value((X.astype("int64"), (X[:, 0] > 3).astype("int64")))

    def build():
        return nn.Sequential(nn.Embedding(7, 4, sparse=True), nn.Flatten(), nn.Linear(4, 1))

    for optimizer in ("sgd", "momentum", "adagrad"):
        assert run_fit(build, data, optimizer=optimizer, lr=0.1).n_steps == 6


def test_several_inputs_reach_forward_by_place_or_by_name(open_value, run_fit, blobs):
    X, y = (value.numpy() for value in blobs.train.all())

    class Two(nn.Module):
        def __init__(self):
            super().__init__()
            self.left, self.right = nn.Linear(1, 3), nn.Linear(3, 3)

        def forward(self, a, b):
            return self.left(a) + self.right(b)

    a, b = X[:, :1], X[:, 1:]
    by_place = run_fit(Two, open_value(((a, b), y)), metric="accuracy", epochs=5)
    by_name = run_fit(Two, open_value(({"b": b, "a": a}, y)), metric="accuracy", epochs=5)
    assert by_place.value == by_name.value


def test_streamed_data_gives_the_same_weights_as_resident(home_data, run_fit, mlp, blobs):
    from nbautoml.data import open_data

    streamed = open_data(blobs.spec, home_data, device_limit_bytes=0)
    assert not streamed.train.on_device
    one, other = run_fit(mlp, blobs), run_fit(mlp, streamed)
    for name, weight in one.state_dict.items():
        assert torch.equal(other.state_dict[name], weight)


def test_mixed_precision_is_left_alone_on_a_cpu_unless_it_is_asked_for(blobs, mlp, run_fit):
    assert run_fit(mlp, blobs, amp="auto").notes == ()
    asked = run_fit(mlp, blobs, amp=True)
    assert asked.notes == ("mixed precision in bfloat16",)
    assert asked.state_dict["0.weight"].dtype == torch.float32


def test_weights_are_counted_of_the_module_that_trains_and_lazy_ones_when_they_have_shapes(
    blobs, run_fit, monkeypatch
):
    asked = []

    def counted(amp, device, n_weights):
        asked.append((amp, device.type, n_weights))
        return precision_for(amp, device, n_weights)

    monkeypatch.setattr(setup, "precision_for", counted)
    run_fit(lambda: nn.Sequential(nn.LazyLinear(16), nn.ReLU(), nn.LazyLinear(3)), blobs)
    assert asked == [("auto", "cpu", 4 * 16 + 16 + 16 * 3 + 3)]


@pytest.mark.parametrize(
    ("has_bfloat16", "amp", "n_weights", "dtype", "is_scaled"),
    [
        (True, "auto", MIXED_FROM, torch.bfloat16, False),
        (True, "auto", MIXED_FROM - 1, None, False),  # slower than float32
        (True, True, 1, torch.bfloat16, False),
        (True, False, MIXED_FROM, None, False),
        (
            False,
            "auto",
            MIXED_FROM,
            None,
            False,
        ),  # V100, T4: float16 needs a scaler, as no stack has
        (False, True, 1, torch.float16, True),
        (False, False, MIXED_FROM, None, False),
    ],
)
def test_what_a_gpu_computes_in(has_bfloat16, amp, n_weights, dtype, is_scaled, monkeypatch):
    monkeypatch.setattr(
        torch.cuda, "is_bf16_supported", lambda *, including_emulation: has_bfloat16
    )
    monkeypatch.setattr(torch.amp, "GradScaler", lambda device: f"a scaler on {device}")
    found = precision_for(amp, torch.device("cuda:0"), n_weights)
    assert found.dtype == dtype
    assert found.scaler == ("a scaler on cuda" if is_scaled else None)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
@pytest.mark.skipif(
    not torch.cuda.is_bf16_supported(including_emulation=False), reason="needs bfloat16"
)
def test_mixed_precision_is_on_with_cuda_for_models_that_are_large(
    blobs, home_data, mlp, monkeypatch
):
    from nbautoml.data import open_data
    from nbautoml.spec.fit import FitSettings
    from nbautoml.spec.objective import Objective
    from nbautoml.train import fit

    monkeypatch.setattr(precision, "MIXED_FROM", 1)
    data = open_data(blobs.spec, home_data, device="cuda:0")
    result = fit(
        mlp,
        data,
        FitSettings(epochs=20, lr=0.01),
        objective=Objective("accuracy", "maximize"),
        seed=0,
        device="cuda:0",
        listener=Silent(),
    )
    assert result.notes[0].startswith("mixed precision in")
    assert result.value > 0.8
    assert result.state_dict["0.weight"].device.type == "cpu"


@pytest.mark.parametrize(
    ("task", "loss"), [("binary", "mse"), ("regression", "cross_entropy"), ("multiclass", "bce")]
)
def test_a_loss_that_does_not_suit_the_task_is_an_error_before_training(
    task, loss, two_classes, line, blobs, run_fit
):
    data = {"binary": two_classes, "regression": line, "multiclass": blobs}[task]
    with pytest.raises(RecipeError, match="does not suit"):
        run_fit(lambda: nn.Linear(4, 1), data, loss_name=loss)


def test_steps_are_thinned_to_fifty_an_epoch_and_two_thousand_a_fit():
    for n_batches, epochs in ((21, 10), (50, 1), (51, 1), (1000, 3), (40, 5000)):
        stride = stride_for(n_batches, n_batches * epochs)
        assert math.ceil(n_batches / stride) <= 50
        assert math.ceil(n_batches * epochs / stride) <= 2000


def test_thinned_steps_keep_their_numbers_over_chunks_and_epochs():
    heard: list[int] = []
    log = StepLog(3, lambda steps, losses: heard.extend(zip(steps, losses, strict=True)))
    for first in (1, 8):
        log.start_epoch(first, 7, (4, 2))
        for step in range(first, first + 7):
            log.losses.append(torch.tensor(float(step)))
            if step % 4 == 0:
                log.flush()
        log.flush()
    assert heard == [(step, float(step)) for step in (1, 4, 7, 10, 13)]


def test_mean_of_an_epoch_weighs_its_last_batch_by_its_size():
    log = StepLog(1, lambda steps, losses: None)
    log.start_epoch(1, 3, (4, 2))
    for loss in (1.0, 2.0, 6.0):
        log.losses.append(torch.tensor(loss))
        log.flush()
    assert log.mean == pytest.approx((4 * 1 + 4 * 2 + 2 * 6) / 10)


def test_time_for_which_a_listener_blocks_is_no_training_time(blobs, mlp, run_fit, monkeypatch):
    from nbautoml.train import loop

    clock = iter(range(10**6))

    class Time:
        @staticmethod
        def perf_counter():
            return float(next(clock))

    # Every look at the clock takes one second, and nothing else does.
    monkeypatch.setattr(loop, "time", Time)
    result = run_fit(mlp, blobs, epochs=1)
    # begin, on_batch twice for each of 6 steps, on_epoch twice, end: 15 ticks, 7 of them waiting.
    assert result.duration_s == 15 - 7
