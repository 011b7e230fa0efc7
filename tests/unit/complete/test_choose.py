"""Headers alone refuse what is plainly no head CT, and choose among what is left."""

from dataclasses import replace
from itertools import permutations
from pathlib import Path

import pydicom
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydicom import Dataset
from pydicom.uid import BasicTextSRStorage, EnhancedCTImageStorage, MRImageStorage

from ich_node.complete.choose import (
    Kernel,
    SeriesFacts,
    choose_series,
    facts_of,
    kernel_of,
    refuse,
)
from ich_node.errors import Reason
from tests.support import series

AXIAL = ["ORIGINAL", "PRIMARY", "AXIAL"]

GOOD = SeriesFacts(
    series_instance_uid="1.2.3",
    instances=32,
    slices=32,
    ct=32,
    multiframe=0,
    localizers=0,
    computed=0,
    sop_class="CT Image Storage",
    axial=True,
    contrast=False,
    kernel=Kernel.SOFT,
    thickness_mm=5.0,
)


def headers(**values: object) -> list[Dataset]:
    found = series.set_each(**values)(series.head_series())
    for header in found:
        del header.PixelData
    return found


def reason_of(found: list[Dataset]) -> Reason | None:
    refusal = refuse(facts_of(found))
    return refusal.reason if refusal else None


def test_facts_of_a_good_series() -> None:
    facts = facts_of(headers())
    assert facts == replace(
        GOOD,
        series_instance_uid=str(headers()[0].SeriesInstanceUID),
        instances=12,
        slices=12,
        ct=12,
    )
    assert refuse(facts) is None


@pytest.mark.parametrize(
    ("image_type", "reason"),
    [
        (AXIAL, None),
        ([*AXIAL, "CT_SOM5 SPI"], None),
        (["ORIGINAL", "SECONDARY", "AXIAL"], None),
        (["DERIVED", "PRIMARY", "AXIAL"], None),
        (["DERIVED", "SECONDARY", "AXIAL"], None),
        (None, None),
        ("AXIAL", None),
        (["ORIGINAL", "PRIMARY", "LOCALIZER"], Reason.LOCALIZER),
        (["ORIGINAL", "PRIMARY", "localizer"], Reason.LOCALIZER),
        (["DERIVED", "PRIMARY", "MPR"], Reason.NOT_ORIGINAL),
        (["DERIVED", "SECONDARY", "REFORMATTED", "AVERAGE"], Reason.NOT_ORIGINAL),
        (["DERIVED", "SECONDARY", "OTHER"], Reason.NOT_ORIGINAL),
        (["DERIVED", "PRIMARY", "AXIAL", "CT_SOM5 MIP", "MIP"], Reason.NOT_ORIGINAL),
    ],
    ids=str,
)
def test_image_type_tells_localizers_and_computed_pictures(image_type, reason) -> None:
    assert reason_of(headers(ImageType=image_type)) == reason


@pytest.mark.parametrize("sop_class", [MRImageStorage, BasicTextSRStorage, "1.2.3.4", "", None])
def test_series_without_any_ct_image_is_not_ct(sop_class) -> None:
    assert reason_of(headers(SOPClassUID=sop_class)) == Reason.NOT_CT


def test_text_of_not_ct_names_what_it_is() -> None:
    refusal = refuse(facts_of(headers(SOPClassUID=MRImageStorage)))
    assert refusal is not None
    assert refusal.text == "all 12 instances are MR Image Storage, none is a CT image"


def test_the_frames_of_enhanced_ct_count_as_slices() -> None:
    [enhanced] = headers(SOPClassUID=EnhancedCTImageStorage, NumberOfFrames="30")[:1]
    facts = facts_of([enhanced])
    assert (facts.slices, refuse(facts)) == (30, None)
    enhanced.NumberOfFrames = "7"
    assert reason_of([enhanced]) == Reason.TOO_FEW_SLICES


def test_localizers_do_not_count_as_slices() -> None:
    found = headers()[:7]
    found += [series.localizer_of(found[0]) for _ in range(3)]
    refusal = refuse(facts_of(found))
    assert refusal is not None
    assert refusal.reason == Reason.TOO_FEW_SLICES
    assert refusal.text == "7 CT slices; at least 8 are needed"


def test_copies_of_an_instance_do_not_count_as_slices() -> None:
    assert reason_of(headers()[:7] * 2) == Reason.TOO_FEW_SLICES


def test_orientation_tells_axial_from_others_and_unknown() -> None:
    assert facts_of(headers()).axial is True
    assert facts_of(headers(ImageOrientationPatient=[1, 0, 0, 0, 0, -1])).axial is False
    assert facts_of(headers(ImageOrientationPatient=None)).axial is None
    assert facts_of(headers(ImageOrientationPatient=[])).axial is None


@pytest.mark.parametrize(
    ("agent", "contrast"), [(None, False), ("", False), ("NONE", False), ("Omnipaque", True)]
)
def test_contrast_is_what_a_named_agent_says(agent, contrast) -> None:
    found = headers()
    for header in found:
        header.ContrastBolusAgent = agent
    assert facts_of(found).contrast is contrast


def test_damaged_elements_count_as_absent() -> None:
    found = headers()
    for header in found:
        header["SliceThickness"]._value = "thick"
        header["ImageOrientationPatient"]._value = ["a"] * 6
    facts = facts_of(found)
    assert (facts.thickness_mm, facts.axial) == (None, None)
    assert refuse(facts) is None


