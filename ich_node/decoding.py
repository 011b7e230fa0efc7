"""Pixels of what others sent, by whatever decoder pydicom finds: one kind of error.

`python -m ich_node.decoding` reads a DICOM file from its input and writes its values (.npy).
"""

from __future__ import annotations

import subprocess
import sys
from io import BytesIO
from typing import Any

import numpy as np
import numpy.typing as npt
import pydicom
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


# What a decoder in a process of its own may take.
_CHILD_S = 60.0


class Undecodable(Exception):
    """A decoder gave up; the text is the name of its error."""


def stored_values(dataset: Dataset, *, at_any_price: bool = True) -> npt.NDArray[Any]:
    """Return the stored values as pydicom shapes them: (row, column), (frame, row, column) or so.

    Parameters
    ----------
    at_any_price
        Here too by a decoder that may end the process; one that must live says no, and such a
        decoder runs in a process of its own.

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
        return _in_a_child(dataset)
    values: npt.NDArray[Any] = dataset.pixel_array
    return values


def _in_a_child(dataset: Dataset) -> npt.NDArray[Any]:
    whole = BytesIO()
    dataset.save_as(whole, enforce_file_format=True)
    command = [sys.executable, "-m", "ich_node.decoding"]
    done = subprocess.run(  # noqa: S603  ourselves
        command, input=whole.getvalue(), capture_output=True, timeout=_CHILD_S, check=False
    )
    if done.returncode != 0:
        raise Undecodable(f"a decoder ended with status {done.returncode}")
    values: npt.NDArray[Any] = np.load(BytesIO(done.stdout), allow_pickle=False)
    return values


def main() -> None:
    """Decode what comes in, in the place of a process that must live."""
    values = BytesIO()
    np.save(values, stored_values(pydicom.dcmread(BytesIO(sys.stdin.buffer.read()))))
    sys.stdout.buffer.write(values.getvalue())


if __name__ == "__main__":
    main()
