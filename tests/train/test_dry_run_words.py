"""What a dry run says of modules that do not work: which layer, both shapes, what to do."""

from __future__ import annotations

import gc
import random
import weakref

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional as F

from nbautoml.errors import ModelError, RecipeError
from nbautoml.spec.fit import FitSettings
from nbautoml.train import dry_run


@pytest.fixture
def complain():
    """The error of a dry run; a class is a module that is built without arguments."""

    def run(build, data, *, loss=None, **settings):
        with pytest.raises(ModelError) as caught:
            dry_run(build, data, FitSettings(**{"batch_size": 16, **settings}), "cpu", loss=loss)
        return caught.value

    return run


def module(forward, **layers):
    """A module named Net with these layers and this forward."""

    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            for name, layer in layers.items():
                setattr(self, name, layer)

        def forward(self, x):
            return forward(self, x)

    return Net


def test_a_module_that_works_is_described(digits, mlp):
    text = dry_run(lambda: mlp(64, 10), digits, FitSettings(batch_size=64), "cpu")
    assert text == (
        "Sequential: 610 weights; x (64,) float32; loss cross_entropy; 23 steps an epoch"
    )


def test_a_dry_run_leaves_generators_and_hooks_as_they_were(blobs, mlp):
    net = mlp()
    before = torch.get_rng_state().tolist(), random.getstate(), np.random.get_state()[1].tolist()  # noqa: NPY002
    dry_run(lambda: net, blobs, FitSettings(), "cpu")
    after = torch.get_rng_state().tolist(), random.getstate(), np.random.get_state()[1].tolist()  # noqa: NPY002
    assert before == after
    assert not any(layer._forward_pre_hooks or layer._forward_hooks for layer in net.modules())


def test_too_few_outputs_for_the_classes(digits, complain):
    error = complain(module(lambda self, x: self.head(x), head=nn.Linear(64, 8)), digits)
    assert error.message.startswith("Net returns 8 values a sample, the data has 10 classes")
    assert "(16, 8)" in error.message
    assert "head (Linear(in_features=64, out_features=8, bias=True))" in error.message
    assert "10 outputs" in error.hint


def test_too_many_outputs_for_a_binary_task(two_classes, complain):
    error = complain(lambda: nn.Linear(4, 3), two_classes)
    assert "Linear returns 3 values a sample, the data has 2 classes" in error.message


def test_too_many_outputs_for_one_number(line, complain):
    error = complain(lambda: nn.Linear(3, 2), line)
    assert "returns 2 values a sample, the data has 1 value a sample" in error.message


def test_two_layers_that_do_not_fit_each_other(digits, complain):
    class Block(nn.Module):
        def __init__(self):
            super().__init__()
            self.fc1, self.fc2 = nn.Linear(64, 32), nn.Linear(100, 10)

        def forward(self, x):
            return self.fc2(self.fc1(x))

    error = complain(module(lambda self, x: self.body(x), body=Block()), digits)
    assert error.message == (
        "body.fc2 (Linear(in_features=100, out_features=10, bias=True)) got shape (16, 32), "
        "it takes (..., 100)"
    )
    assert error.hint == "its in_features would have to be 32"
    assert "self.fc2(self.fc1(x))" in error.frames
    assert "site-packages" not in error.frames
    assert "nbautoml/train" not in error.frames


@pytest.mark.parametrize(
    ("layer", "got", "takes", "hint"),
    [
        (nn.Conv2d(1, 4, 3), "(16, 64)", "(batch, 1, height, width)", "reshape(len(x), 1, 8, 8)"),
        (nn.Conv1d(1, 4, 3), "(16, 64)", "(batch, 1, length)", "unsqueeze(1)"),
        (nn.BatchNorm1d(32), "(16, 64)", "(batch, 32, ...)", "64"),
        (nn.LayerNorm(32), "(16, 64)", "(..., 32)", "nn.LayerNorm(64)"),
        (nn.LSTM(8, 4, batch_first=True), "(16, 64)", "(batch, time, 8)", "64"),
    ],
)
def test_each_kind_of_layer_says_what_it_takes(layer, got, takes, hint, digits, complain):
    error = complain(module(lambda self, x: self.layer(x), layer=layer), digits)
    assert f"got shape {got}, it takes {takes}" in error.message
    assert error.message.startswith("layer (")
    assert hint in error.hint


def test_channels_at_the_end_and_images_that_are_not_flat(digits, open_value, complain):
    X, y = digits.train.all()
    last = open_value(
        (X[:60].reshape(-1, 8, 8, 1), y[:60], X[60:90].reshape(-1, 8, 8, 1), y[60:90])
    )
    error = complain(lambda: nn.Conv2d(1, 4, 3), last)
    assert "x.permute(0, 3, 1, 2)" in error.hint
    error = complain(lambda: nn.Linear(64, 10), last)
    assert "x.flatten(1)" in error.hint
    flat = open_value((X[:60].reshape(-1, 8, 8), y[:60], X[60:90].reshape(-1, 8, 8), y[60:90]))
    error = complain(module(lambda self, x: self.conv(x), conv=nn.Conv2d(1, 4, 3)), flat)
    assert "x.unsqueeze(1)" in error.hint


