"""A module by ``torch.compile``, ready to be timed: what compiling took is told apart from what a call takes."""

from __future__ import annotations

import time
from collections.abc import Callable
from types import FunctionType
from typing import Any

import torch
from torch import nn

from nbautoml.errors import ModelError
from nbautoml.measure.counting import call
from nbautoml.measure.exported import quiet
from nbautoml.measure.measurement import Measurement
from nbautoml.measure.timing import wait_for

__all__ = ["compiled"]


def compiled(module: nn.Module, example: Any) -> tuple[Callable[[], Any], Measurement]:
    """A pass of the compiled module over an example as a call, and how long compiling it took.

    Compiled for the example's shape alone, in this process, and without what earlier
    compilations left on the disk or in memory, so that the time is that of a fresh process.

    Args:
        module: left as it is.
        example: inputs, as `nbautoml.measure.call` takes them.

    Raises:
        ModelError: it cannot be compiled here (no C++ compiler, mostly).
    """
    with quiet():
        from torch._inductor import config

    options: dict[str, Any] = {
        "compile_threads": 1,
        "force_disable_caches": True,
        "cpp_cache_precompile_headers": False,
    }

    def whole(given: Any) -> Any:
        return call(module, given)

    # What torch has compiled it remembers by the code object, so that a fresh one is compiled anew.
    code = whole.__code__.replace()
    fresh = FunctionType(code, whole.__globals__, "whole", None, whole.__closure__)
    with quiet():
        forward = torch.compile(fresh, dynamic=False)

    def once() -> Any:
        with torch.inference_mode():
            return wait_for(forward(example))

    begin = time.perf_counter()
    try:
        with quiet(), config.patch(options):
            once()
    except Exception as error:
        raise ModelError(
            f"{type(module).__name__} cannot be compiled here: {_reason(error)}",
            hint="torch.compile needs a C++ compiler: g++, clang or MSVC on the PATH",
        ) from error
    took = time.perf_counter() - begin
    return once, Measurement(
        value=took, unit="s", method="the first call of torch.compile, nothing cached"
    )


def _reason(error: BaseException) -> str:
    """The first line of what the compiler said."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return (lines[0] if lines else repr(error))[:300]
