"""What happens at ``%load_ext nbautoml``, and at its unloading."""

from __future__ import annotations

import contextlib
import os
import sys
import threading
from collections.abc import Callable
from typing import Any

from nbautoml.errors import NbAutomlError
from nbautoml.magics import complete
from nbautoml.magics.magic import AutomlMagics
from nbautoml.spec import Choice, Float, Int
from nbautoml.store import Home

__all__ = ["load", "unload"]

PREHEAT_VARIABLE = "NBAUTOML_PREHEAT"
_WORDS = {"Int": Int, "Float": Float, "Choice": Choice}
_MAX_TOLD = 5


def load(shell: Any) -> None:
    """The magic, its completion, the words of a space, the panels' link, a warm supervisor."""
    shell.register_magics(AutomlMagics)
    complete.register(shell)
    home = Home()
    lines = [*_bind_words(shell.user_ns), *_interrupted(home)]
    if lines:
        sys.stdout.write("\n".join(lines) + "\n")
    if getattr(shell, "kernel", None) is not None:
        from nbautoml.api.showing import listen

        listen()
    if os.environ.get(PREHEAT_VARIABLE, "1") != "0":
        _in_background(lambda: _preheat(home))


def unload(shell: Any) -> None:
    """Take everything away again; runs go on."""
    complete.unregister(shell)
    for table in shell.magics_manager.magics.values():
        table.pop("automl", None)
    for name, value in _WORDS.items():
        if shell.user_ns.get(name) is value:
            del shell.user_ns[name]
    if "nbautoml.widgets.live" in sys.modules:
        from nbautoml.widgets import live

        live.stop()
    if "nbautoml.engine.client" in sys.modules:
        from nbautoml.engine.client import forget_warm

        forget_warm()


def _bind_words(namespace: dict[str, Any]) -> list[str]:
    """Int, Float and Choice as variables, where these names are free; says which are not."""
    taken = [name for name in _WORDS if namespace.get(name, _WORDS[name]) is not _WORDS[name]]
    namespace.update({name: value for name, value in _WORDS.items() if name not in taken})
    if not taken:
        return []
    return [
        (
            f"{', '.join(taken)} stayed as {'it is' if len(taken) == 1 else 'they are'}: "
            f"in a cell of %%automl write nbautoml.{taken[0]}(...)"
        )
    ]


def _interrupted(home: Home) -> list[str]:
    """Runs that wait to be resumed, in words."""
    try:
        found = [info for info in home.runs() if info.state == "interrupted"]
    except NbAutomlError as error:
        return [f"the runs in {home.path} cannot be read: {error.message}"]
    lines = [
        f"run {info.name!r} was interrupted after {info.n_finished} trials: "
        f"%automl resume {info.name if _is_newest(info, found) else info.id}"
        for info in found[:_MAX_TOLD]
    ]
    if len(found) > _MAX_TOLD:
        lines.append(f"and {len(found) - _MAX_TOLD} more: %automl runs")
    return lines


def _is_newest(info: Any, found: list[Any]) -> bool:
    return next(other for other in found if other.name == info.name) is info


def _preheat(home: Home) -> None:
    from nbautoml.engine.client import keep_warm

    # Without it a run starts cold, and says itself what is wrong.
    with contextlib.suppress(NbAutomlError):
        keep_warm(home)


def _in_background(job: Callable[[], None]) -> None:
    threading.Thread(target=job, name="nbautoml-preheat", daemon=True).start()
