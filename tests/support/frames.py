"""Multi-frame CT: the slices of a series as the frames of one instance."""

import tempfile
from collections.abc import Sequence
from pathlib import Path

import highdicom as hd
from pydicom import Dataset, dcmread
from pydicom.uid import ExplicitVRLittleEndian, generate_uid

from tests.support.series import write


def multiframe(datasets: Sequence[Dataset], path: Path, sop_class: str) -> Path:
    """Write one instance of all slices, the frames in the order given."""
    with tempfile.TemporaryDirectory() as single:
        made = hd.legacy.LegacyConvertedEnhancedCTImage(
            [dcmread(one) for one in write(datasets, Path(single))],
            series_instance_uid=generate_uid(),
            series_number=3,
            sop_instance_uid=generate_uid(),
            instance_number=1,
            transfer_syntax_uid=ExplicitVRLittleEndian,
        )
    made.SOPClassUID = made.file_meta.MediaStorageSOPClassUID = sop_class
    path.parent.mkdir(parents=True, exist_ok=True)
    made.save_as(path, enforce_file_format=True)
    return path
