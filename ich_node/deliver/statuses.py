"""What the status of a C-STORE means: stored, try again, or never; and what to do about it.

PS3.4 table B.2-1 and PS3.7 annex C.
"""

from __future__ import annotations

from dataclasses import dataclass

# Attribute list error, attribute value out of range, and all of Bxxx: done, with a remark.
_WARNINGS = frozenset({0x0001, 0x0107, 0x0116})
# The destination has this UID. Ours are derived from the content, so it is this object: an answer
# to an earlier attempt was lost.
_THERE_ALREADY = 0x0111
# No such, invalid or missing attribute or value, class or instance, operation or argument not
# understood, not authorised: another attempt gives the same.
_PERMANENT = frozenset(
    {0x0105, 0x0106, 0x0112, 0x0113, 0x0114, 0x0115, 0x0117, 0x0118, 0x0119}
    | {0x0120, 0x0121, 0x0122, 0x0124, 0x0211, 0x0212}
)
_OUT_OF_RESOURCES, _WRONG_CLASS, _NOT_UNDERSTOOD = 0xA7, 0xA9, 0xC
_CLASS_NOT_SUPPORTED, _NOT_AUTHORISED = 0x0122, 0x0124


@dataclass(frozen=True)
class Meaning:
    """What a status means for an object; ``text`` is for the administrator."""

    stored: bool
    transient: bool
    text: str


def meaning(code: int, comment: str = "") -> Meaning:
    """Read the status of a C-STORE response.

    Parameters
    ----------
    code
        Status (0000,0900).
    comment
        Error Comment (0000,0902), the destination's own words.
    """
    said = f"{code:04X}H {comment}".strip()
    if code == 0 or code in _WARNINGS or code >> 12 == 0xB:
        return Meaning(True, False, f"stored ({said})")
    if code == _THERE_ALREADY:
        return Meaning(True, False, f"stored earlier ({said})")
    return Meaning(False, not _never(code), f"refused, {said}: {_advice(code)}")


def _never(code: int) -> bool:
    """Tell whether another attempt gives the same."""
    wrong_object = code >> 12 in (0xA, 0xC) and code >> 8 != _OUT_OF_RESOURCES
    return wrong_object or code in _PERMANENT


def refuses_class(code: int) -> bool:
    """Tell whether a status says that no object of this SOP class is taken."""
    return code == _CLASS_NOT_SUPPORTED


def _advice(code: int) -> str:
    if code >> 8 == _OUT_OF_RESOURCES:
        return "it is out of resources; make room there"
    if code >> 8 == _WRONG_CLASS:
        return "it says that the data set is not of its SOP class; ask its vendor"
    if code >> 12 == _NOT_UNDERSTOOD:
        return "it cannot understand the object; its log may say why"
    if code == _CLASS_NOT_SUPPORTED:
        return "it does not support this SOP class; leave the kind out of outputs or set fallback"
    if code == _NOT_AUTHORISED:
        return "we are not allowed to store; let it allow our AE title"
    if _never(code):
        return "it does not take the object; its log may say why"
    return "it failed for now; its log may say why"
