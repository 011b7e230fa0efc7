"""The commands: parse, build, run. What they do is elsewhere.

What a command needs beyond the database is imported inside it, so that `studies` and `show` answer
at once.
"""

from __future__ import annotations

import logging
import os
import shutil
import socket
import sys
from collections.abc import Callable, Iterable
from dataclasses import asdict
from datetime import time
from pathlib import Path
from typing import Any

import click

from ich_node import __version__, acts, views
from ich_node.common import (
    clear_errors,
    config_option,
    json_option,
    moment,
    open_database,
    print_json,
)
from ich_node.settings import load_settings
from ich_node.states import DeliveryState, SeriesState
from ich_node.store import overview, trail
from ich_node.store.engine import Engine

_TABLE_LIMIT = 50

_parent = click.option("--parent", type=int, hidden=True, help="End when this process has ended.")


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="ich-node")
def main() -> None:
    """A DICOM node that reads head CT for intracranial haemorrhage.

    Research use only. Not a medical device.
    """
    os.umask(0o077)  # whatever is written may hold images or names of patients


@main.command()
@click.argument("directory", type=click.Path(path_type=Path, file_okay=False))
@clear_errors
def init(directory: Path) -> None:
    """Write a commented node.toml and the data folder into DIRECTORY."""
    target = directory / "node.toml"
    if target.exists():
        raise click.ClickException(f"{target} is there already; it is left as it is")
    directory.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(Path(__file__).parent / "node.example.toml", target)
    settings = load_settings(target)
    settings.storage.data_dir.mkdir(parents=True, exist_ok=True, mode=0o700)
    click.echo(f"wrote {target}\nmade  {settings.storage.data_dir}")
    click.echo(f"next: name who may send and where results go in {target}, then")
    click.echo(f"      ich-node check --config {target}    until each destination answers, then")
    click.echo(f"      ich-node serve --config {target}")


@main.command()
@config_option
@clear_errors
def serve(config: Path | None) -> None:
    """Run the daemon: receiver, worker and deliverer. SIGTERM drains and stops."""
    from ich_node import logs, node

    settings = load_settings(config)
    logs.configure("serve")
    node.serve(settings, config, ready=_say)


def _say(line: str) -> None:
    click.echo(line)
    sys.stdout.flush()


@main.command()
@config_option
@_parent
@clear_errors
def receive(config: Path | None, parent: int | None) -> None:
    """Run the receiver alone."""
    from ich_node import logs, node

    settings = load_settings(config)
    logs.configure("receive")
    node.run_receiver(settings, parent)


@main.command()
@config_option
@_parent
@clear_errors
def work(config: Path | None, parent: int | None) -> None:
    """Run the worker alone."""
    from ich_node import logs, node

    settings = load_settings(config)
    logs.configure("work")
    node.run_worker(settings, parent)


@main.command()
@config_option
@_parent
@clear_errors
def deliver(config: Path | None, parent: int | None) -> None:
    """Run the deliverer alone."""
    from ich_node import logs, node

    settings = load_settings(config)
    logs.configure("deliver")
    node.run_deliverer(settings, parent)


@main.command()
@config_option
@json_option
@clear_errors
def check(config: Path | None, as_json: bool) -> None:
    """Check configuration, disk, database, model, device, and echo each destination."""
    from ich_node import probe

    settings = load_settings(config)
    found = probe.check(settings)
    if as_json:
        print_json([vars(item) for item in found])
    else:
        views.print_checks(found)
    sys.exit(0 if all(item.ok for item in found) else 1)


def _in_states(
    option: str, name: str, states: Iterable[str], what: str
) -> Callable[[Callable[..., None]], Callable[..., None]]:
    return click.option(
        option,
        name,
        type=click.Choice([str(state) for state in states]),
        multiple=True,
        help=f"Only studies with a {what} in this state; may be given again.",
    )


