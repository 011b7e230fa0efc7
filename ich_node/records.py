"""The frozen records that stages hand to one another, and nothing else."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ich_node.errors import Reason
from ich_node.states import AnnouncementState

if TYPE_CHECKING:  # they take a third of the time that `studies` needs to start
    import numpy as np
    import numpy.typing as npt
    from pydicom import Dataset

    from ich_node.geometry import PlaneMap


@dataclass(frozen=True)
class Placing:
    """What the header of an image says of its place in the series, as it stands there.

    Image Type, Image Position (Patient) and Image Orientation (Patient) are DICOM's own text with
    backslashes, empty where they are missing; Acquisition Number and Images in Acquisition are
    None there.
    """

    image_type: str = ""
    position: str = ""
    orientation: str = ""
    acquisition: int | None = None
    in_acquisition: int | None = None


@dataclass(frozen=True)
class Received:
    """One instance as it lies in the spool: the header pass, without pixels.

    ``path`` is the stored file; ``sha256`` is of the data set's bytes as they came (without file
    meta information); ``number`` is Instance Number or None; ``source`` is the configured name of
    the peer; ``placing`` is what tells where the image belongs.
    """

    sop_class_uid: str
    sop_instance_uid: str
    study_instance_uid: str
    series_instance_uid: str
    modality: str
    transfer_syntax_uid: str
    number: int | None
    path: Path
    sha256: str
    size: int
    source: str
    calling_ae: str
    patient_id: str
    study_date: str
    series_description: str
    placing: Placing = field(default_factory=Placing)


@dataclass(frozen=True)
class Sender:
    """Who sends in one association: ``association`` names it, ``address`` is the peer's."""

    association: str
    calling_ae: str
    address: str
    source: str


@dataclass(frozen=True)
class Arrival:
    """One instance of a series that is being received. ``received_at`` in seconds of the epoch."""

    sop_instance_uid: str
    sop_class_uid: str
    transfer_syntax_uid: str
    number: int | None
    path: Path
    received_at: float
    placing: Placing


@dataclass(frozen=True)
class Referenced:
    """An instance that a list names, and its series where the list says so."""

    sop_class_uid: str
    sop_instance_uid: str
    series_instance_uid: str | None = None


@dataclass(frozen=True)
class Announcement:
    """A list of instances that a sender says there are: the request of one service.

    ``uid`` is the Transaction UID of a storage commitment, else the SOP Instance UID.
    """

    uid: str
    kind: str
    state: AnnouncementState
    calling_ae: str
    members: tuple[Referenced, ...]


@dataclass(frozen=True)
class Expected:
    """What lists of some kinds say of a series: listed instances, missing ones, unlisted ones."""

    kinds: tuple[str, ...]
    listed: int
    missing: int
    unlisted: int


@dataclass(frozen=True)
class Revision:
    """A series as it was when it was found complete: what is analysed together.

    ``paths`` are the stored instances in no particular order, ``sop_instance_uids`` their names in
    the same order; ``evidence`` says what made the series complete.
    """

    study_instance_uid: str
    series_instance_uid: str
    number: int
    paths: tuple[Path, ...]
    sop_instance_uids: tuple[str, ...]
    evidence: str

    @property
    def key(self) -> str:
        """Identifier in the database and in job names: ``<series uid>:<number>``."""
        return f"{self.series_instance_uid}:{self.number}"


@dataclass(frozen=True)
class FrameName:
    """How others know a frame of a multi-frame image; ``number`` counts from 1."""

    sop_class_uid: str
    sop_instance_uid: str
    number: int


@dataclass(frozen=True)
class SourceSlices:
    """The slices of a series where they were taken, turned as axial head CT is read.

    They are parallel and need be nothing else: unevenly spaced, or sheared by a tilted gantry.

    Parameters
    ----------
    hu
        float32, shape (slice, row, column), HU; axes as those of `CtVolume.hu`.
    headers
        Data sets without pixels, one a slice.
    plane_map
        Turns a slice as it was sent into a plane of ``hu``; its inverse brings a mask back to the
        rows and columns that were sent.
    origins_mm
        Shape (slice, 3); patient coordinates (LPS) of the voxels (slice, 0, 0), mm.
    direction
        3x3; column *i* is the unit vector (LPS) along axis *i* of ``hu``, the first their normal.
    pixel_spacing_mm
        Distance between neighbouring rows and between neighbouring columns, mm.
    extents_mm
        Shape (slice,); how much of the patient each slice stands for along the normal, mm.
    frames
        For slices that came as frames of a multi-frame image, by the SOP Instance UID in their
        header, which is our own.
    """

    hu: npt.NDArray[np.float32]
    headers: tuple[Dataset, ...]
    plane_map: PlaneMap
    origins_mm: npt.NDArray[np.float64]
    direction: tuple[tuple[float, float, float], ...]
    pixel_spacing_mm: tuple[float, float]
    extents_mm: npt.NDArray[np.float64]
    frames: Mapping[str, FrameName] = field(default_factory=dict)

    @property
    def voxels_ml(self) -> npt.NDArray[np.float64]:
        """Volume of a voxel of each slice, shape (slice,), mL."""
        return self.extents_mm * math.prod(self.pixel_spacing_mm) / 1000.0


