"""Headers alone refuse what is plainly no head CT, and choose among what is left."""

from dataclasses import replace
from itertools import permutations
from pathlib import Path

import pydicom
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydicom import DataElement, Dataset
from pydicom.uid import BasicTextSRStorage, EnhancedCTImageStorage, MRImageStorage

from ich_node.complete.choose import (
    choose_series,
    is_better,
    is_told,
    may_become_better,
    notes,
    passed_over,
    refuse,
    speaker,
)
from ich_node.complete.facts import SeriesFacts, facts_of
from ich_node.complete.words import Kernel, kernel_of
from ich_node.errors import Reason
from ich_node.records import Refusal
from ich_node.settings import Selection
from tests.support import series

RULES = Selection()
AXIAL = ["ORIGINAL", "PRIMARY", "AXIAL"]

GOOD = SeriesFacts(
    series_instance_uid="1.2.3",
    instances=32,
    slices=32,
    ct=32,
    axial=True,
    kernel=Kernel.SOFT,
    kernel_name="H31s",
    thickness_mm=5.0,
    head="head*",
)


def headers(**values: object) -> list[Dataset]:
    found = series.set_each(**values)(series.head_series())
    for header in found:
        del header.PixelData
    return found


def reason_of(found: list[Dataset]) -> Reason | None:
    refusal = refuse(facts_of(found, RULES), RULES)
    return refusal.reason if refusal else None


def test_facts_of_a_good_series() -> None:
    facts = facts_of(headers(), RULES)
    assert facts == replace(
        GOOD,
        series_instance_uid=str(headers()[0].SeriesInstanceUID),
        instances=12,
        slices=12,
        ct=12,
    )
    assert refuse(facts, RULES) is None


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
    refusal = refuse(facts_of(headers(SOPClassUID=MRImageStorage), RULES), RULES)
    assert refusal is not None
    assert refusal.text == "all 12 instances are MR Image Storage, none is a CT image"


def test_the_frames_of_enhanced_ct_count_as_slices() -> None:
    [enhanced] = headers(SOPClassUID=EnhancedCTImageStorage, NumberOfFrames="30")[:1]
    facts = facts_of([enhanced], RULES)
    assert (facts.slices, refuse(facts, RULES)) == (30, None)
    enhanced.NumberOfFrames = "7"
    assert reason_of([enhanced]) == Reason.TOO_FEW_SLICES


@pytest.mark.parametrize("value", ["nan", "inf", 10**400], ids=["nan", "inf", "huge"])
def test_a_number_of_frames_that_is_none_counts_for_one(value: object) -> None:
    [enhanced] = headers(SOPClassUID=EnhancedCTImageStorage)[:1]
    enhanced.add(DataElement("NumberOfFrames", "IS", ""))
    enhanced["NumberOfFrames"]._value = value
    assert facts_of([enhanced], RULES).slices == 1


def test_localizers_do_not_count_as_slices() -> None:
    found = headers()[:7]
    found += [series.localizer_of(found[0]) for _ in range(3)]
    refusal = refuse(facts_of(found, RULES), RULES)
    assert refusal is not None
    assert refusal.reason == Reason.TOO_FEW_SLICES
    assert refusal.text == "7 CT slices; at least 8 are needed: send the whole series"


def test_copies_of_an_instance_do_not_count_as_slices() -> None:
    assert reason_of(headers()[:7] * 2) == Reason.TOO_FEW_SLICES


def test_orientation_tells_axial_from_others_and_unknown() -> None:
    assert facts_of(headers(), RULES).axial is True
    assert facts_of(headers(ImageOrientationPatient=[1, 0, 0, 0, 0, -1]), RULES).axial is False
    assert facts_of(headers(ImageOrientationPatient=None), RULES).axial is None
    assert facts_of(headers(ImageOrientationPatient=[]), RULES).axial is None


