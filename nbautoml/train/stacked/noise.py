"""Dropout of a stack: each trial draws what it would have drawn on its own.

One by one, torch's generator is seeded with ``step_seed(seed, step)`` and every dropout layer
draws from it in turn. Here each trial's step is seeded the same way, on a generator of its own,
and its layers' masks are drawn in the same order into the trial's row of a stacked mask.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from nbautoml.train.seeds import step_seed
from nbautoml.train.stacked.tape import Tape

__all__ = ["Noise"]


class Noise:
    """The masks of the training steps of one size.

    Args:
        tape: whose dropout is drawn.
        rates: of each member: its rate in each dropout layer.
        seeds: of each member.
        device: where masks lie.
    """

    def __init__(
        self,
        tape: Tape,
        rates: Sequence[Sequence[float]],
        seeds: Sequence[int],
        device: torch.device,
    ) -> None:
        shapes = [op.noise for op in tape.ops if op.noise is not None]
        self._seeds = list(seeds)
        self._generator = torch.Generator(device=device)
        self._layers: list[Tensor | None] = []
        self._scales: list[Tensor] = []
        self._rows: list[list[tuple[Tensor, float] | None]] = [[] for _ in seeds]
        for at, (shape, strides) in enumerate(shapes):
            own = [member[at] for member in rates]
            if not any(own):
                self._layers.append(None)
                self._scales.append(torch.ones(()))
                continue
            mask = torch.empty_strided(
                (len(seeds), *shape), (_size(shape, strides), *strides), device=device
            ).fill_(1.0)
            self._layers.append(mask)
            scale = [0.0 if rate >= 1 else 1 / (1 - rate) for rate in own]
            self._scales.append(
                torch.tensor(scale, device=device).view(-1, *(1,) * len(shape))
            )
            for row, rate, slots in zip(mask.unbind(), own, self._rows, strict=True):
                # torch draws nothing where the rate is 0 or 1
                slots.append((row, 1 - rate) if 0 < rate < 1 else None)
        self.is_empty = not any(layer is not None for layer in self._layers)

    def draw(self, steps: Sequence[int]) -> list[Tensor | None]:
        """Masks for each dropout layer (None: no trial drops any), at each member's own step."""
        if self.is_empty:
            return self._layers
        generator = self._generator
        for seed, step, rows in zip(self._seeds, steps, self._rows, strict=True):
            generator.manual_seed(step_seed(seed, step))
            for drawn in rows:
                if drawn is not None:
                    drawn[0].bernoulli_(drawn[1], generator=generator)
        return [
            None if mask is None else mask * scale
            for mask, scale in zip(self._layers, self._scales, strict=True)
        ]


def _size(shape: tuple[int, ...], strides: tuple[int, ...]) -> int:
    return sum((n - 1) * stride for n, stride in zip(shape, strides, strict=True)) + 1
