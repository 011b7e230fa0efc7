"""Files that were deleted after their time."""

import sqlalchemy as sa
from alembic import op

revision = "0007"
down_revision = "0006"


def upgrade() -> None:
    op.add_column("instance", sa.Column("deleted_at", sa.Float(), nullable=True))
    op.add_column("result", sa.Column("deleted_at", sa.Float(), nullable=True))
