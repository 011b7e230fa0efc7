"""The watch over the logs of the suite sees what it must."""

import json
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest
from pydicom import Dataset

from tests import identity
from tests.faults import campaign
from tests.support.peers import encoded, small_object
from tests.support.series import head_series, write

ROOT = Path(__file__).parents[2]


def test_a_log_that_names_a_patient_is_found() -> None:
    """Whatever a node's log is called; what other programs say is theirs."""
    with tempfile.TemporaryDirectory() as name:  # where the watch itself does not look
        folder = Path(name)
        (folder / "one").mkdir()
        (folder / "one" / "work.log").write_text('{"event": "stored"}\n{"id": "SIMULATED-7"}\n')
        (folder / "node.log").write_text('{"event": "stored", "revision": "2.25.7:1"}\n')
        (folder / "orthanc.log").write_text("SIMULATED^HEAD")
        [line] = identity.named_in_logs(folder)
    assert line.endswith("one/work.log names SIMULATED-7")


def test_every_kind_of_identity_counts() -> None:
    text = "simulated^head DOE^JANE born 19510203, PATIENT-77; a SIMULATED series 2.25.20160101"
    assert identity.named(text) == ["19510203", "DOE^JANE", "PATIENT-77", "simulated^head"]
    told = identity.named("CORRECTED, 20160101, QMNx85rKkkg, Mueller")
    assert told == ["20160101", "CORRECTED", "Mueller", "QMNx85rKkkg"]


@pytest.fixture
def nobody_yet(monkeypatch: pytest.MonkeyPatch) -> None:
    """What a test here sends is looked for in no other's log."""
    monkeypatch.setattr(identity, "_registered", set[str]())


def whose(**values: str) -> Dataset:
    found = small_object()
    for keyword, value in values.items():
        setattr(found, keyword, value)
    return found


@pytest.mark.usefixtures("nobody_yet")
def test_whoever_is_written_or_sent_is_looked_for(tmp_path: Path) -> None:
    text = "of KOWALSKA^EWA born 19470809, number KW/4711"
    assert identity.named(text) == []
    encoded(whose(PatientName="KOWALSKA^EWA"))
    (image, *_others) = head_series()
    image.PatientID, image.PatientBirthDate = "KW/4711", "19470809"
    write([image], tmp_path)
    assert identity.named(text) == ["19470809", "KOWALSKA^EWA", "KW/4711"]


@pytest.mark.usefixtures("nobody_yet")
def test_every_writing_of_a_name_counts_as_json_has_it_too() -> None:
    identity.register(whose(PatientName="Ono^Aiko=小野^愛子=おの^あいこ"))
    assert identity.named("Ono^Aiko") == ["Ono^Aiko"]
    assert identity.named(json.dumps({"of": "小野^愛子"})) == ["小野^愛子"]


@pytest.mark.usefixtures("nobody_yet")
def test_words_and_numbers_give_no_false_alarm() -> None:
    """Short values are anything; a whole value is no part of a word, a number or a UID."""
    identity.register(whose(PatientName="HEAD", PatientID="1.2.3", PatientBirthDate="19470809"))
    identity.register(whose(PatientID="7"))
    assert identity.named("HEAD 7, UIDs 1.2.3.4, 2.1.2.3 and 2.25.19470809, 119470809 bytes") == []
    assert identity.named("of 1.2.3, born 19470809.") == ["1.2.3", "19470809"]


def test_a_campaign_whose_nodes_name_a_patient_is_not_well(
    capsys: pytest.CaptureFixture[str],
) -> None:
    report = campaign.Report(1)
    with tempfile.TemporaryDirectory() as name:  # where the watch itself does not look
        (Path(name) / "node.log").write_text('{"event": "stored", "patient": "SIMULATED-7"}\n')
        campaign.look_for_patients(report, Path(name))
    assert "node.log names SIMULATED-7" in capsys.readouterr().err
    assert (report.identities, report.clean) == (1, False)
    total = campaign.Report(1)
    total.add(report)
    assert not total.clean


def test_what_a_command_says_is_said_again_where_the_watch_hears_it(
    capsys: pytest.CaptureFixture[str],
) -> None:
    code = "import sys; print('a table'); print('a line', file=sys.stderr)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert identity.heard(done) is done
    assert capsys.readouterr() == ("", "a line\n")


@pytest.mark.parametrize(
    "said",
    [
        "print('SIMULATED-9', file=sys.stderr)",
        "logging.getLogger('a library').warning('Unknown encoding MUELLER')",
        "structlog.get_logger().info('stored', patient='PATIENT-77')",
        "print('DOE^JANE', file=sys.stderr); assert False, 'for another cause'",
    ],
    ids=["stderr", "a library's log", "our own line", "a test that fails"],
)
def test_a_test_whose_code_names_a_patient_fails_wherever_it_says_so(
    said: str, tmp_path: Path
) -> None:
    (tmp_path / "conftest.py").write_text(
        "from tests.conftest import pytest_runtest_makereport  # noqa: F401\n"
    )
    test = f"import logging, sys\nimport structlog\n\ndef test_it():\n    {said}\n"
    (tmp_path / "test_it.py").write_text(test)
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", str(tmp_path)],
        cwd=ROOT,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 1
    assert "the log names a patient" in done.stdout
