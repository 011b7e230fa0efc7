"""Many series at once, their images in any order over many associations: none lost, none mixed."""

import os
import random
import socket
import threading
import time
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import pytest
import sqlalchemy as sa

from ich_node.pipeline.completion import Completion
from ich_node.store import jobs as job_port
from ich_node.store.tables import instance, revision, revision_instance
from tests.support.peers import Listening, encoded, listening, small_object
from tests.support.wire import associate_request, read_pdu, store_request

SERIES, IMAGES, ASSOCIATIONS = 100, 100, 8
# One request is encoded; the others differ from it in these values of equal length.
_SERIES_UID, _SOP_UID, _NUMBER = b"1.2.555.900", b"1.2.777.90000", b"7000"


def requests() -> list[bytes]:
    """A C-STORE request for each image, shuffled."""
    template = small_object(
        SeriesInstanceUID=_SERIES_UID.decode(),
        SOPInstanceUID=_SOP_UID.decode(),
        InstanceNumber=int(_NUMBER),
    )
    whole = store_request(template, encoded(template))
    found = [
        whole.replace(_NUMBER, b"%d" % (1000 + image))
        .replace(_SERIES_UID, b"1.2.555.%d" % (100 + series))
        .replace(_SOP_UID, b"1.2.777.%d" % (10_000 + IMAGES * series + image))
        for series in range(SERIES)
        for image in range(IMAGES)
    ]
    random.Random(5).shuffle(found)
    return found


def send(port: int, part: Sequence[bytes], failed: list[str]) -> None:
    """Send requests over one association, each after the answer to the one before."""
    with socket.create_connection(("127.0.0.1", port), 60) as connection:
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        connection.sendall(associate_request())
        read_pdu(connection)
        for request in part:
            connection.sendall(request)
            answer = read_pdu(connection)
            if b"\0\0\0\x09\x02\0\0\0\0\0" not in answer:  # (0000,0900) Status is 0000H
                failed.append(answer.hex())
        connection.sendall(bytes((5, 0, 0, 0, 0, 4, 0, 0, 0, 0)))  # A-RELEASE-RQ
        read_pdu(connection)


def members(node: Listening) -> Counter[str]:
    """How many images the revisions of each series hold."""
    query = (
        sa.select(revision.c.series_instance_uid, sa.func.count())
        .join(revision_instance, revision_instance.c.revision_key == revision.c.key)
        .group_by(revision.c.key)
    )
    with node.engine.connect() as connection:
        return Counter(dict(connection.execute(query).all()))


@pytest.mark.alone  # its quiet time is short
def test_10000_images_of_100_interleaved_series_over_8_associations(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Series are looked at meanwhile, as the receiver does; none is called complete too early."""
    monkeypatch.setattr(os, "fsync", lambda _descriptor: None)  # how it lasts is tested elsewhere
    wanted = requests()
    failed: list[str] = []
    with listening(tmp_path) as node:
        url = str(node.engine.url)
        job_port.prepare(url)
        jobs = job_port.open_jobs(url)
        completion = Completion(node.engine, jobs, 0.0)
        began = time.monotonic()
        senders = [
            threading.Thread(
                target=send, args=(node.receiver.port, wanted[at::ASSOCIATIONS], failed)
            )
            for at in range(ASSOCIATIONS)
        ]
        for sender in senders:
            sender.start()
        while any(sender.is_alive() for sender in senders):
            completion.look(node.receiver.open_series(), time.time(), heard=node.receiver.heard())
            senders[0].join(0.25)
        took = time.monotonic() - began
        assert members(node) == {}
        completion.look({}, time.time() + 10.0)
        jobs.destroy()
        found = members(node)
        with node.engine.connect() as connection:
            rows = connection.execute(
                sa.select(instance.c.series_instance_uid, instance.c.sop_instance_uid)
            ).all()
    print(f"{len(wanted)} images in {took:.1f} s, {len(wanted) / took:.0f} a second")
    assert failed == []
    assert found == {f"1.2.555.{100 + series}": IMAGES for series in range(SERIES)}
    assert {row.sop_instance_uid: row.series_instance_uid for row in rows} == {
        f"1.2.777.{10_000 + IMAGES * series + image}": f"1.2.555.{100 + series}"
        for series in range(SERIES)
        for image in range(IMAGES)
    }
