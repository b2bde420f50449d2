"""Migrations of a record's schema: one file a step in ``versions/``, run by `upgrade`.

A new step: change `nbautoml.store.schema`, write ``versions/vNNNN_what.py`` after the last one's
example, raise `schema.HEAD`. A test holds the migrated schema equal to a freshly made one.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import sqlalchemy as sa

__all__ = ["upgrade"]

HERE = Path(__file__).parent


def upgrade(
    connection: sa.Connection, target: str = "head", *, location: Path | None = None
) -> None:
    """Bring the record on a connection to a schema, in one transaction.

    Args:
        connection: to the record, with no transaction open.
        target: a version, or "head" for the newest.
        location: folder of the migrations; tests give their own.
    """
    from alembic import command
    from alembic.config import Config

    config = Config()
    # ConfigParser reads % as its own sign.
    config.set_main_option("script_location", str(location or HERE).replace("%", "%%"))
    config.set_main_option("path_separator", "os")
    config.attributes["connection"] = connection
    command.upgrade(config, target)
