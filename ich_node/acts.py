"""The commands that act on studies and destinations; a running node is told of what they ask."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

import click

from ich_node import views
from ich_node.common import clear_errors, config_option, json_option, open_database, print_json
from ich_node.errors import ConfigError
from ich_node.settings import Settings, load_settings
from ich_node.store import trail
from ich_node.store.engine import Engine

if TYPE_CHECKING:
    from ich_node.store.jobs import Jobs


@click.command()
@click.argument("study_uid")
@config_option
@json_option
@clear_errors
def retry(study_uid: str, config: Path | None, as_json: bool) -> None:
    """Run again what failed, and send now what waits for its next attempt."""
    from ich_node.pipeline import again

    settings, asked = load_settings(config), _Asked("retry", study_uid)
    unasked = [item.name for item in settings.destinations if item.commitment == "off"]
    _ask(
        settings,
        as_json,
        asked,
        lambda engine, jobs: again.retry(engine, jobs, study_uid, unasked),
    )


@click.command()
@click.argument("study_uid")
@config_option
@json_option
@clear_errors
def reprocess(study_uid: str, config: Path | None, as_json: bool) -> None:
    """Analyse a study again. With the same model the kept objects are given again."""
    from ich_node.pipeline import again

    settings, asked = load_settings(config), _Asked("reprocess", study_uid)
    _ask(settings, as_json, asked, lambda engine, jobs: again.reprocess(engine, jobs, study_uid))


@click.command()
@click.argument("study_uid")
@click.option("--destination", "chosen", multiple=True, help="Only to this one; may be repeated.")
@config_option
@json_option
@clear_errors
def resend(study_uid: str, chosen: tuple[str, ...], config: Path | None, as_json: bool) -> None:
    """Send the kept objects of a study again, byte for byte, to every destination."""
    from ich_node.pipeline import again

    settings = load_settings(config)
    names = _known(settings, chosen) or [item.name for item in settings.destinations]
    asked = _Asked("resend", study_uid, names)
    _ask(
        settings, as_json, asked, lambda engine, jobs: again.resend(engine, jobs, study_uid, names)
    )


@click.command()
@click.option("--destination", "chosen", multiple=True, required=True, help="May be repeated.")
@config_option
@json_option
@clear_errors
def hold(chosen: tuple[str, ...], config: Path | None, as_json: bool) -> None:
    """Let deliveries to a destination wait until it is released; the others go on."""
    from ich_node.pipeline import again

    settings = load_settings(config)
    names = _known(settings, chosen)
    asked = _Asked("hold", destinations=names)
    _ask(settings, as_json, asked, lambda engine, _jobs: again.hold(engine, names))


@click.command()
@click.option("--destination", "chosen", multiple=True, required=True, help="May be repeated.")
@config_option
@json_option
@clear_errors
def release(chosen: tuple[str, ...], config: Path | None, as_json: bool) -> None:
    """Let deliveries to a held destination go on, now."""
    from ich_node.pipeline import again

    settings = load_settings(config)
    names = _known(settings, chosen)
    asked = _Asked("release", destinations=names)
    _ask(settings, as_json, asked, lambda engine, jobs: again.release(engine, jobs, names))


def _known(settings: Settings, chosen: Sequence[str]) -> list[str]:
    """Return these destinations, once each.

    Raises
    ------
    ConfigError
        One of them is not configured.
    """
    known = [item.name for item in settings.destinations]
    for name in chosen:
        if name not in known:
            raise ConfigError(f"no destination {name!r}; configured: {', '.join(known) or 'none'}")
    return list(dict.fromkeys(chosen))


@dataclass(frozen=True)
class _Asked:
    """What is asked for, as the audit trail keeps it."""

    command: str
    about: str = ""
    destinations: Sequence[str] = ()


def _ask(
    settings: Settings,
    as_json: bool,
    asked: _Asked,
    command: Callable[[Engine, Jobs], list[str]],
) -> None:
    """Run a command that makes jobs due, and print what it did; the trail tells who asked."""
    from ich_node import node
    from ich_node.store.jobs import open_jobs

    engine = open_database(settings)
    jobs = open_jobs(settings.database_url)
    try:
        trail.asked(engine, asked.command, asked.about, asked.destinations)
        done = command(engine, jobs)
        node.ring(settings)
    finally:
        jobs.destroy()
        engine.dispose()
    if as_json:
        print_json(done)
        return
    for line in done or ["nothing to do; `ich-node show` tells how the study stands"]:
        click.echo(line)


@click.command()
@click.option("--dry-run", is_flag=True, help="Say what would be deleted, and delete nothing.")
@config_option
@json_option
@clear_errors
def purge(dry_run: bool, config: Path | None, as_json: bool) -> None:
    """Delete what has outlived [retention]: originals, what is kept apart, results; rows stay.

    The daemon does the same every hour. What is unread, unsent or not confirmed is never deleted.
    """
    from ich_node.pipeline import purge as stage

    settings = load_settings(config)
    engine = open_database(settings)
    planned = stage.plan(engine, settings, datetime.now(UTC).timestamp())
    if not dry_run:
        trail.asked(engine, "purge")
    done = planned if dry_run else stage.carry_out(engine, settings, planned)
    if as_json:
        print_json({"dry_run": dry_run, **asdict(done)})
    else:
        views.print_purge(done, dry_run)


COMMANDS = (retry, reprocess, resend, hold, release, purge)
