from __future__ import annotations

import os
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from nbautoml.data import TrainData, open_data, snapshot
from nbautoml.errors import DataError
from nbautoml.spec.data import DataSpec

ROOT = Path(__file__).parents[2]


@pytest.fixture(autouse=True)
def one_thread() -> None:
    torch.set_num_threads(1)


@pytest.fixture(autouse=True)
def no_thread_left() -> Iterator[None]:
    yield
    left = [t.name for t in threading.enumerate() if t.name.startswith("nbautoml-data")]
    assert left == []


@pytest.fixture
def home(tmp_path: Path) -> Path:
    return tmp_path / "home" / "data"


@pytest.fixture
def snap(home: Path) -> Callable[..., DataSpec]:
    """`snapshot` into this test's own home."""

    def take(value: Any, **settings: Any) -> DataSpec:
        return snapshot(value, home_data=home, **settings)

    return take


@pytest.fixture
def opened(home: Path) -> Callable[..., TrainData]:
    """Snapshot and open in one go; settings of `open_data` go into ``opening``."""

    def take(value: Any, *, opening: dict[str, Any] | None = None, **settings: Any) -> TrainData:
        return open_data(snapshot(value, home_data=home, **settings), home, **(opening or {}))

    return take


@pytest.fixture
def numbers() -> np.random.Generator:
    return np.random.default_rng(0)


@pytest.fixture(scope="session")
def mnist() -> Path:
    folder = Path(os.environ.get("NBAUTOML_MNIST", ROOT / ".." / "shared" / "data" / "mnist"))
    if not folder.is_dir():
        pytest.skip(f"no MNIST in {folder}; NBAUTOML_MNIST names another folder")
    return folder


@pytest.fixture
def data_error() -> Callable[[Callable[[], Any]], DataError]:
    """The DataError that a call ends in."""

    def catch(call: Callable[[], Any]) -> DataError:
        with pytest.raises(DataError) as caught:
            call()
        return caught.value

    return catch
