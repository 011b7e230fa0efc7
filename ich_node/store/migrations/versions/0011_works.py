"""What was fixed of a work when it was first done."""

import sqlalchemy as sa
from alembic import op

revision = "0011"
down_revision = "0010"


def upgrade() -> None:
    op.create_table(
        "work",
        sa.Column("key", sa.String(length=64), nullable=False),
        sa.Column("made", sa.String(length=26), nullable=False),
        sa.Column("supersedes", sa.JSON(none_as_null=True), nullable=True),
        sa.PrimaryKeyConstraint("key", name=op.f("pk_work")),
    )
