"""PDUs as pynetdicom reads and writes them (PS3.8 9.3), and bytes that are none."""

import contextlib
import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydicom.uid import CTImageStorage, ExplicitVRLittleEndian, ImplicitVRLittleEndian
from pynetdicom import build_role
from pynetdicom.pdu import A_ABORT_RQ, A_ASSOCIATE_AC, A_ASSOCIATE_RQ, A_RELEASE_RP
from pynetdicom.pdu_items import SCP_SCU_RoleSelectionSubItem

from ich_node.receive import pdu
from ich_node.uids import IMPLEMENTATION_CLASS_UID, IMPLEMENTATION_VERSION_NAME
from tests.support.wire import associate_request

SYNTAXES = (ExplicitVRLittleEndian, ImplicitVRLittleEndian)
REQUEST = associate_request(contexts=((CTImageStorage, SYNTAXES), ("1.2.3", SYNTAXES[:1])))


def test_a_request_is_read_with_titles_contexts_and_the_longest_pdu() -> None:
    read = pdu.decode_request(REQUEST[6:])
    assert (read.protocol_version, read.called_ae, read.calling_ae) == (1, "ICH_NODE", "SENDER")
    assert read.maximum_pdu == 16384
    assert read.contexts == (
        pdu.Context(1, CTImageStorage, SYNTAXES),
        pdu.Context(3, "1.2.3", SYNTAXES[:1]),
    )


def test_an_acceptance_says_what_was_decided_and_who_we_are() -> None:
    decisions = [
        pdu.Decision(1, pdu.ACCEPTED, ImplicitVRLittleEndian),
        pdu.Decision(3, pdu.NO_ABSTRACT_SYNTAX, ImplicitVRLittleEndian),
    ]
    read = A_ASSOCIATE_AC()
    read.decode(pdu.accept(pdu.decode_request(REQUEST[6:]), decisions, 131072))
    results = [(item.context_id, item.result) for item in read.presentation_context]
    assert results == [(1, 0), (3, 3)]
    assert read.presentation_context[0].transfer_syntax == ImplicitVRLittleEndian
    user = read.user_information
    assert user.maximum_length == 131072
    assert user.implementation_class_uid == IMPLEMENTATION_CLASS_UID
    assert user.implementation_version_name == IMPLEMENTATION_VERSION_NAME
    assert (read.reserved_aet.strip(), read.reserved_aec.strip()) == ("ICH_NODE", "SENDER")


def test_release_and_abort_are_those_of_the_standard() -> None:
    A_RELEASE_RP().decode(pdu.release())
    read = A_ABORT_RQ()
    read.decode(pdu.abort(pdu.BY_PROVIDER, pdu.UNRECOGNISED_PDU))
    assert (read.source, read.reason_diagnostic) == (2, 1)
    assert pdu.release() == b"\x06\0\0\0\0\x04" + bytes(4)


COMMITMENT = "1.2.840.10008.1.20.1"


def asking_for_roles(*classes: str) -> bytes:
    """A request, without its head, whose peer wants to be the SCP of these classes."""
    request = A_ASSOCIATE_RQ()
    request.decode(REQUEST)
    for sop_class in classes:
        item = SCP_SCU_RoleSelectionSubItem()
        item.from_primitive(build_role(sop_class, scp_role=True))
        request.user_information.user_data.append(item)
    return bytes(request.encode()[6:])


def test_a_peer_that_reports_a_commitment_is_granted_the_role_of_the_scp() -> None:
    """PS3.7 D.3.3.4: without an answer to its item it would stay the SCU."""
    request = pdu.decode_request(asking_for_roles(CTImageStorage, COMMITMENT))
    read = A_ASSOCIATE_AC()
    read.decode(pdu.accept(request, [], 131072, {COMMITMENT}))
    roles = read.user_information.role_selection
    assert {uid: (role.scu_role, role.scp_role) for uid, role in roles.items()} == {
        COMMITMENT: (False, True)
    }


def test_a_role_whose_uid_is_longer_than_its_item_is_malformed() -> None:
    length, uid = len(COMMITMENT).to_bytes(2, "big"), COMMITMENT.encode()
    body = asking_for_roles(COMMITMENT)
    assert body.count(length + uid) == 1
    with pytest.raises(pdu.Malformed):
        pdu.decode_request(body.replace(length + uid, b"\0\xff" + uid))


