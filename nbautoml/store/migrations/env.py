"""What alembic runs to migrate: on the connection that it is handed, in one transaction."""

from __future__ import annotations

from alembic import context

from nbautoml.store.schema import metadata

__all__ = ["migrate"]


def migrate() -> None:
    """Run the steps that are due."""
    connection = context.config.attributes["connection"]
    context.configure(
        connection=connection,
        target_metadata=metadata,
        # SQLite changes a table by making a new one; and our connection begins transactions
        # itself, so that a failed step leaves nothing behind.
        render_as_batch=True,
        transactional_ddl=True,
    )
    with context.begin_transaction():
        context.run_migrations()


# Alembic loads this file under the name "env_py"; whoever else imports it migrates nothing.
if __name__ == "env_py":
    migrate()
