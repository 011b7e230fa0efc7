"""Storage commitments that we ask for, and what proves a delivery."""

import sqlalchemy as sa
from alembic import op

revision = "0006"
down_revision = "0005"


def upgrade() -> None:
    op.add_column("delivery", sa.Column("stored_at", sa.Float(), nullable=True))
    op.add_column(
        "delivery",
        sa.Column("lost", sa.Integer(), server_default=sa.text("0"), nullable=False),
    )
    op.add_column("delivery", sa.Column("proof", sa.String(length=32), nullable=True))
    op.execute("UPDATE delivery SET stored_at = updated_at WHERE state = 'delivered'")
    op.create_table(
        "commitment_request",
        sa.Column("uid", sa.String(length=64), nullable=False),
        sa.Column("revision_key", sa.String(length=80), nullable=False),
        sa.Column("destination", sa.String(length=32), nullable=False),
        sa.Column("asked_at", sa.Float(), nullable=False),
        sa.Column("answered_at", sa.Float(), nullable=True),
        sa.Column("stored", sa.JSON(), nullable=True),
        sa.Column("failed", sa.JSON(), nullable=True),
        sa.Column("open", sa.Boolean(), nullable=False),
        sa.PrimaryKeyConstraint("uid", name=op.f("pk_commitment_request")),
    )
    for column in ("revision_key", "open"):
        op.create_index(
            op.f(f"ix_commitment_request_{column}"), "commitment_request", [column], unique=False
        )
