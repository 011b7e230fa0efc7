"""Which presentation contexts are accepted, and in which encoding.

Storage without restriction: a router that is refused one object of an unknown or private class
holds up whole studies. Only what is known to be another service is refused, but for those that
tell which instances there are.
"""

from __future__ import annotations

from collections.abc import Iterable

from pydicom.uid import (
    HTJ2K,
    JPEG2000,
    ColorPaletteStorage,
    CTDefinedProcedureProtocolStorage,
    DeflatedExplicitVRLittleEndian,
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    GenericImplantTemplateStorage,
    HangingProtocolStorage,
    HTJ2KLossless,
    HTJ2KLosslessRPCL,
    ImplantAssemblyTemplateStorage,
    ImplantTemplateGroupStorage,
    ImplicitVRLittleEndian,
    InventoryStorage,
    JPEG2000Lossless,
    JPEGBaseline8Bit,
    JPEGExtended12Bit,
    JPEGLossless,
    JPEGLosslessSV1,
    JPEGLSLossless,
    JPEGLSNearLossless,
    MediaStorageDirectoryStorage,
    ProtocolApprovalStorage,
    RLELossless,
    UID_dictionary,
    XADefinedProcedureProtocolStorage,
)

from ich_node.receive import services
from ich_node.receive.pdu import (
    ACCEPTED,
    NO_ABSTRACT_SYNTAX,
    NO_TRANSFER_SYNTAX,
    Context,
    Decision,
)
from ich_node.receive.spool import is_uid

VERIFICATION = "1.2.840.10008.1.1"
# Their data sets are read and written here, uncompressed.
_NATIVE = (ExplicitVRLittleEndian, ImplicitVRLittleEndian, ExplicitVRBigEndian)
# Every transfer syntax whose pixels can be decoded here. A peer's own order decides among them.
DECODABLE = frozenset(
    str(uid)
    for uid in (
        ExplicitVRLittleEndian,
        ImplicitVRLittleEndian,
        DeflatedExplicitVRLittleEndian,
        ExplicitVRBigEndian,
        JPEGLosslessSV1,
        JPEGLossless,
        JPEGLSLossless,
        JPEG2000Lossless,
        HTJ2KLossless,
        HTJ2KLosslessRPCL,
        RLELossless,
        JPEGLSNearLossless,
        JPEG2000,
        HTJ2K,
        JPEGBaseline8Bit,
        JPEGExtended12Bit,
    )
)
_SERVICES = ("SOP Class", "Meta SOP Class", "Service Class")
# Stored by a service of their own (PS3.4 annex GG): they belong to no patient's study.
_WITHOUT_PATIENT = (
    CTDefinedProcedureProtocolStorage,
    ColorPaletteStorage,
    GenericImplantTemplateStorage,
    HangingProtocolStorage,
    ImplantAssemblyTemplateStorage,
    ImplantTemplateGroupStorage,
    InventoryStorage,
    MediaStorageDirectoryStorage,
    ProtocolApprovalStorage,
    XADefinedProcedureProtocolStorage,
)


def _is_storage(uid: str, name: str) -> bool:
    stores = "Storage" in name and "Storage Commitment" not in name
    return stores and uid not in _WITHOUT_PATIENT


_OTHER_SERVICES = frozenset(
    uid
    for uid, (name, kind, *_more) in UID_dictionary.items()
    if kind in _SERVICES
    and uid not in (VERIFICATION, *services.CLASSES)
    and not _is_storage(uid, name)
)


def decide(contexts: Iterable[Context]) -> tuple[Decision, ...]:
    """Answer each proposed context (PS3.8 9.3.3.2), in the order of their IDs."""
    return tuple(_decide(context) for context in sorted(contexts, key=lambda one: one.context_id))


def brings_objects(contexts: Iterable[Context]) -> bool:
    """Tell whether objects could come by one of these; else it is an echo, a report or a list."""
    known = (VERIFICATION, *services.CLASSES)
    return any(
        context.abstract_syntax not in known and decision.result == ACCEPTED
        for context in contexts
        for decision in [_decide(context)]
    )


def _decide(context: Context) -> Decision:
    offered = tuple(uid for uid in context.transfer_syntaxes if is_uid(uid))
    if not is_uid(context.abstract_syntax) or context.abstract_syntax in _OTHER_SERVICES:
        return Decision(context.context_id, NO_ABSTRACT_SYNTAX, ImplicitVRLittleEndian)
    if not offered:
        return Decision(context.context_id, NO_TRANSFER_SYNTAX, ImplicitVRLittleEndian)
    if context.abstract_syntax in services.CLASSES:
        native = next((uid for uid in offered if uid in _NATIVE), None)
        result = NO_TRANSFER_SYNTAX if native is None else ACCEPTED
        return Decision(context.context_id, result, native or ImplicitVRLittleEndian)
    chosen = next((uid for uid in offered if uid in DECODABLE), offered[0])
    return Decision(context.context_id, ACCEPTED, chosen)