@main.command()
@config_option
@_in_states("--state", "states", SeriesState, "series")
@_in_states("--delivery", "deliveries", DeliveryState, "delivery")
@click.option(
    "--since", metavar="DATE", callback=moment(time.min), help="First image not before; UTC."
)
@click.option(
    "--until", metavar="DATE", callback=moment(time.max), help="First image not after; UTC."
)
@click.option("--patient-id", help="Only this Patient ID.")
@click.option("--show-patient-id", is_flag=True, help="Show the Patient ID of each study.")
@click.option(
    "--limit",
    type=click.IntRange(min=0),
    help=f"The latest so many; 0 for all.  [default: {_TABLE_LIMIT}; all with --json]",
)
@click.option("--watch", is_flag=True, help="Show the list until Ctrl-C, anew every 2 s.")
@json_option
@clear_errors
def studies(
    config: Path | None,
    states: tuple[str, ...],
    deliveries: tuple[str, ...],
    since: float | None,
    until: float | None,
    patient_id: str | None,
    show_patient_id: bool,
    limit: int | None,
    watch: bool,
    as_json: bool,
) -> None:
    """List the studies that came, the latest first, and where each series stands."""
    if watch and as_json:
        raise click.UsageError("--watch is for people: give it without --json")
    if since is not None and until is not None and since > until:
        raise click.UsageError("--since is later than --until: no study can lie between")
    if limit is None and not as_json:
        limit = _TABLE_LIMIT
    chosen = overview.Chosen(
        states=tuple(SeriesState(state) for state in states),
        deliveries=tuple(DeliveryState(state) for state in deliveries),
        since=since,
        until=until,
        patient_id=patient_id,
        limit=limit or None,
        show_patient_id=show_patient_id,
    )
    engine = open_database(load_settings(config))
    if show_patient_id:
        trail.asked(engine, "studies --show-patient-id")
    if as_json:
        print_json(overview.studies(engine, chosen))
    elif watch:
        views.watch_studies(lambda: _listing(engine, chosen))
    else:
        views.print_studies(*_listing(engine, chosen))


def _listing(engine: Engine, chosen: overview.Chosen) -> tuple[list[dict[str, Any]], int]:
    """Return the chosen studies, and how many more there are beyond the limit."""
    listed = overview.studies(engine, chosen)
    return listed, max(0, overview.count(engine, chosen) - len(listed))


@main.command()
@click.argument("study_uid")
@config_option
@json_option
@clear_errors
def show(study_uid: str, config: Path | None, as_json: bool) -> None:
    """Tell the whole story of one study: states, reasons, findings, deliveries, times."""
    story = overview.show(open_database(load_settings(config)), study_uid)
    if as_json:
        print_json(story)
    else:
        views.print_story(story)


@main.command()
@config_option
@click.option("--since", metavar="DATE", callback=moment(time.min), help="Not before; UTC.")
@click.option("--until", metavar="DATE", callback=moment(time.max), help="Not after; UTC.")
@click.option("--study", metavar="STUDY_UID", help="Only of this study.")
@click.option("--dicom", is_flag=True, help="As DICOM audit messages (PS3.15 A.5), one a line.")
@json_option
@clear_errors
def audit(
    config: Path | None,
    since: float | None,
    until: float | None,
    study: str | None,
    dicom: bool,
    as_json: bool,
) -> None:
    """Export the audit trail: who sent, asked and was refused, what ran, what left and arrived.

    It holds no identity of a patient; with --dicom the Patient ID, unless [audit] says otherwise.
    That it was read is its next entry.
    """
    if dicom and as_json:
        raise click.UsageError("--dicom and --json: give one of them")
    settings = load_settings(config)
    engine = open_database(settings)
    span = trail.Span(since, until, study)
    newest = trail.newest(engine)
    trail.was_read(engine, span)
    found = trail.entries(engine, span, until=newest)
    if dicom:
        from ich_node.audit.messages import messages, reporter

        by = reporter(settings, socket.gethostname())
        for entry in found:
            click.echo("".join(f"{text}\n" for text in messages(entry, by)), nl=False)
    elif as_json:
        views.print_trail_as_json(found)
    else:
        views.print_trail(found)


@main.command()
@click.argument("dicom_dir", type=click.Path(path_type=Path, exists=True, file_okay=False))
@click.option("--out", type=click.Path(path_type=Path, file_okay=False), required=True)
@config_option
@json_option
@clear_errors
def analyze(dicom_dir: Path, out: Path, config: Path | None, as_json: bool) -> None:
    """Analyse a folder of DICOM files without a network.

    Writes seg.dcm (only where there is a bleed), sr.dcm, summary.png and result.json into OUT.
    Exit status 0 for analysed and for refused, 1 for failed.
    """
    from ich_node import logs, node

    settings = load_settings(config)
    logs.configure("analyze")
    told = node.analyze(settings, dicom_dir, out, progress=views.progress(as_json))
    if as_json:
        print_json(told)
    else:
        views.print_outcome(told, out)
    sys.exit(1 if told["status"] == "failed" else 0)


@main.command()
@config_option
@json_option
@clear_errors
def selftest(config: Path | None, as_json: bool) -> None:
    """Send a simulated bleed through a node of its own and back; disturbs no daemon.

    The node has the model and the AE title of the configuration, and a folder, ports and peers of
    its own. Exit status 0 only if every step passed.
    """
    from ich_node import logs
    from ich_node.selftest import steps

    settings = load_settings(config)
    logs.configure("selftest", logging.WARNING)
    report = steps.run(settings, tell=views.step_printer(as_json))
    if as_json:
        print_json(asdict(report))
    else:
        views.print_selftest(report)
    sys.exit(0 if report.passed else 1)


for _act in acts.COMMANDS:
    main.add_command(_act)
