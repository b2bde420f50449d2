"""Deleting a run for good: only what lies in a trash, and never through a link."""

from __future__ import annotations

import shutil
from pathlib import Path

from nbautoml.errors import StoreError
from nbautoml.store.folder import RUN_ID

__all__ = ["delete"]


def delete(place: Path) -> None:
    """Delete a run's folder that lies in the trash.

    Raises:
        StoreError: it is no such folder, or cannot be deleted.
    """
    if place.parent.name != "trash" or not RUN_ID.fullmatch(place.name) or place.is_symlink():
        raise StoreError(f"{place} is no run in the trash")
    try:
        shutil.rmtree(place)
    except OSError as error:
        raise StoreError(
            f"{place} cannot be deleted: {error.strerror or error}",
            hint="it lies in the trash; delete the folder by hand",
        ) from error
