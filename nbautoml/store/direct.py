"""The statements that a record takes all the time, given to SQLite's driver itself.

SQLAlchemy takes 30 to 60 us of processor time to bind and execute one of these, and 5 to 8 for each
row of many; the driver takes 5 to 15 and 3 to 4. A trial is some forty of them, which made up half of
what recording it cost. On a server each is a round trip, next to which SQLAlchemy's part is small.
"""

from __future__ import annotations

import operator
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import sqlalchemy as sa
from sqlalchemy.dialects import sqlite

__all__ = ["Statement"]

_Row = Mapping[str, Any]


class Statement:
    """An insert or update that is made once and executed many times.

    Its text is SQLAlchemy's on both ways. Rows hold what the driver takes as it is: text, int, float,
    None. An error is the driver's own in a local record (`guarded` turns either into `StoreError`).

    Args:
        clause: what to do, its values as ``bindparam``; an insert needs none.

    >>> table = sa.table("t", sa.column("a"), sa.column("b"))
    >>> put = Statement(table.insert())
    >>> with sa.create_engine("sqlite://").connect() as connection:
    ...     _ = connection.exec_driver_sql("CREATE TABLE t (a, b)")
    ...     n = put.execute(connection, [{"a": 1, "b": "x"}, {"b": "y", "a": 2}])
    ...     n, connection.execute(table.select()).all()
    (2, [(1, 'x'), (2, 'y')])
    """

    def __init__(self, clause: sa.Insert | sa.Update) -> None:
        self._clause = clause
        self._by_columns: dict[tuple[str, ...], tuple[str, Callable[[_Row], Any]]] = {}

    def execute(self, connection: sa.Connection, rows: Sequence[_Row]) -> int:
        """Execute it for each row; all rows have the same columns, two at least.

        Returns:
            How many rows of the table were written.
        """
        if connection.dialect.name != "sqlite":
            return connection.execute(self._clause, rows).rowcount
        columns = tuple(rows[0])
        if columns not in self._by_columns:
            self._by_columns[columns] = self._compiled(columns)
        text, values_of = self._by_columns[columns]
        cursor = connection.connection.cursor()
        if len(rows) == 1:
            cursor.execute(text, values_of(rows[0]))
        else:
            cursor.executemany(text, [values_of(row) for row in rows])
        return cursor.rowcount

    def _compiled(self, columns: Sequence[str]) -> tuple[str, Callable[[_Row], Any]]:
        """The text, and what takes a row's values in the order in which they stand in it."""
        dialect = sqlite.dialect(paramstyle="qmark")
        made: Any = self._clause.compile(dialect=dialect, column_keys=list(columns))
        return str(made), operator.itemgetter(*made.positiontup)
