"""What a test needs beyond the package, and the rule that nothing skips in silence."""

import os
import re
import shutil
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import settings

from ich_node import logs
from tests import identity
from tests.support.validators import has_pixelmed

# A change is judged by its own merits, not by what chance draws; people's runs go on searching.
settings.register_profile("ci", derandomize=True, deadline=None)
if os.environ.get("CI"):
    settings.load_profile("ci")

# Who starts us in the background has us ignore these, and what we start would too; what is caught
# instead is theirs again (POSIX, exec).
for _number in (signal.SIGINT, signal.SIGHUP, signal.SIGQUIT):
    if signal.getsignal(_number) is signal.SIG_IGN:
        signal.signal(_number, lambda *_: None)

ROOT = Path(__file__).parents[1]
SHARED = Path(os.environ.get("TEST_SHARED", ROOT.parent / "shared"))

_A_LOG_LINE = re.compile(r"(\x1b\[[0-9;]*m)*\d{4}-\d\d-\d\d \d\d:\d\d:\d\d .*\[\w+ *\]")
_NEEDS = {
    "dcmtk": (
        lambda: Path("/usr/bin/storescu").exists(),
        "DCMTK is missing: install the Debian package dcmtk",
    ),
    "openssl": (
        lambda: Path("/usr/bin/openssl").exists(),
        "OpenSSL's program is missing: install the Debian package openssl",
    ),
    "orthanc": (
        lambda: shutil.which("Orthanc") is not None,
        "Orthanc is missing: install the Debian package orthanc",
    ),
    "pixelmed": (
        has_pixelmed,
        "PixelMed is missing: install the Debian packages default-jre-headless, libpixelmed-java",
    ),
    "systemd": (
        lambda: shutil.which("systemd-analyze") is not None,
        "systemd-analyze is missing: install the Debian package systemd",
    ),
    "shared_data": (
        (SHARED / "data").is_dir,
        "the real head CT is missing: tests/README.md says where it is looked for (TEST_SHARED)",
    ),
}


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Skip what lacks its program or data, naming it; under TEST_NO_SKIPS fail instead."""
    for item in items:
        for name, (there, message) in _NEEDS.items():
            if item.get_closest_marker(name) and not there():
                item.add_marker(pytest.mark.skip(reason=message))


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item, call: pytest.CallInfo[None]):
    report = yield
    # What a stage says in this process: printed by structlog, which is not configured here. A test
    # has its logs in all its reports: the last one has them whole.
    said = [line for line in report.capstdout.splitlines() if _A_LOG_LINE.match(line)]
    names = identity.named("\n".join((*said, report.capstderr, report.caplog)))
    if call.when == "teardown" and names:
        report.outcome, report.longrepr = "failed", f"the log names a patient: {', '.join(names)}"
    if report.skipped and os.environ.get("TEST_NO_SKIPS") and not hasattr(report, "wasxfail"):
        report.outcome = "failed"
    return report


@pytest.fixture(scope="session", autouse=True)
def _libraries_say_what_they_say_in_a_node() -> None:
    logs.quieten_libraries()


@pytest.fixture(scope="session", autouse=True)
def _no_log_names_a_patient(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Whatever the nodes of the whole suite said, no line of it tells who a patient is."""
    yield
    assert identity.named_in_logs(tmp_path_factory.getbasetemp()) == []


@pytest.fixture
def shared_data() -> Path:
    return SHARED / "data"


@pytest.fixture(scope="session")
def tiny_bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A bundle that always reports an intraparenchymal bleed, at once."""
    from training.tiny import write_tiny_bundle  # torch: most tests need none

    return write_tiny_bundle(tmp_path_factory.mktemp("bundle"))
