"""What the members of a stack have in common, tried out on the first of them."""

from __future__ import annotations

import math
import warnings
from collections.abc import Hashable, Iterable, Mapping, Sequence

import torch
from torch import Tensor

from nbautoml.spec.fit import FitSettings
from nbautoml.train.batches import TrainData, call_module, eval_batch_size, first_batch
from nbautoml.train.frames import one_line
from nbautoml.train.losses import Loss
from nbautoml.train.seeds import isolated_rng
from nbautoml.train.setup import weights_of_classes
from nbautoml.train.stacked.direct import Direct, direct_of
from nbautoml.train.stacked.losses import StackedLoss, stacked_loss
from nbautoml.train.stacked.members import EVAL_ROWS, Member, Ready, ready, whole
from nbautoml.train.stacked.metrics import StackedTally
from nbautoml.train.stacked.noise import Draws, Noise
from nbautoml.train.stacked.padding import Shape, Strided, corner, is_within, padded, resized
from nbautoml.train.stacked.program import Program
from nbautoml.train.stacked.reasons import CannotStack, TooWide
from nbautoml.train.stacked.tape import Tape, record, tensors_of
from nbautoml.train.stacked.weights import Layout, Start

__all__ = ["Group", "group_key", "strided_of", "why_not"]

CACHED = 4_000_000  # bytes of all that a forward pass makes
TOLERANCE = 2e-3  # of the largest value: rounding differs, a wrong rule is off by more


def group_key(
    member: Member, data: TrainData, *, device: str, loss: Loss | None = None
) -> Hashable:
    """Equal for trials that can share a stack.

    It holds the calls of a forward pass with all their constants, shapes and types of weights, batch
    size, loss and precision. Optimiser, its settings, dropout rates, label smoothing, weights of
    classes and the number of epochs are each trial's own.

    Raises:
        CannotStack: this trial can share none.
    """
    return ready(member, data, torch.device(device), loss).key


def why_not(
    member: Member, data: TrainData, *, device: str, loss: Loss | None = None
) -> str | None:
    """The reason why a trial cannot be stacked; None when it can.

    Found out by doing it: one step of a stack of two is compared with the module's own step, both
    the output and every weight's gradient.
    """
    try:
        Group(ready(member, data, torch.device(device), loss), data, loss)
    except CannotStack as refusal:
        return refusal.reason
    return None


