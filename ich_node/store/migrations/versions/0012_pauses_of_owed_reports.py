"""Reports of storage commitment that are owed wait longer each time."""

import sqlalchemy as sa
from alembic import op

revision = "0012"
down_revision = "0011"


def upgrade() -> None:
    tries = sa.Column("tries", sa.Integer(), nullable=False, server_default=sa.text("0"))
    op.add_column("announcement", tries)
    op.add_column("announcement", sa.Column("next_at", sa.Float(), nullable=True))
