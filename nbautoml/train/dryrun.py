"""One batch through everything before the first trial: what would fail, fails here, and in words.

::

    build -> forward (each size of batch) -> is the output what the data needs?
          -> loss -> backward -> optimiser step -> forward in evaluation
"""

from __future__ import annotations

import re
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import torch
from torch import nn

from nbautoml.errors import ModelError, NbAutomlError
from nbautoml.spec.fit import FitSettings
from nbautoml.train.batches import Inputs, TrainData, call_module, eval_batch_size, first_batch
from nbautoml.train.frames import Files, is_users, one_line, release_frames, user_frames
from nbautoml.train.layers import complaint_about, describe, label
from nbautoml.train.losses import Loss, default_loss
from nbautoml.train.outputs import check_output
from nbautoml.train.probe import Probe, watched
from nbautoml.train.seeds import isolated_rng
from nbautoml.train.setup import Setup, prepare

__all__ = ["dry_run"]

_FRAME = re.compile(r'  File "(?P<file>.*?)", line \d+, in .*\n(?:    .*\n?)*')


def dry_run(
    build: Callable[[], nn.Module],
    data: TrainData,
    settings: FitSettings,
    device: str,
    *,
    loss: Loss | None = None,
    files: Files = None,
) -> str:
    """Take one training step and one evaluation, and say in words what does not fit.

    Args:
        build: makes the module.
        data: what it is to be trained on.
        settings: how.
        device: where.
        loss: the user's own loss, if any.
        files: whose frames errors show, see `user_frames`.

    Returns:
        What was found, for people: size of the module, shapes, loss; a line for each oddity.

    Raises:
        ModelError: names the layer and both shapes where shapes do not fit; ``frames`` holds
            the user's lines.
        RecipeError: the loss does not suit the task.
    """
    place = torch.device(device)
    with isolated_rng(place):
        with _explained("building the model", None, files):
            setup = prepare(build, data, settings, seed=0, device=place, loss=loss)
        _check_weights(setup.module)
        name = type(setup.module).__name__
        loss_name = None if loss is not None else settings.loss or default_loss(data.task)
        remarks: list[str] = []
        with watched(setup.module) as probe:
            for inputs, target in _batches(data, settings.batch_size):
                remarks += _try_training(setup, probe, inputs, target, loss_name, files)
            with _explained(f"{name}, in evaluation", probe, files):
                _try_evaluation(setup)
    return _summary(setup, loss_name, list(dict.fromkeys(remarks)))


def _batches(data: TrainData, batch_size: int) -> Iterator[tuple[Inputs, torch.Tensor]]:
    """A full batch, and one of the size that the last batch of an epoch has."""
    yield first_batch(data.train, batch_size)
    rest = data.train.n % batch_size
    if rest > 1 and data.train.n > batch_size:
        yield first_batch(data.train, rest)


def _try_training(
    setup: Setup,
    probe: Probe,
    inputs: Inputs,
    target: torch.Tensor,
    loss_name: str | None,
    files: Files,
) -> list[str]:
    module, name = setup.module, type(setup.module).__name__
    module.train()
    setup.optimizer.zero_grad(set_to_none=True)
    doing = f"{name}, given a batch of {len(target)}"
    with _explained(doing, probe, files), setup.precision.autocast():
        output = call_module(module, inputs)
    remark = check_output(
        output,
        target,
        task=setup.data.task,
        n_classes=len(setup.data.classes),
        loss=loss_name,
        model=name,
        last_layer=probe.last,
    )
    with _explained("the loss", None, files), setup.precision.autocast():
        value = setup.loss(output, target)
    _check_loss(value, output, name)
    _backward(setup, value, inputs, target, files)
    idle = [key for key, weight in module.named_parameters() if _is_idle(weight)]
    with _explained(f"optimizer {setup.settings.optimizer!r}", None, files):
        setup.optimizer.step()
    return [remark] * bool(remark) + _idle_remark(idle)


def _is_idle(weight: nn.Parameter) -> bool:
    return weight.requires_grad and weight.grad is None


def _idle_remark(names: list[str]) -> list[str]:
    if not names:
        return []
    shown = ", ".join(names[:4]) + (", ..." if len(names) > 4 else "")
    return [f"no gradient reaches {shown}: forward does not use it"]


