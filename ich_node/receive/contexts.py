"""Which presentation contexts are accepted, and in which encoding.

Storage without restriction: a router that is refused one object of an unknown or private class
holds up whole studies. Only what is known to be another service is refused.
"""

from __future__ import annotations

from collections.abc import Iterable

from pydicom.uid import (
    HTJ2K,
    JPEG2000,
    DeflatedExplicitVRLittleEndian,
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    HTJ2KLossless,
    HTJ2KLosslessRPCL,
    ImplicitVRLittleEndian,
    JPEG2000Lossless,
    JPEGBaseline8Bit,
    JPEGExtended12Bit,
    JPEGLossless,
    JPEGLosslessSV1,
    JPEGLSLossless,
    JPEGLSNearLossless,
    RLELossless,
)
from pynetdicom import sop_class
from pynetdicom.presentation import AllStoragePresentationContexts

from ich_node.receive.pdu import (
    ACCEPTED,
    NO_ABSTRACT_SYNTAX,
    NO_TRANSFER_SYNTAX,
    Context,
    Decision,
)

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
_STORAGE = {str(context.abstract_syntax) for context in AllStoragePresentationContexts}
_OTHER_SERVICES = frozenset(
    str(uid) for uid in vars(sop_class).values() if isinstance(uid, sop_class.SOPClass)
).difference(_STORAGE, {str(sop_class.Verification)})


def decide(contexts: Iterable[Context]) -> tuple[Decision, ...]:
    """Answer each proposed context (PS3.8 9.3.3.2), in the order of their IDs."""
    return tuple(_decide(context) for context in sorted(contexts, key=lambda one: one.context_id))


def _decide(context: Context) -> Decision:
    offered = context.transfer_syntaxes
    if not context.abstract_syntax or context.abstract_syntax in _OTHER_SERVICES:
        return Decision(context.context_id, NO_ABSTRACT_SYNTAX, ImplicitVRLittleEndian)
    if not offered:
        return Decision(context.context_id, NO_TRANSFER_SYNTAX, ImplicitVRLittleEndian)
    chosen = next((uid for uid in offered if uid in DECODABLE), offered[0])
    return Decision(context.context_id, ACCEPTED, chosen)
