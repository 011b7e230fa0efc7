"""What can be wrong with a CT series, and what only looks so: mutations of a good one, by name.

``BROKEN`` gives the reason for which each must be refused; ``SOUND`` ones give the same volume.
"""

import numpy as np
from pydicom import Dataset
from pydicom.uid import EnhancedCTImageStorage, SecondaryCaptureImageStorage

from ich_node.errors import Reason
from tests.support.series import (
    MATRIX,
    SPACING_MM,
    Mutation,
    Series,
    copy_of,
    head_hu,
    localizer_of,
    pixels,
    place,
    positions,
    set_each,
    set_hu,
    set_one,
    set_pixels,
    tilted,
    without,
)


def cropped_slice(datasets: Series) -> Series:
    set_pixels(datasets[3], pixels(datasets[3])[:-2])
    return datasets


def raw_values(datasets: Series) -> Series:
    return set_each(RescaleIntercept="0")(datasets)


def moved(vector: tuple[float, float, float], slices: slice) -> Mutation:
    def mutate(datasets: Series) -> Series:
        where = positions(datasets)
        where[slices] += vector
        return place(datasets, where)

    return mutate


def stretched(datasets: Series) -> Series:
    """Thin slices below, thick ones above, as older scanners do for heads."""
    steps = np.where(np.arange(len(datasets)) < 6, 3.0, 7.0)
    where = positions(datasets)
    where[:, 2] = where[0, 2] + np.cumsum(steps)
    return place(datasets, where)


def short_pixels(datasets: Series) -> Series:
    datasets[3].PixelData = datasets[3].PixelData[:-200]
    return datasets


def shared_uid(datasets: Series) -> Series:
    datasets[4].SOPInstanceUID = datasets[3].SOPInstanceUID
    return datasets


def cylinder(datasets: Series, wall: float, inside: float, organs: float | None = None) -> Series:
    """A body that is no head: ribs of wall, something inside, and two large organs in it."""
    hu = head_hu()
    hu[:] = -1000
    rows, columns = np.mgrid[: MATRIX[0], : MATRIX[1]]
    y = (rows - MATRIX[0] / 2) * SPACING_MM[1]
    x = (columns - MATRIX[1] / 2) * SPACING_MM[2]
    radius = np.hypot(y, x)
    hu[:, radius < 80] = inside
    for index, plane in enumerate(hu):
        ribs = np.sin(6 * np.arctan2(y, x) + index) > 0
        plane[(radius > 68) & (radius < 76) & ribs] = wall
    if organs is not None:
        hu[:, np.hypot(y / 60, (np.abs(x) - 35) / 30) < 1] = organs
    return set_hu(datasets, hu)


def moved_each(step: tuple[float, float, float]) -> Mutation:
    """Every slice farther by one more step."""

    def mutate(datasets: Series) -> Series:
        return place(datasets, positions(datasets) + np.outer(np.arange(len(datasets)), step))

    return mutate


def other_pixels(dataset: Dataset, add: int = 1) -> Dataset:
    set_pixels(dataset, pixels(dataset) + add)
    return dataset


def again(acquisition: int, slices: slice = slice(None)) -> Mutation:
    """Some of the slices a second time, with other noise, as another acquisition."""

    def mutate(datasets: Series) -> Series:
        second = [copy_of(dataset, AcquisitionNumber=acquisition) for dataset in datasets[slices]]
        return [*datasets, *(other_pixels(dataset, acquisition) for dataset in second)]

    return mutate