def test_two_contexts_of_one_id_are_malformed() -> None:
    """PS3.8 9.3.2.2: else nobody could tell in which encoding an object comes."""
    context = struct.pack(">BxHBxxx", 0x20, 4, 7)
    assert len(pdu.decode_request(REQUEST[6:] + context).contexts) > 0
    with pytest.raises(pdu.Malformed):
        pdu.decode_request(REQUEST[6:] + 2 * context)


@pytest.mark.parametrize("number", [0, 2, 254])
def test_a_context_of_an_even_id_is_malformed(number: int) -> None:
    """PS3.8 9.3.2.2: odd integers between 1 and 255."""
    with pytest.raises(pdu.Malformed):
        pdu.decode_request(REQUEST[6:] + struct.pack(">BxHBxxx", 0x20, 4, number))


def test_of_more_than_128_contexts_no_more_are_read(monkeypatch: pytest.MonkeyPatch) -> None:
    """A stranger could send a hundred thousand of them in one request."""
    read: list[bytes] = []
    decode = pdu._context
    monkeypatch.setattr(pdu, "_context", lambda value: read.append(value) or decode(value))
    contexts = [struct.pack(">BxHBxxx", 0x20, 4, number) for number in range(1, 256, 2)]
    found = pdu.decode_request(bytes(68) + b"".join(contexts))
    assert [one.context_id for one in found.contexts] == list(range(1, 256, 2))
    read.clear()
    with pytest.raises(pdu.Malformed):
        pdu.decode_request(bytes(68) + b"".join(contexts * 1000))
    assert len(read) == 129


def test_a_role_is_answered_without_what_pads_its_uid() -> None:
    """Sixty thousand zeros would fit into the request, and not into the answer."""
    uid = COMMITMENT.encode() + bytes(60_000)
    role = len(uid).to_bytes(2, "big") + uid + b"\0\1"
    item = struct.pack(">BxH", 0x54, len(role)) + role
    user = struct.pack(">BxH", 0x50, len(item)) + item
    request = pdu.decode_request(REQUEST[6:] + user)
    read = A_ASSOCIATE_AC()
    read.decode(pdu.accept(request, [], 131072, {COMMITMENT}))
    assert set(read.user_information.role_selection) == {COMMITMENT}


@pytest.mark.parametrize("cut", [1, 20, 60, 67, 90, len(REQUEST) - 7])
def test_a_request_that_is_cut_is_malformed(cut: int) -> None:
    with pytest.raises(pdu.Malformed):
        pdu.decode_request(REQUEST[6 : 6 + cut])


@given(st.binary(max_size=200))
def test_any_bytes_are_a_request_or_malformed(data: bytes) -> None:
    with contextlib.suppress(pdu.Malformed):
        assert isinstance(pdu.decode_request(bytes(68) + data), pdu.Request)


@given(st.binary(min_size=1, max_size=300), st.sampled_from([0, 1, 6, 7, 8, 13, 64, 131072]))
def test_a_command_is_cut_to_what_the_peer_reads(command: bytes, maximum: int) -> None:
    """PS3.8 9.3.5.1 and D.1: no PDU longer than the peer's maximum, fragments of even length."""
    command += b"\0" * (len(command) % 2)
    sent, fragments, flags = pdu.command(5, command, maximum), [], []
    while sent:
        kind, length = pdu.HEAD.unpack_from(sent)
        assert kind == pdu.P_DATA_TF
        assert length <= max(maximum, 8) or maximum == 0
        item, context, flag = pdu.PDV_HEAD.unpack_from(sent, 6)
        assert (item, context) == (length - 4, 5)
        fragments.append(sent[12 : 6 + length])
        flags.append(flag)
        sent = sent[6 + length :]
    assert b"".join(fragments) == command
    assert all(len(fragment) % 2 == 0 for fragment in fragments)
    assert flags == [pdu.IS_COMMAND] * (len(flags) - 1) + [pdu.IS_COMMAND | pdu.IS_LAST]
