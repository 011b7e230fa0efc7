"""Sources take turns in the queue of analyses."""

import sqlalchemy as sa
from alembic import op

revision = "0010"
down_revision = "0008"


def upgrade() -> None:
    turn = sa.Column("turn", sa.Integer(), nullable=False, server_default=sa.text("0"))
    op.add_column("revision", turn)
    op.execute(
        "UPDATE revision SET turn = 100000000 * (SELECT priority FROM series "
        "WHERE series.series_instance_uid = revision.series_instance_uid)"
    )
