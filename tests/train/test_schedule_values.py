"""Learning rates against torch's own schedulers, at every step."""

from __future__ import annotations

import pytest
import torch
from torch.optim import lr_scheduler

from nbautoml.errors import RecipeError
from nbautoml.spec.fit import SCHEDULES as NAMES
from nbautoml.train.schedules import SCHEDULES, lr_factor

N_STEPS = 40


def torchs_rates(make_scheduler, n_steps=N_STEPS):
    optimizer = torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=1.0)
    scheduler = make_scheduler(optimizer)
    rates = []
    for _ in range(n_steps):
        rates.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        scheduler.step()
    return rates


def our_rates(schedule, warmup=0.0, n_steps=N_STEPS):
    return [lr_factor(schedule, warmup, step, n_steps) for step in range(1, n_steps + 1)]


@pytest.mark.parametrize(
    ("schedule", "make_scheduler"),
    [
        (None, lambda o: lr_scheduler.ConstantLR(o, factor=1.0)),
        ("cosine", lambda o: lr_scheduler.CosineAnnealingLR(o, T_max=N_STEPS)),
        ("linear", lambda o: lr_scheduler.LinearLR(o, 1.0, 0.0, total_iters=N_STEPS)),
        ("step", lambda o: lr_scheduler.StepLR(o, step_size=14, gamma=0.1)),
    ],
)
def test_schedule_has_torchs_values(schedule, make_scheduler):
    assert our_rates(schedule) == pytest.approx(torchs_rates(make_scheduler), abs=1e-9)


@pytest.mark.parametrize(("warmup", "rise"), [(0.0, 0.3), (0.5, 0.5)])
def test_onecycle_has_torchs_values_and_warmup_is_its_rise(warmup, rise):
    # one step less: torch refuses the step() after the last rate
    theirs = torchs_rates(
        lambda o: lr_scheduler.OneCycleLR(
            o, max_lr=1.0, total_steps=N_STEPS, pct_start=rise, cycle_momentum=False
        ),
        n_steps=N_STEPS - 1,
    )
    assert our_rates("onecycle", warmup)[:-1] == pytest.approx(theirs, abs=1e-9)


def test_warmup_rises_in_a_line_and_the_schedule_follows():
    def make(optimizer):
        rise = lr_scheduler.LinearLR(optimizer, start_factor=0.1, end_factor=1.0, total_iters=9)
        fall = lr_scheduler.LambdaLR(optimizer, lambda step: 1.0 - step / 30)
        return lr_scheduler.SequentialLR(optimizer, [rise, fall], milestones=[10])

    theirs = [(step + 1) / 10 for step in range(10)] + [1 - step / 30 for step in range(30)]
    assert our_rates("linear", warmup=0.25) == pytest.approx(theirs, abs=1e-9)
    assert our_rates("linear", warmup=0.25)[:10] == pytest.approx(torchs_rates(make)[:10])


@pytest.mark.parametrize("schedule", [None, *NAMES])
@pytest.mark.parametrize("n_steps", [1, 2, 3, 7])
@pytest.mark.parametrize("warmup", [0.0, 0.3, 0.99])
def test_factors_stay_within_zero_and_one_however_short_the_fit(schedule, n_steps, warmup):
    assert all(0.0 <= factor <= 1.0 for factor in our_rates(schedule, warmup, n_steps))


def test_every_schedule_that_may_be_named_is_there():
    assert tuple(SCHEDULES) == NAMES


def test_unknown_schedule_names_the_nearest():
    with pytest.raises(RecipeError, match="did you mean 'cosine'"):
        lr_factor("cosin", 0.0, 1, 10)
