"""UIDs and roots of the project, and UIDs derived from content."""

from __future__ import annotations

import hashlib
import re
import uuid

from pydicom.uid import UID

# Made once from a random UUID (PS3.5 B.2); identifies this implementation.
IMPLEMENTATION_CLASS_UID = "2.25.338774160680239442019356628883303292196"
IMPLEMENTATION_VERSION_NAME = "ICH_NODE_0_1"


def derive(kind: str, *parts: str) -> str:
    """Return the UID that this kind of object has for this content.

    Parameters
    ----------
    kind
        What the UID names, for instance ``"seg"`` or ``"sr-series"``.
    parts
        Everything that makes the object another one when it changes.

    Returns
    -------
    str
        ``2.25.`` and the decimal form of a UUID made from SHA-256 (PS3.5 B.2): at most 44
        characters; equal arguments give equal UIDs.
    """
    digest = hashlib.sha256("\x00".join((kind, *parts)).encode()).digest()
    return f"2.25.{uuid.UUID(bytes=digest[:16], version=5).int}"


def is_uid(text: str) -> bool:
    """Tell a UID, as equipment writes them: components may begin with 0 (against PS3.5 9.1)."""
    return re.fullmatch(r"[0-9.]{1,64}", text) is not None


def name_of(uid: str) -> str:
    """Return the name that PS3.6 gives a UID, or the UID; of what is none not even its letters."""
    return UID(uid).name if not uid or is_uid(uid) else "no UID"
