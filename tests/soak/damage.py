"""Seeded damage to bytes: what a broken disk, a broken sender or an enemy makes of an object."""

from __future__ import annotations

import random

# Lengths and counts that programs get wrong: none, one, all bits, the sign bit, just above a power.
_LENGTHS = (0, 1, 2, 0x7F, 0xFF, 0xFFFE, 0xFFFF, 0x10001, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFF)
_WORDS = (
    b"../../etc/passwd",
    b"\x00" * 16,
    b"1.2.3/../4",
    b"99999999999999999999",
    b"-1\\-1\\-1",
    b"1e309\\nan\\inf",
    b"\xfe\xff\x00\xe0\xff\xff\xff\xff",  # an item of undefined length
    b"SQ\x00\x00\xff\xff\xff\xff",
    b"UN\x00\x00\xff\xff\xff\x7f",
)


def damaged(rng: random.Random, data: bytes, first: int = 0, last: int | None = None) -> bytes:
    """Return `data` with one to three faults that begin in ``data[first:last]``."""
    found = bytearray(data)
    for _ in range(rng.randint(1, 3)):
        end = min(len(found), last if last is not None else len(found))
        if end <= first:
            break
        _fault(rng, found, rng.randrange(first, end))
    return bytes(found)


def _fault(rng: random.Random, found: bytearray, at: int) -> None:
    kind = rng.randrange(8)
    span = rng.choice((1, 2, 4, 8, 64, 1000))
    if kind == 0:
        found[at] ^= 1 << rng.randrange(8)
    elif kind == 1:
        found[at : at + span] = rng.randbytes(span)
    elif kind == 2:
        del found[at : at + span]
    elif kind == 3:
        found[at:at] = found[at : at + span] * rng.randint(1, 20)
    elif kind == 4:
        width, order = rng.choice((2, 4)), rng.choice(("little", "big"))
        value = rng.choice(_LENGTHS) & (256**width - 1)
        found[at : at + width] = value.to_bytes(width, order)  # type: ignore[arg-type]
    elif kind == 5:
        word = rng.choice(_WORDS)
        found[at : at + len(word)] = word
    elif kind == 6:
        found[at:at] = rng.choice(_WORDS)
    else:
        del found[at:]
