"""What `check` looks at: configuration, disk, database, model, device, destinations."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path

from pydicom.uid import UID

from ich_node.audit import forward
from ich_node.deliver.scu import echo
from ich_node.errors import IchNodeError, StoreError, without_secrets
from ich_node.pipeline import rebuild
from ich_node.records import CheckItem
from ich_node.settings import Destination, Settings
from ich_node.store import commitments, deliveries, destinations, mending, trail
from ich_node.store.engine import DatabaseError, Engine, is_current, open_engine, writing

_MODEL_TIMEOUT_S = 300


def check(settings: Settings) -> list[CheckItem]:
    """Look at everything `serve` will need; nothing stops at the first fault.

    Nothing is made: what `serve` makes must belong to the user that runs it, often another one.
    """
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
    engine, said = _kept(settings), []
    for place in forward.places(settings):
        try:
            place.put([])
        except OSError as error:
            raise OSError(f"{place.sink} cannot be written: {error}") from error
        waiting = trail.newest(engine) - trail.position(engine, place.sink) if engine else 0
        said.append(f"{place.sink} can be written, {waiting} entries wait")
    return "; ".join(said)


def _key(path: Path) -> str:
    """A key that anybody may read is no secret any more; the group may be the service's own."""
    if path.stat().st_mode & 0o007:
        raise OSError(f"tls.key = {path} is open to every user: `chmod o= {path}`, or a new key")
    return f"{path} is open to no other user"


def _destination(settings: Settings, destination: Destination) -> CheckItem:
    """Echo it, and say what it is known not to take, whether it is held, and what is owed to it."""
    ok, text = echo(destination, settings.dicom.ae_title, tls=settings.tls)
    with suppress(IchNodeError, DatabaseError, OSError):  # said of the database itself
        engine = _kept(settings)
        if engine is not None:
            text += _remembered(engine, destination) + _owed(engine, destination)
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


def _owed(engine: Engine, destination: Destination) -> str:
    """Say how many reports of storage commitment it waits for, and until when."""
    waiting = [one for one in commitments.owed(engine) if one.calling_ae == destination.ae_title]
    if not waiting:
        return ""
    later = [one.next_at for one in waiting if one.next_at is not None]
    at_once = len(later) < len(waiting)
    until = "at once" if at_once else f"next tried at {_day(min(later))}"
    return f"; {len(waiting)} reports of storage commitment are owed to it, {until}"


def _day(at: float) -> str:
    return datetime.fromtimestamp(at, UTC).strftime("%Y-%m-%d %H:%M UTC")


def _try(name: str, look: Callable[[], str]) -> CheckItem:
    try:
        return CheckItem(name, True, look())
    except (IchNodeError, OSError) as error:
        return CheckItem(name, False, str(error))
    except DatabaseError as error:
        return CheckItem(name, False, f"the database cannot be used: {error.orig}")


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
    folder = settings.storage.data_dir
    there = next(one for one in (folder, *folder.parents) if one.exists())
    give = f"`install -d -m 0700 -o USER {folder}` for the USER that runs `ich-node serve`"
    if not (there.is_dir() and os.access(there, os.R_OK | os.W_OK | os.X_OK)):
        raise OSError(
            f"storage.data_dir = {folder}: {there} belongs to {_owner(there)}, and {trail.user()} "
            f"may not write there; {give}"
        )
    free_gb = shutil.disk_usage(there).free / 1e9
    if free_gb < settings.storage.min_free_gb:
        raise OSError(
            f"{free_gb:.1f} GB free in {there}, fewer than storage.min_free_gb = "
            f"{settings.storage.min_free_gb:g}: images will be refused until there is room"
        )
    if there != folder:
        return (
            f"{free_gb:.1f} GB free in {there}; {folder} is not there yet: `ich-node serve` makes "
            f"it where its user may write there, else {give}"
        )
    _check_owners(folder)
    return f"{free_gb:.1f} GB free in {folder}, which belongs to {_owner(folder)}"


def _check_owners(folder: Path) -> None:
    """A command run as root may have left what the service's user cannot write.

    Raises
    ------
    OSError
        The folder is a user's, and something in it is another's.
    """
    ours, owner = folder.stat().st_uid, _owner(folder)
    for path in (*folder.iterdir(), *(folder / "locks").glob("*")) if ours != 0 else ():
        with suppress(FileNotFoundError):  # the node is at work
            if path.stat().st_uid != ours:
                raise OSError(
                    f"{path} belongs to {_owner(path)}, and {folder} to {owner}: `ich-node serve`, "
                    f"run by {owner}, cannot write it; `chown -R {owner}: {folder}`"
                )


def _owner(path: Path) -> str:
    try:
        return path.owner()
    except KeyError:  # a container's user without a name
        return str(path.stat().st_uid)


def _database(settings: Settings) -> str:
    if said := rebuild.told(settings):
        raise StoreError(said)
    if not mending.is_there(settings.database_url):
        named = without_secrets(settings.database_url)
        return f"{named} is not there yet: `ich-node serve` makes it"
    engine = open_engine(settings.database_url)
    named = without_secrets(engine.url.render_as_string())
    with writing(engine):  # it can be written
        pass
    if is_current(engine):
        return f"{named} is up to date"
    return f"{named} is of an earlier version: `ich-node serve` brings it up to date"


def _kept(settings: Settings) -> Engine | None:
    """Return the database as a node of this version left it; None where none has yet."""
    if not mending.is_there(settings.database_url):
        return None
    engine = open_engine(settings.database_url)
    return engine if is_current(engine) else None


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
