"""Learning from a teacher: the loss, and a student that hears its teacher while it trains.

::

    inputs --> student --> output ---------------> loss(output, target)
          '--> teacher --> softened by T ---------> T^2 KL(teacher || student)
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F  # noqa: N812  torch's own name for it
from torch import nn

from nbautoml.compress.remembered import Answers
from nbautoml.compress.transfer import Transfer

__all__ = ["Student", "distillation_loss", "soft_targets_loss"]

Loss = Callable[[torch.Tensor, torch.Tensor], torch.Tensor]


def soft_targets_loss(
    output: torch.Tensor, taught: torch.Tensor, temperature: float, task: str
) -> torch.Tensor:
    """How far a student's answers are from a teacher's.

    For classes the Kullback-Leibler divergence of the distributions softened by the temperature,
    times its square so that gradients keep their size; for labels the same of each label's yes
    and no; for numbers the squared error (a temperature means nothing there).

    Args:
        output: of the student: (n, classes), (n, labels) or numbers.
        taught: of the teacher, the same shape.
        temperature: above 0; larger shows more of what the teacher holds for the wrong classes.
        task: "multiclass", "binary", "multilabel" or "regression".

    Source: Hinton, Vinyals and Dean 2015, "Distilling the Knowledge in a Neural Network", section 2.

    >>> logits = torch.tensor([[2.0, 0.0]])
    >>> float(soft_targets_loss(logits, logits, 4.0, "multiclass"))
    0.0
    """
    if task == "regression":
        return F.mse_loss(output, taught.reshape(output.shape))
    if output.ndim >= 2 and task in {"multiclass", "binary"} and output.shape[1] > 1:
        soft = F.log_softmax(output / temperature, 1)
        target = F.log_softmax(taught / temperature, 1)
        n = output.numel() // output.shape[1]
        return F.kl_div(soft, target, reduction="sum", log_target=True) / n * temperature**2
    soft, target = output / temperature, torch.sigmoid(taught / temperature)
    cross = F.binary_cross_entropy_with_logits(soft, target.reshape(soft.shape))
    entropy = F.binary_cross_entropy(target, target)
    return (cross - entropy) * temperature**2


class Student(nn.Module):
    """A module that asks its teacher about every training batch; in evaluation it is the module.

    The teacher is no part of it: its weights are neither trained nor saved. What compares inner
    layers (`Transfer`) is trained with it.
    """

    def __init__(
        self, module: nn.Module, teacher: nn.Module, transfer: Transfer | None = None
    ) -> None:
        super().__init__()
        self.module = module
        self.transfer = transfer
        self._heard = _Heard(teacher.eval())

    def remember(self, answers: Answers) -> None:
        """Take the teacher's answers from there where they are known, and keep new ones there."""
        self._heard.answers = answers

    def forward(self, *inputs: Any, **named: Any) -> Any:
        """The module's output; in training the teacher's is noted for the loss."""
        if self.training:
            self._heard.ask(inputs, named)
        else:
            self._heard.taught = None
        return self.module(*inputs, **named)


class _Heard:
    """The teacher and its last answer; one for a student and its copies."""

    def __init__(self, teacher: nn.Module) -> None:
        self.teacher = teacher
        self.taught: torch.Tensor | None = None
        self.answers: Answers | None = None

    def __deepcopy__(self, memo: Any) -> _Heard:
        return self

    def ask(self, inputs: Any, named: Any) -> None:
        # A student may write into its input, so the teacher is asked first.
        def answer() -> Any:
            return self.teacher(*inputs, **named)

        with torch.no_grad():
            self.taught = answer() if self.answers is None else self.answers.ask(answer)


def distillation_loss(
    student: Student, base: Loss, plain: Loss, *, temperature: float, weight: float, task: str
) -> Loss:
    """The loss of a student: ``weight`` for the teacher's answer, the rest for the target.

    Args:
        student: in training it has asked its teacher.
        base: the loss for the target.
        plain: the same without smoothed labels and weights of classes: in evaluation it is the
            loss alone, so that values can be compared between fits.
        temperature: of `soft_targets_loss`.
        weight: of the teacher's answer, in [0, 1].
        task: of the data.
    """
    heard = student._heard  # noqa: SLF001  the other half of this class

    def loss(output: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
        if heard.taught is None:
            return plain(output, target)
        told = base(output, target)
        soft = soft_targets_loss(output, heard.taught, temperature, task)
        if student.transfer is not None:
            soft = soft + student.transfer.loss()
        return weight * soft + (1 - weight) * told

    return loss