BROKEN: dict[str, tuple[Reason, Mutation]] = {
    "secondary capture": (Reason.NOT_CT, set_one(SOPClassUID=SecondaryCaptureImageStorage)),
    "enhanced": (Reason.MULTIFRAME, set_each(SOPClassUID=EnhancedCTImageStorage)),
    "frames": (Reason.MULTIFRAME, set_one(NumberOfFrames="2")),
    "two patient ids": (Reason.MIXED_PATIENTS, set_one(PatientID="SIMULATED-OTHER")),
    "two patient names": (Reason.MIXED_PATIENTS, set_one(PatientName="SIMULATED^OTHER")),
    "a patient id missing": (Reason.MIXED_PATIENTS, set_one(PatientID=None)),
    "a UID that is none": (Reason.UNREADABLE, set_one(SOPInstanceUID="../../etc/passwd")),
    "two studies": (Reason.MIXED_SERIES, set_one(StudyInstanceUID="1.2.3")),
    "two series": (Reason.MIXED_SERIES, set_one(SeriesInstanceUID="1.2.3")),
    "two frames of reference": (
        Reason.MIXED_FRAME_OF_REFERENCE,
        set_one(FrameOfReferenceUID="1.2.3"),
    ),
    "no position": (Reason.NO_POSITION, set_one(ImagePositionPatient=None)),
    "empty position": (Reason.NO_POSITION, set_one(ImagePositionPatient=[])),
    "no orientation": (Reason.NO_POSITION, set_one(ImageOrientationPatient=None)),
    "skewed orientation": (
        Reason.NO_POSITION,
        set_each(ImageOrientationPatient=[1, 0, 0, 0.5, 0.866025, 0]),
    ),
    "orientation of no length": (
        Reason.NO_POSITION,
        set_each(ImageOrientationPatient=[0, 0, 0, 0, 0, 0]),
    ),
    "no pixel spacing": (Reason.NO_POSITION, set_one(PixelSpacing=None)),
    "pixel spacing of zero": (Reason.NO_POSITION, set_each(PixelSpacing=[0, 0])),
    "one slice turned": (
        Reason.MIXED_ORIENTATION,
        set_one(ImageOrientationPatient=[1, 0, 0, 0, 0.999848, 0.017452]),
    ),
    "one matrix differs": (Reason.MIXED_MATRIX, cropped_slice),
    "one pixel spacing differs": (Reason.MIXED_MATRIX, set_one(PixelSpacing=[3.0, 2.51])),
    "coronal": (Reason.NOT_AXIAL, set_each(ImageOrientationPatient=[1, 0, 0, 0, 0, -1])),
    "sagittal": (Reason.NOT_AXIAL, set_each(ImageOrientationPatient=[0, 1, 0, 0, 0, -1])),
    "turned halfway in the plane": (
        Reason.NOT_AXIAL,
        set_each(ImageOrientationPatient=[0.707107, 0.707107, 0, -0.707107, 0.707107, 0]),
    ),
    "seven slices": (Reason.TOO_FEW_SLICES, lambda datasets: datasets[:7]),
    "localizers only": (
        Reason.LOCALIZER,
        set_each(ImageType=["ORIGINAL", "PRIMARY", "LOCALIZER"]),
    ),
    "sheared more than a gantry tips": (
        Reason.GANTRY_TILT,
        moved_each((0, 4, 0)),
    ),
    "two images at one place": (
        Reason.DUPLICATE_POSITIONS,
        lambda datasets: [*datasets, other_pixels(copy_of(datasets[5]))],
    ),
    "three acquisitions": (
        Reason.DUPLICATE_POSITIONS,
        lambda datasets: [*again(2)(datasets), *again(3)(datasets)[len(datasets) :]],
    ),
    "two kernels of one acquisition": (Reason.DUPLICATE_POSITIONS, again(1)),
    "two images of one uid": (Reason.DUPLICATE_POSITIONS, shared_uid),
    "two slices missing": (Reason.MISSING_SLICES, lambda datasets: datasets[:4] + datasets[6:]),
    "a slice missing in two places": (
        Reason.MISSING_SLICES,
        lambda datasets: datasets[:3] + datasets[4:7] + datasets[8:],
    ),
    "a gap of 16 mm": (Reason.MISSING_SLICES, moved((0, 0, 11.0), slice(6, None))),
    "one slice sideways": (Reason.UNEVEN_SPACING, moved((2.0, 0, 0), slice(5, 6))),
    "upper half sideways": (Reason.UNEVEN_SPACING, moved((4.0, 0, 0), slice(6, None))),
    "no rescale": (Reason.NOT_HU, set_one(RescaleSlope=None, RescaleIntercept=None)),
    "slope of zero": (Reason.NOT_HU, set_one(RescaleSlope="0")),
    "rescaled to something else": (Reason.NOT_HU, set_each(RescaleType="US")),
    "values as stored": (Reason.NOT_HU, raw_values),
    "colour": (Reason.NOT_HU, set_one(PhotometricInterpretation="RGB")),
    "MONOCHROME1": (Reason.MONOCHROME1, set_each(PhotometricInterpretation="MONOCHROME1")),
    "no pixel data": (Reason.NO_PIXEL_DATA, set_one(PixelData=None)),
    "empty pixel data": (Reason.NO_PIXEL_DATA, set_one(PixelData=b"")),
    "pixel data breaks off": (Reason.UNREADABLE, short_pixels),
    "water phantom": (Reason.NOT_A_HEAD, lambda datasets: cylinder(datasets, 120, 0)),
    "chest": (Reason.NOT_A_HEAD, lambda datasets: cylinder(datasets, 500, 40, -850)),
    "pelvis": (Reason.NOT_A_HEAD, lambda datasets: cylinder(datasets, 500, 40, -100)),
    "air": (Reason.NOT_A_HEAD, lambda datasets: cylinder(datasets, -1000, -1000)),
}


def jittered(datasets: Series) -> Series:
    where = positions(datasets)
    where[:, 2] += np.random.default_rng(0).uniform(-0.02, 0.02, len(datasets))
    return place(datasets, where)


def numbered_backwards(datasets: Series) -> Series:
    for number, dataset in enumerate(reversed(datasets), start=1):
        dataset.InstanceNumber = number
    return datasets


