"""What `studies` asks of the database: the right studies, the latest first, and soon."""

import json
import os
import pty
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import pytest
import sqlalchemy as sa
from click.testing import CliRunner, Result

from ich_node import views
from ich_node.cli import main
from ich_node.records import Received
from ich_node.states import DeliveryState, SeriesState
from ich_node.store import instances, overview
from ich_node.store.engine import Engine, migrate, open_engine, writing
from ich_node.store.overview import Chosen
from ich_node.store.tables import delivery, instance, revision, series, study
from tests.support.processor import assert_quick

Make = Callable[[int], Received]
NOON = datetime(2026, 1, 31, 12, tzinfo=UTC).timestamp()
DAY = 86400.0
STATES = (SeriesState.RECEIVING, SeriesState.REFUSED, SeriesState.DELIVERED)


@pytest.fixture
def three(engine: Engine, received: Make) -> Engine:
    """Studies 1.1, 1.2 and 1.3 of patients P1, P2, P3: a day apart, the last on 31 January."""
    for number in (1, 2, 3):
        image = replace(
            received(number),
            study_instance_uid=f"1.{number}",
            series_instance_uid=f"1.{number}.1",
            patient_id=f"P{number}",
        )
        instances.add(engine, image, priority=5, quiet_seconds=30.0)
        with writing(engine) as connection:
            came = {"first_received_at": NOON - DAY * (3 - number)}
            of_study = study.c.study_instance_uid == f"1.{number}"
            connection.execute(sa.update(study).where(of_study).values(came))
            of_series = series.c.study_instance_uid == f"1.{number}"
            state = {"state": STATES[number - 1]}
            connection.execute(sa.update(series).where(of_series).values(state))
    return engine


@pytest.mark.parametrize(
    ("chosen", "expected"),
    [
        (Chosen(), "321"),
        (Chosen(limit=2), "32"),
        (Chosen(states=(SeriesState.REFUSED,)), "2"),
        (Chosen(states=(SeriesState.REFUSED, SeriesState.RECEIVING)), "21"),
        (Chosen(states=(SeriesState.FAILED,)), ""),
        (Chosen(since=NOON), "3"),
        (Chosen(since=NOON - DAY), "32"),
        (Chosen(until=NOON - DAY), "21"),
        (Chosen(since=NOON - DAY, until=NOON - DAY), "2"),
        (Chosen(patient_id="P1"), "1"),
        (Chosen(patient_id="P%"), ""),
        (Chosen(patient_id="P1", states=(SeriesState.REFUSED,)), ""),
    ],
)
def test_filters_choose_these_and_no_others(three: Engine, chosen: Chosen, expected: str) -> None:
    """The latest first; a Patient ID is matched as a whole."""
    found = [item["study_instance_uid"] for item in overview.studies(three, chosen)]
    assert found == [f"1.{number}" for number in expected]


@pytest.fixture
def sent(three: Engine) -> Engine:
    """Of the series of study 1.3 two revisions were sent: the first failed; 1.2 still waits."""
    with writing(three) as connection:
        for of, numbers in (("1.3.1", (1, 2)), ("1.2.1", (1,))):
            one = series.c.series_instance_uid == of
            connection.execute(sa.update(series).where(one).values(revision=numbers[-1]))
            for number in numbers:
                made = row(revision, key=f"{of}:{number}", series_instance_uid=of, number=number)
                connection.execute(sa.insert(revision).values(made))
        for key, name, state in (
            ("1.3.1:1", "pacs", "failed"),
            ("1.3.1:2", "pacs", "delivered"),
            ("1.2.1:1", "pacs", "retrying"),
            ("1.2.1:1", "archive", "failed"),
        ):
            made = row(delivery, revision_key=key, destination=name, state=state)
            connection.execute(sa.insert(delivery).values(made))
    return three


