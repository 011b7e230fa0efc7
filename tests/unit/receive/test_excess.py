"""More elements or levels than can be read are refused at the door, with a status and a reason."""

import tracemalloc
import zlib

import pytest
from pydicom.uid import (
    DeflatedExplicitVRLittleEndian,
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
)

from ich_node.receive.intake import CANNOT_UNDERSTAND, SUCCESS, Intake, take
from tests.support import bombs
from tests.support.peers import encoded, incoming, small_object
from tests.unit.receive.kept import nothing_kept

EXPLICIT = b"\x40\x00\x75\x02SQ\0\0"


def sent(intake: Intake, tail: bytes, *, deflate: bool) -> tuple[int, str]:
    image, syntax = small_object(), ExplicitVRLittleEndian
    data = encoded(image) + tail
    if deflate:
        stream = zlib.compressobj(wbits=-zlib.MAX_WBITS)
        data = stream.compress(data) + stream.flush()
        syntax = DeflatedExplicitVRLittleEndian
    answer = take(intake, incoming(image, syntax, data=data))
    return answer.status, answer.comment


@pytest.mark.parametrize("deflate", [False, True], ids=["plain", "deflated"])
@pytest.mark.parametrize("undefined_length", [False, True], ids=["known", "undefined"])
def test_sequences_in_too_many_others(
    intake: Intake, undefined_length: bool, deflate: bool
) -> None:
    tail = bombs.levels(EXPLICIT, 2000, undefined_length)
    told = (CANNOT_UNDERSTAND, "it has sequences in more than 32 others")
    assert sent(intake, tail, deflate=deflate) == told
    assert nothing_kept(intake)
    assert sent(intake, bombs.levels(EXPLICIT, 32, undefined_length), deflate=deflate)[0] == SUCCESS


@pytest.mark.parametrize("deflate", [False, True], ids=["plain", "deflated"])
def test_items_that_nobody_wants_become_no_objects(intake: Intake, deflate: bool) -> None:
    """Nor where an element out of order leaves the header to the parser."""
    items = b"\xfe\xff\x00\xe0\0\0\0\0" * 20_000
    tail = EXPLICIT + b"\xff\xff\xff\xff" + items + b"\xfe\xff\xdd\xe0\0\0\0\0"
    tracemalloc.start()
    try:
        status, _comment = sent(intake, tail + b"\x08\x00\x80\x00LO\0\0", deflate=deflate)
        cost = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert status == SUCCESS
    assert cost < 2 << 20


@pytest.mark.parametrize("syntax", [ImplicitVRLittleEndian, ExplicitVRBigEndian])
def test_sequences_in_too_many_others_in_other_encodings(intake: Intake, syntax: str) -> None:
    image = small_object(RequestAttributesSequence=bombs.nested(40))
    answer = take(intake, incoming(image, syntax))
    assert answer.comment == "it has sequences in more than 32 others"
    assert nothing_kept(intake)


BEHIND = {
    "no pixels": b"",
    "pixels": b"\xe0\x7f\x10\x00OW\0\0\x04\0\0\0" + bytes(4),
    "fragments": b"\xe0\x7f\x10\x00OB\0\0\xff\xff\xff\xff"
    b"\xfe\xff\x00\xe0\x04\0\0\0\0\0\0\0\xfe\xff\xdd\xe0\0\0\0\0",
}


@pytest.mark.parametrize("deflate", [False, True], ids=["plain", "deflated"])
@pytest.mark.parametrize("behind", BEHIND.values(), ids=list(BEHIND))
def test_a_million_empty_elements(intake: Intake, behind: bytes, deflate: bool) -> None:
    tail = behind + b"\xe1\x7f\x10\x10LO\0\0" * 1_000_000
    told = (CANNOT_UNDERSTAND, "it has more than 262144 elements")
    assert sent(intake, tail, deflate=deflate) == told
    assert nothing_kept(intake)
