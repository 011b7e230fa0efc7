"""A plain C-STORE sender."""

from collections.abc import Sequence
from pathlib import Path

import pydicom
from pynetdicom import AE


def store(
    port: int, paths: Sequence[Path], *, calling: str = "SENDER", called: str = "ICH_NODE"
) -> list[int]:
    """Send files in one association; return the status of each."""
    entity = AE(ae_title=calling)
    for path in paths:
        meta = pydicom.filereader.read_file_meta_info(path)
        context = (meta.MediaStorageSOPClassUID, meta.TransferSyntaxUID)
        if context not in [
            (item.abstract_syntax, item.transfer_syntax[0]) for item in entity.requested_contexts
        ]:
            entity.add_requested_context(*context)
    association = entity.associate("127.0.0.1", port, ae_title=called)
    assert association.is_established
    statuses = [int(association.send_c_store(path).Status) for path in paths]
    association.release()
    return statuses
