"""What headers say of an image's place in its series."""

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"


def upgrade() -> None:
    for name in ("image_type", "position", "orientation"):
        op.add_column("instance", sa.Column(name, sa.Text(), nullable=True))
    for name in ("acquisition", "in_acquisition"):
        op.add_column("instance", sa.Column(name, sa.Integer(), nullable=True))
