"""Our update rules against torch's, row by row."""

from __future__ import annotations

import itertools

import pytest
import torch

from nbautoml.spec.fit import OPTIMIZERS, FitSettings
from nbautoml.train.optimizers import optimizer_call
from nbautoml.train.schedules import lr_factor
from nbautoml.train.stacked.optimizers import FAMILIES, Updater

N_STEPS, N_WEIGHTS = 50, 40


def settings_of(name):
    """Every combination of some values of what the optimiser takes."""
    return [
        FitSettings(
            optimizer=name, lr=lr, weight_decay=decay, momentum=momentum, betas=betas, clip=clip,
            schedule=schedule,
        )
        for lr, decay, (momentum, betas, clip, schedule) in itertools.product(
            (1e-3, 0.1), (0.0, 0.01), (
                (0.9, (0.9, 0.999), None, None),
                (0.5, (0.8, 0.99), None, "cosine"),
                (0.0, (0.0, 0.5), 0.7, "onecycle"),
            ),
        )
    ]  # fmt: skip


def gradients(n_rows, dtype):
    generator = torch.Generator().manual_seed(1)
    return torch.randn(N_STEPS, n_rows, N_WEIGHTS, generator=generator, dtype=dtype)


def starts(n_rows, dtype):
    generator = torch.Generator().manual_seed(2)
    return torch.randn(n_rows, N_WEIGHTS, generator=generator, dtype=dtype)


def torchs_way(item, start, grads):
    weight = torch.nn.Parameter(start.clone())
    name, arguments = optimizer_call(item, "cpu")
    arguments.pop("fused", None)
    optimizer = getattr(torch.optim, name)([weight], **arguments)
    for step, grad in enumerate(grads, 1):
        optimizer.param_groups[0]["lr"] = item.lr * lr_factor(item.schedule, 0.0, step, N_STEPS)
        weight.grad = grad.clone()
        if item.clip is not None:
            torch.nn.utils.clip_grad_norm_([weight], item.clip)
        optimizer.step()
    return weight.detach()


def our_way(settings, start, grads, epochs):
    flat, grad = start.clone(), torch.empty_like(start)
    updater = Updater(settings, flat, grad, torch.zeros_like(flat), torch.zeros_like(flat))
    n_steps = N_STEPS // epochs
    for epoch in range(epochs):
        updater.start_epoch([epoch * n_steps] * len(settings), n_steps, [N_STEPS] * len(settings))
        for at in range(n_steps):
            grad.copy_(grads[epoch * n_steps + at])
            updater.begin_step(at)
            updater.step()
    return flat


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_fifty_steps_as_torch_makes_them(name):
    settings = settings_of(name)
    grads = gradients(len(settings), torch.float64)
    start = starts(len(settings), torch.float64)
    found = our_way(settings, start, grads, epochs=5)
    for row, item in enumerate(settings):
        expected = torchs_way(item, start[row], grads[:, row])
        torch.testing.assert_close(found[row], expected, rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_single_precision_stays_as_close(name):
    settings = settings_of(name)
    grads = gradients(len(settings), torch.float32)
    start = starts(len(settings), torch.float32)
    found = our_way(settings, start, grads, epochs=1)
    for row, item in enumerate(settings):
        expected = torchs_way(item, start[row], grads[:, row])
        torch.testing.assert_close(found[row], expected, rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("betas", [(0.9, 0.999), (0.0, 0.5)])
@pytest.mark.parametrize("name", ["adam", "adamw"])
@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float64, 1e-9), (torch.float32, 1e-6)])
def test_rows_that_are_alike_in_one_call(name, betas, dtype, tolerance):
    settings = [
        FitSettings(
            optimizer=name, lr=lr, weight_decay=decay, betas=betas, clip=clip, schedule=schedule
        )
        for lr in (1e-4, 1e-2)
        for decay, clip, schedule in ((0.0, None, None), (0.01, None, "cosine"), (0.1, 0.7, None))
    ]
    grads = gradients(len(settings), dtype)
    start = starts(len(settings), dtype)
    found = our_way(settings, start, grads, epochs=5)
    for row, item in enumerate(settings):
        expected = torchs_way(item, start[row], grads[:, row])
        torch.testing.assert_close(found[row], expected, rtol=tolerance, atol=tolerance)


def test_all_families_in_one_matrix():
    settings = [item for name in OPTIMIZERS for item in settings_of(name)[:2]]
    grads = gradients(len(settings), torch.float64)
    start = starts(len(settings), torch.float64)
    found = our_way(settings, start, grads, epochs=2)
    for row, item in enumerate(settings):
        torch.testing.assert_close(found[row], torchs_way(item, start[row], grads[:, row]))


def test_rows_at_different_steps():
    item = FitSettings(optimizer="adam", lr=0.01)
    grads = gradients(1, torch.float64)
    start = starts(1, torch.float64)
    flat, grad = start.repeat(2, 1), torch.empty(2, N_WEIGHTS, dtype=torch.float64)
    first, second = torch.zeros_like(flat), torch.zeros_like(flat)
    # The first row is ten steps ahead of the second.
    for step in range(10):
        updater = Updater([item], flat[:1], grad[:1], first[:1], second[:1])
        updater.start_epoch([step], 1, [N_STEPS])
        grad[:1] = grads[step]
        updater.begin_step(0)
        updater.step()
    updater = Updater([item, item], flat, grad, first, second)
    updater.start_epoch([10, 0], 10, [N_STEPS, N_STEPS])
    for at in range(10):
        grad.copy_(torch.cat([grads[10 + at], grads[at]]))
        updater.begin_step(at)
        updater.step()
    torch.testing.assert_close(flat[0], torchs_way(item, start[0], grads[:20, 0]))
    torch.testing.assert_close(flat[1], torchs_way(item, start[0], grads[:10, 0]))


def test_a_row_of_nan_stays_alone():
    for name in OPTIMIZERS:
        settings = [FitSettings(optimizer=name, clip=1.0)] * 2
        flat, grad = torch.ones(2, 3), torch.tensor([[float("nan")] * 3, [1.0] * 3])
        updater = Updater(settings, flat, grad, torch.zeros(2, 3), torch.zeros(2, 3))
        updater.start_epoch([0, 0], 1, [1, 1])
        updater.begin_step(0)
        updater.step()
        assert flat[0].isnan().all()
        assert flat[1].isfinite().all()


def test_every_optimizer_has_a_rule():
    assert set(FAMILIES) == set(OPTIMIZERS)
