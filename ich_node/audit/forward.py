"""The trail, entry by entry, to where its messages go: in order, at least once, and never lost.

Each place has its own position in the trail, kept in the database. While one is away the trail
waits there for it; nothing is held in memory.
"""

from __future__ import annotations

import socket
import ssl
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path

from ich_node import logs
from ich_node.audit import outlets
from ich_node.audit.messages import Reporter, messages, reporter
from ich_node.errors import ConfigError
from ich_node.settings import Audit, Settings
from ich_node.store import trail
from ich_node.store.engine import Engine
from ich_node.tls import Renewed, client_context

PERIOD_S = 2.0
_BATCH = 200  # entries at a time
_FIRST_PAUSE_S, _LONGEST_PAUSE_S = 5.0, 300.0

_log = logs.get(__name__)

Message = tuple[float, str]  # when it happened, epoch s; the XML


@dataclass
class Outlet:
    """A place that messages go to: its name, what takes them there, and when it is tried next."""

    sink: str
    put: Callable[[Sequence[Message]], None]
    _due: float = 0.0
    _pause_s: float = _FIRST_PAUSE_S
    _away: bool = False

    def look(self, engine: Engine, by: Reporter) -> int:
        """Take there what it has not got yet; return how many messages that were."""
        if time.monotonic() < self._due:
            return 0
        sent = 0
        after = trail.position(engine, self.sink)
        while found := list(islice(trail.entries(engine, after=after), _BATCH)):
            told = [(entry.at, text) for entry in found for text in _told(entry, by)]
            if told and not self._take(told):
                break
            after, sent = found[-1].id, sent + len(told)
            trail.advance(engine, self.sink, after)
        return sent

    def _take(self, told: Sequence[Message]) -> bool:
        try:
            self.put(told)
        except (OSError, ConfigError) as error:  # ConfigError: a certificate that went
            self._due = time.monotonic() + self._pause_s
            self._pause_s = min(2 * self._pause_s, _LONGEST_PAUSE_S)
            if not self._away:
                cause = logs.cause(error)["error"]
                _log.error("audit messages wait; tried again", sink=self.sink, cause=cause)
            self._away = True
            return False
        if self._away:
            _log.info("audit messages go out again", sink=self.sink)
        self._away, self._pause_s = False, _FIRST_PAUSE_S
        return True


def _told(entry: trail.Entry, by: Reporter) -> list[str]:
    try:
        return messages(entry, by)
    except Exception as error:  # one that cannot be told must not hold up all that follow
        _log.error("an entry of the trail is no message", entry=entry.id, **logs.cause(error))
        return []


@dataclass
class Forwarder:
    """All places of a configuration."""

    engine: Engine
    by: Reporter
    places: list[Outlet] = field(default_factory=list)

    def look(self) -> int:
        """Take to each place what it has not got yet; one that is away holds up no other."""
        return sum(place.look(self.engine, self.by) for place in self.places)


def forwarder(engine: Engine, settings: Settings) -> Forwarder:
    """Return what takes the trail to the places of `[audit]`.

    Raises
    ------
    ConfigError
        A file of `[tls]` cannot be used.
    """
    return Forwarder(engine, reporter(settings, socket.gethostname()), places(settings))


def places(settings: Settings) -> list[Outlet]:
    """Return the places of `[audit]`; as `forwarder`."""
    host = socket.gethostname()
    put = {"file": _to_file, "syslog": _to_syslog}
    return [
        Outlet(sink, put[sink.split(":", 1)[0]](settings, host)) for sink in settings.audit.sinks
    ]


def _to_file(settings: Settings, _host: str) -> Callable[[Sequence[Message]], None]:
    path = Path(settings.audit.file)
    return lambda told: outlets.append(path, [text for _at, text in told])


def _to_syslog(settings: Settings, host: str) -> Callable[[Sequence[Message]], None]:
    audit: Audit = settings.audit
    secure = Renewed(settings.tls, client_context) if audit.syslog_tls else None

    def put(told: Sequence[Message]) -> None:
        context: ssl.SSLContext | None = secure.now() if secure is not None else None
        frames = [outlets.frame(at, host, text) for at, text in told]
        outlets.send(audit.syslog_host, audit.syslog_port, frames, context)

    return put
