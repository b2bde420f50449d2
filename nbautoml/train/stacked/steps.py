"""The steps of a stack while the same trials are in it: one batch of each, forward, back, an update.

::

    take    dropout is drawn -> learning rates of the step -> forward, losses, gradients, update
                                                              '-- on a GPU: played again --'

What a step uses stays where it is until a trial comes or goes: weights, gradients, what the
optimisers need, dropout's memory. So on a GPU a step is recorded once, as a CUDA graph, and played
from then on; only the batch, the seeds of what is random and the learning rates are put in place before.
What it brings is in `nbautoml.train.stacked`; what cannot be recorded is launched kernel by kernel,
as on any other device.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Sequence

import torch
from torch import Tensor

from nbautoml.train.frames import one_line
from nbautoml.train.seeds import default_generator
from nbautoml.train.stacked.groups import Group
from nbautoml.train.stacked.noise import Draws, Noise
from nbautoml.train.stacked.optimizers import Updater
from nbautoml.train.stacked.program import Program
from nbautoml.train.stacked.slots import Slot
from nbautoml.train.stacked.weights import Weights

__all__ = ["Steps"]

# Steps that are launched before one is recorded: in the first, libraries load what they need.
LAUNCHED_FIRST = 2
# Recording takes as long as some eight steps of a small stack do.
WORTH_RECORDING = 10


class Steps:
    """See the module.

    Args:
        group: what the trials have in common.
        weights: of all.
        slots: the trials, in the order of the weights' rows.
        is_exact: dropout drops what it would drop were the trial trained on its own.
        has_graph: steps on a GPU are recorded.

    Attributes:
        refusal: why steps on a GPU cannot be recorded; "" as long as nothing speaks against it.
    """

    def __init__(
        self,
        group: Group,
        weights: Weights,
        slots: Sequence[Slot],
        *,
        is_exact: bool,
        has_graph: bool,
    ) -> None:
        self._group, self._weights, self._slots = group, weights, list(slots)
        self._is_exact = is_exact
        settings = [slot.member.settings for slot in slots]
        self._loss = group.loss(settings)
        self._grad = torch.empty_like(weights.flat)
        self._into = weights.parts(self._grad)
        self._updater = Updater(settings, weights.flat, self._grad, weights.first, weights.second)
        self._noises: dict[int, Noise] = {}
        self._may_record = has_graph and weights.flat.device.type == "cuda"
        self._recorded: _Recorded | None = None
        self._n_launched = self._n_epochs = 0
        self.refusal = ""

    @property
    def is_recorded(self) -> bool:
        """Whether steps are played."""
        return self._recorded is not None

    def start_epoch(self) -> None:
        """Begin each trial's next epoch; `Slot.epoch` still counts those that are over."""
        n_batches, self._n_epochs = self._group.setup.n_batches, self._n_epochs + 1
        settings = [slot.member.settings for slot in self._slots]
        done = [slot.epoch * n_batches for slot in self._slots]
        self._updater.start_epoch(done, n_batches, [item.epochs * n_batches for item in settings])

    def take(self, inputs: list[Tensor], target: Tensor, at: int) -> Tensor:
        """One step of all trials: their losses ``(K,)``, which stay as they are.

        Args:
            inputs: each ``(K, B, ...)``.
            target: ``(K, B, ...)``.
            at: which step of the epoch, from 0; `Slot.epoch` counts the one that goes on.
        """
        n_batches, size = self._group.setup.n_batches, self._group.setup.batch_sizes[0]
        n_rows = target.shape[1]
        program = self._group.program(n_rows, is_training=True)
        with torch.inference_mode(self._group.direct(program) is not None):
            noise = self._noise(n_rows)
            noise.fill([(slot.epoch - 1) * n_batches + at + 1 for slot in self._slots])
            self._updater.begin_step(at)
            if self._may_record and n_rows == size and not noise.is_mixed:
                return self._played(program, inputs, target, noise, left=n_batches - at)
            return self._launched(program, inputs, target, noise)

    def _launched(
        self, program: Program, inputs: list[Tensor], target: Tensor, noise: Noise
    ) -> Tensor:
        losses, found = self.gradients(program, inputs, target, noise.drawn())
        self._update(found)
        return losses.detach()

    def _played(
        self, program: Program, inputs: list[Tensor], target: Tensor, noise: Noise, *, left: int
    ) -> Tensor:
        """A step that was recorded, or is now, if that pays."""
        if self._recorded is not None:
            return self._recorded.play(inputs, target)
        is_worth_it = self._n_epochs > 1 or left > WORTH_RECORDING
        if self._n_launched < LAUNCHED_FIRST or not is_worth_it:
            self._n_launched += 1
            return self._launched(program, inputs, target, noise)

        def step(inputs: list[Tensor], target: Tensor) -> Tensor:
            return self._launched(program, inputs, target, noise)

        try:
            self._recorded = _Recorded(step, inputs, target)
        except Exception as error:  # noqa: BLE001  whatever a module does: it trains without
            self._may_record, self.refusal = False, one_line(error)
            return step(inputs, target)
        return self._recorded.play(inputs, target)

    def gradients(
        self, program: Program, inputs: list[Tensor], target: Tensor, draws: Draws
    ) -> tuple[Tensor, tuple[Tensor | None, ...] | None]:
        """Each trial's loss ``(K,)``, and the gradients of `Weights.leaves` unless they are in place."""
        group, leaves = self._group, dict(self._weights.leaves)
        if self._may_record:
            # Autograd adds up a leaf's gradient on the stream that it saw the leaf on first, which is
            # another one while a step is recorded.
            leaves = {name: leaf.detach().requires_grad_() for name, leaf in leaves.items()}
        values = {**self._weights.kept, **leaves}
        if (direct := group.direct(program)) is not None:
            return direct(inputs, values, draws, target, self._loss, self._into), None
        with group.setup.precision.autocast():
            losses = self._loss(program(inputs, values, draws), target)
        return losses, torch.autograd.grad(losses.sum(), list(leaves.values()), allow_unused=True)

    def _update(self, found: tuple[Tensor | None, ...] | None) -> None:
        inside, n = self._weights.inside, len(self._slots)
        with torch.no_grad():
            if found is not None:
                pairs = zip(found, self._into.values(), strict=True)
                flat = [torch.zeros_like(own) if grad is None else grad for grad, own in pairs]
                torch.cat([grad.reshape(n, -1) for grad in flat], 1, out=self._grad)
            if inside is not None:
                self._grad.mul_(inside)
            self._updater.step()

    def _noise(self, n_rows: int) -> Noise:
        found = self._noises.get(n_rows)
        if found is None:
            group, slots = self._group, self._slots
            found = self._noises[n_rows] = Noise(
                group.program(n_rows, is_training=True).tape,
                [slot.rates for slot in slots],
                [slot.member.seed for slot in slots],
                group.setup.device,
                is_exact=self._is_exact,
                own=[group.noise_shapes(slot.noise, n_rows) for slot in slots],
            )
        return found


