"""Errors of the node, and the closed vocabulary of reasons.

::

    IchNodeError
    ├── ConfigError        a configuration that cannot be used
    ├── NewerDatabase      a database that a newer version has made
    ├── SeriesRefused      a series that must not be read, with a Reason
    ├── BundleError        a model bundle that cannot be trusted or loaded
    ├── DeviceLost         the accelerator answers no more: only a new process reaches it again
    ├── CheckFailed        a built object that contradicts its mask or its source
    └── StoreError         the database or the spool cannot be used
        └── Damaged        the database file is damaged, or was taken away, while it was in use
"""

from __future__ import annotations

import errno
import re
from enum import StrEnum

# Exit status of a process whose configuration or data cannot be used: starting it again is no use.
CANNOT_START = 2
# Of one that found the database damaged.
DAMAGED = 3

# Errors of a machine that wants mending, whatever it was asked for: no room, no right to write, a
# disk that answers with errors, no descriptor or memory to be had.
_OF_THE_MACHINE = frozenset(
    {
        *(errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EIO, errno.ESTALE, errno.ENODEV),
        *(errno.EMFILE, errno.ENFILE, errno.ENOMEM, errno.EAGAIN),
    }
)
_USERINFO = re.compile(r"://.*@", re.DOTALL)  # greedy: a password may hold what else ends a URL
# Keys that hold a secret in other programs, in a URL or elsewhere.
SECRET = re.compile(r"passw|passphrase|pwd|secret|token|credential", re.IGNORECASE)
_PARAMETER = re.compile(rf"(\w*(?:{SECRET.pattern})\w*=)[^&\s'\"]*", re.IGNORECASE)


def without_secrets(text: str) -> str:
    """Return a text without the userinfo of URLs (RFC 3986 3.2.1) and without their passwords."""
    return _PARAMETER.sub(r"\1***", _USERINFO.sub("://***@", text))


def of_the_system(error: BaseException) -> bool:
    """Tell what the system answered from an OSError that a library made up of bytes it read.

    pydicom raises such, of what is cut off or cannot be written; they have no number.
    """
    return isinstance(error, OSError) and error.errno is not None


def of_the_machine(error: BaseException) -> bool:
    """Tell whether an error says that the machine wants mending; then what was asked succeeds."""
    return isinstance(error, OSError) and error.errno in _OF_THE_MACHINE


class Reason(StrEnum):
    """Why a series was not analysed. The value is what `result.json` and the database carry."""

    NOT_CT = "not_ct"
    LOCALIZER = "localizer"
    DOSE_REPORT = "dose_report"
    NOT_ORIGINAL = "not_original"
    NOT_HEAD = "not_head"
    PERFUSION = "perfusion"
    CONTRAST = "contrast"
    CHILD = "child"
    BONE_KERNEL = "bone_kernel"
    THICKNESS = "thickness"
    TOO_FEW_SLICES = "too_few_slices"
    NO_PIXEL_DATA = "no_pixel_data"
    UNREADABLE = "unreadable"
    TOO_LARGE = "too_large"
    MULTIFRAME = "multiframe"
    NOT_HU = "not_hu"
    MONOCHROME1 = "monochrome1"
    NO_POSITION = "no_position"
    MIXED_PATIENTS = "mixed_patients"
    MIXED_SERIES = "mixed_series"
    MIXED_FRAME_OF_REFERENCE = "mixed_frame_of_reference"
    MIXED_ORIENTATION = "mixed_orientation"
    MIXED_MATRIX = "mixed_matrix"
    NOT_AXIAL = "not_axial"
    GANTRY_TILT = "gantry_tilt"
    DUPLICATE_POSITIONS = "duplicate_positions"
    UNEVEN_SPACING = "uneven_spacing"
    MISSING_SLICES = "missing_slices"
    NOT_A_HEAD = "not_a_head"
    NOT_CHOSEN = "not_chosen"
    ORIGINALS_DELETED = "originals_deleted"


class IchNodeError(Exception):
    """Root of every error the node raises on purpose."""


class ConfigError(IchNodeError):
    """The configuration cannot be used; the text names key, value and what is allowed."""


class NewerDatabase(IchNodeError):
    """The database is of a newer version of the node: this one cannot use it, now or later."""


class SeriesRefused(IchNodeError):
    """A series must not be read.

    Parameters
    ----------
    reason
        The code kept in the database and in `result.json`.
    text
        A sentence for people: which file or tag, its value, what was expected.
        It never holds the patient's identity.
    """

    def __init__(self, reason: Reason, text: str) -> None:
        super().__init__(f"{reason}: {text}")
        self.reason = reason
        self.text = text


class BundleError(IchNodeError):
    """A model bundle is missing, altered, or does not fit the network it names."""


class DeviceLost(IchNodeError):
    """The accelerator answers this process no more."""


class CheckFailed(IchNodeError):
    """A built object does not agree with the mask, the volumes or the source it was built from."""


class StoreError(IchNodeError):
    """The database or the spool cannot be used."""


class Damaged(StoreError):
    """The database file is damaged or was taken away; `serve` makes another."""
