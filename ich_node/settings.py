"""The configuration: one TOML file and the environment, read once into frozen records."""

from __future__ import annotations

import hashlib
import ipaddress
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator
from pydantic_settings import (
    BaseSettings,
    PydanticBaseSettingsSource,
    SettingsConfigDict,
    TomlConfigSettingsSource,
)

from ich_node.errors import SECRET, ConfigError, without_secrets
from ich_node.records import Wanted

ENV_PREFIX = "ICH_NODE_"
CONFIG_VARIABLE = "ICH_NODE_CONFIG"
DATABASE_NAME = "ich-node.sqlite"

# AE: at most 16 characters, no backslash, spaces only inside (PS3.5 6.2).
AeTitle = Annotated[
    str, Field(min_length=1, max_length=16, pattern=r"^[!-\[\]-~]([ -\[\]-~]*[!-\[\]-~])?$")
]
Name = Annotated[str, Field(min_length=1, max_length=32, pattern=r"^[a-z0-9][a-z0-9_-]*$")]
Port = Annotated[int, Field(ge=1, le=65535)]
Seconds = Annotated[float, Field(gt=0, le=86400)]
Millimetres = Annotated[float, Field(ge=0, le=1000)]
Word = Annotated[str, Field(min_length=1, max_length=64, pattern=r".*[A-Za-z0-9+].*")]
Words = tuple[Word, ...]
Network = ipaddress.IPv4Network | ipaddress.IPv6Network


