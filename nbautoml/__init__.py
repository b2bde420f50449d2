"""Model automation inside the notebook: ``%load_ext nbautoml``, then ``%automl help``.

In a script the same words are calls::

    import nbautoml
    from nbautoml import Float, Int

    run = nbautoml.tune(Net, data=(X, y), space={"lr": Float(1e-4, 0.1, log=True)}, trials=60)
    run.wait().best
"""

from __future__ import annotations

import sys
from importlib import import_module
from types import ModuleType
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from nbautoml.api.run import Run
    from nbautoml.api.verbs import (
        compare,
        compress,
        export,
        import_run,
        load,
        remove,
        restore,
        runs,
        train,
        tune,
        verify,
    )
    from nbautoml.errors import NbAutomlError
    from nbautoml.measure import measure
    from nbautoml.spec import Choice, Float, Int, Space

__version__ = "0.1.0.dev0"

_WHERE = {
    "Choice": "spec",
    "Float": "spec",
    "Int": "spec",
    "NbAutomlError": "errors",
    "Run": "api.run",
    "Space": "spec",
    "compare": "api.verbs",
    "compress": "api.verbs",
    "export": "api.verbs",
    "import_run": "api.verbs",
    "load": "api.verbs",
    "measure": "measure",
    "remove": "api.verbs",
    "restore": "api.verbs",
    "runs": "api.verbs",
    "train": "api.verbs",
    "tune": "api.verbs",
    "verify": "api.verbs",
}

__all__ = [
    "Choice",
    "Float",
    "Int",
    "NbAutomlError",
    "Run",
    "Space",
    "__version__",
    "compare",
    "compress",
    "export",
    "import_run",
    "load",
    "load_ipython_extension",
    "measure",
    "remove",
    "restore",
    "runs",
    "train",
    "tune",
    "unload_ipython_extension",
    "verify",
]


def load_ipython_extension(shell: Any) -> None:
    """``%load_ext nbautoml``: ``%automl``, its completion, live panels, a warm supervisor."""
    from nbautoml.magics import load as load_magics

    load_magics(shell)


def unload_ipython_extension(shell: Any) -> None:
    """``%unload_ext nbautoml``: everything away again; runs go on."""
    from nbautoml.magics import unload

    unload(shell)


def __getattr__(name: str) -> Any:
    if name not in _WHERE:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_WHERE[name]}"), name)


def __dir__() -> list[str]:
    return list(__all__)


class _Face(ModuleType):
    """The package, whose calls stay calls.

    ``nbautoml.tune``, ``nbautoml.train`` and ``nbautoml.measure`` are calls, and packages inside
    have the same names. Whenever one of these is imported, Python binds it in its parent, and the call would
    be gone. ``from nbautoml.train.loop import fit`` works as ever.
    """

    def __setattr__(self, name: str, value: Any) -> None:
        if not (name in _WHERE and isinstance(value, ModuleType)):
            super().__setattr__(name, value)


sys.modules[__name__].__class__ = _Face
