"""What a compression does: techniques as they are, or a search among some, and what that varies."""

from __future__ import annotations

import contextlib
import dataclasses
import inspect
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from nbautoml.api.ask import Ask
from nbautoml.api.students import check_student_is_taught, given_student_of
from nbautoml.compress.quantizers import QUANTIZERS
from nbautoml.compress.space import BY_TORCHAO, COMPRESSED, ORIGINAL, SEARCHED, space_for
from nbautoml.compress.students import declared
from nbautoml.compress.table import technique_from_json, techniques_from, work_of
from nbautoml.compress.techniques import Quantization, Technique
from nbautoml.errors import CompressError, RecipeError, SpaceError
from nbautoml.spec import SETTING_NAMES, Choice, Dimension, Space
from nbautoml.spec.signature import read_parameters

if TYPE_CHECKING:
    from torch import nn

    from nbautoml.api.run import Run
    from nbautoml.spec.data import DataSpec

__all__ = ["declared_of", "layer_groups", "read_space", "with_method"]


def with_method(ask: Ask) -> Ask:
    """The question with the method that the cell assigned, if it did; words are read.

    Words with a number of trials or a time are a search among these techniques, in any settings;
    without, they are applied once, as they are.

    Raises:
        RecipeError: no such technique, an empty list, or one that no search can vary.
    """
    method: Any = ask.cell.get("method", ask.options["method"])
    among: tuple[str, ...] = SEARCHED
    has_student = given_student_of(ask) is not None
    is_named = not (isinstance(method, str) and method == "auto")
    if is_named:
        found = _techniques(method, ask, has_student=has_student)
        if not found:
            raise RecipeError("the method is empty", hint='write "prune,quantize", or "auto"')
        if isinstance(method, str) and (ask.options["trials"] or ask.options["time"]):
            among = tuple(work_of(technique).word for technique in found)
            check_searched(among)
            method = "auto"
        else:
            method = found
    check_student_is_taught(has_student, () if method == "auto" else method, among)
    read = {"method": method, "among": among, "is_named": is_named}
    return dataclasses.replace(ask, options={**ask.options, **read})


def _techniques(method: Any, ask: Ask, *, has_student: bool) -> tuple[Technique, ...]:
    who = "given" if has_student else "same"
    found = techniques_from(method, quantizer=ask.options["quantizer"], student=who)
    epochs = ask.settings.get("epochs", ask.cell.get("epochs"))
    if not isinstance(method, str) or not isinstance(epochs, int):
        return found  # a config says itself how long it trains; what is no number is refused later
    # Quantisation by its word does not train.
    return tuple(
        step
        if isinstance(step, Quantization)
        else technique_from_json({**step.to_json(), "epochs": epochs})
        for step in found
    )


def check_searched(words: Iterable[str]) -> None:
    """Refuse techniques that a search does not vary.

    Raises:
        RecipeError: names one, and those that it does.
    """
    for word in words:
        if word not in SEARCHED:
            raise RecipeError(
                f"method names {word}, which a search cannot judge: it makes no exported model "
                "smaller or faster by itself",
                hint=f"leave trials and time out, and it is applied as it is; or search among "
                f"{', '.join(SEARCHED)}",
            )


def read_space(
    ask: Ask, module: nn.Module, run: Run | None, data: DataSpec, n_epochs: int
) -> Space:
    """What the search varies; with techniques to be applied only which of the two models it is.

    Raises:
        RecipeError: nothing can vary, for the one technique that was named can do nothing here.
    """
    if ask.options["method"] != "auto":
        return Space({"version": Choice(ORIGINAL, COMPRESSED)})
    among = ask.options["among"]
    space = space_for(
        layer_groups(module),
        n_epochs=n_epochs,
        forms=_forms(ask.options["quantizer"], among),
        calibrations=QUANTIZERS[ask.options["quantizer"]].searched,
        among=among,
        has_blocks="distill" in among and _has_blocks(module, ask, data),
        has_heads=_has_heads(module),
        transfers=_transfers(module, ask, data) if "distill" in among else (),
        own=declared_of(module, run)[0],
        has_given=given_student_of(ask) is not None,
    )
    if list(space) == ["epochs"]:
        raise RecipeError(
            f"nothing of {type(module).__name__} can vary under the method {','.join(among)}",
            hint=f"name more techniques, of {', '.join(SEARCHED)}, or say auto",
        )
    return space


