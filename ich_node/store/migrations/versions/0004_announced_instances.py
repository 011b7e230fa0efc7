"""Lists of the instances that a sender says there are."""

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"


def upgrade() -> None:
    op.create_table(
        "announcement",
        sa.Column("uid", sa.String(length=64), nullable=False),
        sa.Column("kind", sa.String(length=32), nullable=False),
        sa.Column("state", sa.String(length=16), nullable=False),
        sa.Column("calling_ae", sa.String(length=16), nullable=False),
        sa.Column("received_at", sa.Float(), nullable=False),
        sa.PrimaryKeyConstraint("uid", name=op.f("pk_announcement")),
    )
    with op.batch_alter_table("announcement", schema=None) as batch_op:
        batch_op.create_index(
            batch_op.f("ix_announcement_received_at"), ["received_at"], unique=False
        )
        batch_op.create_index(batch_op.f("ix_announcement_state"), ["state"], unique=False)
    op.create_table(
        "announced",
        sa.Column("announcement_uid", sa.String(length=64), nullable=False),
        sa.Column("sop_instance_uid", sa.String(length=64), nullable=False),
        sa.Column("sop_class_uid", sa.String(length=64), nullable=False),
        sa.Column("series_instance_uid", sa.String(length=64), nullable=True),
        sa.ForeignKeyConstraint(
            ["announcement_uid"],
            ["announcement.uid"],
            name=op.f("fk_announced_announcement_uid"),
        ),
        sa.PrimaryKeyConstraint("announcement_uid", "sop_instance_uid", name=op.f("pk_announced")),
    )
    with op.batch_alter_table("announced", schema=None) as batch_op:
        batch_op.create_index(
            batch_op.f("ix_announced_series_instance_uid"), ["series_instance_uid"], unique=False
        )
        batch_op.create_index(
            batch_op.f("ix_announced_sop_instance_uid"), ["sop_instance_uid"], unique=False
        )