class _Section(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Dicom(_Section):
    """Our application entity."""

    ae_title: AeTitle = "ICH_NODE"
    host: str = "0.0.0.0"  # noqa: S104  a DICOM node is there to be reached; sources limit who may send
    port: Port = 11112
    max_associations: Annotated[int, Field(ge=1, le=1000)] = 32


class Storage(_Section):
    """Where files lie, and how much room must stay free."""

    data_dir: Path = Path("ich-node-data")
    min_free_gb: Annotated[float, Field(ge=0)] = 5.0


class Database(_Section):
    """The database; empty means SQLite in the data folder."""

    url: str = ""

    @field_validator("url")
    @classmethod
    def _sqlite_only(cls, url: str) -> str:
        """On another database two processes could both see a series quiet: no locks are taken."""
        if url and not url.startswith("sqlite:"):
            msg = 'PostgreSQL is not available in this version; allowed: "" or sqlite:///PATH'
            raise ValueError(msg)
        return url


class Source(_Section):
    """A peer that may send to us. `hosts` are addresses or networks."""

    name: Name
    ae_title: AeTitle
    hosts: Annotated[tuple[str, ...], Field(min_length=1)]
    query: str = ""
    priority: Annotated[int, Field(ge=1, le=9)] = 5
    quiet_seconds: Seconds | None = None

    @field_validator("hosts")
    @classmethod
    def _hosts_are_networks(cls, hosts: tuple[str, ...]) -> tuple[str, ...]:
        for host in hosts:
            try:
                ipaddress.ip_network(host, strict=False)
            except ValueError:
                msg = f"{host!r} is not an IP address or network (such as 10.1.2.3 or 10.1.2.0/24)"
                raise ValueError(msg) from None
        return hosts

    @property
    def networks(self) -> tuple[Network, ...]:
        """The addresses this source may call from."""
        return tuple(ipaddress.ip_network(host, strict=False) for host in self.hosts)


class Destination(_Section):
    """A place that results are sent to."""

    name: Name
    kind: Literal["dicom"] = "dicom"
    ae_title: AeTitle
    host: Annotated[str, Field(min_length=1)]
    port: Port = 104
    outputs: tuple[Literal["seg", "seg-labelmap", "sr", "sc", "pr"], ...] = ("seg", "sr")
    fallback: Literal["", "sc"] = ""
    commitment: Literal["auto", "require", "off"] = "auto"
    tls: bool = False


class Completion(_Section):
    """When a series counts as complete if nothing decides earlier."""

    quiet_seconds: Seconds = 30.0


class Selection(_Section):
    """Which series are read, by their headers; every other one is given its reason.

    A word matches whole words of a header, whatever their case; ``*`` stands for any letters or
    digits, ``?`` for one of them.
    """

    min_age: Annotated[float, Field(ge=0, le=120)] = 18.0
    min_thickness_mm: Millimetres = 0.4
    max_thickness_mm: Millimetres = 10.0
    wait_seconds: Annotated[float, Field(ge=0, le=3600)] = 10.0
    soft_kernels: Words = ()
    bone_kernels: Words = ()
    head_words: Words = (
        *("head*", "brain*", "skull*", "cran*", "cereb*", "neuro*", "stroke", "kopf*", "tete"),
        *("schadel*", "schaedel*", "cabeza", "testa", "hoofd"),
    )
    other_body_words: Words = (
        *("neck", "chest", "thora*", "lung*", "cardiac", "heart", "coronary", "abdom*", "liver"),
        *("pelvi*", "hip", "hips", "spine", "?spine", "c spine", "t spine", "l spine"),
        *("knee", "foot", "ankle", "leg", "hand", "wrist", "elbow", "shoulder", "extremity"),
        *("arm", "body"),
    )
    bone_words: Words = ("bone*", "knochen*", "osseous", "hueso*", "bot")
    perfusion_words: Words = (
        *("perf*", "ctp", "vpct", "cbf", "cbv", "mtt", "tmax", "ttp", "tta", "4d"),
    )
    contrast_words: Words = (
        *("cta", "ctv", "angio*", "venogra*", "contrast*", "kontrast*", "cect", "c+"),
        *("+c", "mit km", "nach km", "post km", "+km", "bolus", "arterial", "venous"),
        *("monitoring", "premonitoring", "smartprep*", "circle of willis"),
    )
    no_contrast_words: Words = (
        *("no", "non", "not", "none", "nil", "without", "wo", "w o", "w out", "plain", "pre"),
        *("unenhanced", "noncon*", "nc", "ncct", "nect", "nativ*", "ohne", "sans", "sin"),
    )
    reformat_words: Words = ("mpr*", "mip*", "minip*", "cor", "coronal*", "sag", "sagit*", "vrt*")
    localizer_words: Words = ("scout*", "topo*", "surview*", "locali?er*", "scano*")
    dose_report_words: Words = (
        *("dose report", "dose info*", "dose record*", "patient protocol", "exam summary"),
    )

    @model_validator(mode="after")
    def _thickness_is_a_range(self) -> Selection:
        if self.min_thickness_mm > self.max_thickness_mm:
            msg = (
                f"min_thickness_mm = {self.min_thickness_mm:g} is above max_thickness_mm = "
                f"{self.max_thickness_mm:g}"
            )
            raise ValueError(msg)
        return self


class Assembly(_Section):
    """What may be made up for when slices are put together."""

    max_missing: Annotated[int, Field(ge=0, le=3)] = 1


class Model(_Section):
    """Which model reads, and on what."""

    bundle: str = "smartnet-ich"
    device: Annotated[str, Field(pattern=r"^(auto|cpu|cuda(:\d+)?)$")] = "auto"
    precision: Literal["auto", "fp32", "bf16"] = "auto"


class Report(_Section):
    """The form of results that all destinations get."""

    sr: Literal["comprehensive-3d", "enhanced"] = "comprehensive-3d"


class Tls(_Section):
    """TLS of our own port and of destinations that ask for it."""

    enabled: bool = False
    cert: str = ""
    key: str = ""
    ca: str = ""

    @model_validator(mode="after")
    def _fits(self) -> Tls:
        if self.enabled and not self.cert:
            msg = "enabled: true needs cert and key: what we show to those who send"
            raise ValueError(msg)
        if bool(self.cert) != bool(self.key):
            msg = "cert and key: one is empty; give both files, or neither"
            raise ValueError(msg)
        return self


class Retention(_Section):
    """Days since images (or what is kept apart) came, since results were built; 0: no limit."""

    originals_days: Annotated[int, Field(ge=0)] = 30
    results_days: Annotated[int, Field(ge=0)] = 0
    max_gb: Annotated[float, Field(ge=0)] = 0


class Audit(_Section):
    """The audit trail: how long it is kept (days), and where its messages go (PS3.15 A.5)."""

    days: Annotated[int, Field(ge=0)] = 0
    file: str = ""
    syslog_host: str = ""
    syslog_port: Port = 6514
    syslog_tls: bool = True
    patient_id: bool = True

    @property
    def sinks(self) -> tuple[str, ...]:
        """Names of the places that get the messages, as their positions in the trail are kept."""
        syslog = f"syslog:{self.syslog_host}:{self.syslog_port}"
        return (f"file:{self.file}",) * bool(self.file) + (syslog,) * bool(self.syslog_host)


class Settings(BaseSettings):
    """The whole configuration. Paths are absolute once loaded by `load_settings`."""

    model_config = SettingsConfigDict(
        env_prefix=ENV_PREFIX, env_nested_delimiter="__", extra="forbid", frozen=True
    )

    dicom: Dicom = Dicom()
    storage: Storage = Storage()
    database: Database = Database()
    sources: tuple[Source, ...] = ()
    destinations: tuple[Destination, ...] = ()
    completion: Completion = Completion()
    selection: Selection = Selection()
    assembly: Assembly = Assembly()
    model: Model = Model()
    report: Report = Report()
    tls: Tls = Tls()
    retention: Retention = Retention()
    audit: Audit = Audit()

    @model_validator(mode="after")
    def _names_fit(self) -> Settings:
        for kind, entries in (("sources", self.sources), ("destinations", self.destinations)):
            names = [entry.name for entry in entries]
            twice = sorted({name for name in names if names.count(name) > 1})
            if twice:
                msg = f"{kind}: the name {twice[0]!r} is used twice; names must differ"
                raise ValueError(msg)
        speak = [f"destinations: {it.name!r} has tls = true" for it in self.destinations if it.tls]
        if self.audit.syslog_host and self.audit.syslog_tls:
            speak.append("audit: syslog_tls = true")
        if speak and not self.tls.ca:
            asked = "the file (PEM) with the certificates that sign the other side's"
            raise ValueError(f"{speak[0]}, which needs tls.ca: {asked}")
        known = {destination.name for destination in self.destinations}
        for source in self.sources:
            if source.query and source.query not in known:
                msg = (
                    f"sources: {source.name!r} has query = {source.query!r}, which is no "
                    f"destination; known: {', '.join(sorted(known)) or 'none'}"
                )
                raise ValueError(msg)
        return self

    @property
    def digest(self) -> str:
        """SHA-256 of all values in effect, from wherever they come: which configuration this is."""
        return hashlib.sha256(self.model_dump_json().encode()).hexdigest()

    @property
    def database_url(self) -> str:
        """SQLAlchemy URL of the database."""
        return self.database.url or f"sqlite:///{self.storage.data_dir / DATABASE_NAME}"

    @property
    def wanted(self) -> Wanted:
        """What is built beside the SEG and SR, for any destination, and the form of the SR."""
        asked = {kind for one in self.destinations for kind in (*one.outputs, one.fallback)}
        return Wanted(tuple(sorted(asked - {"seg", "sr", ""})), self.report.sr == "enhanced")

    @property
    def spool_dir(self) -> Path:
        """Received objects."""
        return self.storage.data_dir / "spool"

    @property
    def results_dir(self) -> Path:
        """Built objects, one folder a revision."""
        return self.storage.data_dir / "results"


def load_settings(path: Path | None = None) -> Settings:
    """Read the configuration file and the environment.

    Parameters
    ----------
    path
        The TOML file; None reads `ICH_NODE_CONFIG`, and without that only defaults and
        environment.

    Raises
    ------
    ConfigError
        Each fault on a line of its own: key, value, what is allowed.
    """
    if path is None and os.environ.get(CONFIG_VARIABLE):
        path = Path(os.environ[CONFIG_VARIABLE])
    if path is not None and not path.is_file():
        raise ConfigError(f"{path}: no such configuration file; `ich-node init DIR` writes one")
    _refuse_unknown_environment()
    base = path.parent.resolve() if path is not None else Path.cwd()
    where = str(path) if path is not None else "environment"

    class _FileSettings(Settings):
        @classmethod
        def settings_customise_sources(
            cls,
            settings_cls: type[BaseSettings],
            init_settings: PydanticBaseSettingsSource,
            env_settings: PydanticBaseSettingsSource,
            dotenv_settings: PydanticBaseSettingsSource,  # noqa: ARG003  signature is pydantic's
            file_secret_settings: PydanticBaseSettingsSource,  # noqa: ARG003
        ) -> tuple[PydanticBaseSettingsSource, ...]:
            toml = TomlConfigSettingsSource(settings_cls, path) if path is not None else None
            return (init_settings, env_settings, *([toml] if toml else []))

    try:
        loaded = _FileSettings()
    except ValidationError as error:
        lines = "\n".join(f"  {_explain(item)}" for item in error.errors())
        raise ConfigError(f"{where}: the configuration cannot be used\n{lines}") from error
    except Exception as error:  # TOML syntax, or environment JSON that does not parse
        said = without_secrets(str(error))
        raise ConfigError(f"{where}: the configuration cannot be read: {said}") from error
    return _anchored(loaded, base)


def _anchored(loaded: Settings, base: Path) -> Settings:
    """Return plain settings whose relative paths start at the configuration file's folder."""
    values = {name: getattr(loaded, name) for name in Settings.model_fields}
    storage = loaded.storage
    values["storage"] = storage.model_copy(update={"data_dir": base / storage.data_dir})
    files = {name: getattr(loaded.tls, name) for name in ("cert", "key", "ca")}
    anchored = {name: str(base / path) for name, path in files.items() if path}
    values["tls"] = loaded.tls.model_copy(update=anchored)
    if loaded.audit.file:
        values["audit"] = loaded.audit.model_copy(update={"file": str(base / loaded.audit.file)})
    sqlite, _, file = loaded.database.url.partition(":///")
    if file and file[0] not in "/:":  # absolute, or :memory:
        values["database"] = Database(url=f"{sqlite}:///{base / file}")
    bundle = loaded.model.bundle
    if "/" in bundle:
        values["model"] = loaded.model.model_copy(update={"bundle": str(base / bundle)})
    return Settings.model_construct(**values)


def _explain(item: Mapping[str, Any]) -> str:
    """Say one fault as key, value and what is allowed; no secret that somebody wrote there."""
    key = ".".join(str(part) for part in item["loc"]) or "configuration"
    parts = item["input"] if isinstance(item["input"], list) else [item["input"]]
    tables = any(isinstance(part, BaseModel | dict) for part in parts)  # with keys of their own
    unsaid = tables or SECRET.search(key)
    value = "" if unsaid else f" = {item['input']!r}"
    message = item["msg"].removeprefix("Value error, ")
    if item["type"] == "extra_forbidden":
        message = "unknown key; `ich-node init DIR` writes a file that holds all"
    return without_secrets(f"{key}{value}: {message}")


def _refuse_unknown_environment() -> None:
    """A misspelt variable would otherwise be ignored without a word."""
    sections = {name.upper() for name in Settings.model_fields}
    for variable in os.environ:
        if not variable.startswith(ENV_PREFIX) or variable == CONFIG_VARIABLE:
            continue
        section = variable.removeprefix(ENV_PREFIX).split("__", 1)[0]
        if section not in sections:
            raise ConfigError(
                f"{variable}: unknown environment variable; allowed: {ENV_PREFIX}<SECTION>__<KEY> "
                f"with a section of {', '.join(sorted(sections))}"
            )
