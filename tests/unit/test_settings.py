"""The configuration is read whole or refused with key, value and what is allowed."""

import json
from pathlib import Path

import pytest

from ich_node.errors import ConfigError
from ich_node.records import Wanted
from ich_node.settings import load_settings

EXAMPLE = Path(__file__).parents[2] / "config" / "node.example.toml"


def write(tmp_path: Path, text: str) -> Path:
    path = tmp_path / "node.toml"
    path.write_text(text)
    return path


def test_example_holds_exactly_the_defaults(tmp_path: Path) -> None:
    """What the commented example says of a key is what holds without it."""
    example, empty = load_settings(EXAMPLE), load_settings(write(tmp_path, ""))
    for section in (
        "dicom",
        "database",
        "completion",
        "assembly",
        "selection",
        "model",
        "tls",
        "retention",
        "audit",
    ):
        assert getattr(example, section) == getattr(empty, section)
    assert example.storage.min_free_gb == empty.storage.min_free_gb
    assert example.destinations[0].outputs == ("seg", "sr")


def test_relative_paths_start_at_the_file(tmp_path: Path) -> None:
    settings = load_settings(write(tmp_path, '[storage]\ndata_dir = "here"\n[model]\nbundle="./m"'))
    assert settings.storage.data_dir == tmp_path / "here"
    assert settings.model.bundle == str(tmp_path / "m")
    assert settings.database_url == f"sqlite:///{tmp_path / 'here' / 'ich-node.sqlite'}"


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("sqlite:///db/n.sqlite?timeout=5", "sqlite:///HERE/db/n.sqlite?timeout=5"),
        ("sqlite:////srv/n.sqlite", "sqlite:////srv/n.sqlite"),
        ("sqlite:///:memory:", "sqlite:///:memory:"),
        ("sqlite://", "sqlite://"),
    ],
)
def test_a_relative_path_of_the_database_starts_at_the_file(
    tmp_path: Path, url: str, expected: str
) -> None:
    settings = load_settings(write(tmp_path, f'[database]\nurl = "{url}"'))
    assert settings.database_url == expected.replace("HERE", str(tmp_path))


def test_environment_wins_over_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = write(tmp_path, "[dicom]\nport = 1000")
    monkeypatch.setenv("ICH_NODE_DICOM__PORT", "2000")
    source = {"name": "ct", "ae_title": "CT 1", "hosts": ["10.0.0.0/8"]}
    monkeypatch.setenv("ICH_NODE_SOURCES", json.dumps([source]))
    settings = load_settings(path)
    assert settings.dicom.port == 2000
    assert settings.sources[0].ae_title == "CT 1"


def test_config_path_comes_from_the_environment(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ICH_NODE_CONFIG", str(write(tmp_path, "[dicom]\nport = 1234")))
    assert load_settings().dicom.port == 1234


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("[dicom]\nprot = 1", "dicom.prot = 1: unknown key"),
        ("[dicom]\nport = 70000", "dicom.port = 70000"),
        ('[dicom]\nport = "many"', "dicom.port = 'many'"),
        ("[selection]\nmin_age = -1", "selection.min_age = -1"),
        ('[selection]\nbone_words = [""]', "selection.bone_words.0 = ''"),
        (
            "[selection]\nmin_thickness_mm = 6\nmax_thickness_mm = 5",
            "selection: min_thickness_mm = 6 is above max_thickness_mm = 5",
        ),
        ("[selection]\nbone_word = []", "selection.bone_word = []: unknown key"),
        ('[dicom]\nae_title = "TOO LONG FOR AN AE TITLE"', "dicom.ae_title"),
        ('[dicom]\nae_title = "A\\\\B"', "dicom.ae_title"),
        ('[model]\ndevice = "tpu"', "model.device = 'tpu'"),
        ("[wrong]\nx = 1", "wrong"),
        ('[[sources]]\nname = "a"\nae_title = "A"\nhosts = []', "sources.0.hosts"),
        ('[[sources]]\nname = "a"\nae_title = "A"\nhosts = ["pacs"]', "'pacs' is not an IP"),
        (
            '[[sources]]\nname = "a"\nae_title = "A"\nhosts = ["::1"]\nquery = "pacs"',
            "query = 'pacs', which is no destination",
        ),
        ("[tls]\nenabled = true", "tls"),
        ('[database]\nurl = "postgresql+psycopg://h/d"', "not available in this version"),
        ("[dicom\n", "cannot be read"),
    ],
)
def test_faults_are_refused_with_key_and_value(tmp_path: Path, text: str, said: str) -> None:
    with pytest.raises(ConfigError, match=r"node\.toml") as caught:
        load_settings(write(tmp_path, text))
    assert said in str(caught.value)