class _Recorded:
    """A step as a CUDA graph.

    Args:
        step: what is recorded; nothing of it is computed yet.
        inputs: such as it will be played with.
        target: likewise.
    """

    def __init__(
        self, step: Callable[[list[Tensor], Tensor], Tensor], inputs: list[Tensor], target: Tensor
    ) -> None:
        self._inputs, self._target = [item.clone() for item in inputs], target.clone()
        self._graph = torch.cuda.CUDAGraph()
        # `torch.cuda.graph` also collects garbage and gives cached memory back, which takes longer
        # than to record.
        usual, aside = torch.cuda.current_stream(target.device), _stream(target.device)
        aside.wait_stream(usual)
        with torch.cuda.stream(aside), _generator_lent(target.device):
            self._graph.capture_begin(capture_error_mode="thread_local")
            try:
                self._losses = step(self._inputs, self._target)
            except BaseException:
                with contextlib.suppress(RuntimeError):  # it tells only that something went wrong
                    self._graph.capture_end()
                raise
            self._graph.capture_end()
        usual.wait_stream(aside)

    def play(self, inputs: Sequence[Tensor], target: Tensor) -> Tensor:
        """The step with another batch."""
        for own, item in zip((*self._inputs, self._target), (*inputs, target), strict=True):
            own.copy_(item)
        self._graph.replay()
        return self._losses.clone()  # the next one writes over them


@contextlib.contextmanager
def _generator_lent(device: torch.device) -> Iterator[None]:
    """Inside, the device's generator has another state: that of a recording that fails can't be used again."""
    generator = default_generator(device)
    own = generator.graphsafe_get_state()
    generator.graphsafe_set_state(torch.Generator(device).graphsafe_get_state())
    try:
        yield
    finally:
        generator.graphsafe_set_state(own)


_streams: dict[torch.device, torch.cuda.Stream] = {}


def _stream(device: torch.device) -> torch.cuda.Stream:
    """One for all recordings: libraries keep memory for each."""
    if device not in _streams:
        _streams[device] = torch.cuda.Stream(device)  # type: ignore[no-untyped-call]
    return _streams[device]