def rescaled_slice_by_slice(datasets: Series) -> Series:
    for index, dataset in enumerate(datasets):
        offset = 100 * index
        set_pixels(dataset, 2 * pixels(dataset).astype(np.int64) + offset)
        dataset.BitsStored, dataset.HighBit = 16, 15
        dataset.RescaleSlope = "0.5"
        dataset.RescaleIntercept = str(-1024 - offset / 2)
    return datasets


def padded_below(datasets: Series) -> Series:
    """16-bit signed, and the corners padded with -2000 as GE does."""
    for dataset in datasets:
        stored = pixels(dataset).astype(np.int64) - 1024
        dataset.BitsStored, dataset.HighBit, dataset.PixelRepresentation = 16, 15, 1
        dataset.RescaleIntercept = "0"
        dataset.add_new("PixelPaddingValue", "SS", -2000)
        stored[:4, :4] = -2000
        set_pixels(dataset, stored)
    return datasets


def padded_above(datasets: Series) -> Series:
    """16-bit unsigned, and the corners padded with 63536."""
    for dataset in datasets:
        stored = pixels(dataset)
        dataset.BitsStored, dataset.HighBit = 16, 15
        dataset.add_new("PixelPaddingValue", "US", 63536)
        stored[:4, :4] = 63536
        set_pixels(dataset, stored)
    return datasets


def signed_12_bit(datasets: Series) -> Series:
    """Negative values in the low 12 bits, the others zero, as the standard allows."""
    for dataset in datasets:
        stored = pixels(dataset).astype(np.int64) - 1024
        dataset.PixelRepresentation, dataset.RescaleIntercept = 1, "0"
        set_pixels(dataset, stored & 0x0FFF)
    return datasets


def overlay_in_high_bits(datasets: Series) -> Series:
    for dataset in datasets:
        stored = pixels(dataset)
        stored[10:20] |= 0x3000
        set_pixels(dataset, stored)
    return datasets


def localizer_first(datasets: Series) -> Series:
    return [localizer_of(datasets[0]), *datasets]


def instance_twice(datasets: Series) -> Series:
    return [*datasets, datasets[4], datasets[7]]


# Honest, but no regular grid: resampled, with what `geometry` says of it.
PLACED: dict[str, tuple[str, Mutation]] = {
    "tilt of 20 degrees": ("gantry tilt of +20.0 degrees", lambda ds: tilted(ds, 20)),
    "tilt of -20 degrees": ("gantry tilt of -20.0 degrees", lambda ds: tilted(ds, -20)),
    "tilt of 1 degree": ("gantry tilt of +1.0 degrees", lambda ds: tilted(ds, 1)),
    "a slice missing": ("missing slices: 1, between 20.00 and 30.00 mm", without(5)),
    "a slice missing at a tilt": (
        "missing slices: 1, between 19.32 and 28.98 mm",
        lambda ds: tilted(without(5)(ds), 15),
    ),
    "spacing changes": ("steps of 5 x 3.00 mm, 6 x 7.00 mm", stretched),
    "one slice out of place": (
        "steps of 4 x 5.00 mm, 1 x 6.00 mm, 1 x 4.00 mm, 5 x 5.00 mm",
        moved((0, 0, 1.0), slice(5, 6)),
    ),
}


def numbered_acquisitions(datasets: Series) -> Series:
    """As scanners do that stop for every slice; then all of it again."""
    for index, dataset in enumerate(datasets):
        dataset.AcquisitionNumber = index + 1
    second = [
        copy_of(dataset, AcquisitionNumber=100 + index) for index, dataset in enumerate(datasets)
    ]
    return [*datasets, *(other_pixels(dataset) for dataset in second)]


SOUND: dict[str, Mutation] = {
    "as built": lambda datasets: datasets,
    "reversed": lambda datasets: datasets[::-1],
    "numbered backwards": numbered_backwards,
    "no numbers": set_each(InstanceNumber=None, SliceLocation=None, SliceThickness=None),
    "no frame of reference": set_each(FrameOfReferenceUID=None),
    "rescaled slice by slice": rescaled_slice_by_slice,
    "no rescale type": set_each(RescaleType=None),
    "padded below": padded_below,
    "padded above": padded_above,
    "12 bit signed": signed_12_bit,
    "overlay in the high bits": overlay_in_high_bits,
    "padding value of water": set_each(PixelPaddingValue=1024),
    "localizer inside": localizer_first,
    "an instance twice": instance_twice,
    "an image again under another uid": lambda datasets: [*datasets, copy_of(datasets[5])],
    "all images again under other uids": lambda datasets: [*datasets, *map(copy_of, datasets)],
    "a number for every acquisition": numbered_acquisitions,
    "a second acquisition": again(2),
    "a second acquisition of a part": again(0, slice(3, 8)),
    "names that differ in case": set_one(PatientName="Simulated^Head^^"),
    "derived from lossy": set_each(LossyImageCompression="01"),
}