@pytest.mark.parametrize(
    "text",
    [
        '[database]\nurl = "postgresql+psycopg://ich:geheim@db/ich"',
        '[database]\nurl = "postgresql+psycopg://ich:ge/he@im:geheim@db/ich"',
        '[database]\nurl = "postgresql://db/ich?user=ich&password=geheim"',
        '[database]\npassword = "geheim"',
        '[database.login]\nuser = "ich"\nword = "geheim"',
        '[[database_logins]]\nword = "geheim"',
        '[[destinations]]\nname = "pacs"\nae_title = "P"\nhost = "h"\ntoken = "geheim"',
        '[audit]\nsyslog_port = "tls://ich:geheim@log"',
        '[[sources]]\nname = "a"\nae_title = "A"\nhosts = ["dicom://ich:geheim@pacs"]',
    ],
)
def test_no_refusal_shows_a_secret(tmp_path: Path, text: str) -> None:
    """Userinfo of a URL, and whatever stands under a key of that kind, known or not."""
    with pytest.raises(ConfigError) as caught:
        load_settings(write(tmp_path, text))
    assert "geheim" not in str(caught.value)
    assert any(key in str(caught.value) for key in ("database", "pacs", "token", "syslog_port"))


def test_kinds_to_build_are_those_that_any_destination_may_get(tmp_path: Path) -> None:
    """SEG and SR are always built."""
    one = '[[destinations]]\nname = "{}"\nae_title = "P"\nhost = "h"\noutputs = {}\n'
    text = one.format("a", '["sr"]') + one.format("b", '["sc"]')
    assert load_settings(write(tmp_path, text)).wanted == Wanted(("sc",))
    assert load_settings(write(tmp_path, one.format("a", '["seg", "sr"]'))).wanted == Wanted()


ONE = '[[destinations]]\nname = "p"\nae_title = "P"\nhost = "h"\n'


def test_a_destination_with_tls_needs_to_know_whom_to_trust(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"'p' has tls = true, which needs tls\.ca"):
        load_settings(write(tmp_path, f"{ONE}tls = true"))


def test_a_certificate_needs_its_key(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="give both files, or neither"):
        load_settings(write(tmp_path, '[tls]\ncert = "node.pem"'))


def test_files_of_tls_start_at_the_folder_of_the_configuration(tmp_path: Path) -> None:
    text = f'{ONE}tls = true\n[tls]\nca = "ca.pem"\ncert = "/etc/n.pem"\nkey = "n.key"'
    loaded = load_settings(write(tmp_path, text)).tls
    assert loaded.ca == str(tmp_path / "ca.pem")
    assert loaded.cert == "/etc/n.pem"


def test_names_must_differ(tmp_path: Path) -> None:
    one = '[[destinations]]\nname = "p"\nae_title = "P"\nhost = "h"\n'
    with pytest.raises(ConfigError, match="'p' is used twice"):
        load_settings(write(tmp_path, one + one))


def test_missing_file_says_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="ich-node init"):
        load_settings(tmp_path / "none.toml")


def test_misspelt_variable_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ICH_NODE_DICON__PORT", "1")
    with pytest.raises(ConfigError, match="ICH_NODE_DICON__PORT"):
        load_settings(write(tmp_path, ""))


def test_settings_cannot_be_changed(tmp_path: Path) -> None:
    settings = load_settings(write(tmp_path, ""))
    with pytest.raises(ValueError, match="frozen"):
        settings.dicom.port = 1


def test_the_digest_changes_with_any_value_and_with_nothing_else(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It names the configuration in the audit trail, wherever its values come from."""
    path = write(tmp_path, "[dicom]\nport = 104\n")
    first = load_settings(path).digest
    write(tmp_path, "# a comment\n[dicom]\nport = 104\n")
    assert load_settings(path).digest == first
    monkeypatch.setenv("ICH_NODE_DICOM__PORT", "105")
    assert load_settings(path).digest != first
