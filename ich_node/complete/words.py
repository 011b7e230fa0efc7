"""Words of a configuration found in what a header says, and kernels by the vendors' names."""

from __future__ import annotations

import re
from collections.abc import Sequence
from enum import IntEnum
from functools import lru_cache

_BETWEEN = re.compile(r"[^A-Z0-9+]+")


class Kernel(IntEnum):
    """What a reconstruction kernel is made for; higher is better for blood."""

    BONE = 0
    UNKNOWN = 1
    SOFT = 2


# Names of Convolution Kernel (0018,1210), whole, first match wins.
KERNELS: tuple[tuple[str, Kernel], ...] = (
    # GE; DETAIL lies between soft and bone, and is left unknown
    (r"STANDARD|STD\+?|STND|SOFT|BRAIN", Kernel.SOFT),
    (r"BONE(PLUS)?|EDGE|LUNG|ULTRA", Kernel.BONE),
    # Philips
    (r"U[ABC]|A|B|BRAIN STANDARD|BRAIN SHARP|BRAIN SMOOTH", Kernel.SOFT),
    (r"Y[A-E]|C|D|E|L", Kernel.BONE),
    # Canon, Toshiba: FC20..29 and FC62..68 brain, FC30..39, FC50..59 and FC80..89 bone and lung
    (r"FC(2\d|6[2-8]|0\d|1\d|4[1-4])[A-Z]?", Kernel.SOFT),
    (r"FC(3\d|5\d|8\d)[A-Z]?", Kernel.BONE),
    # Siemens: letters and the sharpness, H31s, J40s, Hr38, Hc40f; sharp from 50 on
    (r"[BHIJQTU][A-Z]?[1-4]\d[A-Z]{0,2}", Kernel.SOFT),
    (r"[BHIJQTU][A-Z]?[5-9]\d[A-Z]{0,2}", Kernel.BONE),
)


def kernel_of(name: str, soft: Sequence[str] = (), bone: Sequence[str] = ()) -> Kernel:
    """Tell what a kernel is made for: by a site's own names, then by the vendors'."""
    if matched(bone, name, whole=True):
        return Kernel.BONE
    if matched(soft, name, whole=True):
        return Kernel.SOFT
    wanted = name.strip().upper()
    hits = (kind for pattern, kind in KERNELS if re.fullmatch(pattern, wanted))
    return next(hits, Kernel.UNKNOWN)


def matched(words: Sequence[str], text: str, *, whole: bool = False) -> str | None:
    """Return the first of the words that stands in a text; None where none does.

    Case does not count, and whatever is no letter, digit or plus sign only separates words.

    Parameters
    ----------
    words
        ``*`` stands for any letters or digits, ``?`` for one.
    whole
        The word must be the whole text.
    """
    plain = f" {_BETWEEN.sub(' ', text.upper()).strip()} "
    found = (word for word in words if _pattern(word, whole).search(plain))
    return next(found, None)


@lru_cache(maxsize=1024)
def _pattern(word: str, whole: bool) -> re.Pattern[str]:
    plain = re.sub(r"[^A-Z0-9+*?]+", " ", word.upper()).strip()
    inner = re.escape(plain).replace(r"\*", "[A-Z0-9+]*").replace(r"\?", "[A-Z0-9]")
    inner = inner.replace(r"\ ", " ")
    return re.compile(f"^ {inner} $" if whole else f"(?<= ){inner}(?= )")