@pytest.mark.parametrize(
    ("states", "expected"),
    [
        ((DeliveryState.FAILED,), ["1.2"]),
        ((DeliveryState.DELIVERED,), ["1.3"]),
        ((DeliveryState.RETRYING, DeliveryState.DELIVERED), ["1.3", "1.2"]),
        ((DeliveryState.PENDING,), []),
    ],
)
def test_studies_are_found_by_their_latest_deliveries(
    sent: Engine, states: tuple[DeliveryState, ...], expected: list[str]
) -> None:
    """What became of a revision that another has replaced is not asked for."""
    chosen = Chosen(deliveries=states)
    assert [one["study_instance_uid"] for one in overview.studies(sent, chosen)] == expected
    assert overview.count(sent, chosen) == len(expected)
    options = [part for state in states for part in ("--delivery", str(state))]
    listed = json.loads(studies(sent, "--json", *options).stdout)
    assert [one["study_instance_uid"] for one in listed] == expected


def test_the_count_knows_no_limit(three: Engine) -> None:
    assert overview.count(three, Chosen(limit=1)) == 3
    assert overview.count(three, Chosen(limit=1, since=NOON)) == 1


def test_a_study_chosen_for_one_series_comes_with_all(three: Engine, received: Make) -> None:
    more = replace(
        received(4), study_instance_uid="1.2", series_instance_uid="1.2.2", patient_id="P2"
    )
    instances.add(three, more, priority=5, quiet_seconds=30.0)
    [found] = overview.studies(three, Chosen(states=(SeriesState.REFUSED,)))
    assert [item["state"] for item in found["series"]] == ["refused", "receiving"]


def test_the_patient_is_told_only_where_asked_for(three: Engine) -> None:
    """Not even of the study that was asked for by its patient."""
    assert "P1" not in str(overview.studies(three, Chosen(patient_id="P1")))
    [told] = overview.studies(three, Chosen(patient_id="P1", show_patient_id=True))
    assert told["patient_id"] == "P1"


def studies(engine: Engine, *arguments: str) -> Result:
    """Run the command on the database of an engine."""
    folder = Path(str(engine.url.database)).parent
    config = folder / "node.toml"
    config.write_text('[storage]\ndata_dir = "."\n')
    return CliRunner().invoke(main, ["studies", "--config", str(config), *arguments])


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["--since", "2026-01-31"], "3"),
        (["--until", "2026-01-30"], "21"),
        (["--since", "2026-01-30", "--until", "2026-01-30"], "2"),
        (["--since", "2026-01-30T12:00:01"], "3"),
        (["--until", "2026-01-30T13:59:59+02:00"], "1"),
        (["--until", "2026-01-30T14:00+02:00"], "21"),
        (["--state", "refused", "--state", "delivered"], "32"),
        (["--limit", "1"], "3"),
        (["--limit", "0"], "321"),
    ],
)
def test_the_command_means_days_in_utc(three: Engine, arguments: list[str], expected: str) -> None:
    """`--until` a date holds that whole day; a time may name its zone."""
    told = json.loads(studies(three, *arguments, "--json").stdout)
    assert [item["study_instance_uid"] for item in told] == [f"1.{number}" for number in expected]


@pytest.mark.parametrize(
    ("arguments", "allowed"),
    [
        (["--state", "done"], "'receiving', 'complete'"),
        (["--since", "yesterday"], "2026-01-31T08:30"),
        (["--until", "2026-02-30"], "2026-01-31T08:30"),
        (["--limit", "-1"], "x>=0"),
        (["--since", "2026-02-01", "--until", "2026-01-31"], "--since is later than --until"),
        (["--watch", "--json"], "without --json"),
    ],
)
def test_bad_values_are_refused_with_what_is_allowed(
    three: Engine, arguments: list[str], allowed: str
) -> None:
    done = studies(three, *arguments)
    assert done.exit_code == 2
    assert allowed in done.stderr


def lines_of(capsys: pytest.CaptureFixture[str]) -> list[str]:
    return [line for line in capsys.readouterr().out.splitlines() if line]


def test_the_table_says_how_many_more(three: Engine, capsys: pytest.CaptureFixture[str]) -> None:
    views.print_studies(overview.studies(three, Chosen(limit=1)), 2)
    assert lines_of(capsys)[-1] == "... and 2 earlier; --limit 0 lists all"