def _try_evaluation(setup: Setup) -> None:
    setup.module.eval()
    rows = eval_batch_size(setup.data.spec, setup.settings.batch_size)
    with torch.no_grad(), setup.precision.autocast():
        inputs, target = first_batch(setup.data.valid, rows)
        setup.valid_loss(call_module(setup.module, inputs), target)


def _check_weights(module: nn.Module) -> None:
    for key, weight in module.named_parameters():
        if weight.is_floating_point() and not bool(torch.isfinite(weight).all()):
            raise ModelError(
                f"weight {key!r} of {type(module).__name__} holds NaN or infinity as it is built",
                hint="fill what torch.empty made: nn.init.xavier_uniform_(weight), torch.randn",
            )


def _check_loss(value: object, output: torch.Tensor, name: str) -> None:
    if not isinstance(value, torch.Tensor) or value.numel() != 1:
        raise ModelError(
            f"the loss returned {describe(value)}, it must return one number for the batch",
            hint="take the mean: loss.mean(), or reduction='mean'",
        )
    if not value.requires_grad:
        culprit = "the loss" if output.requires_grad else f"what {name} returns"
        raise ModelError(
            f"no gradient can flow: {culprit} does not depend on the weights",
            hint="leave out .detach(), .data, .item(), torch.no_grad() and argmax on the way",
        )


def _backward(
    setup: Setup, value: torch.Tensor, inputs: Inputs, target: torch.Tensor, files: Files
) -> None:
    name = type(setup.module).__name__
    try:
        value.backward()  # type: ignore[no-untyped-call]
    except Exception as error:  # noqa: BLE001  the user's own functions may raise anything
        text, frames = one_line(error), user_frames(error, files)
        release_frames(error)
        traced = _forward_line(setup, inputs, target, files)
        hint = "look at this line of forward"
        if "modified by an inplace operation" in text:
            hint = "write x = x + y instead of x += y, and F.relu(x) instead of F.relu_(x)"
            text = "a value that the gradient needs was changed in place"
        raise ModelError(
            f"the backward pass of {name} failed: {text}", hint=hint, frames=traced or frames
        ) from None


def _forward_line(setup: Setup, inputs: Inputs, target: torch.Tensor, files: Files) -> str:
    """The user's lines in the forward pass whose gradient failed, as anomaly mode finds them."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        try:
            with torch.autograd.detect_anomaly(check_nan=False):
                setup.forward(inputs, target).backward()  # type: ignore[no-untyped-call]
        except Exception as error:  # noqa: BLE001  it is raised a second time on purpose
            release_frames(error)
    theirs = is_users(files)
    for warning in caught:
        blocks = [block for block in _FRAME.finditer(str(warning.message)) if theirs(block["file"])]
        if blocks:
            return "".join(block[0] for block in blocks)
    return ""


@contextmanager
def _explained(doing: str, probe: Probe | None, files: Files) -> Iterator[None]:
    """Turn what the user's code raises into a `ModelError` with their frames."""
    try:
        yield
    except NbAutomlError:
        raise
    except Exception as error:  # noqa: BLE001  a user's module may raise anything
        frames = user_frames(error, files)
        message, hint = _explain(error, probe) or (f"{doing} raised {one_line(error)}", "")
        release_frames(error)  # their locals are activations
        raise ModelError(message, hint=hint or "see the lines above", frames=frames) from None


def _explain(error: BaseException, probe: Probe | None) -> tuple[str, str] | None:
    if probe is None or probe.innermost is None:
        return None
    name, layer, given = probe.innermost
    called = label(name, layer, probe.root)
    complaint = complaint_about(layer, given)
    if complaint is not None:
        return f"{called} {complaint[0]}", complaint[1]
    return f"{called} raised {one_line(error)} (its input: {describe(given)})", ""


def _summary(setup: Setup, loss_name: str | None, remarks: list[str]) -> str:
    module, data = setup.module, setup.data
    n_weights = sum(weight.numel() for weight in module.parameters() if weight.requires_grad)
    shapes = ", ".join(f"{item.name} {item.shape} {item.dtype}" for item in data.spec.inputs)
    steps = f"{setup.n_batches} step{'s' if setup.n_batches != 1 else ''} an epoch"
    head = (
        f"{type(module).__name__}: {n_weights:,} weights; {shapes}; "
        f"loss {loss_name or 'of your own'}; {steps}"
    )
    return "\n".join([head, *setup.notes, *remarks])
