"""Alembic's environment: runs the migrations on the connection that `rag_server.metadata.schema` gives it."""

from alembic import context

from rag_server.metadata.tables import metadata

context.configure(
    connection=context.config.attributes["connection"],
    target_metadata=metadata,
    # SQLite can alter little in place: batch mode copies the table
    render_as_batch=True,
    # both databases can undo DDL, so a migration that breaks leaves nothing behind
    transactional_ddl=True,
)
context.run_migrations()
