"""The first schema: runs, trials, points, log, artifacts, commands."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None

_ID = sa.BigInteger().with_variant(sa.Integer, "sqlite")


def upgrade() -> None:
    """Make the tables."""
    _make_run()
    _make_trial()
    _make_point()
    _make_rest()


def _run_column() -> sa.Column[int]:
    return sa.Column("run", _ID, nullable=False)


def _run_key(table: str) -> sa.ForeignKeyConstraint:
    name = f"fk_{table}_run"
    return sa.ForeignKeyConstraint(["run"], ["run.key"], name=name, ondelete="CASCADE")


def _make_run() -> None:
    op.create_table(
        "run",
        sa.Column("key", _ID, autoincrement=True, nullable=False),
        sa.Column("id", sa.String(64), nullable=False),
        sa.Column("name", sa.Text, nullable=False),
        sa.Column("kind", sa.String(64), nullable=False),
        sa.Column("state", sa.String(32), nullable=False),
        sa.Column("message", sa.Text, nullable=False),
        sa.Column("recipe", sa.Text, nullable=False),
        sa.Column("plan", sa.Text, nullable=False),
        sa.Column("plan_details", sa.Text, nullable=False),
        sa.Column("owner_pid", sa.BigInteger),
        sa.Column("owner_started", sa.Double),
        sa.Column("owner_host", sa.Text),
        sa.Column("heartbeat", sa.Double),
        sa.Column("created_at", sa.Double, nullable=False),
        sa.Column("started_at", sa.Double),
        sa.Column("ended_at", sa.Double),
        sa.Column("n_trials", sa.Integer, nullable=False),
        sa.Column("seq", sa.BigInteger, nullable=False),
        sa.PrimaryKeyConstraint("key", name="pk_run"),
        sa.UniqueConstraint("id", name="uq_run_id"),
        sqlite_autoincrement=True,
    )


def _make_trial() -> None:
    op.create_table(
        "trial",
        sa.Column("key", _ID, autoincrement=True, nullable=False),
        _run_column(),
        sa.Column("number", sa.Integer, nullable=False),
        sa.Column("state", sa.String(32), nullable=False),
        sa.Column("attempt", sa.Integer, nullable=False),
        sa.Column("params", sa.Text, nullable=False),
        sa.Column("value", sa.Double),
        sa.Column("objective_values", sa.Text, nullable=False),
        sa.Column("metrics", sa.Text, nullable=False),
        sa.Column("epoch", sa.Integer, nullable=False),
        sa.Column("step", sa.BigInteger, nullable=False),
        sa.Column("best_epoch", sa.Integer),
        sa.Column("worker", sa.BigInteger),
        sa.Column("device", sa.String(32), nullable=False),
        sa.Column("owner", sa.Text),
        sa.Column("planned_at", sa.Double),
        sa.Column("started_at", sa.Double),
        sa.Column("ended_at", sa.Double),
        sa.Column("error", sa.Text, nullable=False),
        sa.Column("traceback", sa.Text, nullable=False),
        sa.Column("n_points", sa.BigInteger, nullable=False),
        sa.Column("dropped_seq", sa.BigInteger, nullable=False),
        sa.Column("checksum", sa.BigInteger),
        sa.Column("seq", sa.BigInteger, nullable=False),
        sa.PrimaryKeyConstraint("key", name="pk_trial"),
        _run_key("trial"),
        sa.UniqueConstraint("run", "number", name="uq_trial_run_number"),
        sqlite_autoincrement=True,
    )
    op.create_index("ix_trial_run_seq", "trial", ["run", "seq"])


def _make_point() -> None:
    op.create_table(
        "point",
        sa.Column("id", _ID, autoincrement=True, nullable=False),
        _run_column(),
        sa.Column("trial", sa.Integer, nullable=False),
        sa.Column("attempt", sa.Integer, nullable=False),
        sa.Column("name", sa.String(200), nullable=False),
        sa.Column("epoch", sa.Integer, nullable=False),
        sa.Column("step", sa.BigInteger, nullable=False),
        sa.Column("value", sa.Double),
        sa.Column("checksum", sa.BigInteger, nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_point"),
        _run_key("point"),
        sqlite_autoincrement=True,
    )
    op.create_index("ix_point_run_trial", "point", ["run", "trial"])


def _make_rest() -> None:
    op.create_table(
        "log",
        sa.Column("id", _ID, autoincrement=True, nullable=False),
        _run_column(),
        sa.Column("time", sa.Double, nullable=False),
        sa.Column("level", sa.String(16), nullable=False),
        sa.Column("text", sa.Text, nullable=False),
        sa.Column("trial", sa.Integer),
        sa.Column("seq", sa.BigInteger, nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_log"),
        _run_key("log"),
        sqlite_autoincrement=True,
    )
    op.create_index("ix_log_run_id", "log", ["run", "id"])
    op.create_table(
        "artifact",
        sa.Column("id", _ID, autoincrement=True, nullable=False),
        _run_column(),
        sa.Column("time", sa.Double, nullable=False),
        sa.Column("trial", sa.Integer),
        sa.Column("kind", sa.String(64), nullable=False),
        sa.Column("path", sa.Text, nullable=False),
        sa.Column("sha256", sa.String(64), nullable=False),
        sa.Column("n_bytes", sa.BigInteger, nullable=False),
        sa.Column("details", sa.Text, nullable=False),
        sa.Column("seq", sa.BigInteger, nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_artifact"),
        _run_key("artifact"),
        sqlite_autoincrement=True,
    )
    op.create_index("ix_artifact_run_trial", "artifact", ["run", "trial"])
    op.create_table(
        "command",
        sa.Column("id", _ID, autoincrement=True, nullable=False),
        _run_column(),
        sa.Column("time", sa.Double, nullable=False),
        sa.Column("command_id", sa.String(128), nullable=False),
        sa.Column("command", sa.String(64), nullable=False),
        sa.Column("refusal", sa.Text, nullable=False),
        sa.Column("seq", sa.BigInteger, nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_command"),
        _run_key("command"),
        sa.UniqueConstraint("run", "command_id", name="uq_command_run_command_id"),
        sqlite_autoincrement=True,
    )
