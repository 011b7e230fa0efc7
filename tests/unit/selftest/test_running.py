"""What a started node is told is what was meant."""

from pathlib import Path

import pytest

from ich_node.selftest.running import configuration, free_port, wait_for
from ich_node.settings import load_settings


def test_names_and_paths_come_through_as_they_are(tmp_path: Path) -> None:
    """AE titles may hold quotes, folders anything."""
    bundle = f'{tmp_path}/a "model" of\\ours \N{GREEK SMALL LETTER MU}'
    config = configuration(
        tmp_path / "node",
        1234,
        [("pacs", 'P"ACS', 4321)],
        ae_title='IT\'S "ME"',
        bundle=bundle,
        device="cpu",
        precision="fp32",
        senders=("A B", "C"),
    )
    settings = load_settings(config)
    assert settings.dicom.ae_title == 'IT\'S "ME"'
    assert (settings.dicom.host, settings.dicom.port) == ("127.0.0.1", 1234)
    assert settings.model.model_dump() == {
        "bundle": bundle,
        "device": "cpu",
        "precision": "fp32",
    }
    assert [source.ae_title for source in settings.sources] == ["A B", "C"]
    [destination] = settings.destinations
    assert (destination.ae_title, destination.port) == ('P"ACS', 4321)


def test_a_free_port_is_none_that_the_system_gives_to_others() -> None:
    """Between its choice and its use anybody may ask the system for a port, any port."""
    told = Path("/proc/sys/net/ipv4/ip_local_port_range")
    if not told.exists():
        pytest.skip("only Linux tells which ports it gives")
    low, high = map(int, told.read_text().split())
    assert not any(low <= free_port() <= high for _ in range(100))


def test_what_does_not_come_is_named() -> None:
    with pytest.raises(TimeoutError, match="no bus within 0 s"):
        wait_for(lambda: None, 0.0, "bus")