@dataclass(frozen=True)
class CtVolume:
    """A checked CT volume in HU on a regular right-angled grid, turned as axial head CT is read.

    Parameters
    ----------
    hu
        float32, shape (slice, row, column), HU. Axis 0 inferior to superior, axis 1 anterior to
        posterior, axis 2 patient's right to left.
    spacing_mm
        Distance between neighbours along the three axes of ``hu``, mm.
    origin_mm
        Patient coordinates (LPS) of voxel (0, 0, 0), mm.
    direction
        3x3; column *i* is the unit vector (LPS) along axis *i* of ``hu``.
    source
        The slices it was made from. Where they lie on a regular grid already, it is this one.
    geometry
        What was found and done, for `result.json`.
    """

    hu: npt.NDArray[np.float32]
    spacing_mm: tuple[float, float, float]
    origin_mm: tuple[float, float, float]
    direction: tuple[tuple[float, float, float], ...]
    source: SourceSlices
    geometry: Mapping[str, Any]

    @property
    def voxel_ml(self) -> float:
        """Volume of one voxel, mL."""
        return math.prod(self.spacing_mm) / 1000.0

    @classmethod
    def of_even_slices(
        cls,
        hu: npt.NDArray[np.float32],
        spacing_mm: tuple[float, float, float],
        origin_mm: tuple[float, float, float] = (0.0, 0.0, 0.0),
        headers: tuple[Dataset, ...] = (),
        plane_map: PlaneMap | None = None,
    ) -> CtVolume:
        """Return the volume of axial slices that lie straight over one another, evenly spaced."""
        import numpy as np

        from ich_node.geometry import PlaneMap

        heights = np.arange(len(hu)) * spacing_mm[0]
        direction = ((0.0, 0.0, 1.0), (0.0, 1.0, 0.0), (1.0, 0.0, 0.0))
        source = SourceSlices(
            hu=hu,
            headers=headers,
            plane_map=plane_map or PlaneMap(),
            origins_mm=np.array(origin_mm) + np.outer(heights, np.array(direction)[:, 0]),
            direction=direction,
            pixel_spacing_mm=spacing_mm[1:],
            extents_mm=np.full(len(hu), spacing_mm[0]),
        )
        return cls(hu, spacing_mm, origin_mm, direction, source, {})


@dataclass(frozen=True)
class ModelIdentity:
    """Which model gave a result and how it ran.

    ``device`` is the kind (``cpu`` or ``cuda``), ``precision`` is ``fp32`` or ``bf16``: both are
    part of the identity because they change the numbers.
    """

    name: str
    version: str
    sha256: str
    device: str
    precision: str


@dataclass(frozen=True)
class ClassScore:
    """Calibrated probability (0..1) of one class, its threshold in the bundle, and the verdict."""

    probability: float
    threshold: float
    present: bool


@dataclass(frozen=True)
class Prediction:
    """What the network says of one volume, slice by slice of its grid or of its source.

    Parameters
    ----------
    scores
        One entry for each of `codes.CLASSES`.
    slice_probabilities
        Probability of `any` for each index of axis 0.
    labels
        uint8, shape and axes as `CtVolume.hu` where the network gives them, as `SourceSlices.hu`
        once they are brought back: 0, or 1 + index into `codes.SUBTYPES`. A class
        that is not present has no voxel.
    model
        What gave these numbers.
    notes
        What people should know of how they came about.
    """

    scores: Mapping[str, ClassScore]
    slice_probabilities: tuple[float, ...]
    labels: npt.NDArray[np.uint8]
    model: ModelIdentity
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class Refusal:
    """Why a series was not analysed: a code, and a sentence for people."""

    reason: Reason
    text: str


@dataclass(frozen=True)
class Superseded:
    """The report of an earlier revision of a series, whose place a new one takes.

    ``revision`` is its number; the UIDs are those of its SR; ``same_images``: of the same images.
    """

    revision: int
    sop_class_uid: str
    sop_instance_uid: str
    series_instance_uid: str
    same_images: bool = False


@dataclass(frozen=True)
class Edition:
    """What of a result does not follow from its work: it stays as it was when it was first made.

    ``made`` is that time, by the clock on the node's wall, as it stands in the objects;
    ``supersedes`` the report whose place it takes, if any.
    """

    made: datetime
    supersedes: Superseded | None = None


@dataclass(frozen=True)
class Wanted:
    """What a site wants of results beyond a SEG and an SR.

    Parameters
    ----------
    kinds
        Kinds of result to build besides, of those that a destination's `outputs` takes.
    enhanced_sr
        The SR is an Enhanced SR instead of a Comprehensive 3D SR.
    """

    kinds: tuple[str, ...] = ()
    enhanced_sr: bool = False


@dataclass(frozen=True)
class Results:
    """The objects built for one revision, kept as files and sent byte for byte.

    ``seg`` is None unless a mask has voxels. ``volumes_ml`` has one entry for each of
    `codes.CLASSES`, or is empty for a refused series. ``others`` are the objects of every other
    kind that was asked for and could be made.
    """

    seg: Path | None
    sr: Path
    volumes_ml: Mapping[str, float] = field(default_factory=dict)
    others: Mapping[str, tuple[Path, ...]] = field(default_factory=dict)


@dataclass(frozen=True)
class Verdict:
    """What a destination answered to one object.

    ``status`` is the DIMSE status, None where no answer came. ``stored`` holds for success and
    for the storage warnings (PS3.4 B.2.3); ``transient`` says that trying again makes sense;
    ``class_refused`` that no object of this SOP class is taken there, and ``replaced`` that others
    went in its place.
    """

    kind: str
    sop_instance_uid: str
    status: int | None
    stored: bool
    transient: bool
    text: str
    sop_class_uid: str = ""
    class_refused: bool = False
    replaced: bool = False

    @property
    def final(self) -> bool:
        """The object itself was refused, and sending it again makes no sense.

        A SOP class that is not taken is asked for at each attempt: it may be switched on.
        """
        return not (self.stored or self.transient or self.class_refused or self.replaced)


@dataclass(frozen=True)
class CheckItem:
    """One line of `check`: what was looked at, whether it will do, and what was found."""

    name: str
    ok: bool
    text: str
