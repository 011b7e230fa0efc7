"""Crashes of a stage, tries of a delivery, files that are missing."""

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"


def upgrade() -> None:
    op.add_column(
        "instance", sa.Column("missing", sa.Boolean(), nullable=False, server_default=sa.false())
    )
    op.add_column("revision", sa.Column("begun_by", sa.String(length=64), nullable=True))
    for name in ("starts", "forgiven"):
        op.add_column(
            "revision",
            sa.Column(name, sa.Integer(), nullable=False, server_default=sa.text("0")),
        )
    op.add_column(
        "delivery", sa.Column("tries", sa.Integer(), nullable=False, server_default=sa.text("0"))
    )