def test_whole_numbers_into_a_linear_layer(open_value, complain):
    X = np.arange(80).reshape(40, 2).astype("int64") % 5
    data = open_value(({"ids": X}, X[:, 0]))

    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            self.fc = nn.Linear(2, 5)

        def forward(self, ids):
            return self.fc(ids)

    error = complain(Net, data)
    assert error.message.startswith("fc (Linear(")
    assert "got int64 values, it computes in float32" in error.message
    assert "nn.Embedding" in error.hint


def test_indices_beyond_an_embedding(open_value, complain):
    X = np.arange(40).reshape(40, 1).astype("int64") % 9
    data = open_value((X, (X[:, 0] > 3).astype("int64")))
    net = module(lambda self, x: self.emb(x)[:, 0], emb=nn.Embedding(5, 1))
    error = complain(net, data, batch_size=40)
    assert "got indices from 0 to 8, it has 5 rows" in error.message
    assert "at least 9" in error.hint


def test_numbers_into_an_embedding(blobs, complain):
    error = complain(module(lambda self, x: self.emb(x), emb=nn.Embedding(5, 3)), blobs)
    assert "got float32 values, it takes int64 indices" in error.message


@pytest.mark.parametrize(
    ("answer", "told"),
    [
        (lambda y: None, "returned None"),
        (lambda y: (y, y), "returned a tuple of (shape (16, 3), shape (16, 3))"),
        (lambda y: {"scores": y}, "returned a dict of (scores: shape (16, 3))"),
        (lambda y: 3.0, "returned a float"),
    ],
)
def test_forward_must_return_one_tensor(answer, told, blobs, complain):
    error = complain(module(lambda self, x: answer(self.fc(x)), fc=nn.Linear(4, 3)), blobs)
    assert f"Net.forward {told}" in error.message
    assert error.hint


def test_the_batch_must_stay_the_first_dimension(blobs, complain):
    error = complain(module(lambda self, x: self.fc(x).flatten(), fc=nn.Linear(4, 3)), blobs)
    assert "returns 48 rows for a batch of 16, one row a sample is needed" in error.message
    assert "x.flatten(1)" in error.hint


def test_a_batch_size_that_is_written_into_forward(blobs, complain):
    net = module(lambda self, x: self.fc(x.view(20, 4)), fc=nn.Linear(4, 3))
    error = complain(net, blobs, batch_size=20)  # 96 rows: the last batch has 16
    assert "invalid for input of size 64" in error.message
    assert "view(20, 4)" in error.frames


def test_guessed_classes_cannot_be_trained_on(two_classes, complain):
    net = module(lambda self, x: self.fc(x).argmax(1), fc=nn.Linear(4, 2))
    assert "whole numbers cannot be trained on" in complain(net, two_classes).message


def test_an_output_that_is_cut_off_from_the_weights(blobs, complain):
    net = module(lambda self, x: self.fc(x).detach(), fc=nn.Linear(4, 3))
    error = complain(net, blobs)
    assert "what Net returns does not depend on the weights" in error.message
    assert ".detach()" in error.hint


def test_a_module_without_parameters(blobs, complain):
    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            self.layers = [nn.Linear(4, 3)]

        def forward(self, x):
            return self.layers[0](x)

    error = complain(Net, blobs)
    assert error.message == "Net has no parameters, so there is nothing to train"
    assert "nn.ModuleList" in error.hint


def test_a_module_that_is_frozen_as_a_whole(blobs, complain):
    error = complain(lambda: nn.Linear(4, 3).requires_grad_(False), blobs)
    assert "frozen" in error.message


def test_weights_that_are_nan_as_built(blobs, complain):
    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            self.gain = nn.Parameter(torch.full((3,), float("nan")))
            self.fc = nn.Linear(4, 3)

        def forward(self, x):
            return self.fc(x) * self.gain

    error = complain(Net, blobs)
    assert "weight 'gain' of Net holds NaN" in error.message


def test_an_output_that_is_nan_before_any_training(blobs, complain):
    net = module(lambda self, x: self.fc(x).log() * 0 + float("nan"), fc=nn.Linear(4, 3))
    assert "returns NaN or infinity before any training" in complain(net, blobs).message


def test_something_else_than_a_module(blobs, complain):
    assert "gave a dict, not a torch.nn.Module" in complain(dict, blobs).message


def test_an_error_while_building_shows_the_users_line(blobs, complain):
    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            self.fc = nn.Linear(4, 0.5)

    error = complain(Net, blobs)
    assert error.message.startswith("building the model raised TypeError")
    assert "nn.Linear(4, 0.5)" in error.frames
    assert "site-packages" not in error.frames


def test_a_value_that_is_changed_in_place_before_its_gradient_is_taken(blobs, complain):
    def forward(self, x):
        hidden = self.fc(x).sigmoid()
        hidden += 1.0
        return hidden

    error = complain(module(forward, fc=nn.Linear(4, 3)), blobs)
    assert "changed in place" in error.message
    assert "x = x + y" in error.hint
    assert "self.fc(x).sigmoid()" in error.frames
    assert "nbautoml/train" not in error.frames