def test_watching_off_a_terminal_prints_once_for_each_change(
    three: Engine, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Four looks at two states are two prints; Ctrl-C ends it without a word."""
    monkeypatch.setattr(views, "_WATCH_S", 0.0)
    every = overview.studies(three)
    looks = iter([every, every, every[:1], every[:1]])

    def look() -> tuple[list, int]:
        for found in looks:
            return found, 0
        raise KeyboardInterrupt

    views.watch_studies(look)
    printed = lines_of(capsys)
    assert sum(line.startswith("at ") for line in printed) == 2
    assert sum("1.3.1" in line for line in printed) == 2
    assert sum("1.1.1" in line for line in printed) == 1


def test_watching_on_a_terminal_takes_one_screen_and_gives_it_back(three: Engine) -> None:
    """Ctrl-C ends it with status 0 and the screen that was there before."""
    studies(three)  # writes the configuration
    ours, theirs = pty.openpty()
    command = [sys.executable, "-m", "ich_node", "studies", "--watch", "--config"]
    config = Path(str(three.url.database)).parent / "node.toml"
    environment = {**os.environ, "TERM": "xterm", "COLUMNS": "200", "LINES": "40"}
    process = subprocess.Popen(
        [*command, str(config)], stdin=theirs, stdout=theirs, stderr=theirs, env=environment
    )
    os.close(theirs)
    said = b""
    try:
        while b"1.1.1" not in said:
            said += os.read(ours, 4096)
        process.send_signal(signal.SIGINT)
        with suppress(OSError):  # the other side is closed
            while more := os.read(ours, 4096):
                said += more
        assert process.wait(30) == 0
    finally:
        process.kill()
        os.close(ours)
    assert said.count(b"\x1b[?1049h") == said.count(b"\x1b[?1049l") == 1
    assert b"Traceback" not in said


STUDIES, SERIES_OF_EACH, IMAGES_OF_EACH = 10_000, 2, 32
OUTCOME = {
    "status": "analysed",
    "findings": {"any": {"probability": 0.5, "present": True, "volume_ml": 1.0}},
    "slice_probabilities": [0.123456] * 160,
}


_FILLERS = {
    **{sa.String: "x", sa.Text: "x", sa.Integer: 1, sa.BigInteger: 1},
    **{sa.Float: NOON, sa.JSON: []},
}


def row(table: sa.Table, **values: object) -> dict[str, object]:
    """A row with something in every column that must hold something."""
    required = [item for item in table.c if not item.nullable and item.server_default is None]
    return {item.name: _FILLERS[type(item.type)] for item in required} | values


@pytest.fixture(scope="module")
def many(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Engine]:
    """Ten thousand studies, each with two series of 32 images and an analysis."""
    opened = open_engine(f"sqlite:///{tmp_path_factory.mktemp('many') / 'ich-node.sqlite'}")
    migrate(opened)
    studies = [f"1.{n}" for n in range(STUDIES)]
    both = [(uid, f"{uid}.{n}") for uid in studies for n in range(SERIES_OF_EACH)]
    rows = {
        study: [
            row(study, study_instance_uid=uid, patient_id=f"P{uid}", first_received_at=NOON + n)
            for n, uid in enumerate(studies)
        ],
        series: [
            row(series, study_instance_uid=uid, series_instance_uid=of, state="delivered")
            for uid, of in both
        ],
        revision: [
            row(revision, key=f"{of}:1", series_instance_uid=of, number=1, outcome=OUTCOME)
            for _, of in both
        ],
        instance: [
            row(instance, sop_instance_uid=f"{of}.{n}", series_instance_uid=of)
            for _, of in both
            for n in range(IMAGES_OF_EACH)
        ],
    }
    with writing(opened) as connection:
        for table, of_table in rows.items():
            connection.execute(sa.insert(table), of_table)
    yield opened
    opened.dispose()


@pytest.mark.alone
@pytest.mark.parametrize(
    "arguments",
    [[], ["--state", "delivered"], ["--patient-id", "P1.9999"], ["--json", "--limit", "100"]],
    ids=" ".join,
)
def test_ten_thousand_studies_are_listed_in_under_a_second(
    many: Engine, arguments: list[str]
) -> None:
    config = Path(str(many.url.database)).parent / "node.toml"
    config.write_text('[storage]\ndata_dir = "."\n')
    assert "1.9999" in assert_quick(["studies", "--config", str(config), *arguments])
