"""K trials of the same structure trained as one.

::

    stack = StackedFit(data, objective=..., device="cpu", width=32)
    stack.add(Member(number=..., build=..., settings=..., seed=..., listener=...))
    for number, result in stack.run():  # a FitResult, or what ended the trial
        ...                             # more may be added meanwhile

Trials whose layers differ in width share a stack too, the narrower ones padded with zeros (`padding`).

How: one forward pass of the module is taped (`tape`), its calls get a first dimension of trials
(`rules`, `program`), weights lie in one matrix with a row a trial (`weights`), and seven update
rules work on that matrix (`optimizers`). A stack of two takes a step beside the module itself
before anything is trained (`groups`): what differs is refused with the reason (`CannotStack`).

What decided the form: digits, MLP 64-64-10, Adam, batch 64, 230 steps, one thread, ms a trial
(``benchmarks/vectorized.py``; medians of 5 and of 2, which a shared machine repeats to some 10 %):

=====================================  ============  ==========
way                                    dropout 0.1   no dropout
=====================================  ============  ==========
tight loop by hand, nothing recorded   46.3          36.7
`nbautoml.train.fit`                   41.7          33.2
`vmap(grad)`, nothing recorded         16.8          13.8
this, 16 wide                          15.5          11.0
this, 32 wide                          14.2          10.6
this, 32 wide, dropout by hash         11.9          10.6
the matrix products alone              3.3           3.3
=====================================  ============  ==========

Helped: cross entropy with classes before rows (12.1 to 2.1 us a trial and step); weight gradients
in the weights' own layout; one matrix for the optimiser; widths that stay in the cache (16 to 32
on a CPU, 64 and 128 are no faster); counting metrics for all trials at once.

Did not help, and is not here:

* backward by hand with all buffers allocated once: 28 to 34 us a trial and step without dropout,
  where this takes some 35, and it would know a few layers only;
* `torch.compile` of forward, losses and their backward pass (``benchmarks/compiling.py``);
* keeping freed memory from the system (``mallopt``): 2 to 5 %; it is the whole process's, so workers
  have it (`nbautoml.engine.heap`: a fit with convolutions gains a quarter);
* convolutions on a CPU: stacked they lose to training one by one (210 against 150 ms a trial,
  small CNN, 8 wide), although each trial has a call of its own: they go one by one by what a stack
  of one does (`solo`). Attention loses by a quarter, LSTMs come out even. Measure before choosing;

A choice, off by default: ``has_exact_dropout=False`` draws dropout by a hash of (seed, step, layer)
for all trials at once, 3 us instead of 13 a trial and step, and one launch instead of one a trial
on a GPU; it is no longer what plain PyTorch draws from the same seed.

On a GPU a step is recorded once as a CUDA graph and played from then on (`steps`). An H200 with a
slow host, torch 2.11, 64 trials of the MLP above as one, one epoch of 23 steps and its validation, ms:

===================================================  =====  ============
way                                                  plain  dropout 0.2
===================================================  =====  ============
gradients by autograd, bfloat16                         65
gradients by autograd                                   57
gradients without it (`direct`), launched               18            84
the same, recorded                                     8.3            20
===================================================  =====  ============

Dropout's masks are of all trials at once (`philox`: some 130 kernels a layer, which only a recording
makes cheap); what drawing them trial by trial takes was not measured.

To record takes as long as some eight steps that are launched. 256 trials as one take 21 ms an epoch. A
step that `torch.compile` has compiled was slower than one that is launched (27 against 25 us a trial
and step; played 3.7), after 10 s of compiling. Convolutions of all trials are one grouped call: a
step of 64 small CNNs 3.1 ms, 2.0 in bfloat16; one call a trial 7.9, as products of unfolded images
4.5, of shifted ones 3.1 (0.86 against 0.94 with 16 trials), channels last 4.8. cuDNN's search for the best kernel
changed nothing.

Importing this package imports no torch.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from nbautoml.train.stacked.fit import Ended, StackedFit
    from nbautoml.train.stacked.groups import group_key, why_not
    from nbautoml.train.stacked.members import Member, Models, Ready, bare, ready
    from nbautoml.train.stacked.reasons import BrokenStack, CannotStack, TooWide
    from nbautoml.train.stacked.solo import Solo

__all__ = [
    "BrokenStack",
    "CannotStack",
    "Ended",
    "Member",
    "Models",
    "Ready",
    "Solo",
    "StackedFit",
    "TooWide",
    "bare",
    "group_key",
    "ready",
    "why_not",
]

_HOMES = {
    "BrokenStack": "reasons",
    "CannotStack": "reasons",
    "Ended": "fit",
    "Member": "members",
    "Models": "members",
    "Ready": "members",
    "Solo": "solo",
    "StackedFit": "fit",
    "TooWide": "reasons",
    "bare": "members",
    "group_key": "groups",
    "ready": "members",
    "why_not": "groups",
}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)
