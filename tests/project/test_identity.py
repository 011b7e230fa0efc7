"""The watch over the logs of the suite sees what it must."""

import tempfile
from pathlib import Path

from tests import identity


def test_a_log_that_names_a_patient_is_found() -> None:
    with tempfile.TemporaryDirectory() as name:  # where the watch itself does not look
        folder = Path(name)
        (folder / "one").mkdir()
        (folder / "one" / "node.log").write_text('{"event": "stored"}\n{"id": "SIMULATED-7"}\n')
        (folder / "node.log").write_text('{"event": "stored", "revision": "2.25.7:1"}\n')
        (folder / "orthanc.log").write_text("SIMULATED^HEAD")  # what others say is theirs
        [line] = identity.named_in_logs(folder)
    assert line.endswith("one/node.log names SIMULATED-7")


def test_every_kind_of_identity_counts() -> None:
    text = "simulated^head DOE^JANE born 19510203, PATIENT-77; a SIMULATED series"
    assert identity.named(text) == ["19510203", "DOE^JANE", "PATIENT-77", "simulated^head"]
