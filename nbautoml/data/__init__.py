"""Data: whatever form it has in a notebook -> a snapshot on disk -> batches on a device.

`snapshot` runs in the kernel and imports no torch; `open_data` runs in a worker. So the names
that need torch are loaded when they are first asked for.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from nbautoml.data.calls import call_module
from nbautoml.data.encodings import encoding_from_json
from nbautoml.data.folder import read_meta
from nbautoml.data.named import LoadedSet, load_idx_folder, load_named, named_sets
from nbautoml.data.snapshots import snapshot

if TYPE_CHECKING:
    from nbautoml.data.loading import Part, TrainData, open_data

__all__ = [
    "LoadedSet",
    "Part",
    "TrainData",
    "call_module",
    "encoding_from_json",
    "load_idx_folder",
    "load_named",
    "named_sets",
    "open_data",
    "read_meta",
    "snapshot",
]

_NEED_TORCH = {"Part", "TrainData", "open_data"}


def __getattr__(name: str) -> Any:
    if name in _NEED_TORCH:
        return getattr(import_module("nbautoml.data.loading"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
