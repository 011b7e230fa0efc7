"""Arrivals of a series of CT slices, without files."""

from pathlib import Path

from pydicom.uid import CTImageStorage, ExplicitVRLittleEndian

from ich_node.complete.snapshot import SeriesSnapshot
from ich_node.complete.stack import stack_of
from ich_node.records import Arrival, Placing

AXIAL = "1\\0\\0\\0\\1\\0"


def arrival(number: int | None, height: float | None, name: int | None = None, **placing):
    """An instance whose UID ends in `name`, else in its number, at a height in mm."""
    position = "" if height is None else f"-125\\-120\\{height:g}"
    uid = f"1.2.{number if name is None else name}"
    known = {"image_type": "ORIGINAL\\PRIMARY\\AXIAL", "position": position, "orientation": AXIAL}
    return Arrival(
        uid,
        CTImageStorage,
        ExplicitVRLittleEndian,
        number,
        Path(uid),
        0.0,
        Placing(**(known | placing)),
    )


def head(slices: int = 32, step: float = 5.0) -> list[Arrival]:
    """A series of slices from inferior to superior."""
    return [arrival(index + 1, index * step) for index in range(slices)]


def snapshot(arrivals: list[Arrival], **values) -> SeriesSnapshot:
    """A series whose last image came at 1000 s."""
    known = {
        "instances": len(arrivals),
        "last_received": 1000.0,
        "open_associations": 0,
        "longest_pause_s": 0.1,
        "stack": stack_of(arrivals),
        "ends_outside": True,
    }
    return SeriesSnapshot(**(known | values))
