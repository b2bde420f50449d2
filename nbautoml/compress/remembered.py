"""What a teacher answers does not change from pass to pass: each row asks it once.

::

    data.train --batches--> rows of the batch noted --> student asks: known? --yes--> remembered answer
                                                                        '--no---> teacher, and kept

The trainer knows nothing of it: it gets the same data in a wrapper that notes which rows come.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch

if TYPE_CHECKING:
    from torch import nn

    from nbautoml.spec.data import DataSpec
    from nbautoml.train.batches import Part, TrainData

__all__ = ["Answers", "Memory", "with_rows_noted"]

MOST_BYTES = 256 << 20  # of answers; larger ones (of a segmentation, say) are asked for anew


class Answers:
    """Answers of one teacher to rows of one part of the data.

    Rows are noted before each batch and hold for one question, so that an answer is only ever
    kept for, or taken for, the batch that was handed out with them.

    Args:
        n: rows of the part.
        most_bytes: of memory; where the answers to all rows need more, none is kept.

    >>> answers = Answers(3)
    >>> for _ in range(2):
    ...     answers.note(torch.tensor([2, 0]))
    ...     print(answers.ask(lambda: print("asked") or torch.tensor([20.0, 0.0])).tolist())
    asked
    [20.0, 0.0]
    [20.0, 0.0]
    """

    def __init__(self, n: int, *, most_bytes: int = MOST_BYTES) -> None:
        self._n, self._most_bytes = n, most_bytes
        self._rows: torch.Tensor | None = None
        self._kept: torch.Tensor | None = None
        self._is_known = torch.zeros(n, dtype=torch.bool)

    def note(self, rows: torch.Tensor) -> None:
        """Say which rows the next question is about: positions, on the CPU."""
        self._rows = rows

    def ask(self, teacher: Callable[[], Any]) -> Any:
        """The answer to the rows noted: kept, or the teacher's, which is then kept."""
        rows, self._rows = self._rows, None
        if rows is None:
            return teacher()
        if self._kept is not None and bool(self._is_known[rows].all()):
            return self._kept[rows.to(self._kept.device)]
        taught = teacher()
        if self._has_room(taught, len(rows)):
            if self._kept is None:
                self._kept = taught.new_empty((self._n, *taught.shape[1:]))
            self._kept[rows.to(self._kept.device)] = taught
            self._is_known[rows] = True
        return taught

    def _has_room(self, taught: Any, n_rows: int) -> bool:
        if not isinstance(taught, torch.Tensor) or not taught.ndim or len(taught) != n_rows:
            return False  # not an answer a row
        if self._kept is not None:
            return self._kept.shape[1:] == taught.shape[1:] and self._kept.dtype == taught.dtype
        return self._n * taught[:1].numel() * taught.element_size() <= self._most_bytes


class Memory:
    """The answers of one teacher from fit to fit, as long as it, the rows and the device are the same."""

    def __init__(self) -> None:
        self._part: Part | None = None
        self._about: tuple[Any, ...] = ()
        self._answers = Answers(0)

    def answers(self, teacher: nn.Module, part: Part, device: str) -> Answers:
        """The answers to a part's rows; none yet where a weight of the teacher has changed."""
        # A tensor counts its changes in place: a teacher that was trained on is asked anew.
        versions = [(w.data_ptr(), w._version) for w in teacher.state_dict().values()]  # noqa: SLF001
        about = (device, versions)
        if self._part is not part or self._about != about:
            self._part, self._about, self._answers = part, about, Answers(part.n)
        return self._answers


def with_rows_noted(data: TrainData, answers: Answers) -> TrainData:
    """The same data; what hands out a batch to train on first notes its rows."""
    return _Noting(data, _NotingPart(data.train, answers))


@dataclass(frozen=True)
class _NotingPart:
    """Rows that are trained on, noted as they are handed out."""

    part: Part
    answers: Answers

    @property
    def n(self) -> int:
        return self.part.n

    @property
    def on_device(self) -> bool:
        return self.part.on_device

    def class_counts(self, n_classes: int) -> torch.Tensor:
        return self.part.class_counts(n_classes)

    def batches(
        self, batch_size: int, *, order: torch.Tensor | None = None, drop_last: bool = False
    ) -> Iterator[tuple[Any, torch.Tensor]]:
        positions = torch.arange(self.n) if order is None else order
        rows = torch.split(positions, batch_size)
        found = self.part.batches(batch_size, order=order, drop_last=drop_last)
        for some, batch in zip(rows, found, strict=False):  # a last one may be dropped
            self.answers.note(some)
            yield batch


@dataclass(frozen=True)
class _Noting:
    """Data whose training rows are noted."""

    data: TrainData
    train: Part

    @property
    def spec(self) -> DataSpec:
        return self.data.spec

    @property
    def task(self) -> str:
        return self.data.task

    @property
    def classes(self) -> tuple[str, ...]:
        return self.data.classes

    @property
    def valid(self) -> Part:
        return self.data.valid