def test_batch_norm_with_batches_of_one(blobs, complain):
    def build():
        return nn.Sequential(nn.Linear(4, 8), nn.BatchNorm1d(8), nn.Linear(8, 3))

    error = complain(build, blobs, batch_size=1)
    assert error.message.startswith("1 (BatchNorm1d(8")
    assert "a batch of one sample" in error.message
    assert "at least 2" in error.hint


def test_a_function_that_fails_in_forward_names_the_module_and_its_input(blobs, complain):
    net = module(lambda self, x: torch.cat([self.fc(x), x[:3]]), fc=nn.Linear(4, 3))
    error = complain(net, blobs)
    assert error.message.startswith("Net raised RuntimeError: Sizes of tensors must match")
    assert "(its input: shape (16, 4))" in error.message
    assert "torch.cat" in error.frames


def test_forward_that_takes_another_number_of_inputs(blobs, complain):
    class Net(nn.Linear):
        def forward(self, x, mask):
            return super().forward(x)

    assert (
        "missing 1 required positional argument: 'mask'"
        in complain(lambda: Net(4, 3), blobs).message
    )


def test_a_failure_in_evaluation_only_is_found(blobs, complain):
    def forward(self, x):
        if not self.training:
            raise NotImplementedError("later")
        return self.fc(x)

    error = complain(module(forward, fc=nn.Linear(4, 3)), blobs)
    assert "NotImplementedError: later" in error.message


def test_a_loss_that_does_not_reduce(blobs, mlp, complain):
    error = complain(mlp, blobs, loss=nn.CrossEntropyLoss(reduction="none"))
    assert "the loss returned shape (16,), it must return one number" in error.message


def test_a_loss_that_raises(blobs, mlp, complain):
    def loss(output, target):
        return output.no_such_thing

    error = complain(mlp, blobs, loss=loss)
    assert error.message.startswith("the loss raised AttributeError")
    assert "output.no_such_thing" in error.frames


def test_a_sigmoid_at_the_end_of_a_binary_module(two_classes, complain):
    net = module(lambda self, x: torch.sigmoid(self.fc(x)).squeeze(1), fc=nn.Linear(4, 1))
    error = complain(net, two_classes)
    assert "ends with a sigmoid, but loss 'bce' takes raw scores" in error.message


def test_a_sigmoid_is_right_with_a_loss_that_takes_probabilities(two_classes, run_fit):
    def build():
        return nn.Sequential(nn.Linear(4, 1), nn.Sigmoid())

    assert dry_run(build, two_classes, FitSettings(), "cpu", loss=nn.BCELoss())
    result = run_fit(build, two_classes, metric="accuracy", loss=nn.BCELoss(), lr=0.1, epochs=20)
    assert result.value > 0.9


def test_a_softmax_at_the_end_is_remarked_on(blobs):
    net = module(lambda self, x: self.fc(x).softmax(1), fc=nn.Linear(4, 3))
    assert "ends with a softmax" in dry_run(net, blobs, FitSettings(), "cpu")


def test_nll_wants_logarithms_of_probabilities(blobs, complain):
    net = module(lambda self, x: self.fc(x), fc=nn.Linear(4, 3))
    good = module(lambda self, x: F.log_softmax(self.fc(x), 1), fc=nn.Linear(4, 3))
    assert dry_run(good, blobs, FitSettings(loss="nll"), "cpu")
    with pytest.raises(ModelError, match="takes log-probabilities"):
        dry_run(net, blobs, FitSettings(loss="nll"), "cpu")


def test_layers_that_forward_does_not_use_are_remarked_on(blobs):
    net = module(lambda self, x: self.fc(x), fc=nn.Linear(4, 3), spare=nn.Linear(4, 3))
    text = dry_run(net, blobs, FitSettings(), "cpu")
    assert "no gradient reaches spare.weight, spare.bias" in text


def test_an_optimiser_that_cannot_take_sparse_gradients(open_value, complain):
    X = np.arange(60).reshape(-1, 1) % 7
    data = open_value((X.astype("int64"), (X[:, 0] > 3).astype("int64")))
    net = module(lambda self, x: self.emb(x)[:, 0], emb=nn.Embedding(7, 1, sparse=True))
    assert "optimizer 'adam' raised RuntimeError" in complain(net, data).message


def test_a_loss_of_another_task_is_refused(blobs, mlp):
    with pytest.raises(RecipeError, match="does not suit"):
        dry_run(mlp, blobs, FitSettings(loss="mse"), "cpu")


def test_the_error_of_a_dry_run_keeps_no_tensors_alive(blobs, complain):
    seen = []

    def forward(self, x):
        activation = self.fc(x)
        seen.append(weakref.ref(activation))
        return activation @ torch.ones(99, 2)

    error = complain(module(forward, fc=nn.Linear(4, 3)), blobs)
    assert "activation @" in error.frames
    gc.collect()
    assert seen
    assert all(ref() is None for ref in seen)
