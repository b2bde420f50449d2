"""``%load_ext nbautoml``: the magic, its completion, the panels' link, a warm supervisor.

Loads none of torch, optuna, SQLAlchemy, pandas.
"""

from __future__ import annotations

from typing import Any

__all__ = ["load", "unload"]


def load(shell: Any) -> None:
    """Set up a shell; see `nbautoml.magics.loading`."""
    from nbautoml.magics.loading import load as load_

    load_(shell)


def unload(shell: Any) -> None:
    """Undo `load`."""
    from nbautoml.magics.loading import unload as unload_

    unload_(shell)
