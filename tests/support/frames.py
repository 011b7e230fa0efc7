"""Multi-frame CT: the slices of a series as the frames of one instance."""

import tempfile
from collections.abc import Sequence
from pathlib import Path

import highdicom as hd
from pydicom import Dataset, dcmread
from pydicom.uid import ExplicitVRLittleEndian

from ich_node.uids import derive
from tests.support.series import write


def multiframe(
    datasets: Sequence[Dataset],
    path: Path,
    sop_class: str,
    syntax: str = ExplicitVRLittleEndian,
) -> Path:
    """Write one instance of all slices, the frames in the order given."""
    first = datasets[0]
    with tempfile.TemporaryDirectory() as single:
        made = hd.legacy.LegacyConvertedEnhancedCTImage(
            [dcmread(one) for one in write(datasets, Path(single))],
            series_instance_uid=derive("frames", sop_class, str(first.SeriesInstanceUID)),
            series_number=3,
            sop_instance_uid=derive("frames", sop_class, str(first.SOPInstanceUID)),
            instance_number=1,
            transfer_syntax_uid=syntax,
        )
    _settle(made, first)
    made.SOPClassUID = made.file_meta.MediaStorageSOPClassUID = sop_class
    path.parent.mkdir(parents=True, exist_ok=True)
    made.save_as(path, enforce_file_format=True)
    return path


def _settle(made: Dataset, first: Dataset) -> None:
    """Take out what the moment and chance have put in: a seed gives the same bytes."""
    settled = {
        "InstanceCreationTime": "120000",
        "ContributionDateTime": "20260101120000",
        "DimensionOrganizationUID": derive("dimensions", str(first.SeriesInstanceUID)),
    }
    for element in made.iterall():
        if element.keyword in settled:
            element.value = settled[element.keyword]
