"""How commands show things to people: tables and progress."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from datetime import UTC, datetime
from itertools import groupby
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

import click
from rich.console import Console
from rich.live import Live
from rich.markup import escape
from rich.table import Table
from rich.text import Text

from ich_node.selftest.report import Outcome, Report, Step

if TYPE_CHECKING:
    from ich_node.pipeline.purge import Plan
    from ich_node.records import CheckItem
    from ich_node.store.trail import Entry

_out = Console()
_err = Console(stderr=True)

_WATCH_S = 2.0
_MARKS = {
    Outcome.PASSED: "[green]ok  [/]",
    Outcome.WARNING: "[yellow]warn[/]",
    Outcome.FAILED: "[red]FAIL[/]",
}


def progress(quiet: bool) -> Callable[[str], None]:
    """Return what tells a person which stage runs; silent where JSON is asked for."""
    return (lambda _stage: None) if quiet else (lambda stage: _err.print(f"[dim]{stage} ...[/]"))


def print_checks(found: Sequence[CheckItem]) -> None:
    """Print one line for each thing checked."""
    for item in found:
        mark = "[green]ok  [/]" if item.ok else "[red]FAIL[/]"
        _out.print(f"{mark} {escape(item.name)}: {escape(item.text)}", soft_wrap=True)


def step_printer(quiet: bool) -> Callable[[Step], None]:
    """Return what prints a step of the self-test; nothing where JSON is asked for."""
    return (lambda _step: None) if quiet else _print_step


def _print_step(step: Step) -> None:
    _out.print(
        f"{_MARKS[step.outcome]} {step.name:<12} {step.seconds:6.2f} s  {escape(step.text)}",
        soft_wrap=True,
    )


def print_purge(done: Plan, dry_run: bool) -> None:
    """Print what was deleted, or would be, a line for each study; then what must stay, and why."""
    for item in done.deletions:
        _out.print(
            f"{item.kind:<14}  {item.study_instance_uid or '-'}  {item.files} files: {item.why}",
            soft_wrap=True,
        )
    for held in done.bound:
        _out.print(
            f"[yellow]{'kept':<14}[/]  {held.study_instance_uid or '-'}  {held.files} files of "
            f"{held.kind}: {held.bound}",
            soft_wrap=True,
        )
    verb = "to be deleted" if dry_run else "deleted"
    _out.print(
        f"{len(done.deletions)} {verb}, {done.freed / 1e6:.0f} MB; "
        f"{len(done.bound)} overdue and kept; {done.held / 1e9:.2f} GB "
        f"{'were held' if done.limit else 'of originals and of files kept apart were held'}"
        + (f", {done.limit / 1e9:g} GB allowed" if done.limit else "")
    )


def print_selftest(report: Report) -> None:
    """Print the end of a self-test; where it failed, the node's last lines and what to do."""
    if not report.passed:
        tail = "\n  ".join(["the last lines of the node's log:", *report.log_tail])
        said = f"{tail}\nwhat to do: {report.advice}"
        _out.print(said, soft_wrap=True, markup=False, highlight=False)
    ended = "[green]passed[/]" if report.passed else "[red]failed[/]"
    _out.print(f"self-test {ended} in {report.seconds:.1f} s")


def print_studies(listed: Sequence[Mapping[str, Any]], more: int) -> None:
    """Print each study with a line for each of its series; UIDs are never broken.

    Parameters
    ----------
    more
        How many further studies were asked for and are not listed.
    """
    for line in _study_lines(listed, more):
        _out.print(line, soft_wrap=True)


def watch_studies(look: Callable[[], tuple[Sequence[Mapping[str, Any]], int]]) -> None:
    """Show the studies again and again until Ctrl-C; off a terminal, once for each change.

    Parameters
    ----------
    look
        Returns what `print_studies` takes, as it is now.
    """
    with suppress(KeyboardInterrupt):
        if not _out.is_terminal:
            _print_changes(look)
        with Live(console=_out, screen=True, auto_refresh=False) as live:
            while True:
                live.update(_screen(_study_lines(*look())), refresh=True)
                time.sleep(_WATCH_S)