SAID = [
    ({"ContrastBolusAgent": "Omnipaque"}, Reason.CONTRAST),
    ({"ContrastBolusAgent": "NONE"}, None),
    ({"ContrastBolusAgent": "w/o"}, None),
    ({"ContrastBolusAgent": ""}, None),
    ({"SeriesDescription": "CTA HEAD 0.75"}, Reason.CONTRAST),
    ({"SeriesDescription": "Head Angio"}, Reason.CONTRAST),
    ({"SeriesDescription": "HEAD +C"}, Reason.CONTRAST),
    ({"SeriesDescription": "HEAD WITHOUT CONTRAST"}, None),
    ({"SeriesDescription": "HEAD W/O", "ContrastBolusAgent": "Omnipaque"}, None),
    ({"SeriesDescription": "Brain Perfusion 5.0"}, Reason.PERFUSION),
    ({"SeriesDescription": "HEAD CTP"}, Reason.PERFUSION),
    ({"SeriesDescription": "HEAD 5.0 MPR cor"}, Reason.NOT_ORIGINAL),
    ({"SeriesDescription": "HEAD corrected"}, None),
    ({"SeriesDescription": "Topogram 0.6 T20s"}, Reason.LOCALIZER),
    ({"SeriesDescription": "Dose Report"}, Reason.DOSE_REPORT),
    ({"SeriesDescription": "", "ProtocolName": "CTA HEAD"}, Reason.CONTRAST),
    ({"SeriesDescription": "HEAD PLAIN", "ProtocolName": "CTA HEAD"}, None),
    ({"BodyPartExamined": "CHEST", "SeriesDescription": "5.0"}, Reason.NOT_HEAD),
    ({"BodyPartExamined": "CHEST", "SeriesDescription": "HEAD 5.0"}, None),
    ({"BodyPartExamined": "", "SeriesDescription": "THORAX 5.0"}, Reason.NOT_HEAD),
    ({"BodyPartExamined": "CSPINE", "SeriesDescription": "1.0"}, Reason.NOT_HEAD),
    ({"BodyPartExamined": None}, None),
    ({"PatientAge": "017Y"}, Reason.CHILD),
    ({"PatientAge": "018Y"}, None),
    ({"PatientAge": "200M"}, Reason.CHILD),
    ({"PatientAge": "000Y"}, None),
    ({"PatientAge": "old"}, None),
    ({"PatientBirthDate": "20200101"}, Reason.CHILD),
    ({"PatientBirthDate": "20071231"}, None),
    ({"PatientBirthDate": "20080103"}, Reason.CHILD),
    ({"PatientBirthDate": "20200101", "PatientAge": "040Y"}, None),
    ({"ConvolutionKernel": "BONEPLUS"}, Reason.BONE_KERNEL),
    ({"ConvolutionKernel": ["Hr64h", "3"]}, Reason.BONE_KERNEL),
    ({"ConvolutionKernel": "NEW", "SeriesDescription": "HEAD BONE"}, Reason.BONE_KERNEL),
    ({"SeriesDescription": "HEAD NO BONE"}, None),
    ({"SliceThickness": "0.3"}, Reason.THICKNESS),
    ({"SliceThickness": "12"}, Reason.THICKNESS),
    ({"SliceThickness": None}, None),
]


@pytest.mark.parametrize(("values", "reason"), SAID, ids=[str(values) for values, _ in SAID])
def test_headers_say_what_is_not_read(values, reason) -> None:
    assert reason_of(headers(**values)) == reason


def test_texts_of_refusals_name_the_rule_and_no_free_text() -> None:
    """What an operator typed may hold a name: only the rule's own word is quoted."""
    for values, reason in SAID:
        if reason and values.get("SeriesDescription"):
            secret = {**values, "SeriesDescription": f"{values['SeriesDescription']} DOE JANE"}
            refusal = refuse(facts_of(headers(**secret), RULES), RULES)
            assert refusal is not None
            assert refusal.reason is reason
            assert "DOE" not in refusal.text
            assert "JANE" not in refusal.text


