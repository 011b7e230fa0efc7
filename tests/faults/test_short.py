"""A disk below `storage.min_free_gb`: nothing new comes in, what came is finished and sent."""

import socket
from pathlib import Path

import pytest
from pydicom.uid import ImplicitVRLittleEndian
from pynetdicom.sop_class import Verification

from tests.faults.disk import lay_over, needs
from tests.faults.striking import struck_node
from tests.support.series import head_series, write
from tests.support.wire import associate_request, read_pdu, reject

pytestmark = pytest.mark.skipif(bool(needs()), reason=needs() or "all is there")
_ACCEPT = 0x02
_ECHO = ((Verification, (ImplicitVRLittleEndian,)),)


def answer(port: int, request: bytes) -> bytes:
    """What a request for an association is answered with."""
    with socket.create_connection(("127.0.0.1", port), 20) as connection:
        connection.sendall(request)
        return read_pdu(connection)


@pytest.mark.timeout(300)
def test_below_the_watermark_what_came_is_finished_and_sent_and_who_brings_more_is_to_wait(
    tmp_path: Path, tiny_bundle: Path
) -> None:
    images = write(head_series(1, 8), tmp_path / "ct")
    disk = lay_over(tmp_path / "ich-node-data", tmp_path / "layer")
    with struck_node(tmp_path, tiny_bundle, [], environment=disk.environment) as node:
        study = node.send(images)
        disk.fall_short(250.0)
        assert node.pacs.received == []
        congested = reject(2, 3, 1)  # PS3.8 9.3.4: transient, by presentation, congestion
        assert answer(node.port, associate_request()) == congested
        assert answer(node.port, associate_request(contexts=_ECHO))[0] == _ACCEPT
        node.wait_for(study, "delivered")
        assert node.objects(study) == {"SEG": 1, "SR": 1}
        assert answer(node.port, associate_request()) == congested
        assert disk.is_failing
        assert disk.failed == 0
        disk.mend()
        assert answer(node.port, associate_request())[0] == _ACCEPT
    log = (tmp_path / "node.log").read_text()
    assert log.count("the disk is below storage.min_free_gb") == 1
    assert log.count("the disk has room again") == 1
