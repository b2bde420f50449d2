"""Statements that go past SQLAlchemy write what SQLAlchemy would have written."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from nbautoml.errors import StoreError
from nbautoml.store.database import connect_to_fill, guarded
from nbautoml.store.direct import Statement
from nbautoml.store.open_trials import Trial, columns_of
from nbautoml.store.records import make_tables
from nbautoml.store.schema import point_table, trial_table
from nbautoml.store.urls import sqlite_url

POINT = {"run": 1, "trial": 0, "attempt": 1, "name": "verlust \u00e9", "epoch": 0, "step": 3}


@pytest.fixture
def connection(tmp_path: Path) -> Iterator[sa.Connection]:
    with connect_to_fill(tmp_path / "record.db") as connection:
        with connection.begin():
            make_tables(connection)
        yield connection


def rows_of(connection: sa.Connection, table: sa.Table) -> list[Any]:
    """All columns but the generated key, with the kinds in which the file holds them."""
    names = [column.name for column in table.columns if not column.primary_key]
    kinds = [sa.func.typeof(table.c[name]) for name in names]
    return list(connection.execute(sa.select(*(table.c[name] for name in names), *kinds)))


@pytest.mark.parametrize("value", [0.1, 1, None, float("inf"), 2**53])
def test_a_row_is_the_same_on_both_ways(connection, value):
    row = POINT | {"value": value, "checksum": 2**32 - 1}
    with connection.begin():
        Statement(point_table.insert()).execute(connection, [row])
        connection.execute(point_table.insert(), [row])
    direct, usual = rows_of(connection, point_table)
    assert direct == usual


def test_a_trial_is_the_same_on_both_ways(connection):
    row = {"run": 1, **columns_of(Trial(0, params='{"a":1}', value=1, error="x\ny", ended_at=5))}
    with connection.begin():
        Statement(trial_table.insert()).execute(connection, [row])
        connection.execute(trial_table.insert(), [row | {"run": 2}])
    direct, usual = rows_of(connection, trial_table)
    assert direct[1:] == usual[1:]


def test_rows_may_name_their_columns_in_any_order_and_number(connection):
    columns = trial_table.c
    where = (columns.run == sa.bindparam("b_run"), columns.number == sa.bindparam("b_number"))
    change = Statement(sa.update(trial_table).where(*where))
    with connection.begin():
        rows = [{"run": 1, **columns_of(Trial(number))} for number in range(3)]
        assert Statement(trial_table.insert()).execute(connection, rows) == 3
        mine = {"b_run": 1, "b_number": 1}
        assert change.execute(connection, [{"state": "running", "seq": 7, **mine}]) == 1
        assert change.execute(connection, [{"seq": 8, **mine, "b_number": 9}]) == 0
    found = connection.execute(sa.select(columns.number, columns.state, columns.seq)).all()
    assert found == [(0, "waiting", 0), (1, "running", 7), (2, "waiting", 0)]


def test_a_row_that_is_refused_undoes_the_transaction_and_is_told_in_words(connection, tmp_path):
    put = Statement(trial_table.insert())
    twice = [{"run": 1, **columns_of(Trial(4))}] * 2
    with (
        pytest.raises(StoreError, match="UNIQUE constraint failed"),
        guarded(sqlite_url(tmp_path / "record.db")),
        connection.begin(),
    ):
        put.execute(connection, twice)
    assert rows_of(connection, trial_table) == []
