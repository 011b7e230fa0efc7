"""What would fill the memory once it is inflated, parsed or decoded is refused before that."""

import random
import zlib

import pytest
from pydicom.uid import DeflatedExplicitVRLittleEndian, ExplicitVRLittleEndian

from ich_node.receive import inflate
from ich_node.receive.header import read
from ich_node.receive.intake import CANNOT_UNDERSTAND, Intake, take
from ich_node.receive.whole import Cut
from tests.support.peers import encoded, incoming, small_object
from tests.unit.receive.kept import nothing_kept


def deflated(data: bytes) -> bytes:
    stream = zlib.compressobj(9, wbits=-zlib.MAX_WBITS)
    return stream.compress(data) + stream.flush()


@pytest.mark.parametrize("size", [0, 1, 1 << 16, 3 << 20, 17 << 20])
def test_the_beginning_is_what_was_deflated_up_to_more_than_any_header(size: int) -> None:
    data = random.Random(size).randbytes(size // 2) + bytes(size - size // 2)
    found = inflate.beginning(deflated(data))
    assert data.startswith(found)
    assert len(found) >= min(size, 16 << 20)


@pytest.mark.parametrize("left", [0, 1, 100, 70_000])
def test_a_stream_that_does_not_end_is_cut(left: int) -> None:
    whole = deflated(random.Random(1).randbytes(100_000))
    with pytest.raises(Cut):
        inflate.beginning(whole[:left])


def test_bytes_behind_the_stream_are_padding() -> None:
    assert inflate.beginning(deflated(b"abc") + bytes(3)) == b"abc"


def test_a_bomb_is_refused_with_its_reason_and_nothing_of_it_is_kept(intake: Intake) -> None:
    """300 MB of zeros in 300 kB: what it would inflate to is never held."""
    image = small_object()
    begins = encoded(image) + b"\xe0\x7f\x10\0OW\0\0" + (300 << 20).to_bytes(4, "little")
    stream = zlib.compressobj(9, wbits=-zlib.MAX_WBITS)
    pieces = [stream.compress(begins)] + [stream.compress(bytes(1 << 20)) for _ in range(300)]
    data = b"".join([*pieces, stream.flush()])
    assert len(data) < 400_000
    answer = take(intake, incoming(image, DeflatedExplicitVRLittleEndian, data=data))
    assert answer.status == CANNOT_UNDERSTAND
    assert answer.comment == "it inflates to more than 256 MB; send it not deflated"
    assert nothing_kept(intake)


def test_an_unusual_data_set_is_not_copied_to_be_read() -> None:
    """It may be larger than memory, and lie on the disk."""

    class Watched(bytes):
        largest = 0

        def __getitem__(self, at: object) -> object:
            found = super().__getitem__(at)  # type: ignore[index]
            if isinstance(found, bytes):
                Watched.largest = max(Watched.largest, len(found))
            return found

    image = small_object(SeriesDescription="M\xe4", SpecificCharacterSet="ISO_IR 100")
    private = b"\x11\x00\x10\x10OB\0\0" + (9 << 20).to_bytes(4, "little") + bytes(9 << 20)
    data = encoded(image)
    assert data.find(b"\x20\x00\x0d\x00") > 0
    at = data.find(b"\x20\x00\x0d\x00")
    meta = b"\0" * 128 + b"DICM"
    whole = Watched(data[:at] + private + data[at:])
    values = read(whole, ExplicitVRLittleEndian, lambda: meta)
    assert values["SeriesDescription"] == "M\xe4"
    assert values["StudyInstanceUID"] == "1.2"
    assert Watched.largest < 1 << 20
