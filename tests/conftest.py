"""What `make test` leaves out for its time: tests marked nightly."""

from __future__ import annotations

import os

import pytest

IS_ALL = os.environ.get("NBAUTOML_FAULTS") == "all"


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """What is marked nightly waits to be asked for."""
    left_out = [] if IS_ALL else [item for item in items if item.get_closest_marker("nightly")]
    if left_out:
        config.hook.pytest_deselected(items=left_out)
        items[:] = [item for item in items if item not in left_out]
