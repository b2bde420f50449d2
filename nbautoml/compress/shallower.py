"""A shallower version of a module: blocks that hand on the shape that they get are left out.

::

    x -> block -> block -> block -> head        x -> block -> (nothing) -> block -> head
         same shape in and out: may go               those without which the answers change least

Source: the measure of what a block does is that of Men et al. 2024, "ShortGPT" (how far its output
lies from its input), taken at the module's answers, so that it holds for any kind of block.
"""

from __future__ import annotations

import copy
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from nbautoml.errors import CompressError
from nbautoml.measure.counting import call

__all__ = ["blocks_that_may_go", "shallower"]


def shallower(module: nn.Module, example: Any, share: float = 0.5) -> nn.Module:
    """A copy without this share of the blocks that may go, at least without one.

    Args:
        module: left as it is.
        example: inputs by which blocks are compared.
        share: of the blocks that may go.

    Raises:
        CompressError: there is no such block.
    """
    found = _blocks(module, example)
    if not found:
        raise CompressError(
            f"no shallower {type(module).__name__} can be made: no layer inside hands on the shape "
            "that it gets",
            hint='say student="same", or "half" for a narrower one',
        )
    ranked = sorted(found, key=lambda block: (block.change, block.name))
    for n in range(max(1, round(share * len(ranked))), 0, -1):
        student = _without(module, ranked[:n])
        if _answers(student, example) is not None:
            return student
    raise AssertionError("unreachable: each block was tried alone")


def blocks_that_may_go(module: nn.Module, example: Any) -> dict[str, float]:
    """Blocks without which a module still answers in the same shape, and how much that changes.

    Of blocks inside each other the outermost counts, of a stack of blocks each one by itself.

    Args:
        module: left as it is.
        example: its inputs.

    Returns:
        The distance of the answers without each block, as a share of the answers' own length.

    >>> net = nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 8), nn.ReLU(), nn.Linear(8, 2))
    >>> list(blocks_that_may_go(net, torch.ones(2, 4)))
    ['2']
    """
    return {block.name: block.change for block in _blocks(module, example)}


@dataclass(frozen=True)
class _Block:
    """A block that may go.

    Attributes:
        name: in its module.
        is_entry: whether it is taken out of its list; else nothing is put in its place, which keeps
            the places of the others.
        change: what that does to the answers.
    """

    name: str
    is_entry: bool
    change: float = 0.0


def _blocks(module: nn.Module, example: Any) -> list[_Block]:
    module = copy.deepcopy(module).eval()
    whole = _answers(module, example)
    if whole is None:
        return []
    found = []
    for name in _outermost(module, _shape_keepers(module, example)):
        parent = module.get_submodule(name.rpartition(".")[0])
        # A list whose owner asks more of its entries than to be called: `nn.TransformerEncoder`.
        ways = [False, True] if isinstance(parent, nn.ModuleList) else [False]
        for is_entry in ways:
            output = _answers(_without(module, [_Block(name, is_entry)]), example)
            if output is not None and output.shape == whole.shape:
                change = float((output - whole).norm() / whole.norm().clamp(min=1e-12))
                found.append(_Block(name, is_entry, change))
                break
    return found


def _without(module: nn.Module, blocks: Iterable[_Block]) -> nn.Module:
    found = copy.deepcopy(module)
    entries = []
    for block in blocks:
        if block.is_entry:
            parent, _, at = block.name.rpartition(".")
            entries.append((int(at), found.get_submodule(parent)))
        else:
            found.set_submodule(block.name, nn.Identity())
    for place, listed in sorted(
        entries, key=lambda entry: -entry[0]
    ):  # the last first: places stay
        assert isinstance(listed, nn.ModuleList)
        del listed[place]
    return found


def _answers(module: nn.Module, example: Any) -> torch.Tensor | None:
    """What it answers; None where it fails, for it was taken apart."""
    try:
        with torch.no_grad():
            output = call(module.eval(), copy.deepcopy(example))
    except Exception:  # noqa: BLE001  a module that needs its block says so in any way it likes
        return None
    first = output[0] if isinstance(output, (tuple, list)) else output
    is_fine = isinstance(first, torch.Tensor) and bool(torch.isfinite(first).all())
    return first if is_fine else None


def _shape_keepers(module: nn.Module, example: Any) -> set[str]:
    """Submodules with a matrix that are called once, with one tensor, and give one of its shape."""
    calls: dict[str, list[bool]] = {}

    def watch(name: str) -> Any:
        def note(_layer: nn.Module, inputs: Any, output: Any) -> None:
            is_kept = (
                len(inputs) == 1
                and isinstance(inputs[0], torch.Tensor)
                and isinstance(output, torch.Tensor)
                and inputs[0].shape == output.shape
                and inputs[0].dtype == output.dtype
            )
            calls.setdefault(name, []).append(is_kept)

        return note

    handles = [
        layer.register_forward_hook(watch(name))
        for name, layer in module.named_modules()
        if name and any(weight.ndim > 1 for weight in layer.parameters())
    ]
    _answers(module, example)
    for handle in handles:
        handle.remove()
    return {name for name, kept in calls.items() if kept == [True]}


def _outermost(module: nn.Module, names: set[str]) -> list[str]:
    found: list[str] = []
    for name, layer in module.named_modules():
        is_inside = any(name.startswith(f"{one}.") for one in found)
        if name in names and not is_inside and not _is_stack(layer, name, names):
            found.append(name)
    return found


def _is_stack(layer: nn.Module, name: str, names: set[str]) -> bool:
    """Whether blocks lie in it one after another: entries of its own, or of a list of its own."""
    if isinstance(layer, nn.Sequential):
        return any(f"{name}.{own}" in names for own, _ in layer.named_children())
    lists = ((own, one) for own, one in layer.named_children() if isinstance(one, nn.ModuleList))
    return any(
        sum(f"{name}.{own}.{at}" in names for at in range(len(one))) > 1 for own, one in lists
    )
