"""Who sent what, and a trail that the database lets nobody change."""

import sqlalchemy as sa
from alembic import op

revision = "0009"
down_revision = "0008"

_REFUSE = "BEGIN SELECT RAISE(ABORT, 'the audit trail is append-only'); END"
_TRIGGERS = (
    f"CREATE TRIGGER event_stays BEFORE UPDATE ON event {_REFUSE}",
    # Of what is older than the boundary of an open pruning alone.
    "CREATE TRIGGER event_is_kept BEFORE DELETE ON event "  # noqa: S608  no value in it
    f"WHEN OLD.at >= COALESCE((SELECT MAX(before) FROM audit_pruning), 0) {_REFUSE}",
    # INSERT OR REPLACE would delete without asking the trigger above.
    "CREATE TRIGGER event_is_not_replaced BEFORE INSERT ON event "  # noqa: S608
    f"WHEN EXISTS (SELECT 1 FROM event WHERE id = NEW.id) {_REFUSE}",
)


def upgrade() -> None:
    op.add_column("instance", sa.Column("association", sa.String(length=32), nullable=True))
    op.create_table(
        "transfer",
        sa.Column("association", sa.String(length=32), nullable=False),
        sa.Column("study_instance_uid", sa.String(length=64), nullable=False),
        sa.Column("calling_ae", sa.String(length=16), nullable=False),
        sa.Column("address", sa.String(length=45), nullable=False),
        sa.Column("source", sa.String(length=32), nullable=False),
        sa.Column("began_at", sa.Float(), nullable=False),
        sa.Column("ended_at", sa.Float(), nullable=True),
        sa.PrimaryKeyConstraint("association", "study_instance_uid", name=op.f("pk_transfer")),
    )
    for column in ("ended_at", "study_instance_uid"):
        op.create_index(op.f(f"ix_transfer_{column}"), "transfer", [column])
    op.create_table(
        "audit_pruning",
        sa.Column("before", sa.Float(), nullable=False),
        sa.PrimaryKeyConstraint("before", name=op.f("pk_audit_pruning")),
    )
    op.create_table(
        "audit_position",
        sa.Column("sink", sa.String(length=300), nullable=False),
        sa.Column("event_id", sa.Integer(), nullable=False),
        sa.PrimaryKeyConstraint("sink", name=op.f("pk_audit_position")),
    )
    for trigger in _TRIGGERS:
        op.execute(trigger)
