"""Stored bits become the HU that the header says, or the header is not believed."""

import numpy as np
import pytest
from pydicom.dataset import FileMetaDataset
from pydicom.uid import ExplicitVRLittleEndian

from ich_node.assemble.pixels import hounsfield
from ich_node.assemble.source import SourceImage
from ich_node.errors import Reason, SeriesRefused
from tests.support import series


def image(stored, *, bits: int, signed: bool, high_bit: int | None = None, intercept: float = 0):
    """One slice with these 16-bit words in memory."""
    dataset = series.head_series(slices=1)[0]
    dataset.file_meta = FileMetaDataset()
    dataset.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    dataset.BitsStored = bits
    dataset.HighBit = bits - 1 if high_bit is None else high_bit
    dataset.PixelRepresentation = int(signed)
    dataset.RescaleIntercept = str(intercept)
    words = np.array(stored, dtype=np.uint16)
    dataset.Rows, dataset.Columns = words.shape
    dataset.PixelData = words.tobytes()
    return SourceImage("slice.dcm", dataset)


def test_signed_12_bit_values_are_sign_extended() -> None:
    """0xC18 in twelve bits is -1000, whatever the four bits above hold."""
    found = hounsfield([image([[0x0C18, 0xFC18, 0x5C18, 0x0028]], bits=12, signed=True)])
    assert found.tolist() == [[[-1000, -1000, -1000, 40]]]


def test_bits_above_high_bit_do_not_count() -> None:
    found = hounsfield([image([[24, 0xF000 | 1064]], bits=12, signed=False, intercept=-1024)])
    assert found.tolist() == [[[-1000, 40]]]


def test_value_that_does_not_lie_in_the_lowest_bits_is_refused() -> None:
    shifted = image([[24 << 4, 1064 << 4]], bits=12, signed=False, high_bit=15)
    with pytest.raises(SeriesRefused, match=r"High Bit \(0028,0102\) is 15.*; send ") as raised:
        hounsfield([shifted])
    assert raised.value.reason == Reason.UNREADABLE


def test_values_below_air_become_minus_1024() -> None:
    words = np.array([[-3024, -2000, -1025, -1000, 40]], np.int16).view(np.uint16)
    found = hounsfield([image(words, bits=16, signed=True)])
    assert found.tolist() == [[[-1024, -1024, -1024, -1000, 40]]]


def test_padding_is_no_air_when_the_unit_is_judged() -> None:
    """Padding of -2000 beside values shifted by 1024 does not make them look like HU."""
    words = np.full((4, 4), 1064, np.int16)
    words[0] = -2000
    with pytest.raises(SeriesRefused, match=r"0\.00 % are air") as raised:
        hounsfield([image(words.view(np.uint16), bits=16, signed=True)])
    assert raised.value.reason == Reason.NOT_HU


def test_metal_keeps_its_value() -> None:
    words = np.array([[-1000, 30000]], np.int16).view(np.uint16)
    assert hounsfield([image(words, bits=16, signed=True)]).max() == 30000


@pytest.mark.parametrize("slope", ["abc", "0", "-1", ""])
def test_slope_that_is_no_positive_number_is_refused(slope: str) -> None:
    broken = image([[24, 1064]], bits=12, signed=False, intercept=-1024)
    broken.dataset.RescaleSlope = None
    if slope:
        broken.dataset["RescaleSlope"]._value = slope
    with pytest.raises(SeriesRefused, match="Rescale Slope") as raised:
        hounsfield([broken])
    assert raised.value.reason == Reason.NOT_HU