def test_rules_come_from_the_configuration() -> None:
    found = headers(PatientAge="010Y", ConvolutionKernel="Qx 7", SliceThickness="12")
    rules = Selection(min_age=0, max_thickness_mm=15)
    assert refuse(facts_of(found, rules), rules) is None
    rules = Selection(min_age=0, max_thickness_mm=15, bone_kernels=("qx*",))
    assert refuse(facts_of(found, rules), rules) is None  # the star ends at a space
    rules = Selection(min_age=0, max_thickness_mm=15, bone_kernels=("qx ?",))
    refusal = refuse(facts_of(found, rules), rules)
    assert refusal is not None
    assert refusal.reason is Reason.BONE_KERNEL
    assert kernel_of("BONE", soft=("bone",)) is Kernel.SOFT
    rules = Selection(perfusion_words=("simulated",))
    refusal = refuse(facts_of(headers(), rules), rules)
    assert refusal is not None
    assert refusal.text.startswith("its headers have the word 'simulated' (selection.perfusion_w")


def test_what_headers_leave_open_is_noted() -> None:
    assert notes(replace(GOOD, age_years=40), RULES) == []
    open_ = replace(GOOD, kernel=Kernel.UNKNOWN, thickness_mm=None)
    said = notes(open_, RULES)
    assert [word for word in ("age", "kernel", "Thickness") if word in str(said)] == [
        "age",
        "kernel",
        "Thickness",
    ]
    assert "age" not in str(notes(GOOD, Selection(min_age=0)))


def test_damaged_elements_count_as_absent() -> None:
    found = headers()
    for header in found:
        header["SliceThickness"]._value = "thick"
        header["ImageOrientationPatient"]._value = ["a"] * 6
    facts = facts_of(found, RULES)
    assert (facts.thickness_mm, facts.axial) == (None, None)
    assert refuse(facts, RULES) is None


WORSE = [
    ({"axial": False}, "is not axial"),
    ({"slices": 12}, "shows only part of a head"),
    ({"kernel": Kernel.UNKNOWN}, "has a less suitable kernel"),
    ({"thickness_mm": 8.0}, "has a thickness farther from 5 mm"),
    ({"slices": 30}, "has fewer slices"),
    ({"series_instance_uid": "1.2.4"}, "is equally good"),
]


@pytest.mark.parametrize(("change", "why"), WORSE, ids=[why for _, why in WORSE])
def test_the_better_series_comes_first_and_the_other_says_why_not(change, why) -> None:
    worse = replace(GOOD, **{"series_instance_uid": "1.2.9", **change})
    for pair in permutations((GOOD, worse)):
        assert choose_series(pair, RULES) == ([GOOD, worse], [])
    refusal = passed_over(worse, GOOD)
    assert refusal.reason == Reason.NOT_CHOSEN
    assert why in refusal.text
    assert GOOD.series_instance_uid in refusal.text


ORDERED = [
    {"axial": False},
    {"slices": 12},
    {"kernel": Kernel.UNKNOWN},
    {"thickness_mm": 8.0},
]


@pytest.mark.parametrize("first", range(len(ORDERED)))
def test_a_criterion_outweighs_all_that_come_after_it(first: int) -> None:
    failing_one = replace(GOOD, series_instance_uid="1.2.1", **ORDERED[first])
    failing_later = replace(GOOD, series_instance_uid="1.2.9")
    for change in ORDERED[first + 1 :]:
        failing_later = replace(failing_later, **change)
    assert choose_series([failing_one, failing_later], RULES)[0][0] is failing_later
    assert is_better(failing_later, failing_one)


def test_refused_series_are_listed_with_their_own_reason() -> None:
    scout = replace(GOOD, series_instance_uid="1.2.1", slices=0, localizers=32)
    few = replace(GOOD, slices=3)
    readable, refused = choose_series([scout, GOOD, few], RULES)
    assert readable == [GOOD]
    assert [refusal.reason for _, refusal in refused] == [Reason.LOCALIZER, Reason.TOO_FEW_SLICES]


