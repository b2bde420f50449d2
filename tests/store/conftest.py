"""Runs and servers for the store's tests."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path

import pytest

from nbautoml.store import Home, Owner, RunFolder, Writer
from nbautoml.testing.postgres_server import PostgresServer, find_postgres
from nbautoml.testing.store_events import tiny_recipe


@pytest.fixture(autouse=True)
def local_store(monkeypatch: pytest.MonkeyPatch) -> None:
    """No setting of the person who runs the tests reaches them."""
    monkeypatch.delenv("NBAUTOML_STORE", raising=False)
    monkeypatch.delenv("NBAUTOML_HOME", raising=False)


@pytest.fixture
def home(tmp_path: Path) -> Home:
    return Home(tmp_path / "home")


@pytest.fixture
def folder(home: Home) -> RunFolder:
    return home.create_run(tiny_recipe(), None)


@pytest.fixture
def writer(folder: RunFolder) -> Iterator[Writer]:
    with folder.writer(Owner.this_process()) as writer:
        writer.create(folder.recipe())
        yield writer


@pytest.fixture(scope="session")
def postgres() -> Iterator[PostgresServer]:
    binaries = find_postgres(install=True)
    if binaries is None:
        pytest.skip("no PostgreSQL here, and Debian's package cannot be installed")
    server = PostgresServer(binaries)
    yield server
    server.close()


@pytest.fixture
def as_nobody() -> Iterator[Callable[[], AbstractContextManager[Path]]]:
    """A folder, and for a while the rights of somebody who is not root: root may write anywhere."""
    place = Path(tempfile.mkdtemp(prefix="nbautoml-test-"))
    place.chmod(0o755)

    @contextmanager
    def dropped() -> Iterator[Path]:
        if os.geteuid() != 0:
            yield place
            return
        os.seteuid(65534)
        try:
            yield place
        finally:
            os.seteuid(0)

    @contextmanager
    def dropped_after_handing_over() -> Iterator[Path]:
        if os.geteuid() == 0:
            for path in [place, *place.rglob("*")]:
                shutil.chown(path, 65534)
        with dropped():
            yield place

    yield dropped_after_handing_over
    for path in [place, *place.rglob("*")]:
        path.chmod(0o700)
    shutil.rmtree(place)
