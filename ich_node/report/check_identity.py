"""What was written goes by the names that its work planned, in the data set and in the file."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from types import MappingProxyType

import pydicom
from pydicom import Dataset
from pydicom.uid import (
    Comprehensive3DSRStorage,
    EnhancedSRStorage,
    GrayscaleSoftcopyPresentationStateStorage,
    SecondaryCaptureImageStorage,
    SegmentationStorage,
)

from ich_node.errors import CheckFailed
from ich_node.records import Results
from ich_node.report.identity import RESULT_SERIES, Work
from ich_node.report.objects import instance_uid

_CLASSES: Mapping[str, str] = MappingProxyType(
    {
        "seg": SegmentationStorage,
        "sr": Comprehensive3DSRStorage,
        "seg-labelmap": "1.2.840.10008.5.1.4.1.1.66.7",  # Label Map Segmentation Storage
        "sc-summary": SecondaryCaptureImageStorage,
        "sc-overlay": SecondaryCaptureImageStorage,
        "pr": GrayscaleSoftcopyPresentationStateStorage,
    }
)


def check_identity(results: Results, work: Work) -> None:
    """Check SOP Class, SOP Instance and Series Instance UID of every object of a work.

    Raises
    ------
    CheckFailed
        One is not what the work planned, or the file meta information says another one.
    """
    check_other_identities(results.others, work)
    for kind, path in (("seg", results.seg), ("sr", results.sr)):
        if path is not None:
            _check_series(kind, [path], work)


def check_other_identities(others: Mapping[str, Sequence[Path]], work: Work) -> None:
    """Check the same of the objects beside SEG and SR, by kind.

    Raises
    ------
    CheckFailed
        One is not what the work planned, or the file meta information says another one.
    """
    for kind, paths in others.items():
        if kind != "sc":
            _check_series(kind, paths, work)
            continue
        for name in ("sc-summary", "sc-overlay"):
            number = str(RESULT_SERIES[name].number)
            _check_series(name, [path for path in paths if path.name.startswith(number)], work)


def _check_series(name: str, paths: Sequence[Path], work: Work) -> None:
    """Check the objects of one of `identity.RESULT_SERIES`, counted from 1."""
    sop_class = EnhancedSRStorage if name == "sr" and work.enhanced_sr else _CLASSES[name]
    for number, path in enumerate(sorted(paths), start=1):
        built = pydicom.dcmread(path, stop_before_pixels=True)
        uid = instance_uid(work, name, number)
        planned = {
            "SOPClassUID": sop_class,
            "SOPInstanceUID": uid,
            "SeriesInstanceUID": work.uids[f"{name}-series"],
        }
        _check_values(path, built, planned)
        meta = {"MediaStorageSOPClassUID": sop_class, "MediaStorageSOPInstanceUID": uid}
        _check_values(path, built.file_meta, meta)


def _check_values(path: Path, found: Dataset, planned: Mapping[str, str]) -> None:
    for keyword, expected in planned.items():
        value = found.get(keyword)
        if value != expected:
            raise CheckFailed(f"{path.name}: {keyword} is {value}, planned was {expected}")
