"""A modality that sends one CT series."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pydicom
from pynetdicom import AE


def send(paths: Sequence[Path], port: int, called: str = "ICH_NODE") -> None:
    """Send a series to the node, or another SCP, on this machine in one association.

    Raises
    ------
    RuntimeError
        The node refused the association or an image.
    """
    entity = AE(ae_title="SENDER")
    first = pydicom.dcmread(paths[0], stop_before_pixels=True)
    entity.add_requested_context(first.SOPClassUID, first.file_meta.TransferSyntaxUID)
    association = entity.associate("127.0.0.1", port, ae_title=called)
    if not association.is_established:
        raise RuntimeError("the node refused the association; its log names the cause")
    for path in paths:
        status = association.send_c_store(path).Status
        if status != 0:
            raise RuntimeError(f"the node answered {status:04X}H to {path.name}")
    association.release()