@pytest.mark.parametrize(
    ("so_far", "worth"),
    [
        ({"slices": 1}, True),  # all of it may still come
        ({"slices": 1, "thickness_mm": 1.0}, False),
        ({"slices": 1, "kernel": Kernel.BONE}, False),
        ({"slices": 1, "localizers": 1, "ct": 1, "localizer": "scout*"}, False),
        ({"slices": 1, "axial": False}, False),
    ],
)
def test_only_what_may_become_better_is_waited_for(so_far, worth: bool) -> None:
    coming = replace(GOOD, series_instance_uid="1.2.9", **so_far)
    assert may_become_better(coming, GOOD, RULES) is worth


def test_the_nearest_to_being_read_speaks_for_the_study() -> None:
    """A head CT that fails at its pixels before one that was never meant to be read."""
    said = [
        Refusal(Reason.LOCALIZER, ""),
        Refusal(Reason.PERFUSION, ""),
        Refusal(Reason.BONE_KERNEL, ""),
        Refusal(Reason.CONTRAST, ""),
        Refusal(Reason.MISSING_SLICES, ""),
        Refusal(Reason.NOT_CHOSEN, ""),
    ]
    for pile in permutations(said):
        one = speaker([(GOOD, refusal) for refusal in pile])
        assert one is not None
        assert one[1].reason is Reason.MISSING_SLICES
    assert speaker([(GOOD, said[0])]) is None


def test_a_body_that_no_header_calls_a_head_is_not_told() -> None:
    refusal = Refusal(Reason.NOT_A_HEAD, "")
    assert is_told(GOOD, refusal)
    assert not is_told(replace(GOOD, head=None), refusal)
    assert is_told(replace(GOOD, head=None), Refusal(Reason.MISSING_SLICES, ""))


facts = st.builds(
    SeriesFacts,
    series_instance_uid=st.from_regex(r"1(\.[1-9]){1,3}", fullmatch=True),
    instances=st.integers(1, 300),
    slices=st.integers(0, 300),
    ct=st.integers(0, 300),
    localizers=st.integers(0, 2),
    computed=st.integers(0, 10),
    axial=st.sampled_from([True, False, None]),
    contrast=st.sampled_from([None, "an agent"]),
    kernel=st.sampled_from(Kernel),
    thickness_mm=st.none() | st.floats(0.3, 12),
    age_years=st.none() | st.floats(0, 90),
)


@given(st.lists(facts, max_size=5, unique_by=lambda one: one.series_instance_uid), st.randoms())
def test_choice_does_not_depend_on_the_order_and_leaves_nothing_out(candidates, random) -> None:
    readable, refused = choose_series(candidates, RULES)
    shuffled = list(candidates)
    random.shuffle(shuffled)
    assert choose_series(shuffled, RULES)[0] == readable
    told = [one.series_instance_uid for one in [*readable, *(one for one, _ in refused)]]
    assert sorted(told) == sorted(one.series_instance_uid for one in candidates)


@pytest.mark.shared_data
def test_series_of_real_studies_carry_their_reasons(shared_data: Path) -> None:
    """Of brain 5 mm, bone 1 mm, localizers and captures, the brain series are those to read."""
    found = {
        f"{folder.parent.name}/{folder.name}": reason_of(
            [pydicom.dcmread(path, stop_before_pixels=True) for path in folder.iterdir()]
        )
        for folder in (shared_data / "philips-phantom").glob("*/*")
    }
    assert found == {
        "S21570/S1000": Reason.LOCALIZER,
        "S21570/S2010": None,
        "S21570/S2030": Reason.BONE_KERNEL,
        "S21570/S4010": Reason.NOT_CT,
        "S21610/S1000": Reason.LOCALIZER,
        "S21610/S2010": None,
    }
    tilted = [
        pydicom.dcmread(path, stop_before_pixels=True)
        for path in (shared_data / "ge-head-tilt").glob("*.dcm")
    ]
    assert reason_of(tilted) is None
