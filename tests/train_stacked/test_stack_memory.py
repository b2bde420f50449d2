"""What a step has computed goes when nobody needs it, not when garbage is collected."""

from __future__ import annotations

import gc
import weakref

import pytest
import torch

from nbautoml.train.stacked.rules import each, vmapped
from nbautoml.train.stacked.tape import Op


@pytest.mark.parametrize("rule", [each, vmapped], ids=["each", "vmapped"])
def test_no_circle_keeps_a_step(rule):
    weight = torch.ones(3, 4, requires_grad=True)
    gc.disable()
    try:
        x = weight * 2
        y = rule(Op(torch.cat, (), {}, (0,), ((8,),)), [x, x], 0)
        held = [weakref.ref(x), weakref.ref(y)]
        del x, y
        assert [one() for one in held] == [None, None]
    finally:
        gc.enable()
