"""Random numbers of a stack: each trial draws what it would have drawn on its own.

One by one, torch's generator is seeded with ``step_seed(seed, step)`` and every dropout layer
draws from it in turn. Here each trial's step is seeded the same way, on a generator of its own,
and its layers' masks are drawn in the same order into the trial's row of a stacked mask.

Drawing is what a small stack spends most time on after its matrix products (13 us a trial for 64
rows of 64; 20 on its own). On a GPU it would mean a few launches a trial where everything else is
one for all; there, plain dropout of all trials is computed at once (`philox`). A hash for all
trials at once (`hashed`, 3 us) is the other choice: what a trial drops still follows from its seed
alone, but isn't what it would drop on its own.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import cache

import torch
from torch import Tensor

from nbautoml.train.seeds import default_generator, step_seed
from nbautoml.train.stacked.hashed import HashedMask
from nbautoml.train.stacked.padding import Strided, corner
from nbautoml.train.stacked.philox import FUSED, AtOnce, extent, scales
from nbautoml.train.stacked.tape import Op, Tape

__all__ = ["Draws", "Noise"]


class Noise:
    """What the training steps of one size draw.

    Args:
        tape: whose dropout is drawn.
        rates: of each member: its rate in each dropout layer.
        seeds: of each member.
        device: where masks lie.
        is_exact: draw what each trial would draw on its own.
        own: of each member: what its dropout layers draw, where it is padded (`padding`); None for
            a member that isn't.
    """

    def __init__(
        self,
        tape: Tape,
        rates: Sequence[Sequence[float]],
        seeds: Sequence[int],
        device: torch.device,
        *,
        is_exact: bool = True,
        own: Sequence[Sequence[Strided] | None] | None = None,
    ) -> None:
        self._seeds, self._device = list(seeds), device
        self._is_exact = is_exact
        # Other functions draw between the layers: masks must then be drawn in their turn.
        self.is_mixed = any(op.is_random for op in tape.ops)
        smaller = own or [None] * len(rates)
        dropping = [op for op in tape.ops if op.noise is not None]
        is_plain = is_exact and not self.is_mixed and not any(smaller)
        self._at_once = AtOnce.of(dropping, rates, device) if is_plain else None
        self._layers: list[_Layer | None] = []
        for at, op in enumerate(dropping if self._at_once is None else []):
            drops = [member[at] for member in rates]
            corners = [None if item is None else item[at] for item in smaller]
            layer = _Layer(op, drops, corners, device)
            if not is_exact:
                layer.hash_with(HashedMask(layer.n, drops, at, device))
            self._layers.append(layer if any(drops) else None)
        if self.is_mixed:
            self._generators = [torch.Generator(device) for _ in seeds]
        elif device.type == "cuda":
            self._generators = [default_generator(device)]  # which `StackedFit` puts back
        else:
            self._generators = [torch.Generator(device)]
        self.is_empty = not self.is_mixed and not any(any(member) for member in rates)

    def draw(self, steps: Sequence[int]) -> Draws:
        """What the members draw, each at its own step (counting from 1)."""
        self.fill(steps)
        return self.drawn()

    def fill(self, steps: Sequence[int]) -> None:
        """Draw what `drawn` will be made of."""
        if self.is_empty:
            return
        seeds = [step_seed(*pair) for pair in zip(self._seeds, steps, strict=True)]
        if self._at_once is not None:
            self._at_once.seed(seeds, steps[0])
        elif self.is_mixed:
            for generator, seed in zip(self._generators, seeds, strict=True):
                generator.manual_seed(seed)
        if not self._is_exact:
            for layer in self._layers:
                if layer is not None:
                    layer.draw_all(seeds)
            return
        generator = self._generators[0]
        layers = [] if self.is_mixed else [layer for layer in self._layers if layer is not None]
        for at, seed in enumerate(seeds if layers else []):
            generator.manual_seed(seed)
            for layer in layers:
                layer.draw(at, generator)

    def drawn(self) -> Draws:
        """Dropout's factors of the step that was filled, made of tensors that stay where they are.

        So this can be recorded in a CUDA graph, unless it `is_mixed`.
        """
        if self.is_empty:
            return Draws()
        if self.is_mixed:
            return _InTurn(self._layers, self._generators, self._device)
        if self._at_once is not None:
            return Draws(self._at_once.factors())
        return Draws([None if layer is None else layer.factor() for layer in self._layers])


class Draws:
    """Dropout's factors of one step.

    Args:
        factors: of each dropout layer; None where no trial drops any. Empty: nothing is drawn.
    """

    def __init__(self, factors: Sequence[Tensor | None] = ()) -> None:
        self._factors = factors

    def factor(self, which: int) -> Tensor | None:
        """What the input of a dropout layer is multiplied with."""
        return self._factors[which] if self._factors else None

    @contextmanager
    def trial(self, at: int) -> Iterator[None]:
        """Inside, torch's own generator goes on where this trial's is."""
        yield


class _InTurn(Draws):
    def __init__(
        self,
        layers: Sequence[_Layer | None],
        generators: Sequence[torch.Generator],
        device: torch.device,
    ) -> None:
        super().__init__()
        self._layers, self._generators = layers, generators
        self._usual = default_generator(device)

    def factor(self, which: int) -> Tensor | None:
        layer = self._layers[which]
        if layer is None:
            return None
        for at in range(0 if layer.is_hashed else len(self._generators)):
            with self.trial(at):
                layer.draw(at, self._usual)
        return layer.factor()

    @contextmanager
    def trial(self, at: int) -> Iterator[None]:
        own, usual = self._generators[at], self._usual
        before = usual.get_state()
        usual.set_state(own.get_state())
        try:
            yield
        finally:
            own.set_state(usual.get_state())
            usual.set_state(before)


class _Layer:
    """The stacked mask of one dropout layer."""

    def __init__(
        self,
        op: Op,
        rates: Sequence[float],
        corners: Sequence[Strided | None],
        device: torch.device,
    ) -> None:
        assert op.noise is not None
        shape, strides = op.noise
        # CUDA draws plain dropout in a kernel of its own, from its default generator, and by type.
        self._fused_dtype = (
            op.noise_dtype if device.type == "cuda" and op.function in FUSED else None
        )
        n_trials, n = len(rates), extent(shape, strides)
        self.n = n
        self._hashed: HashedMask | None = None
        self._memory = torch.ones((n_trials, n), device=device)
        # Drawn in the memory order that the layer's input has on its own.
        self._mask = self._memory.as_strided((n_trials, *shape), (n, *strides))
        # Where bernoulli_ compares uniform numbers in double, those are drawn here and compared
        # for all trials at once: a third faster.
        self._keep: Tensor | None = None
        drawn = self._mask
        if device.type == "cpu" and _compares_doubles():
            doubles = torch.zeros(n_trials * n, dtype=torch.float64)
            drawn = self._uniform = doubles.as_strided((n_trials, *shape), (n, *strides))
            keep = [1 - rate for rate in rates]
            self._keep = torch.tensor(keep, dtype=torch.float64).view(-1, *(1,) * len(shape))
        # torch draws nothing where the rate is 0 or 1
        self._rows = [
            _Row(row, 1 - rate, own) if 0 < rate < 1 else None
            for row, rate, own in zip(drawn.unbind(), rates, corners, strict=True)
        ]
        self._scale = scales(rates, len(shape), device)

    @property
    def is_hashed(self) -> bool:
        """Whether `draw_all` has drawn already."""
        return self._hashed is not None

    def hash_with(self, hashed: HashedMask) -> None:
        """Draw by hash from now on."""
        self._hashed, self._keep = hashed, None

    def draw_all(self, seeds: Sequence[int]) -> None:
        """Every trial's row at once."""
        assert self._hashed is not None
        self._hashed.draw(seeds, self._memory)

    def draw(self, at: int, generator: torch.Generator) -> None:
        """One trial's row."""
        row = self._rows[at]
        if row is None:
            return
        mask = row.drawn
        if self._fused_dtype is not None:
            ones = torch.ones_like(mask, dtype=self._fused_dtype)
            mask.copy_(torch.native_dropout(ones, 1 - row.keep, True)[1])
        elif self._keep is not None:
            mask.uniform_(generator=generator)
        else:
            mask.bernoulli_(row.keep, generator=generator)
        if row.place is not None:
            row.place.copy_(mask)

    def factor(self) -> Tensor:
        if self._keep is not None:  # a row that wasn't drawn is 0: kept at rate 0, and scaled at 1
            torch.lt(self._uniform, self._keep, out=self._mask)
        return self._mask * self._scale


class _Row:
    """One trial's part of a mask: where it is drawn, and where that is put when it is padded."""

    def __init__(self, row: Tensor, keep: float, own: Strided | None) -> None:
        self.keep = keep
        self.drawn, self.place = row, None
        if own is not None:  # drawn in the memory order that it has on its own
            shape, strides = own
            self.drawn = row.new_zeros(extent(shape, strides)).as_strided(shape, strides)
            self.place = row[corner(shape)]


@cache
def _compares_doubles() -> bool:
    """Whether this build's ``bernoulli_`` is "uniform double below p" (with MKL it is another)."""
    generator = torch.Generator()
    for p in (0.3, 0.9):
        drawn = torch.empty(1000).bernoulli_(p, generator=generator.manual_seed(1))
        uniform = torch.empty(1000, dtype=torch.float64)
        uniform.uniform_(generator=generator.manual_seed(1))
        if not torch.equal(uniform < p, drawn.bool()):
            return False
    return True
