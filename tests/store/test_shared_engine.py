"""Connections of SQLAlchemy's one engine are to the files that they were asked for."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Barrier

import sqlalchemy as sa

from nbautoml.store.database import connect_to_fill, connect_to_read, connect_to_write
from nbautoml.store.urls import sqlite_url

N_FILES = 8


def test_each_connection_is_to_its_own_file_whoever_opens_at_the_same_time(tmp_path: Path):
    together = Barrier(N_FILES)

    def numbers_read(number: int) -> list[int]:
        path = tmp_path / f"{number}.db"
        with connect_to_fill(path) as connection, connection.begin():
            connection.exec_driver_sql("CREATE TABLE t (n INTEGER)")
            connection.exec_driver_sql("INSERT INTO t VALUES (?)", (number,))
        found = []
        for connect in (connect_to_write, connect_to_read) * 5:
            together.wait(timeout=60)
            with connect(sqlite_url(path)) as connection:
                found += connection.execute(sa.text("SELECT n FROM t")).scalars()
        return found

    with ThreadPoolExecutor(N_FILES) as pool:
        found = list(pool.map(numbers_read, range(N_FILES)))
    assert found == [[number] * 10 for number in range(N_FILES)]
