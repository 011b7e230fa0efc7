"""Pixels of what others sent, by whatever decoder pydicom finds: one kind of error."""

from __future__ import annotations

from typing import Any

import numpy.typing as npt
from pydicom import Dataset
from pydicom.uid import (
    UID,
    JPEG2000TransferSyntaxes,
    JPEGBaseline8Bit,
    JPEGLSTransferSyntaxes,
    RLELossless,
)

# pydicom tries every decoder it finds, GDCM's among them, which ends the process where a code
# stream of JPEG 2000 or JPEG-LS is damaged. These report an error.
_DECODERS = {
    JPEGBaseline8Bit: "pillow",
    RLELossless: "pylibjpeg",
    **dict.fromkeys(JPEGLSTransferSyntaxes, "pyjpegls"),
    **dict.fromkeys(JPEG2000TransferSyntaxes, "pylibjpeg"),
}


class Undecodable(Exception):
    """A decoder gave up; the text is the name of its error."""


def stored_values(dataset: Dataset, *, at_any_price: bool = True) -> npt.NDArray[Any]:
    """Return the stored values as pydicom shapes them: (row, column), (frame, row, column) or so.

    Parameters
    ----------
    at_any_price
        Also by a decoder that may end the process; a process that must live says no.

    Raises
    ------
    Undecodable
        Whatever the decoder raised.
    MemoryError
        The values do not fit into memory.
    """
    try:
        return _decoded(dataset, at_any_price)
    except (MemoryError, Undecodable):
        raise
    except Exception as error:
        raise Undecodable(type(error).__name__) from error
    except BaseException as error:  # a decoder in Rust panics, and that is no Exception
        if type(error).__name__ != "PanicException":
            raise
        raise Undecodable(type(error).__name__) from error


def _decoded(dataset: Dataset, at_any_price: bool) -> npt.NDArray[Any]:
    syntax = UID(dataset.file_meta.TransferSyntaxUID)
    if syntax in _DECODERS:
        dataset.pixel_array_options(decoding_plugin=_DECODERS[syntax])
    elif syntax.is_encapsulated and not at_any_price:
        raise Undecodable(f"{syntax.name} is not decoded here")
    values: npt.NDArray[Any] = dataset.pixel_array
    return values
