"""The tables of a record: one schema for SQLite (a file a run) and PostgreSQL (many runs).

Every change is an event, and ``run.seq`` grows by one with each; a row carries the ``seq`` of its
last change, so that a reader can ask for what is new. Values that are no number (NaN) are NULL:
SQLite has no NaN of its own. Finished trials and points have a checksum, ``n_trials`` and
``n_points`` say how many rows there must be: a damaged file shows no wrong number. Change a table here only together with a new file in
``migrations/versions`` and `HEAD`; a test holds the two equal.
"""

from __future__ import annotations

from sqlalchemy import (
    BigInteger,
    Column,
    Double,
    ForeignKey,
    Index,
    Integer,
    MetaData,
    String,
    Table,
    Text,
    UniqueConstraint,
)

__all__ = [
    "HEAD",
    "artifact_table",
    "command_table",
    "log_table",
    "metadata",
    "point_table",
    "run_table",
    "trial_table",
    "version_table",
]

HEAD = "0001"

# AUTOINCREMENT in SQLite needs exactly INTEGER; ids are never used again, which cursors rely on.
_Id = BigInteger().with_variant(Integer, "sqlite")

metadata = MetaData(
    naming_convention={
        "pk": "pk_%(table_name)s",
        "fk": "fk_%(table_name)s_%(column_0_name)s",
        "uq": "uq_%(table_name)s_%(column_0_N_name)s",
        "ix": "ix_%(table_name)s_%(column_0_N_name)s",
    }
)


def _key() -> Column[int]:
    return Column("key", _Id, primary_key=True, autoincrement=True)


def _run() -> Column[int]:
    return Column("run", _Id, ForeignKey("run.key", ondelete="CASCADE"), nullable=False)


run_table = Table(
    "run",
    metadata,
    _key(),
    Column("id", String(64), nullable=False, unique=True),
    Column("name", Text, nullable=False),
    Column("kind", String(64), nullable=False),
    Column("state", String(32), nullable=False),
    Column("message", Text, nullable=False),
    Column("recipe", Text, nullable=False),
    Column("plan", Text, nullable=False),
    Column("plan_details", Text, nullable=False),
    Column("owner_pid", BigInteger),
    Column("owner_started", Double),
    Column("owner_host", Text),
    Column("heartbeat", Double),
    Column("created_at", Double, nullable=False),
    Column("started_at", Double),
    Column("ended_at", Double),
    Column("n_trials", Integer, nullable=False),
    Column("seq", BigInteger, nullable=False),
    sqlite_autoincrement=True,
)

trial_table = Table(
    "trial",
    metadata,
    _key(),
    _run(),
    Column("number", Integer, nullable=False),
    Column("state", String(32), nullable=False),
    Column("attempt", Integer, nullable=False),
    Column("params", Text, nullable=False),
    Column("value", Double),
    Column("objective_values", Text, nullable=False),
    Column("metrics", Text, nullable=False),
    Column("epoch", Integer, nullable=False),
    Column("step", BigInteger, nullable=False),
    Column("best_epoch", Integer),
    Column("worker", BigInteger),
    Column("device", String(32), nullable=False),
    Column("owner", Text),
    Column("planned_at", Double),
    Column("started_at", Double),
    Column("ended_at", Double),
    Column("error", Text, nullable=False),
    Column("traceback", Text, nullable=False),
    Column("n_points", BigInteger, nullable=False),
    Column("dropped_seq", BigInteger, nullable=False),
    Column("checksum", BigInteger),
    Column("seq", BigInteger, nullable=False),
    UniqueConstraint("run", "number"),
    Index(None, "run", "seq"),
    sqlite_autoincrement=True,
)

point_table = Table(
    "point",
    metadata,
    Column("id", _Id, primary_key=True, autoincrement=True),
    _run(),
    Column("trial", Integer, nullable=False),
    Column("attempt", Integer, nullable=False),
    Column("name", String(200), nullable=False),
    Column("epoch", Integer, nullable=False),
    Column("step", BigInteger, nullable=False),
    Column("value", Double),
    Column("checksum", BigInteger, nullable=False),
    Index(None, "run", "trial"),
    sqlite_autoincrement=True,
)

log_table = Table(
    "log",
    metadata,
    Column("id", _Id, primary_key=True, autoincrement=True),
    _run(),
    Column("time", Double, nullable=False),
    Column("level", String(16), nullable=False),
    Column("text", Text, nullable=False),
    Column("trial", Integer),
    Column("seq", BigInteger, nullable=False),
    Index(None, "run", "id"),
    sqlite_autoincrement=True,
)

artifact_table = Table(
    "artifact",
    metadata,
    Column("id", _Id, primary_key=True, autoincrement=True),
    _run(),
    Column("time", Double, nullable=False),
    Column("trial", Integer),
    Column("kind", String(64), nullable=False),
    Column("path", Text, nullable=False),
    Column("sha256", String(64), nullable=False),
    Column("n_bytes", BigInteger, nullable=False),
    Column("details", Text, nullable=False),
    Column("seq", BigInteger, nullable=False),
    Index(None, "run", "trial"),
    sqlite_autoincrement=True,
)

command_table = Table(
    "command",
    metadata,
    Column("id", _Id, primary_key=True, autoincrement=True),
    _run(),
    Column("time", Double, nullable=False),
    Column("command_id", String(128), nullable=False),
    Column("command", String(64), nullable=False),
    Column("refusal", Text, nullable=False),
    Column("seq", BigInteger, nullable=False),
    UniqueConstraint("run", "command_id"),
    sqlite_autoincrement=True,
)

# Alembic's own table, declared here so that a new record can be stamped without loading alembic.
version_table = Table(
    "alembic_version", MetaData(), Column("version_num", String(32), primary_key=True)
)