def _print_changes(look: Callable[[], tuple[Sequence[Mapping[str, Any]], int]]) -> NoReturn:
    shown: list[str] = []
    while True:
        lines = _study_lines(*look())
        if lines != shown:
            _out.print("\n".join([f"at {_time(time.time())} UTC", *lines, ""]), soft_wrap=True)
            shown = lines
        time.sleep(_WATCH_S)


def _screen(lines: Sequence[str]) -> Text:
    """One screen of the list; what is wider than the terminal is cut rather than broken."""
    head = f"[dim]{_time(time.time())} UTC, every {_WATCH_S:g} s; Ctrl-C ends[/]"
    text = Text.from_markup("\n".join([head, *lines]))
    text.no_wrap, text.overflow = True, "ellipsis"
    return text


def _study_lines(listed: Sequence[Mapping[str, Any]], more: int) -> list[str]:
    """Each study and its series, in rich's markup."""
    lines = [] if listed else ["no such study has come"]
    for study in listed:
        patient = f"  {escape(study['patient_id'])}" if "patient_id" in study else ""
        lines.append(f"{_time(study['received_at'])}  {study['study_instance_uid']}{patient}")
        for series in study["series"]:
            images = escape(f"{series['instances']} {series['modality']}")
            lines.append(
                f"  {_coloured(series['state'])}{' ' * (10 - len(series['state']))} {images:<8} "
                f"{_result(series):<24} {series['series_instance_uid']}{_on_the_way(series)}"
            )
    if more:
        lines.append(f"... and {more} earlier; --limit 0 lists all")
    return lines


def _result(series: Mapping[str, Any]) -> str:
    if series["reason"]:
        return str(series["reason"])
    if series["state"] in ("reported", "delivered", "confirmed"):
        return ", ".join(series["present"]) or "no haemorrhage found"
    return ""


def _on_the_way(series: Mapping[str, Any]) -> str:
    """Name the destinations that do not have the results, or have not proven it yet."""
    if series["not_told"]:
        return "  (NOT TOLD: its report could not be built)"
    ended = ("delivered", "confirmed")
    open_ = [f"{name}: {how}" for name, how in series["deliveries"].items() if how not in ended]
    return f"  ({'; '.join(open_)})" if open_ else ""


def print_story(story: Mapping[str, Any]) -> None:
    """Print a study: each revision with findings, times and deliveries, then the events."""
    _out.print(f"study {story['study_instance_uid']}", soft_wrap=True)
    _out.print(f"from {story['source']}, first image {_time(story['received_at'])} UTC")
    for who in story["senders"]:
        where = f"{who['calling_ae']} at {who['address']}"
        _out.print(f"sent by {where}, {who['associations']} associations", markup=False)
    for series in story["series"]:
        _out.print()
        _out.print(
            f"series {series['series_instance_uid']}: {series['instances']} {series['modality']}, "
            f"{_coloured(series['state'])}",
            soft_wrap=True,
        )
        for revision in series["revisions"]:
            _print_revision(revision)
    for owed in story["owed"]:
        _out.print(_owed(owed), markup=False, soft_wrap=True)
    _out.print()
    for event in story["events"]:
        _out.print(
            f"{_time(event['at'])}  {event['kind']:<18} {event['text']}",
            soft_wrap=True,
            markup=False,
        )


def _owed(owed: Mapping[str, Any]) -> str:
    tried = f"tried {owed['tries']} times"
    if owed["next_at"] is not None:
        tried += f", next at {_time(owed['next_at'])} UTC"
    who = owed["calling_ae"]
    if not owed["tries"]:
        tried = f"not tried yet; that takes a destination with the AE title {who}"
    return f"owed to {who}: the report of storage commitment {owed['uid']}; {tried}"


