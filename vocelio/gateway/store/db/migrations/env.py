"""Alembic's entry point: run on the connection that ``store/db/migrate.py`` passes."""

from alembic import context

from vocelio.gateway.store.db.schema import metadata

context.configure(
    connection=context.config.attributes["connection"],
    target_metadata=metadata,
    render_as_batch=True,  # SQLite cannot alter a table in place
    transactional_ddl=True,
)
with context.begin_transaction():
    context.run_migrations()