@pytest.mark.parametrize(
    ("name", "kernel"),
    [
        ("STANDARD", Kernel.SOFT),
        ("STD+", Kernel.SOFT),
        ("BONEPLUS", Kernel.BONE),
        ("UB", Kernel.SOFT),
        ("YA", Kernel.BONE),
        ("FC26", Kernel.SOFT),
        ("FC64", Kernel.SOFT),
        ("FC30", Kernel.BONE),
        ("FC81", Kernel.BONE),
        ("H31s", Kernel.SOFT),
        ("J40s", Kernel.SOFT),
        ("Hr38", Kernel.SOFT),
        ("Hc40f", Kernel.SOFT),
        ("H60s", Kernel.BONE),
        ("Hr59h", Kernel.BONE),
        ("B70f", Kernel.BONE),
        ("", Kernel.UNKNOWN),
        ("SOMETHING NEW", Kernel.UNKNOWN),
    ],
)
def test_kernel_names_of_the_vendors(name: str, kernel: Kernel) -> None:
    assert kernel_of(name) == kernel


WORSE = [
    ({"axial": False}, "is not axial"),
    ({"slices": 12}, "shows only part of a head"),
    ({"contrast": True}, "has contrast agent"),
    ({"kernel": Kernel.UNKNOWN}, "has a less suitable kernel"),
    ({"kernel": Kernel.BONE}, "has a less suitable kernel"),
    ({"thickness_mm": 8.0}, "has a thickness farther from 5 mm"),
    ({"slices": 30}, "has fewer slices"),
    ({"series_instance_uid": "1.2.4"}, "is equally good"),
]


@pytest.mark.parametrize(("change", "why"), WORSE, ids=[why for _, why in WORSE])
def test_the_better_series_is_chosen_and_the_other_says_why_not(change, why) -> None:
    worse = replace(GOOD, **{"series_instance_uid": "1.2.9", **change})
    for pair in permutations((GOOD, worse)):
        chosen, others = choose_series(pair)
        assert chosen is GOOD
        ((passed_over, refusal),) = others
        assert passed_over is worse
        assert refusal.reason == Reason.NOT_CHOSEN
        assert why in refusal.text


ORDERED = [
    {"axial": False},
    {"slices": 12},
    {"contrast": True},
    {"kernel": Kernel.BONE},
    {"thickness_mm": 8.0},
]


@pytest.mark.parametrize("first", range(len(ORDERED)))
def test_a_criterion_outweighs_all_that_come_after_it(first: int) -> None:
    failing_one = replace(GOOD, series_instance_uid="1.2.1", **ORDERED[first])
    failing_later = replace(GOOD, series_instance_uid="1.2.9")
    for change in ORDERED[first + 1 :]:
        failing_later = replace(failing_later, **change)
    assert choose_series([failing_one, failing_later])[0] is failing_later


def test_refused_series_are_listed_with_their_own_reason() -> None:
    scout = replace(GOOD, series_instance_uid="1.2.1", slices=0, localizers=32)
    chosen, others = choose_series([scout, GOOD])
    assert chosen is GOOD
    assert [(facts.series_instance_uid, refusal.reason) for facts, refusal in others] == [
        ("1.2.1", Reason.LOCALIZER)
    ]


def test_nothing_is_chosen_where_all_are_refused() -> None:
    scout = replace(GOOD, slices=0, localizers=32)
    few = replace(GOOD, slices=3)
    chosen, others = choose_series([scout, few])
    assert chosen is None
    assert [refusal.reason for _, refusal in others] == [Reason.LOCALIZER, Reason.TOO_FEW_SLICES]


facts = st.builds(
    SeriesFacts,
    series_instance_uid=st.from_regex(r"1(\.[1-9]){1,3}", fullmatch=True),
    instances=st.integers(1, 300),
    slices=st.integers(0, 300),
    ct=st.integers(0, 300),
    multiframe=st.integers(0, 1),
    localizers=st.integers(0, 2),
    computed=st.integers(0, 10),
    sop_class=st.just("CT Image Storage"),
    axial=st.sampled_from([True, False, None]),
    contrast=st.booleans(),
    kernel=st.sampled_from(Kernel),
    thickness_mm=st.none() | st.floats(0.3, 10),
)


@given(st.lists(facts, max_size=5, unique_by=lambda one: one.series_instance_uid), st.randoms())
def test_choice_does_not_depend_on_the_order_and_leaves_nothing_out(candidates, random) -> None:
    chosen, others = choose_series(candidates)
    shuffled = list(candidates)
    random.shuffle(shuffled)
    assert choose_series(shuffled)[0] is chosen
    told = [one.series_instance_uid for one, _ in others] + (
        [chosen.series_instance_uid] if chosen else []
    )
    assert sorted(told) == sorted(one.series_instance_uid for one in candidates)
    assert (chosen is None) == all(refuse(one) is not None for one in candidates)


@pytest.mark.shared_data
def test_brain_kernel_of_a_real_study_is_chosen(shared_data: Path) -> None:
    """Of brain 5 mm, bone 1 mm, localizer and captures, the brain series is the one to read."""
    study = shared_data / "philips-phantom" / "S21570"
    by_folder = {
        folder.name: facts_of(
            [
                pydicom.dcmread(path, stop_before_pixels=True)
                for path in sorted(folder.iterdir())
                if path.is_file()
            ]
        )
        for folder in sorted(study.iterdir())
        if folder.is_dir()
    }
    chosen, others = choose_series(list(by_folder.values()))
    assert chosen is by_folder["S2010"]
    reasons = {facts.series_instance_uid: refusal.reason for facts, refusal in others}
    assert reasons == {
        by_folder["S1000"].series_instance_uid: Reason.LOCALIZER,
        by_folder["S2030"].series_instance_uid: Reason.NOT_CHOSEN,
        by_folder["S4010"].series_instance_uid: Reason.NOT_CT,
    }
