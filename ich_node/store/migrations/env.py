"""Alembic's entry: runs in the transaction that `ich_node.store.engine.migrate` opened."""

from alembic import context

from ich_node.store.tables import metadata

context.configure(
    connection=context.config.attributes["connection"],
    target_metadata=metadata,
    render_as_batch=True,
)
context.run_migrations()
