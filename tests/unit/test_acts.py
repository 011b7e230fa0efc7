"""The commands that hold and release a destination, and what people are shown of it."""

import json
import os
import pwd
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from deploy.demo.running import free_port
from ich_node import probe
from ich_node.cli import main
from ich_node.settings import load_settings
from ich_node.states import SeriesEvent
from ich_node.store import deliveries, instances, revisions
from ich_node.store import jobs as job_port
from ich_node.store.engine import migrate, open_engine, writing
from tests.unit.store.conftest import FIRST

CONFIG = """
[storage]
data_dir = "."
[[destinations]]
name = "pacs"
ae_title = "PACS"
host = "127.0.0.1"
port = 1
"""


@pytest.fixture
def config(tmp_path: Path) -> Path:
    """A node whose one study waits to be delivered to `pacs`."""
    path = tmp_path / "node.toml"
    path.write_text(CONFIG)
    engine = open_engine(load_settings(path).database_url)
    migrate(engine)
    job_port.prepare(str(engine.url))
    jobs = job_port.open_jobs(str(engine.url))
    instances.add(engine, FIRST, priority=5, quiet_seconds=1.0)
    [found] = revisions.receiving(engine)
    key = revisions.open_revision(engine, jobs, found, "quiet")
    assert key is not None
    with writing(engine) as connection:
        for event in (SeriesEvent.ASSEMBLED, SeriesEvent.INFERRED, SeriesEvent.REPORTED):
            revisions.apply(connection, key, event, "done")
        deliveries.open_deliveries(connection, jobs, key, ["pacs"])
    jobs.destroy()
    engine.dispose()
    return path


def run(config: Path, *arguments: str) -> Result:
    return CliRunner().invoke(main, [*arguments, "--config", str(config)])


def test_a_hold_is_shown_in_studies_show_and_check_until_the_release(
    config: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(probe, "_model", lambda _settings: "left out")
    assert run(config, "hold", "--destination", "pacs").output == "pacs: held; 1 deliveries wait\n"
    assert "(pacs: held)" in run(config, "studies").output
    [study] = json.loads(run(config, "studies", "--json").output)
    assert study["series"][0]["deliveries"] == {"pacs": "held"}
    assert "to pacs: pending (held), attempt 1" in run(config, "show", "1.2").output
    checked = run(config, "check").output
    assert "1 deliveries wait: `ich-node release --destination pacs`" in checked
    told = json.loads(run(config, "release", "--destination", "pacs", "--json").output)
    assert told == ["pacs: released; 1 deliveries go on"]
    assert "(pacs: pending)" in run(config, "studies").output
    assert "HELD" not in run(config, "check").output


@pytest.mark.parametrize("command", ["hold", "release"])
def test_a_destination_must_be_named_and_known(config: Path, command: str) -> None:
    done = run(config, command, "--destination", "other")
    assert done.exit_code == 2
    assert "no destination 'other'; configured: pacs" in done.stderr
    assert "--destination" in run(config, command).stderr


def test_the_audit_trail_tells_who_asked_for_what_and_that_it_was_read(config: Path) -> None:
    run(config, "resend", "1.2", "--destination", "pacs")
    asked = "`ich-node resend 1.2` by "
    assert asked in run(config, "audit").output
    entries = json.loads(run(config, "audit", "--json", "--study", "1.2").output)
    assert {entry["study_instance_uid"] for entry in entries} == {"1.2"}
    [of_resend] = [entry for entry in entries if entry["kind"] == "asked"]
    assert of_resend["data"] == {
        "user": pwd.getpwuid(os.getuid()).pw_name,
        "command": "resend",
        "destinations": ["pacs"],
    }
    everything = run(config, "audit", "--json").output
    assert [entry["kind"] for entry in json.loads(everything)][-2:] == ["trail_read"] * 2
    assert "P1" not in everything  # the Patient ID


def test_a_span_without_entries_is_an_empty_list(config: Path) -> None:
    assert json.loads(run(config, "audit", "--json", "--until", "1999-12-31").output) == []


def test_the_trail_comes_as_dicom_audit_messages_with_the_patient_id(config: Path) -> None:
    run(config, "retry", "1.2")
    *_, line = run(config, "audit", "--dicom", "--study", "1.2").output.splitlines()
    assert line.startswith("<AuditMessage>")
    assert 'ParticipantObjectID="P1"' in line
    config.write_text(CONFIG + "[audit]\npatient_id = false\n")
    assert "P1" not in run(config, "audit", "--dicom").output
    assert run(config, "audit", "--dicom", "--json").exit_code == 2


def test_check_tries_where_audit_messages_go(config: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(probe, "_model", lambda _settings: "left out")
    assert " audit: " not in run(config, "check").output
    config.write_text(CONFIG + '[audit]\nfile = "messages.xml"\n')
    assert "messages.xml can be written, " in run(config, "check").output
    closed = free_port()
    where = f'syslog_host = "127.0.0.1"\nsyslog_port = {closed}\nsyslog_tls = false\n'
    config.write_text(f"{CONFIG}[audit]\n{where}")
    said = f"FAIL audit: syslog:127.0.0.1:{closed} cannot be written: "
    assert said in run(config, "check").output


def test_whoever_looks_at_patient_ids_is_in_the_audit_trail(config: Path) -> None:
    def asked() -> list[str]:
        entries = json.loads(run(config, "audit", "--json").output)
        return [entry["text"] for entry in entries if entry["kind"] == "asked"]

    run(config, "studies", "--json")
    assert asked() == []
    run(config, "studies", "--json", "--show-patient-id")
    [text] = asked()
    assert text.startswith("`ich-node studies --show-patient-id` by ")


def test_purge_shows_what_is_kept_apart_and_why_it_goes_or_stays(config: Path) -> None:
    data_dir = load_settings(config).storage.data_dir
    names = ("1.2.3.1.0123456789abcdef.dcm", "1.9.0123456789abcdef.dcm")  # one of a study unsent
    (data_dir / "conflict").mkdir(parents=True)
    paths = [data_dir / "conflict" / name for name in names]
    for path in paths:
        path.touch()
        os.utime(path, (0.0, 0.0))
    said = run(config, "purge", "--dry-run").output
    assert "conflict        -  1 files: older than 30 days" in said
    assert "kept            1.2  1 files of conflict: results for pacs are pending" in said
    assert "1 to be deleted" in said
    planned = json.loads(run(config, "purge", "--dry-run", "--json").output)
    assert [one["path"] for one in planned["deletions"][0]["which"]] == [str(paths[1])]
    assert "1 deleted" in run(config, "purge").output
    assert [path.exists() for path in paths] == [True, False]


def test_check_tells_of_a_key_that_every_user_may_read(
    config: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(probe, "_model", lambda _settings: "left out")
    key = config.with_name("node.key")
    key.write_text("")
    config.write_text(CONFIG + '[tls]\ncert = "node.pem"\nkey = "node.key"\n')
    for mode, said in ((0o644, f"FAIL tls: tls.key = {key} is open"), (0o640, "ok   tls: ")):
        key.chmod(mode)
        assert said in run(config, "check").output
