"""Studies that differ in what results are built from: geometry, pixels, headers, findings.

Each says what must come of it, and who reads it: a stand-in for the network that knows where the
blood is.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
from pydicom import Dataset, config
from pydicom.uid import (
    EnhancedCTImageStorage,
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
    LegacyConvertedEnhancedCTImageStorage,
    RLELossless,
)

from ich_node.codes import SUBTYPES
from ich_node.geometry import PlaneMap
from ich_node.records import CtVolume, Prediction
from ich_node.selftest.head import load_head
from ich_node.selftest.series import write_series
from tests.support.frames import multiframe
from tests.support.mutations import BROKEN, PLACED, SOUND
from tests.support.series import (
    Mutation,
    Series,
    angled,
    head_series,
    set_each,
    tilted,
    turned,
    write,
)
from tests.support.volumes import make_prediction

Predict = Callable[[CtVolume], Prediction]
POSITIVE, NEGATIVE, NOT_ANALYSED = "positive", "negative", "not analysed"
NO_MASK = "present without a mask"
_BLOOD_HU = (58, 72)


@dataclass(frozen=True)
class Study:
    """A study to be sent: how its files are written, who reads it, and what must come of it."""

    name: str
    expected: str
    save: Callable[[Path, int], object]
    network: Predict
    enhanced_sr: bool = False


def bleeding(*subtypes: str, empty: Sequence[str] = ()) -> Predict:
    """A network that finds the blood, and divides it from the right to the left among subtypes.

    Those of ``empty`` are present without a voxel.
    """

    def network(volume: CtVolume) -> Prediction:
        low, high = _BLOOD_HU
        blood = (volume.hu > low) & (volume.hu < high)
        found = np.flatnonzero(blood.any((0, 1)))
        edges = np.linspace(found[0], found[-1] + 1, len(subtypes) + 1).round().astype(int)
        labels = np.zeros(volume.hu.shape, np.uint8)
        for name, first, after in zip(subtypes, edges[:-1], edges[1:], strict=True):
            labels[..., first:after] = 1 + SUBTYPES.index(name)
        return make_prediction(np.where(blood, labels, 0).astype(np.uint8), present=empty)

    return network


def clean(volume: CtVolume) -> Prediction:
    """A network that finds nothing."""
    return make_prediction(np.zeros(volume.hu.shape, np.uint8))


def present_without_mask(volume: CtVolume) -> Prediction:
    return make_prediction(np.zeros(volume.hu.shape, np.uint8), present=["subarachnoid"])


def ball(centre_mm: tuple[float, float, float], radius_mm: float) -> Predict:
    """A network that finds a ball at a place in the patient."""

    def network(volume: CtVolume) -> Prediction:
        index = np.moveaxis(np.indices(volume.hu.shape), 0, -1) * volume.spacing_mm
        points = np.array(volume.origin_mm) + index @ np.array(volume.direction).T
        near = np.linalg.norm(points - np.array(centre_mm), axis=-1) < radius_mm
        label = 1 + SUBTYPES.index("intraparenchymal")
        return make_prediction(np.where(near, label, 0).astype(np.uint8))

    return network


def _never(_volume: CtVolume) -> Prediction:
    raise AssertionError("a series that must not be read came to the network")


def _sent(mutate: Mutation, syntax: str = ExplicitVRLittleEndian) -> Callable[[Path, int], object]:
    def save(folder: Path, seed: int) -> None:
        with config.disable_value_validation():  # as scanners send it, not as it should be
            write(mutate(head_series(seed)), folder, syntax)

    return save


def _multiframe(mutate: Mutation, sop_class: str) -> Callable[[Path, int], object]:
    """All slices as frames of one instance, in the order that the mutation gives them."""

    def save(folder: Path, seed: int) -> None:
        multiframe(mutate(head_series(seed)), folder / "all.dcm", sop_class)

    return save


def _full_size(folder: Path, seed: int) -> None:
    head = load_head(seed)
    write_series(head.hu, folder, spacing_mm=head.spacing_mm, seed=seed)


def _full_size_network(volume: CtVolume) -> Prediction:
    head = load_head(0)
    label = 1 + SUBTYPES.index(head.subtype)
    return make_prediction(np.where(head.bleed, label, 0).astype(np.uint8))


def _named(character_set: str | list[str], name: str, study: str) -> Mutation:
    return set_each(SpecificCharacterSet=character_set, PatientName=name, StudyDescription=study)


_TYPE_2 = (
    *("PatientName", "PatientID", "PatientBirthDate", "PatientSex", "StudyID", "AccessionNumber"),
    *("StudyDate", "StudyTime", "ReferringPhysicianName"),
)


def _bare(datasets: Series) -> Series:
    """Nothing of the patient and the study, nor of what else may be left out."""
    optional = ("StudyDescription", "SeriesNumber", "PositionReferenceIndicator", "Manufacturer")
    return set_each(**dict.fromkeys((*_TYPE_2, *optional, "BodyPartExamined")))(datasets)


def _deidentified(datasets: Series) -> Series:
    emptied = dict.fromkeys(_TYPE_2, "")
    return set_each(**emptied, PatientIdentityRemoved="YES")(datasets)


def _procedure() -> Dataset:
    code = Dataset()
    code.CodeValue, code.CodingSchemeDesignator, code.CodeMeaning = "CTH", "99LOCAL", "m" * 80
    return code


def _malformed(datasets: Series) -> Series:
    return set_each(
        PatientBirthDate="1950-01-01",
        PatientAge="75",
        PatientSex="female",
        StudyTime="12:00:00",
        StudyDescription="d" * 90,
        InstitutionName="i" * 90,
        ProcedureCodeSequence=[_procedure()],
    )(datasets)


_ONE = bleeding("intraparenchymal")
_TWO = bleeding("subdural", "subarachnoid")


def _positive(name: str, mutate: Mutation, network: Predict = _ONE, **how: str) -> Study:
    return Study(name, POSITIVE, _sent(mutate, **how), network)


def _refused(name: str, mutate: Mutation) -> Study:
    return Study(name, NOT_ANALYSED, _sent(mutate), _never)


STUDIES = (
    _positive("one bleed", SOUND["as built"]),
    _positive("all five subtypes", SOUND["as built"], bleeding(*SUBTYPES)),
    _positive(
        "a subtype without a voxel beside another",
        SOUND["as built"],
        bleeding("subdural", empty=["subarachnoid"]),
    ),
    Study("512 x 512", POSITIVE, _full_size, _full_size_network),
    # Geometry.
    _positive("gantry tilt", PLACED["tilt of 20 degrees"][1], _TWO),
    _positive("a slice missing at a tilt", PLACED["a slice missing at a tilt"][1]),
    _positive("thin below, thick above", PLACED["spacing changes"][1], _TWO),
    _positive("one slice out of place", PLACED["one slice out of place"][1]),
    _positive("feet first", lambda one: turned(one, PlaneMap(), feet_first=True)),
    _positive("prone", lambda one: turned(one, PlaneMap(False, True, True)), _TWO),
    _positive("transposed", lambda one: turned(one, PlaneMap(True, False, False))),
    _positive("angled, not tilted", partial(angled, degrees=15)),
    _positive("two acquisitions", SOUND["a second acquisition"]),
    _positive("a localizer inside", SOUND["localizer inside"]),
    _positive("no frame of reference", SOUND["no frame of reference"]),
    _positive("no numbers, no thickness", SOUND["no numbers"]),
    Study(
        "Enhanced CT",
        POSITIVE,
        _multiframe(lambda one: one[::-1], EnhancedCTImageStorage),
        _TWO,
    ),
    Study(
        "Legacy Converted Enhanced CT, tilted",
        POSITIVE,
        _multiframe(partial(tilted, degrees=15), LegacyConvertedEnhancedCTImageStorage),
        _ONE,
    ),
    # Pixels.
    _positive("RLE", SOUND["rescaled slice by slice"], syntax=RLELossless),
    _positive("big endian", SOUND["padded below"], syntax=ExplicitVRBigEndian),
    _positive(
        "implicit VR, once lossy", SOUND["derived from lossy"], syntax=ImplicitVRLittleEndian
    ),
    # Headers.
    _positive("nothing of patient and study", _bare),
    _positive("deidentified", _deidentified),
    _positive("malformed values", _malformed),
    _positive(
        "a Japanese name",
        _named(["", "ISO 2022 IR 87"], "Yamada^Tarou=山田^太郎=やまだ^たろう", "頭部"),
    ),
    _positive("a Western name", _named("ISO_IR 100", "Buc^Jérôme", "Crâne")),
    # No haemorrhage.
    Study("clean", NEGATIVE, _sent(SOUND["as built"]), clean),
    Study(
        "clean, tilted, a Chinese name",
        NEGATIVE,
        _sent(lambda one: tilted(_named("GB18030", "Wang^XiaoDong=王^小东", "头")(one), 10)),
        clean,
    ),
    Study("present without a mask", NO_MASK, _sent(_bare), present_without_mask),
    # Not analysed.
    _refused("contrast medium", set_each(ContrastBolusAgent="OMNIPAQUE 350")),
    _refused(
        "bone kernel, a Korean name",
        set_each(
            SpecificCharacterSet=["", "ISO 2022 IR 149"],
            PatientName="Hong^Gildong=洪^吉洞=홍^길동",
            ConvolutionKernel="BONEPLUS",
        ),
    ),
    _refused("slices missing", BROKEN["two slices missing"][1]),
    _refused("two patients", BROKEN["two patient ids"][1]),
    _refused("multi-frame without its groups", BROKEN["enhanced"][1]),
    _refused(
        "nothing of the patient, no position", lambda one: BROKEN["no position"][1](_bare(one))
    ),
    _refused("water in plastic", BROKEN["water phantom"][1]),
    # The same as Enhanced SR.
    Study("enhanced: two subtypes", POSITIVE, _sent(SOUND["as built"]), _TWO, enhanced_sr=True),
    Study("enhanced: clean", NEGATIVE, _sent(SOUND["as built"]), clean, enhanced_sr=True),
    Study(
        "enhanced: slices missing",
        NOT_ANALYSED,
        _sent(BROKEN["two slices missing"][1]),
        _never,
        enhanced_sr=True,
    ),
)


def real_studies(data: Path) -> tuple[Study, ...]:
    """Real scans, where there are any: files are read where they are."""

    def linked(source: str) -> Callable[[Path, int], object]:
        def save(folder: Path, _seed: int) -> None:
            folder.mkdir(parents=True)
            for path in sorted((data / source).iterdir()):
                (folder / path.name).symlink_to(path)

        return save

    if not data.is_dir():
        return ()
    return (
        Study(
            "a real head, tilted, in two sections",
            POSITIVE,
            linked("ge-head-tilt"),
            ball((28.0, 8.0, 32.0), 18.0),
        ),
        Study("a real phantom", NOT_ANALYSED, linked("philips-phantom/S21570/S2010"), _never),
    )
