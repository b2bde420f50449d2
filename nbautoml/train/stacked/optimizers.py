"""The seven optimisers over one matrix: a row a trial, a column a weight, each row its own settings.

``flat`` and ``grad`` are ``(K, P)``; per-trial settings are ``(K, 1)`` and broadcast. The rules are
those of `torch.optim` with its defaults (Adam's eps 1e-8, RMSprop's alpha 0.99 and eps 1e-8,
Adagrad's eps 1e-10); what changes with the step (learning rate, bias corrections) is tabulated for
an epoch at once, so that a step computes no scalars.

Adam on a CPU where all rows have made as many steps, with the same betas: one call of torch's fused
kernel, with learning rate 1, moves a matrix of zeros; each row's own rate then takes that to the
weights. 32 rows of 8,970 weights, one thread: 183 us a step, where seven calls take 342, of which
the square root alone 132 (MKL's, which the kernel does without).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from nbautoml.spec.fit import FitSettings
from nbautoml.train.schedules import lr_factor

__all__ = ["FAMILIES", "Rows", "Updater"]

ADAM_EPS, RMSPROP_ALPHA, RMSPROP_EPS, ADAGRAD_EPS = 1e-8, 0.99, 1e-8, 1e-10


@dataclass
class Rows:
    """The rows of one family of optimisers.

    Attributes:
        flat: weights, ``(k, P)``.
        grad: their gradients; may be written into.
        first: momentum, or the mean of gradients.
        second: the mean (or sum) of squared gradients.
        lr: ``(k, 1)``, the step's learning rate.
        factor: ``(k, 1)``, Adam: lr times its bias corrections.
        eps: ``(k, 1)``, Adam: eps times its bias correction.
        momentum: ``(k, 1)``.
        beta1: ``(k, 1)``, one minus the first of ``betas``.
        beta2: ``(k, 1)``, one minus the second.
        decay: ``(k, 1)`` weight decay; None where no row has any.
        common: what all rows have in common, where a fused kernel can do Adam's step; else None.
    """

    flat: Tensor
    grad: Tensor
    first: Tensor
    second: Tensor
    lr: Tensor
    factor: Tensor
    eps: Tensor
    momentum: Tensor
    beta1: Tensor
    beta2: Tensor
    decay: Tensor | None
    common: Common | None = None


@dataclass
class Common:
    """Rows that are at the same step, with the same betas.

    Attributes:
        move: zeros, ``(k, P)``; what the kernel moves.
        betas: of all.
        step: the step's number, from 1, as the kernel wants it.
    """

    move: Tensor
    betas: tuple[float, float]
    step: Tensor


def sgd(rows: Rows) -> None:
    """``w -= lr g``."""
    _decay_gradient(rows)
    rows.flat.addcmul_(rows.grad, rows.lr, value=-1)


def momentum(rows: Rows) -> None:
    """``b = mu b + g``, ``w -= lr b``."""
    _decay_gradient(rows)
    rows.first.mul_(rows.momentum).add_(rows.grad)
    rows.flat.addcmul_(rows.first, rows.lr, value=-1)


def nesterov(rows: Rows) -> None:
    """``b = mu b + g``, ``w -= lr (g + mu b)``."""
    _decay_gradient(rows)
    rows.first.mul_(rows.momentum).add_(rows.grad)
    rows.grad.addcmul_(rows.first, rows.momentum)
    rows.flat.addcmul_(rows.grad, rows.lr, value=-1)


def adam(rows: Rows) -> None:
    """Kingma and Ba, algorithm 1; weight decay is added to the gradient."""
    _decay_gradient(rows)
    _adam(rows)


def adamw(rows: Rows) -> None:
    """Loshchilov and Hutter: weights decay by ``lr * decay`` beside the step."""
    if rows.decay is not None:
        rows.flat.mul_(1 - rows.lr * rows.decay)
    _adam(rows)


def _adam(rows: Rows) -> None:
    if rows.common is not None:
        _fused_adam(rows, rows.common)
        return
    # lr m / c1 / (sqrt(v / c2) + eps)  =  (lr sqrt(c2) / c1) m / (sqrt(v) + eps sqrt(c2))
    grad = rows.grad
    rows.first.lerp_(grad, rows.beta1)
    rows.second.lerp_(grad.mul_(grad), rows.beta2)
    torch.sqrt(rows.second, out=grad)
    grad.add_(rows.eps)
    torch.div(rows.first, grad, out=grad)
    rows.flat.addcmul_(grad, rows.factor, value=-1)


def _fused_adam(rows: Rows, common: Common) -> None:
    torch._fused_adam_(  # what `torch.optim.Adam(fused=True)` calls
        [common.move], [rows.grad], [rows.first], [rows.second], [], [common.step],
        lr=1.0, beta1=common.betas[0], beta2=common.betas[1], weight_decay=0.0, eps=ADAM_EPS,
        amsgrad=False, maximize=False,
    )  # fmt: skip
    rows.flat.addcmul_(common.move, rows.lr)
    common.move.zero_()


def rmsprop(rows: Rows) -> None:
    """Hinton's lecture 6e, with torch's momentum on the scaled gradient."""
    _decay_gradient(rows)
    rows.second.mul_(RMSPROP_ALPHA).addcmul_(rows.grad, rows.grad, value=1 - RMSPROP_ALPHA)
    rows.grad.div_(rows.second.sqrt().add_(RMSPROP_EPS))
    rows.first.mul_(rows.momentum).add_(rows.grad)
    rows.flat.addcmul_(rows.first, rows.lr, value=-1)


def adagrad(rows: Rows) -> None:
    """Duchi et al.: the sum of squares instead of a mean."""
    _decay_gradient(rows)
    rows.second.addcmul_(rows.grad, rows.grad)
    rows.grad.div_(rows.second.sqrt().add_(ADAGRAD_EPS))
    rows.flat.addcmul_(rows.grad, rows.lr, value=-1)


def _decay_gradient(rows: Rows) -> None:
    if rows.decay is not None:
        rows.grad.addcmul_(rows.flat, rows.decay)


FAMILIES: Mapping[str, Callable[[Rows], None]] = {
    "sgd": sgd,
    "momentum": momentum,
    "nesterov": nesterov,
    "adam": adam,
    "adamw": adamw,
    "rmsprop": rmsprop,
    "adagrad": adagrad,
}
"""By the name that `FitSettings.optimizer` has."""


class Updater:
    """Updates all rows, family by family.

    Args:
        settings: of each row; rows of one optimiser must lie together.
        flat: weights, ``(K, P)``.
        grad: where gradients are put between `begin_step` and `step`.
        first: state, zero in the rows of new trials.
        second: likewise.
    """

    def __init__(
        self,
        settings: Sequence[FitSettings],
        flat: Tensor,
        grad: Tensor,
        first: Tensor,
        second: Tensor,
    ) -> None:
        self._settings, self._grad = list(settings), grad
        self._columns: list[list[tuple[Tensor, ...]]] = []  # by group: lr, factor, eps of each step
        self._tables = flat.new_empty(0)
        # On a GPU they are put in place, so that a step that was recorded reads those of its turn.
        is_cpu = flat.device.type == "cpu"
        self._now = None if is_cpu else flat.new_empty((3, len(self._settings), 1))
        clips = [math.inf if item.clip is None else item.clip for item in settings]
        self._clip = None if all(map(math.isinf, clips)) else _column(clips, flat)
        self._groups: list[tuple[Callable[[Rows], None], slice, Rows]] = []
        for name, place in _runs([item.optimizer for item in settings]):
            own = settings[place]
            now = flat.new_empty((3, 0)) if self._now is None else self._now[:, place]
            decays = [item.weight_decay for item in own]
            rows = Rows(
                flat=flat[place], grad=grad[place], first=first[place], second=second[place],
                lr=now[0], factor=now[1], eps=now[2],
                momentum=_column([item.momentum_taken for item in own], flat),
                beta1=_column([1 - item.betas[0] for item in own], flat),
                beta2=_column([1 - item.betas[1] for item in own], flat),
                decay=_column(decays, flat) if any(decays) else None,
            )  # fmt: skip
            self._groups.append((FAMILIES[name], place, rows))

    def start_epoch(self, done: Sequence[int], n_steps: int, totals: Sequence[int]) -> None:
        """Tabulate what changes from step to step.

        Args:
            done: steps that each row has made before.
            n_steps: steps of this epoch.
            totals: steps of each row's whole fit.
        """
        lr = np.empty((n_steps, len(self._settings)))
        factor, eps = np.ones_like(lr), np.ones_like(lr)
        for at, (item, before, total) in enumerate(zip(self._settings, done, totals, strict=True)):
            steps = np.arange(before + 1, before + n_steps + 1)
            lr[:, at] = item.lr
            if item.schedule is not None or item.warmup:
                lr[:, at] *= [
                    lr_factor(item.schedule, item.warmup, int(step), total) for step in steps
                ]
            if item.optimizer in {"adam", "adamw"}:
                root = np.sqrt(1 - item.betas[1] ** steps)
                factor[:, at] = lr[:, at] * root / (1 - item.betas[0] ** steps)
                eps[:, at] = ADAM_EPS * root
        for name, place, rows in self._named():
            rows.common = _common_of(name, self._settings[place], done[place], rows.flat)
        # By step, and in each: learning rate, factor and eps of each row.
        self._tables = _to(np.stack([lr, factor, eps], 1), self._grad).unsqueeze(3)
        if self._now is None:
            # Taken apart here: to do it in each step took a tenth of a small one.
            self._columns = [
                [table[:, place].unbind() for table in self._tables.unbind()]
                for _, place, _ in self._groups
            ]

    def begin_step(self, at: int) -> None:
        """Say which step of the epoch, from 0, comes next."""
        if self._now is not None:
            self._now.copy_(self._tables[at])
            return
        for (_, _, rows), columns in zip(self._groups, self._columns, strict=True):
            rows.lr, rows.factor, rows.eps = columns[at]
            if rows.common is not None:
                rows.common.step += 1

    def step(self) -> None:
        """Update all rows with the gradients that lie in ``grad``."""
        if self._clip is not None:
            norm = torch.linalg.vector_norm(self._grad, dim=1, keepdim=True)
            self._grad.mul_((self._clip / norm.add_(1e-6)).clamp_(max=1.0))
        for update, _, rows in self._groups:
            update(rows)

    def _named(self) -> list[tuple[str, slice, Rows]]:
        return [(self._settings[at.start].optimizer, at, rows) for _, at, rows in self._groups]


def _common_of(
    name: str, settings: Sequence[FitSettings], done: Sequence[int], flat: Tensor
) -> Common | None:
    is_alike = len({(item.betas, before) for item, before in zip(settings, done, strict=True)}) == 1
    if name not in {"adam", "adamw"} or not is_alike or flat.device.type != "cpu":
        return None
    if flat.dtype not in {torch.float32, torch.float64}:
        return None
    step = torch.tensor(float(done[0]), dtype=torch.float32)
    return Common(torch.zeros_like(flat), settings[0].betas, step)


def _runs(names: Sequence[str]) -> list[tuple[str, slice]]:
    found: list[tuple[str, slice]] = []
    start = 0
    for at in range(1, len(names) + 1):
        if at == len(names) or names[at] != names[start]:
            found.append((names[start], slice(start, at)))
            start = at
    return found


def _column(values: Sequence[float], like: Tensor) -> Tensor:
    return _to(np.array(list(values), dtype=np.float64), like).unsqueeze(1)


def _to(values: npt.NDArray[np.float64], like: Tensor) -> Tensor:
    return torch.from_numpy(values).to(like.device, like.dtype)
