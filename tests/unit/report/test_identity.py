"""The same work gives the same UIDs, other work gives others (PS3.5 9.1)."""

from dataclasses import replace

import pydicom
import pytest
from pydicom.uid import UID

from ich_node.errors import Reason
from ich_node.records import Refusal, Superseded, Wanted
from ich_node.report import identity
from ich_node.report.identity import RESULT_SERIES, series_description, work_of
from tests.support.volumes import MODEL, make_prediction

SOURCES = ["1.2.3", "1.2.4"]


def test_the_order_of_the_sources_is_of_no_matter():
    assert work_of(SOURCES, MODEL) == work_of(SOURCES[::-1], MODEL)


@pytest.mark.parametrize(
    "other", [{"sha256": "cd" * 32}, {"precision": "bf16"}, {"device": "cuda"}], ids=str
)
def test_another_model_precision_or_device_gives_other_uids(other: dict):
    before, after = work_of(SOURCES, MODEL), work_of(SOURCES, replace(MODEL, **other))
    assert not set(before.uids.values()) & set(after.uids.values())


def test_other_sources_give_other_uids():
    before, after = work_of(SOURCES, MODEL), work_of([*SOURCES, "1.2.5"], MODEL)
    assert not set(before.uids.values()) & set(after.uids.values())


def test_another_version_of_the_software_gives_other_uids(monkeypatch):
    before = work_of(SOURCES, MODEL)
    monkeypatch.setattr(identity, "__version__", "99")
    after = work_of(SOURCES, MODEL)
    assert not set(before.uids.values()) & set(after.uids.values())
    assert before.device_uid != after.device_uid


def test_another_form_of_the_sr_gives_other_uids_and_other_kinds_do_not():
    """SEG and SR kept from before stay what they are when a destination asks for more."""
    before = work_of(SOURCES, MODEL)
    after = work_of(SOURCES, MODEL, wanted=Wanted(enhanced_sr=True))
    assert not set(before.uids.values()) & set(after.uids.values())
    assert work_of(SOURCES, MODEL, wanted=Wanted(("sc", "pr"))) == before


def test_another_reason_gives_other_uids():
    uids = [
        set(work_of(SOURCES, Refusal(reason, text)).uids.values())
        for reason, text in (
            (Reason.GANTRY_TILT, "a"),
            (Reason.NOT_A_HEAD, "a"),
            (Reason.GANTRY_TILT, "b"),
        )
    ]
    assert len(set.union(*uids)) == sum(map(len, uids))


def test_the_device_changes_with_the_weights_and_not_with_the_sources():
    """IHE AIR: Device UID changes when the model is changed."""
    assert work_of(SOURCES, MODEL).device_uid == work_of(["9"], MODEL).device_uid
    retrained = replace(MODEL, sha256="cd" * 32)
    assert work_of(SOURCES, MODEL).device_uid != work_of(SOURCES, retrained).device_uid


def test_uids_are_valid_and_all_different():
    work = work_of(SOURCES, MODEL)
    uids = [*work.uids.values(), work.device_uid]
    assert len(set(uids)) == len(uids)
    assert all(UID(uid).is_valid for uid in uids)


def test_a_rebuild_gives_equal_uids_throughout_and_equal_pixels(build):
    """Also those that the library would draw at random, such as Dimension Organization UID."""

    def uids(dataset: pydicom.Dataset) -> list[tuple[int, str]]:
        return [(e.tag, str(e.value)) for e in dataset.iterall() if e.VR == "UI"]

    first, second = build(), build()
    assert uids(first.seg) == uids(second.seg)
    assert uids(first.sr) == uids(second.sr)
    assert first.seg.PixelData == second.seg.PixelData


def test_objects_of_another_model_share_no_identity(build):
    first = build()
    other = make_prediction(first.prediction.labels, model=replace(MODEL, sha256="cd" * 32))
    second = build(prediction=other)
    for kind in ("seg", "sr"):
        before, after = getattr(first, kind), getattr(second, kind)
        assert before.SOPInstanceUID != after.SOPInstanceUID
        assert before.SeriesInstanceUID != after.SeriesInstanceUID
        assert before.StudyInstanceUID == after.StudyInstanceUID


def test_every_kind_of_result_has_a_series_of_its_own_that_hanging_protocols_can_name(build):
    """Number and description are fixed; the description ends with what it is not for."""
    assert {name: tuple(series) for name, series in RESULT_SERIES.items()} == {
        "seg": (9701, "ICH AI segmentation"),
        "sr": (9702, "ICH AI report"),
        "seg-labelmap": (9703, "ICH AI label map"),
        "sc-summary": (9704, "ICH AI summary"),
        "sc-overlay": (9705, "ICH AI overlay"),
        "pr": (9706, "ICH AI outlines"),
    }
    work = work_of(SOURCES, MODEL)
    for name, series in RESULT_SERIES.items():
        description = series_description(name, work)
        assert description == f"{series.description}, research use only, not for diagnosis"
        assert len(description) <= 64
        later = replace(work, supersedes=Superseded(1234, "1.2", "1.3", "1.4"))
        assert series_description(name, later).startswith(series.description)
    built = build()
    assert (built.seg.SeriesNumber, built.sr.SeriesNumber) == (9701, 9702)
    assert built.sr.SeriesDescription == series_description("sr", work)
