"""The same obligations, kept by a file and by a server."""

from __future__ import annotations

from pathlib import Path

import pytest

from nbautoml.store import Home, RunFolder
from nbautoml.testing.postgres_server import PostgresServer
from nbautoml.testing.store_contract import StoreContract
from nbautoml.testing.store_events import tiny_recipe


class TestRecordInAFile(StoreContract):
    @pytest.fixture
    def folder(self, home: Home) -> RunFolder:
        return home.create_run(tiny_recipe(), None)


class TestRecordOnAServer(StoreContract):
    @pytest.fixture
    def folder(
        self, home: Home, postgres: PostgresServer, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
    ) -> RunFolder:
        monkeypatch.setenv("NBAUTOML_STORE", postgres.url())
        return home.create_run(tiny_recipe(), None)
