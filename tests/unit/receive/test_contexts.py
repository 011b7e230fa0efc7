"""Which presentation contexts are accepted: every storage, known or not, and C-ECHO."""

import pytest
from pydicom.uid import (
    CTImageStorage,
    EnhancedSRStorage,
    ExplicitVRLittleEndian,
    HangingProtocolStorage,
    ImplicitVRLittleEndian,
    JPEG2000Lossless,
)
from pynetdicom import sop_class
from pynetdicom.presentation import AllStoragePresentationContexts

from ich_node.receive.contexts import brings_objects, decide
from ich_node.receive.pdu import ACCEPTED, NO_ABSTRACT_SYNTAX, NO_TRANSFER_SYNTAX, Context

JPEG_XL = "1.2.840.10008.1.2.4.110"
OTHER_SERVICES = (
    sop_class.StudyRootQueryRetrieveInformationModelFind,
    sop_class.PatientRootQueryRetrieveInformationModelMove,
    sop_class.ModalityWorklistInformationFind,
    sop_class.ModalityPerformedProcedureStepNotification,
    sop_class.BasicGrayscalePrintManagementMeta,
    HangingProtocolStorage,
)


def result(abstract_syntax: str, *offered: str) -> tuple[int, str]:
    (decision,) = decide([Context(1, abstract_syntax, offered)])
    return decision.result, decision.transfer_syntax


def test_every_storage_class_that_pynetdicom_knows_is_accepted() -> None:
    for context in AllStoragePresentationContexts:
        assert result(context.abstract_syntax, ExplicitVRLittleEndian)[0] == ACCEPTED


@pytest.mark.parametrize(
    "uid", ["1.2.840.10008.1.1", "1.2.826.0.1.3680043.2.1", "1.2.840.10008.5.9"]
)
def test_verification_and_what_nobody_knows_is_accepted(uid: str) -> None:
    assert result(uid, ImplicitVRLittleEndian) == (ACCEPTED, ImplicitVRLittleEndian)


@pytest.mark.parametrize(
    "uid",
    [
        sop_class.StorageCommitmentPushModel,
        sop_class.ModalityPerformedProcedureStep,
        sop_class.InstanceAvailabilityNotification,
    ],
)
def test_services_that_list_instances_are_accepted_uncompressed(uid: str) -> None:
    assert result(uid, JPEG2000Lossless, ImplicitVRLittleEndian) == (
        ACCEPTED,
        ImplicitVRLittleEndian,
    )
    assert result(uid, JPEG2000Lossless)[0] == NO_TRANSFER_SYNTAX


@pytest.mark.parametrize("uid", [*OTHER_SERVICES, ""])
def test_other_services_are_not(uid: str) -> None:
    assert result(uid, ImplicitVRLittleEndian)[0] == NO_ABSTRACT_SYNTAX


@pytest.mark.parametrize(
    ("offered", "chosen"),
    [
        ((JPEG_XL, ExplicitVRLittleEndian), ExplicitVRLittleEndian),
        ((JPEG2000Lossless, ExplicitVRLittleEndian), JPEG2000Lossless),
        ((ImplicitVRLittleEndian, ExplicitVRLittleEndian), ImplicitVRLittleEndian),
        ((JPEG_XL,), JPEG_XL),
    ],
)
def test_the_first_encoding_that_can_be_decoded_is_taken_else_the_first(
    offered: tuple[str, ...], chosen: str
) -> None:
    assert result(CTImageStorage, *offered) == (ACCEPTED, chosen)


def test_a_context_without_encoding_is_not_accepted() -> None:
    assert result(CTImageStorage)[0] == NO_TRANSFER_SYNTAX


@pytest.mark.parametrize("wrong", ["", "\ufffd" * 30_000, "1.2.3; DROP", "1" * 65, "../../etc"])
def test_what_is_no_uid_is_no_class_and_no_encoding(wrong: str) -> None:
    """It would stand in the answer, in file names and in the meta information of files."""
    assert result(CTImageStorage, wrong)[0] == NO_TRANSFER_SYNTAX
    assert result(CTImageStorage, wrong, JPEG_XL) == (ACCEPTED, JPEG_XL)
    assert result(wrong, ImplicitVRLittleEndian)[0] == NO_ABSTRACT_SYNTAX


def test_answers_come_in_the_order_of_the_ids() -> None:
    contexts = [Context(one, EnhancedSRStorage, (JPEG_XL,)) for one in (5, 1, 3)]
    assert [decision.context_id for decision in decide(contexts)] == [1, 3, 5]


@pytest.mark.parametrize(
    ("uids", "expected"),
    [
        ([CTImageStorage], True),
        ([sop_class.Verification, CTImageStorage], True),
        (["1.2.826.0.1.3680043.2.1"], True),  # of a private class
        ([sop_class.Verification], False),
        ([sop_class.StorageCommitmentPushModel, sop_class.Verification], False),
        ([sop_class.ModalityPerformedProcedureStep], False),
        ([HangingProtocolStorage], False),  # not taken at all
    ],
)
def test_objects_can_come_by_storage_contexts_only(uids: list[str], expected: bool) -> None:
    proposed = [Context(2 * n + 1, uid, (ImplicitVRLittleEndian,)) for n, uid in enumerate(uids)]
    assert brings_objects(proposed) is expected