def _print_revision(revision: Mapping[str, Any]) -> None:
    said = f"  revision {revision['revision']}: {revision['state']}; {revision['evidence']}"
    _out.print(said, markup=False)
    if revision["reason"]:
        _out.print(f"  {revision['reason']}: {revision['reason_text']}", markup=False)
    if revision.get("not_told"):
        _out.print(f"  NOT TOLD: {revision['not_told']}", markup=False, soft_wrap=True)
    if revision.get("findings"):
        _out.print(_findings(revision["findings"]))
    for note in revision.get("notes") or ():
        _out.print(f"  note: {note}", markup=False, soft_wrap=True)
    if revision["timings_s"]:
        _out.print("  seconds: " + _timings(revision["timings_s"]))
    for delivery in revision["deliveries"]:
        _out.print(
            f"  to {delivery['destination']}: {delivery['state']}"
            f"{' (held)' if delivery['held'] else ''}, attempt {delivery['attempt']}; "
            f"{delivery['text']}",
            markup=False,
        )
    for kind, results in groupby(revision["results"], key=lambda result: str(result["kind"])):
        paths = [Path(result["path"]) for result in results]
        where = paths[0] if len(paths) == 1 else f"{len(paths)} objects in {paths[0].parent}"
        _out.print(f"  {kind}: {where}", soft_wrap=True, markup=False)


def print_outcome(told: Mapping[str, Any], out: Path) -> None:
    """Print what `analyze` found and wrote."""
    _out.print(f"series {told['series_instance_uid']}: {told['status']}", soft_wrap=True)
    if told["reason"]:
        _out.print(f"{told['reason']}: {told['reason_text']}", markup=False)
    if told["findings"]:
        _out.print(_findings(told["findings"]))
    for note in told["notes"]:
        _out.print(f"note: {note}", markup=False, soft_wrap=True)
    _out.print("seconds: " + _timings(told["timings_s"]))
    for other in told["other_series"]:
        _out.print(
            f"not chosen: {other['series_instance_uid']}: {other['reason']}: "
            f"{other['reason_text']}",
            markup=False,
        )
    written = ", ".join(sorted(path.name for path in out.iterdir()))
    _out.print(f"wrote {written} in {out}", markup=False, soft_wrap=True)


def _findings(findings: Mapping[str, Mapping[str, Any]]) -> Table:
    table = Table(box=None, pad_edge=False)
    table.add_column("  class")
    for heading in ("probability", "present", "mL"):
        table.add_column(heading, justify="right")
    for name, found in findings.items():
        style = "bold red" if found["present"] else ""
        table.add_row(
            f"  {name}",
            f"{found['probability']:.3f}",
            "yes" if found["present"] else "no",
            f"{found['volume_ml']:.1f}",
            style=style,
        )
    return table


def _timings(timings: Mapping[str, float]) -> str:
    return ", ".join(f"{stage} {seconds:.2f}" for stage, seconds in timings.items())


def _coloured(state: str) -> str:
    colour = {"failed": "red", "refused": "yellow", "delivered": "green", "confirmed": "green"}
    return f"[{colour[state]}]{state}[/]" if state in colour else state


def _time(at: float) -> str:
    return datetime.fromtimestamp(at, UTC).strftime("%Y-%m-%d %H:%M:%S")


def print_trail(entries: Iterable[Entry]) -> None:
    """Print the audit trail, one line an entry, however long it is."""
    for entry in entries:
        at = datetime.fromtimestamp(entry.at, UTC).strftime("%Y-%m-%d %H:%M:%S")
        about = f" [study {entry.study_instance_uid}]" if entry.study_instance_uid else ""
        _out.print(escape(f"{at} {entry.kind}: {entry.text}{about}"), soft_wrap=True)


def print_trail_as_json(entries: Iterable[Entry]) -> None:
    """Print the audit trail as one JSON list, written as it is read; no identity of a patient."""
    opening = "["
    for entry in entries:
        told = {name: value for name, value in vars(entry).items() if name != "patient_id"}
        click.echo(f"{opening}\n  {json.dumps(told)}", nl=False)
        opening = ","
    click.echo("\n]" if opening == "," else "[]")
