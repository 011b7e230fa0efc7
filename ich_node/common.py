"""What the commands have in common: options, and how errors and JSON are shown."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from datetime import UTC, datetime, time
from functools import wraps
from pathlib import Path
from typing import Any, ParamSpec

import click

from ich_node.errors import (
    CANNOT_START,
    DAMAGED,
    Damaged,
    IchNodeError,
    StoreError,
    without_secrets,
)
from ich_node.settings import Settings
from ich_node.store import mending
from ich_node.store.engine import DatabaseError, Engine, is_damage, open_engine

P = ParamSpec("P")

config_option = click.option(
    "--config",
    type=click.Path(path_type=Path),
    help="The TOML file; without it, the one named by ICH_NODE_CONFIG.",
)
json_option = click.option("--json", "as_json", is_flag=True, help="Print JSON for machines.")


def clear_errors(command: Callable[P, None]) -> Callable[P, None]:
    """Show an error of ours as its text and not as a traceback.

    Exit status 2 where starting again is no use, 1 where it may be, 3 for a damaged database.
    """

    @wraps(command)
    def wrapped(*args: P.args, **kwargs: P.kwargs) -> None:
        try:
            command(*args, **kwargs)
        except Damaged as error:
            click.echo(f"ich-node: {error}; {mending.ADVICE}", err=True)
            sys.exit(DAMAGED)
        except StoreError as error:  # may pass: `serve` starts a process again after it
            click.echo(f"ich-node: {error}", err=True)
            sys.exit(1)
        except IchNodeError as error:
            click.echo(f"ich-node: {error}", err=True)
            sys.exit(CANNOT_START)
        except DatabaseError as error:
            do = f"; {mending.ADVICE}" if is_damage(error) else ""
            click.echo(f"ich-node: the database cannot be read: {error.orig}{do}", err=True)
            sys.exit(1)
        except OSError as error:  # a disk that is full or read-only, above all
            click.echo(f"ich-node: {error}", err=True)
            sys.exit(1)

    return wrapped


def open_database(settings: Settings) -> Engine:
    """Open the database that a node has made; these commands make none."""
    if not mending.is_there(settings.database_url):
        said = "yet; `ich-node serve` makes it"
        if settings.spool_dir.is_dir() and any(settings.spool_dir.iterdir()):
            said = f"any more, but images: {mending.ADVICE}"
        where = without_secrets(settings.database.url) or str(settings.storage.data_dir)
        raise StoreError(f"{where} holds no database {said}")
    return open_engine(settings.database_url)


def print_json(value: Any) -> None:  # noqa: ANN401  whatever JSON can hold
    """Print a value for machines."""
    click.echo(json.dumps(value, indent=2, default=str))


def moment(
    of_day: time,
) -> Callable[[click.Context, click.Parameter, str | None], float | None]:
    """Read a date, at this time of its day, or a date and time; UTC where no zone is named.

    What is returned reads it as seconds since the epoch.
    """

    def read(
        _context: click.Context, _parameter: click.Parameter, value: str | None
    ) -> float | None:
        if value is None:
            return None
        try:
            found = datetime.fromisoformat(value)
        except ValueError:
            raise click.BadParameter(
                f"{value!r} is neither a date (2026-01-31) nor a date and time (2026-01-31T08:30)"
            ) from None
        if len(value) <= len("2026-01-31"):
            found = datetime.combine(found, of_day)
        return found.replace(tzinfo=found.tzinfo or UTC).timestamp()

    return read
