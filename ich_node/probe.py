"""What `check` looks at: configuration, disk, database, model, device, destinations."""

from __future__ import annotations

import shutil
import subprocess
import sys
from collections.abc import Callable
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path

from pydicom.uid import UID

from ich_node import node
from ich_node.audit import forward
from ich_node.deliver.scu import echo
from ich_node.errors import IchNodeError, StoreError, without_secrets
from ich_node.pipeline import rebuild
from ich_node.records import CheckItem
from ich_node.settings import Destination, Settings
from ich_node.store import deliveries, destinations, trail
from ich_node.store.engine import DatabaseError, Engine, open_engine

_MODEL_TIMEOUT_S = 300


def check(settings: Settings) -> list[CheckItem]:
    """Look at everything `serve` will need; nothing stops at the first fault."""
    found = [_configuration(settings)]
    found += [
        _try("disk", lambda: _disk(settings)),
        _try("database", lambda: _database(settings)),
        _try("model", lambda: _model(settings)),
    ]
    found += [_try("tls", lambda: _key(Path(settings.tls.key)))] * bool(settings.tls.key)
    found += [_destination(settings, destination) for destination in settings.destinations]
    return found + [_try("audit", lambda: _audit(settings))] * bool(settings.audit.sinks)


def _audit(settings: Settings) -> str:
    """Reach every place that audit messages go to, send nothing, and say how much waits."""
    engine = open_engine(settings.database_url)
    said = []
    for place in forward.forwarder(engine, settings).places:
        try:
            place.put([])
        except OSError as error:
            raise OSError(f"{place.sink} cannot be written: {error}") from error
        waiting = trail.newest(engine) - trail.position(engine, place.sink)
        said.append(f"{place.sink} can be written, {waiting} entries wait")
    return "; ".join(said)


def _key(path: Path) -> str:
    """A key that anybody may read is no secret any more; the group may be the service's own."""
    if path.stat().st_mode & 0o007:
        raise OSError(f"tls.key = {path} is open to every user: `chmod o= {path}`, or a new key")
    return f"{path} is open to no other user"


def _destination(settings: Settings, destination: Destination) -> CheckItem:
    """Echo it, and say what it is known not to take, and whether it is held."""
    ok, text = echo(destination, settings.dicom.ae_title, tls=settings.tls)
    with suppress(IchNodeError, DatabaseError):  # said of the database itself
        text += _remembered(open_engine(settings.database_url), destination)
    return CheckItem(f"destination {destination.name}", ok, text)


def _remembered(engine: Engine, destination: Destination) -> str:
    name, said = destination.name, ""
    instead = "captures go instead" if destination.fallback else "fallback is not set"
    for uid, since in destinations.refused_classes(engine, name).items():
        said += f"; has not accepted {UID(uid).name} since {_day(since)}, {instead}"
    held = destinations.held(engine)
    if name in held:
        waiting = sum(item.destination == name for item in deliveries.due(engine))
        said += (
            f"; HELD since {_day(held[name])}, {waiting} deliveries wait: "
            f"`ich-node release --destination {name}`"
        )
    return said


def _day(at: float) -> str:
    return datetime.fromtimestamp(at, UTC).strftime("%Y-%m-%d %H:%M UTC")


def _try(name: str, look: Callable[[], str]) -> CheckItem:
    try:
        return CheckItem(name, True, look())
    except (IchNodeError, OSError) as error:
        return CheckItem(name, False, str(error))


def _configuration(settings: Settings) -> CheckItem:
    """Nobody may send, or nothing is sent: allowed, but hardly meant."""
    if not settings.sources:
        return CheckItem("configuration", False, "no [[sources]]: every sender will be rejected")
    if not settings.destinations:
        return CheckItem("configuration", False, "no [[destinations]]: results will go nowhere")
    senders = ", ".join(source.ae_title for source in settings.sources)
    text = f"{settings.dicom.ae_title} on port {settings.dicom.port}, senders: {senders}"
    return CheckItem("configuration", True, text)


def _disk(settings: Settings) -> str:
    settings.storage.data_dir.mkdir(parents=True, exist_ok=True, mode=0o700)
    free_gb = shutil.disk_usage(settings.storage.data_dir).free / 1e9
    if free_gb < settings.storage.min_free_gb:
        raise OSError(
            f"{free_gb:.1f} GB free in {settings.storage.data_dir}, fewer than storage.min_free_gb "
            f"= {settings.storage.min_free_gb:g}: images will be refused until there is room"
        )
    return f"{free_gb:.1f} GB free in {settings.storage.data_dir}"


def _database(settings: Settings) -> str:
    if said := rebuild.told(settings):
        raise StoreError(said)
    engine = node.prepare(settings)
    return f"{without_secrets(engine.url.render_as_string())} is up to date"


def _model(settings: Settings) -> str:
    """Load and run the model in a process of its own, so that no command pays for torch."""
    model = settings.model
    command = [
        sys.executable,
        "-m",
        "ich_node.infer.probe",
        model.bundle,
        model.device,
        model.precision,
    ]
    try:
        done = subprocess.run(  # noqa: S603  our own interpreter and module
            command, capture_output=True, text=True, timeout=_MODEL_TIMEOUT_S, check=False
        )
    except subprocess.TimeoutExpired:
        raise OSError(f"the model did not answer within {_MODEL_TIMEOUT_S} s") from None
    if done.returncode != 0:
        last = done.stderr.strip().splitlines()
        raise OSError(last[-1] if last else f"the model process ended with {done.returncode}")
    return done.stdout.strip()
