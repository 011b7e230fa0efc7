"""A small storage SCP that stands in for a PACS: it keeps what it gets, byte for byte."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pynetdicom import AE, evt
from pynetdicom.presentation import AllStoragePresentationContexts
from pynetdicom.sop_class import Verification


@dataclass(frozen=True)
class StandInPacs:
    """A running stand-in; end it with `stop`."""

    folder: Path
    entity: AE
    server: Any

    @classmethod
    def start(
        cls,
        folder: Path,
        ae_title: str = "PACS",
        port: int = 0,
        answer: Callable[[Any], int] | None = None,
    ) -> StandInPacs:
        """Listen on the loopback address.

        Parameters
        ----------
        port
            0 takes a free one.
        answer
            Decides the status of each C-STORE instead of storing it; for tests.
        """
        folder.mkdir(parents=True, exist_ok=True)
        entity = AE(ae_title=ae_title)
        entity.add_supported_context(Verification)
        for context in AllStoragePresentationContexts:
            entity.add_supported_context(context.abstract_syntax)
        handlers = [
            (evt.EVT_C_STORE, answer or (lambda event: _keep(event, folder))),
            (evt.EVT_C_ECHO, lambda _event: 0x0000),
        ]
        server = entity.start_server(("127.0.0.1", port), block=False, evt_handlers=handlers)
        return cls(folder, entity, server)

    @property
    def port(self) -> int:
        """TCP port."""
        return int(self.server.server_address[1])

    def received(self) -> list[Path]:
        """Return the files received so far, in the order of their arrival."""
        return sorted(self.folder.glob("*.dcm"), key=lambda path: path.stat().st_mtime_ns)

    def stop(self) -> None:
        """End it."""
        self.entity.shutdown()


def _keep(event: Any, folder: Path) -> int:  # noqa: ANN401
    """Keep an object; the same again replaces itself."""
    path = folder / f"{event.request.AffectedSOPInstanceUID}.dcm"
    part = path.with_suffix(".part")
    part.write_bytes(event.encoded_dataset())
    part.rename(path)
    return 0x0000
