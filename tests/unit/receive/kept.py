"""What a receiver has on disk and in its database."""

from pathlib import Path
from typing import Any

import sqlalchemy as sa

from ich_node.receive.intake import Intake
from ich_node.store.tables import instance


def rows(intake: Intake, table: sa.Table) -> list[dict[str, Any]]:
    with intake.engine.connect() as connection:
        return [dict(row) for row in connection.execute(sa.select(table)).mappings()]


def files(intake: Intake) -> list[Path]:
    """Every object file of the data folder."""
    root = intake.settings.storage.data_dir
    return sorted(path for path in root.rglob("*") if path.suffix in (".dcm", ".part"))


def nothing_kept(intake: Intake) -> bool:
    return not files(intake) and not rows(intake, instance)