class Group:
    """Programs, layout and loss of members with the same key.

    Args:
        first: the member that opens the group; its module serves to tape further batch sizes.
        data: what is trained on.
        loss: the user's own loss, if any.
        is_solo: one member at a time, whose gradients are had without autograd; that alone is tried.

    Attributes:
        key: what members must agree in, unless they are padded.
        layout: of the trained weights.

    Raises:
        CannotStack: the stacked step fails, or differs from the module's own.
    """

    def __init__(
        self, first: Ready, data: TrainData, loss: Loss | None, *, is_solo: bool = False
    ) -> None:
        self.key: Hashable = first.key
        self._loose_key, self._tape_of_first = first.loose_key, first.tape
        self._shapes = {name: tuple(value.shape) for name, value in first.start.items()}
        self._admitted: set[Hashable] = {first.key}
        self.setup = first.setup
        self._data, self._loss = data, loss
        size = self.setup.batch_sizes[0]
        self._programs: dict[tuple[bool, int], Program] = {(True, size): Program(first.tape)}
        self._writes_inputs = False
        self._directs: dict[Program, Direct | None] = {}
        self._is_direct = False
        module = self.setup.module
        parameters = dict(module.named_parameters())
        used = [name for name in first.tape.weights if name in parameters]
        asked = {name: parameters[name] for name in used if parameters[name].requires_grad}
        try:
            gradients = self._reference(first, list(asked.values()))
            trained = {
                name: grad for name, grad in zip(asked, gradients, strict=True) if grad is not None
            }
            self.layout = Layout.of(module, [name for name in parameters if name in trained])
            expected = {name: trained[name] for name in self.layout.columns}
            if is_solo:
                self._try_solo(first, expected)
            else:
                self._try_out(first, expected)
            self._try_evaluation()
            # What may fail shall fail now, while only one member is concerned.
            self.program(self.setup.batch_sizes[1], is_training=True)
        except CannotStack:
            raise
        except Exception as error:  # torch.vmap and the user's functions may raise anything
            raise CannotStack(f"its stacked step raised {one_line(error)}") from error

    def admit(self, entering: Ready) -> None:
        """Let a member in whose layers are those of the group, or the same but smaller.

        Raises:
            TooWide: they are wider.
            CannotStack: they are others, or a padded step differs from the module's own.
        """
        if entering.key in self._admitted:
            return
        if entering.loose_key != self._loose_key:
            raise CannotStack("its layers, batch size or loss differ from those of the stack")
        if not is_within(entering.tape, self._tape_of_first):
            raise TooWide("its layers are wider than those of the stack")
        try:
            self._try_padded(whole(entering))
        except CannotStack:
            raise
        except Exception as error:
            raise CannotStack(f"its padded step raised {one_line(error)}") from error
        self._admitted.add(entering.key)

    def is_padded(self, entering: Ready) -> bool:
        """Whether a member's layers are smaller than the group's."""
        return entering.key != self.key

    def noise_shapes(self, own: Sequence[Strided] | None, n_rows: int) -> list[Strided] | None:
        """What a padded member's dropout layers draw for a batch; None for one that isn't.

        Args:
            own: for the batch that was taped.
            n_rows: of the batch.
        """
        if own is None:
            return None
        now = self.program(n_rows, is_training=True).tape
        return resized(own, _noise_shapes(self._tape_of_first), _noise_shapes(now))

    def loss(self, settings: Sequence[FitSettings] = ()) -> StackedLoss:
        """The loss, in training each member with its label smoothing and weights of classes."""
        device = self.setup.device
        smoothing = [one.label_smoothing for one in settings]
        share = torch.tensor(smoothing, device=device) if any(smoothing) else None
        chosen = self.setup.settings.loss if self._loss is None else self._loss
        return stacked_loss(self._data.task, chosen, share, self._weights_of_classes(settings))

    def _weights_of_classes(self, settings: Sequence[FitSettings]) -> Tensor | None:
        if not any(one.class_balance for one in settings):
            return None
        known: dict[float, Tensor] = {}
        rows = []
        for one in settings:
            if one.class_balance not in known:
                found = weights_of_classes(self._data, one)
                known[one.class_balance] = self._alike() if found is None else found
            rows.append(known[one.class_balance])
        return torch.stack(rows)

    def _alike(self) -> Tensor:
        return torch.ones(len(self._data.classes), device=self.setup.device)

    def program(self, n_rows: int, *, is_training: bool) -> Program:
        """The program for batches of a size; taped when it is first asked for."""
        found = self._programs.get((is_training, n_rows))
        if found is None:
            found = self._tape(n_rows, is_training=is_training)
            self._programs[is_training, n_rows] = found
        return found

    def direct(self, program: Program) -> Direct | None:
        """What computes a training program's gradients without autograd, where that is known and right."""
        if self._is_direct and program not in self._directs:
            self._directs[program] = direct_of(program.tape, self.layout.columns, self.setup.device)
        return self._directs.get(program)

    def _tape(self, n_rows: int, *, is_training: bool) -> Program:
        setup = self.setup
        part = self._data.train if is_training else self._data.valid
        setup.module.train(is_training)
        with isolated_rng(setup.device), warnings.catch_warnings(), setup.precision.autocast():
            warnings.simplefilter("ignore")
            with torch.set_grad_enabled(is_training):
                tape, _ = record(setup.module, first_batch(part, n_rows)[0])
        return Program(tape)

    def eval_rows(self, n: int) -> int:
        """Rows at once where no gradients are kept, for n members as one.

        On a CPU what one call leaves for the next should stay in the caches: 819 images through a small
        CNN took 35 ms at once, and 22 in batches of 64.
        """
        size = self.setup.settings.batch_size
        most = eval_batch_size(self._data.spec, size)
        if self.setup.device.type == "cpu":
            made = sum(math.prod(shape) for op in self._tape_of_first.ops for shape in op.shapes)
            most = min(most, CACHED // max(1, 4 * made // self.setup.batch_sizes[0]))
        return max(size, most // n)

    def evaluate(
        self, values: Mapping[str, Tensor], n: int, n_rows: int, tally: StackedTally
    ) -> None:
        """Run all validation rows through n members.

        Args:
            values: parameters and buffers by name, each ``(n, ...)``.
            n: how many members.
            n_rows: at a time.
            tally: takes outputs, targets and losses.
        """
        loss = self.loss()
        with torch.no_grad(), self.setup.precision.autocast():
            for inputs, target in self._data.valid.batches(n_rows):
                program = self.program(len(target), is_training=False)
                output = program(self.shared(list(tensors_of(inputs)), n), values, Draws())
                tally.add(output, target, loss(output, target.expand(n, *target.shape)))

    def shared(self, inputs: Sequence[Tensor], n: int) -> list[Tensor]:
        """Inputs of an evaluation, the same for all n members."""
        return [
            item.expand(n, *item.shape).contiguous()
            if self._writes_inputs
            else item.expand(n, *item.shape)
            for item in inputs
        ]

    def _try_evaluation(self) -> None:
        module = self.setup.module.eval()
        inputs, _ = first_batch(self._data.valid, EVAL_ROWS)
        stacked = {
            name: torch.stack([value.detach()] * 2)
            for name, value in (*module.named_parameters(), *module.named_buffers())
        }
        program = self.program(min(EVAL_ROWS, self._data.valid.n), is_training=False)
        with torch.no_grad(), self.setup.precision.autocast():
            copied = [item.clone() for item in tensors_of(inputs)]
            expected = call_module(module, inputs)
            try:
                output = program(self.shared(copied, 2), stacked, Draws())
            except RuntimeError:  # a view on shared memory cannot be written into
                self._writes_inputs = True
                output = program(self.shared(copied, 2), stacked, Draws())
        _compare("output in evaluation", output[1], expected, self.setup.precision.dtype)

    def _reference(self, first: Ready, weights: Sequence[Tensor]) -> Sequence[Tensor | None]:
        with first.setup.precision.autocast():
            loss = first.setup.loss(first.output, first.target)
        # Kept: a planner lets the same members into a stack that is measured, and into the real one.
        return torch.autograd.grad(loss, weights, allow_unused=True, retain_graph=True)

    def _try_out(self, first: Ready, gradients: dict[str, Tensor]) -> None:
        """A step of a stack of two, the second with other weights: the first must not notice."""
        setup, member = self.setup, first.member
        stacked: Start = {}
        for name, value in first.start.items():
            other = value * 0.5 if value.is_floating_point() else value
            stacked[name] = torch.stack([value, other])
        leaves = {name: stacked[name].requires_grad_() for name in gradients}
        noise = Noise(
            first.tape, [first.tape.rates] * 2, [member.seed, member.seed + 1], setup.device
        )
        inputs = [torch.stack([item, item]) for item in tensors_of(first.inputs)]
        target = torch.stack([first.target, first.target])
        program = self._programs[True, setup.batch_sizes[0]]
        with setup.precision.autocast():
            output = program(inputs, stacked, noise.draw([1, 1]))
            loss = self.loss([member.settings, member.settings])(output, target)
        found = torch.autograd.grad(loss.sum(), list(leaves.values()), allow_unused=True)
        _compare("output", output[0], first.output, setup.precision.dtype)
        # A bias before a batch norm has a gradient of mere rounding: what is small beside the
        # others' is not compared to itself.
        floor = _floor(gradients.values())
        for name, grad in zip(leaves, found, strict=True):
            if grad is None:
                raise CannotStack(f"no gradient reaches {name} in the stack")
            _compare(f"gradient of {name}", grad[0], gradients[name], setup.precision.dtype, floor)
        drawn, loss_of = noise.draw([1, 1]), self.loss([member.settings, member.settings])
        self._try_direct(program, inputs, stacked, drawn, target, loss_of, found)

    def _try_direct(
        self, program: Program, inputs: Sequence[Tensor], stacked: Start, draws: Draws,
        target: Tensor, loss: StackedLoss, gradients: Sequence[Tensor],
    ) -> None:  # fmt: skip
        """Whether gradients can be had without autograd."""
        direct = direct_of(program.tape, self.layout.columns, self.setup.device)
        if direct is None or self.setup.device.type == "mps" or self.setup.precision.dtype:
            return
        into = {
            name: torch.empty_like(grad)
            for name, grad in zip(self.layout.columns, gradients, strict=True)
        }
        try:
            direct(inputs, stacked, draws, target, loss, into)
        except RuntimeError:  # whatever a function makes of odd shapes: autograd knows them
            return
        pairs = zip(into.values(), gradients, strict=True)
        self._is_direct = all(torch.allclose(own, grad, 1e-4, 1e-6) for own, grad in pairs)

    def _try_solo(self, first: Ready, gradients: dict[str, Tensor]) -> None:
        """A step of one member without autograd, beside the module's own."""
        setup, member = self.setup, first.member
        program = self._programs[True, setup.batch_sizes[0]]
        direct = direct_of(program.tape, self.layout.columns, setup.device)
        if direct is None or setup.precision.dtype:
            raise CannotStack("its gradients are not known without autograd")
        noise = Noise(first.tape, [first.tape.rates], [member.seed], setup.device)
        into = {name: torch.empty_like(grad).unsqueeze(0) for name, grad in gradients.items()}
        direct(
            [item.unsqueeze(0) for item in tensors_of(first.inputs)],
            {name: value.detach().clone().unsqueeze(0) for name, value in first.start.items()},
            noise.draw([1]),
            first.target.unsqueeze(0),
            self.loss([member.settings]),
            into,
        )
        floor = _floor(gradients.values())
        for name, grad in gradients.items():
            _compare(f"gradient of {name}", into[name][0], grad, None, floor)
        self._is_direct = True

    def _try_padded(self, entering: Ready) -> None:
        """A padded step beside the module's own, as `_try_out` does it for the first member."""
        setup, member, columns = entering.setup, entering.member, self.layout.columns
        weights = dict(setup.module.named_parameters())
        expected = self._reference(entering, [weights[name] for name in columns])
        stacked = {
            name: padded(value, self._shapes[name]).unsqueeze(0).clone()
            for name, value in entering.start.items()
        }
        leaves = {name: stacked[name].requires_grad_() for name in columns}
        noise = Noise(
            self._tape_of_first, [entering.tape.rates], [member.seed], setup.device,
            own=[strided_of(entering.tape)],
        )  # fmt: skip
        program = self._programs[True, self.setup.batch_sizes[0]]
        with setup.precision.autocast():
            inputs = [item.unsqueeze(0) for item in tensors_of(entering.inputs)]
            output = program(inputs, stacked, noise.draw([1]))
            loss = self.loss([member.settings])(output, entering.target.unsqueeze(0))
        found = torch.autograd.grad(loss.sum(), list(leaves.values()), allow_unused=True)
        dtype = setup.precision.dtype
        _compare("padded output", output[0], entering.output, dtype)
        pairs = dict(zip(columns, zip(found, expected, strict=True), strict=True))
        floor = _floor(expected)
        for name, (grad, own) in pairs.items():
            if grad is None or own is None:
                raise CannotStack(f"no gradient reaches {name} in the stack")
            if not bool(grad.isfinite().all()):
                raise CannotStack(f"gradient of {name} isn't finite where it is padded")
            inner = grad[0][corner(tuple(own.shape))]
            _compare(f"padded gradient of {name}", inner, own, dtype, floor)


def strided_of(tape: Tape) -> list[Strided]:
    """What the dropout layers of a forward pass draw."""
    return [op.noise for op in tape.ops if op.noise is not None]


def _noise_shapes(tape: Tape) -> list[Shape]:
    return [shape for shape, _ in strided_of(tape)]


def _floor(gradients: Iterable[Tensor | None]) -> float:
    """Of what size a gradient is mere rounding beside the others."""
    sizes = [float(own.abs().max()) for own in gradients if own is not None and own.numel()]
    return 0.05 * max(sizes, default=0.0)


def _compare(
    what: str, found: Tensor, expected: Tensor, dtype: torch.dtype | None, floor: float = 1e-6
) -> None:
    found, expected = found.detach().float(), expected.detach().float()
    if found.shape != expected.shape:
        raise CannotStack(f"its stacked {what} has another shape")
    scale = expected.abs().max().clamp_min(floor or 1e-6) if expected.numel() else torch.ones(())
    allowed = TOLERANCE if dtype is None else 0.1
    # Not ">": a NaN on one side only must be refused as well.
    off = (found - expected).abs().max() / scale if expected.numel() else torch.zeros(())
    if not bool(off <= allowed) and bool(expected.isfinite().all()):
        raise CannotStack(f"its stacked {what} differs by {float(off):.1e} from its own")