def declared_of(module: nn.Module, run: Run | None) -> tuple[dict[str, Dimension], dict[str, Any]]:
    """What the model's class declares that may vary, and its arguments; of a run's model alone.

    Of a module that was given as it is nobody knows what it was made with.
    """
    if run is None or run.kind == "compress" or run.recipe.target.role != "module":
        return {}, {}
    if type(module).__name__ != run.recipe.target.symbol:
        return {}, {}  # a function made it
    try:
        taken = read_parameters(type(module))
        found = run.recipe.space.resolve({**run.recipe.fixed, **run.best.params})
        arguments = {
            name: value
            for name, value in {**taken.defaults, **found}.items()
            if name in taken.names and name not in SETTING_NAMES
        }
        inspect.signature(type(module)).bind(**arguments)
        # A single fit has no space; what its class declares stands in the signature all the same.
        return declared(Space({**taken.dimensions, **run.recipe.space}), arguments)
    except (SpaceError, TypeError):
        return {}, {}  # a choice of a class, or arguments that are not all known


def _has_blocks(module: nn.Module, ask: Ask, data: DataSpec) -> bool:
    """Whether a shallower student can be made of it."""
    from nbautoml.compress.shallower import blocks_that_may_go

    return bool(blocks_that_may_go(module, _example(ask, data)))


def _has_heads(module: nn.Module) -> bool:
    """Whether an attention has several heads, of which whole ones may go."""
    from torch import nn as layers

    attentions = (one for one in module.modules() if isinstance(one, layers.MultiheadAttention))
    return any(one.num_heads > 1 and one.head_dim > 1 for one in attentions)


def _transfers(module: nn.Module, ask: Ask, data: DataSpec) -> tuple[str, ...]:
    """What a teacher of the model can show beside its answers."""
    from nbautoml.compress.transfer import watched_layers

    example, found = _example(ask, data), []
    for kind in ("hints", "attention"):
        with contextlib.suppress(CompressError):  # no layers inside that say such a thing
            watched_layers(module, module, example, kind)
            found.append(kind)
    return tuple(found)


def _example(ask: Ask, data: DataSpec) -> Any:
    from nbautoml.data import open_data
    from nbautoml.train.batches import first_batch

    opened = open_data(data, ask.home.data_dir, device="cpu")
    example, _ = first_batch(opened.train, 4)
    return example


def _forms(quantizer: str, among: Iterable[str]) -> tuple[str, ...]:
    """Ways to quantise that this machine can run.

    Raises:
        MissingExtraError: another quantiser than the usual was asked for, and is not installed.
    """
    row = QUANTIZERS[quantizer]
    if "quantize" in among and quantizer != "onnxruntime":
        row.need()
    if row.missing:
        return ()
    is_usual = quantizer == "onnxruntime" and not QUANTIZERS["torchao"].missing
    return (*row.forms, BY_TORCHAO) if is_usual else row.forms


def layer_groups(module: nn.Module, n: int = 4) -> list[list[str]]:
    """Layers that may become narrower, first to last, in a few groups; the last one is the output.

    Each group gets a share of its own: early layers bear less than late ones, mostly.
    """
    from torch import nn as layers

    kinds = (layers.Linear, layers.Conv1d, layers.Conv2d, layers.Conv3d, layers.RNNBase)
    found = [name for name, layer in module.named_modules() if isinstance(layer, kinds)][:-1]
    size = max(1, -(-len(found) // n))
    return [found[start : start + size] for start in range(0, len(found), size)]
