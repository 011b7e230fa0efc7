"""The SR says of every class what was found, and shows masks to viewers without SEG."""

import subprocess
from collections.abc import Iterator
from pathlib import Path

import highdicom as hd
import numpy as np
import pydicom
import pytest
from pydicom import Dataset
from pydicom.uid import Comprehensive3DSRStorage, EnhancedSRStorage

from ich_node.codes import CLASSES, OF_CLASS, SUBTYPES
from ich_node.geometry import PlaneMap
from ich_node.records import Wanted
from ich_node.report.build import build_results
from ich_node.report.outlines import MIN_AREA_MM2, fill, regions
from tests.support.validators import dcentvfy_errors, dciodvfy_errors, dcmqi_report
from tests.support.volumes import SPACING_MM, make_labels, make_prediction
from tests.unit.report.conftest import Built

DSRDUMP = Path("/usr/bin/dsrdump")
DSR2HTML = Path("/usr/bin/dsr2html")


def items(parent: Dataset) -> Iterator[Dataset]:
    for item in parent.get("ContentSequence", []):
        yield item
        yield from items(item)


def name(item: Dataset) -> str:
    return item.ConceptNameCodeSequence[0].CodeMeaning


def named(parent: Dataset, meaning: str) -> list[Dataset]:
    return [item for item in items(parent) if name(item) == meaning]


def groups(sr: Dataset) -> list[Dataset]:
    return named(sr, "Measurement Group")


def evaluation(sr: Dataset, klass: str) -> Dataset:
    (container,) = named(sr, "Qualitative Evaluations")
    (item,) = (i for i in container.ContentSequence if name(i) == OF_CLASS[klass].finding.meaning)
    return item


def value(item: Dataset, meaning: str) -> float:
    (number,) = (child for child in item.ContentSequence if name(child) == meaning)
    return float(number.MeasuredValueSequence[0].NumericValue)


def texts(sr: Dataset) -> str:
    return "\n".join(str(item.TextValue) for item in items(sr) if item.ValueType == "TEXT")


def negative() -> dict:
    return {"prediction": make_prediction(make_labels(subtypes=()))}


def empty_mask() -> dict:
    labels = make_labels(subtypes=("subdural",))
    return {"prediction": make_prediction(labels, present=("epidural",))}


def any_only() -> dict:
    labels = make_labels(subtypes=())
    return {"prediction": make_prediction(labels, present=("any",))}


@pytest.mark.parametrize(
    "case",
    [{}, {"subtypes": SUBTYPES}, negative(), empty_mask(), any_only()],
    ids=["two", "five", "negative", "empty mask", "any only"],
)
def test_every_kind_of_report_is_valid(build, case: dict):
    built = build(**case)
    assert dciodvfy_errors(built.results.sr) == []
    assert dcentvfy_errors([*built.ct, *built.files]) == []
    assert hd.sr.srread(built.results.sr).SOPClassUID == Comprehensive3DSRStorage


@pytest.mark.dcmtk
@pytest.mark.parametrize("case", [{}, negative()], ids=["positive", "negative"])
def test_the_same_report_can_be_an_enhanced_sr(build, tmp_path: Path, case: dict):
    """For an archive that knows no Comprehensive 3D SR; the content is the same."""
    usual = build(**case)
    results = build_results(
        usual.volume, usual.prediction, tmp_path, None, Wanted(enhanced_sr=True)
    )
    sr = pydicom.dcmread(results.sr)
    assert sr.SOPClassUID == EnhancedSRStorage
    assert dciodvfy_errors(results.sr) == []
    assert [name(item) for item in items(sr)] == [name(item) for item in items(usual.sr)]
    assert subprocess.run([DSRDUMP, "-q", results.sr], capture_output=True).returncode == 0


@pytest.mark.dcmtk
@pytest.mark.parametrize("case", [{}, negative(), empty_mask()], ids=str)
def test_dcmtk_accepts_every_relationship(build, case: dict):
    built = build(**case)
    done = subprocess.run([DSRDUMP, "-q", built.results.sr], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_a_machine_s_report_is_complete_preliminary_and_unverified(build):
    sr = build().sr
    flags = (sr.CompletionFlag, sr.PreliminaryFlag, sr.VerificationFlag)
    assert flags == ("COMPLETE", "PRELIMINARY", "UNVERIFIED")


@pytest.mark.parametrize("case", [{}, negative()], ids=["positive", "negative"])
def test_what_people_need_stands_first(build, case: dict):
    """Before the image library and the measurements, which text views print at length."""
    sr = build(**case).sr
    said = [item for item in sr.ContentSequence if item.RelationshipType == "CONTAINS"]
    assert [name(item) for item in said[:2]] == ["Comment", "Conclusion"]
    assert said[0].TextValue.startswith("Research use only")
    assert "haemorrhage found" in said[1].TextValue


@pytest.mark.dcmtk
@pytest.mark.parametrize("case", [{}, negative()], ids=["positive", "negative"])
def test_as_html_every_value_stands_under_its_name(build, case: dict, tmp_path: Path):
    """Items of a container that is continuous would run into one line, without names."""
    page = tmp_path / "sr.html"
    subprocess.run([DSR2HTML, "-q", build(**case).results.sr, page], check=True)
    html = page.read_text()
    assert "<b>Conclusion:</b>" in html
    assert "<b>Subarachnoid intracranial hemorrhage:</b>" in html
    assert case or "<b>Volume:</b>" in html


@pytest.mark.parametrize("case", [{}, negative(), empty_mask()], ids=str)
def test_research_use_is_said_in_text_and_series_description(build, case: dict):
    sr = build(**case).sr
    assert "Research use only. Not a medical device." in texts(sr)
    assert "research use only" in sr.SeriesDescription


def test_a_class_with_a_mask_is_a_group_and_every_other_is_not(build):
    sr = build(subtypes=("subdural", "intraventricular")).sr
    found = [named(group, "Finding")[0].ConceptCodeSequence[0].CodeValue for group in groups(sr)]
    assert found == ["35486000", "23276006"]
    (container,) = named(sr, "Qualitative Evaluations")
    said = {name(item) for item in container.ContentSequence if item.ValueType == "CODE"}
    others = ("any", "epidural", "subarachnoid", "intraparenchymal")
    assert {OF_CLASS[klass].finding.meaning for klass in others} <= said
    assert (
        not {OF_CLASS[klass].finding.meaning for klass in ("subdural", "intraventricular")} & said
    )


def test_a_report_with_groups_has_the_title_that_viewers_look_for(build):
    assert build().sr.ConceptNameCodeSequence[0].CodeValue == "126000"


@pytest.mark.parametrize("case", [negative(), any_only()], ids=["negative", "any only"])
def test_a_report_without_groups_has_another_title(build, case: dict):
    """A viewer that looks for measurements in 126000 fails where there are none."""
    sr = build(**case).sr
    assert groups(sr) == [] == named(sr, "Imaging Measurements")
    assert sr.ConceptNameCodeSequence[0].CodeValue != "126000"
    assert sr.ContentTemplateSequence[0].TemplateIdentifier == "1500"
    scheme = sr.ConceptNameCodeSequence[0].CodingSchemeDesignator
    assert scheme in {i.CodingSchemeDesignator for i in sr.CodingSchemeIdentificationSequence}


def test_a_group_carries_tracking_volume_certainty_and_site(build):
    built = build(subtypes=SUBTYPES)
    segments = {item.TrackingUID: item for item in built.seg.SegmentSequence}
    assert len(segments) == len(groups(built.sr)) == len(SUBTYPES)
    for group, klass in zip(groups(built.sr), SUBTYPES, strict=True):
        segment = segments[named(group, "Tracking Unique Identifier")[0].UID]
        assert named(group, "Tracking Identifier")[0].TextValue == segment.TrackingID
        assert segment.SegmentLabel == OF_CLASS[klass].name
        assert value(group, "Volume") == built.results.volumes_ml[klass]
        assert value(group, "Certainty of Finding") == 91.0
        (site,) = named(group, "Finding Site")
        assert site.ConceptCodeSequence[0].CodeValue == OF_CLASS[klass].site.value
        assert named(group, "Presence")[0].ConceptCodeSequence[0].CodeMeaning == "Present"


def test_the_volume_says_how_it_was_measured(build):
    (number, *_) = named(build().sr, "Volume")
    assert number.MeasuredValueSequence[0].MeasurementUnitsCodeSequence[0].CodeValue == "mL"
    assert number.ContentSequence[0].ConceptCodeSequence[0].CodeValue == "126030"


@pytest.mark.parametrize("plane_map", [PlaneMap(), PlaneMap(True, False, True)], ids=str)
def test_outlines_lie_on_the_source_images_and_the_largest_slice_is_first(build, plane_map):
    built = build(plane_map=plane_map)
    headers = built.volume.source.headers
    index_of = {header.SOPInstanceUID: k for k, header in enumerate(headers)}
    shape = (headers[0].Rows, headers[0].Columns)
    for group, klass in zip(groups(built.sr), ("subdural", "intraparenchymal"), strict=True):
        mask = built.volume.source.plane_map.to_source(
            built.prediction.labels == 1 + SUBTYPES.index(klass)
        )
        drawn: dict[int, list[np.ndarray]] = {}
        for region in named(group, "Image Region"):
            assert region.GraphicType == "POLYLINE"
            (image,) = region.ContentSequence
            assert image.RelationshipType == "SELECTED FROM"
            uid = image.ReferencedSOPSequence[0].ReferencedSOPInstanceUID
            points = np.array(region.GraphicData).reshape(-1, 2)
            drawn.setdefault(index_of[uid], []).append(points)
        areas = [int(mask[index].sum()) for index in drawn]
        assert areas == sorted(areas, reverse=True)
        for index, outlines in drawn.items():
            numbered, sizes = regions(mask[index])
            large = 1 + np.flatnonzero(sizes * np.prod(SPACING_MM[1:]) >= MIN_AREA_MM2)
            assert np.array_equal(fill(outlines, shape), np.isin(numbered, large))


def test_regions_without_outline_are_told_of_and_counted_in_the_volume(build):
    built = build(subtypes=("subdural",))
    assert "Subdural haemorrhage: outlines are given of the largest 2 of 4 regions" in texts(
        built.sr
    )
    (volume,) = {value(group, "Volume") for group in groups(built.sr)}
    assert volume == pytest.approx(
        (built.prediction.labels == 2).sum() * np.prod(SPACING_MM) / 1000
    )


def test_a_mask_of_crumbs_has_one_outline_and_a_small_report(build):
    """Thousands of outlines took minutes to write and no reader looks at them."""
    labels = np.zeros((10, 48, 40), dtype=np.uint8)
    labels[1:9, ::2, ::2] = 2
    labels[4, 10:12, 10] = 2
    built = build(prediction=make_prediction(labels))
    (region,) = named(built.sr, "Image Region")
    assert len(region.GraphicData) == 10
    assert built.results.sr.stat().st_size < 40_000


def test_no_group_points_at_a_segment(build):
    """A group that references a segment makes a widespread viewer fail."""
    built = build()
    seg_uid = built.seg.SOPInstanceUID
    content_references = [
        reference.ReferencedSOPInstanceUID
        for item in items(built.sr)
        for reference in item.get("ReferencedSOPSequence", [])
    ]
    assert content_references
    assert seg_uid not in content_references


def test_the_evidence_names_the_seg_and_every_source_image(build):
    built = build()
    (study,) = built.sr.CurrentRequestedProcedureEvidenceSequence
    found = {
        reference.ReferencedSOPInstanceUID: series.SeriesInstanceUID
        for series in study.ReferencedSeriesSequence
        for reference in series.ReferencedSOPSequence
    }
    expected = {h.SOPInstanceUID: h.SeriesInstanceUID for h in built.volume.source.headers}
    expected[built.seg.SOPInstanceUID] = built.seg.SeriesInstanceUID
    assert found == expected


def test_a_class_present_without_a_mask_is_told_with_0_ml_and_no_segment(build):
    built = build(**empty_mask())
    item = evaluation(built.sr, "epidural")
    assert item.ConceptCodeSequence[0].CodeMeaning == "Present"
    assert value(item, "Volume") == 0.0
    assert "0 mL, no segment" in texts(built.sr)
    assert len(built.seg.SegmentSequence) == len(groups(built.sr)) == 1


def test_three_voxels_of_thin_slices_are_told_with_their_volume_and_segment(build, tmp_path):
    """0.38 microlitres: little, but there."""
    case = {"shape": (12, 48, 40), "spacing_mm": (0.625, 0.45, 0.45)}
    labels = np.zeros(case["shape"], dtype=np.uint8)
    labels[5, 20, 10:13] = 2
    built = build(prediction=make_prediction(labels), **case)
    (group,) = groups(built.sr)
    assert value(group, "Volume") == value(evaluation(built.sr, "any"), "Volume")
    assert value(group, "Volume") == pytest.approx(0.0003796875, rel=1e-5)
    assert "no segment" not in texts(built.sr)
    assert "subdural haemorrhage < 0.1 mL" in texts(built.sr)
    assert dciodvfy_errors(built.results.sr) == []
    assert hd.seg.segread(built.results.seg).number_of_segments == 1


def test_any_is_an_evaluation_with_the_volume_of_the_union(build):
    built = build()
    item = evaluation(built.sr, "any")
    assert item.ConceptCodeSequence[0].CodeMeaning == "Present"
    assert value(item, "Volume") == built.results.volumes_ml["any"]


def test_evaluations_are_contained_and_modify_nothing(build):
    """TID 1500 rows 13 and 14: the relationship is CONTAINS, the algorithm's items included."""
    (container,) = named(build().sr, "Qualitative Evaluations")
    assert {item.RelationshipType for item in container.ContentSequence} == {"CONTAINS"}
    assert "Algorithm Name" in [name(item) for item in container.ContentSequence]


def test_a_negative_report_says_absent_of_every_class(build):
    sr = build(**negative()).sr
    for klass in CLASSES:
        item = evaluation(sr, klass)
        assert item.ConceptCodeSequence[0].CodeMeaning == "Absent"
        assert value(item, "Certainty of Finding") == 3.7
    assert "No intracranial haemorrhage found" in texts(sr)


def test_a_negative_report_says_what_its_probability_is_of(build):
    """Beside "not found" a bare one reads as that of the absence."""
    said = texts(build(**negative()).sr)
    assert "that were read (probability of haemorrhage 3.7 %)." in said
    assert "Probability of haemorrhage (threshold): any 3.7 % (50.0 %)" in said


PART = "haemorrhage found in the 50 mm that were read"


@pytest.mark.parametrize("case", [{}, negative()], ids=["positive", "negative"])
def test_a_result_of_a_part_of_a_head_says_how_much_was_read(build, case: dict):
    """Step-and-shoot sends the posterior fossa apart: its absence is no finding of its own."""
    (conclusion,) = named(build(**case).sr, "Conclusion")
    assert PART in conclusion.TextValue


@pytest.mark.parametrize("subtypes", [("subdural",), ()], ids=["positive", "negative"])
def test_a_result_of_a_whole_head_stands_alone(build, subtypes):
    (conclusion,) = named(build(shape=(20, 48, 40), subtypes=subtypes).sr, "Conclusion")
    assert "that were read" not in conclusion.TextValue


@pytest.mark.parametrize("case", [{}, negative()], ids=["positive", "negative"])
def test_model_weights_probabilities_and_thresholds_are_told(build, case: dict):
    built = build(**case)
    told = texts(built.sr)
    model = built.prediction.model
    for part in (model.name, model.version, model.sha256, "device cpu", "precision fp32"):
        assert part in told
    assert all(klass in told for klass in CLASSES)
    assert "(50.0 %)" in told


@pytest.mark.parametrize("case", [{}, negative()], ids=["positive", "negative"])
def test_key_images_are_the_largest_or_most_suspicious_slices(build, case: dict):
    built = build(**case)
    labels, headers = built.prediction.labels, built.volume.source.headers
    (group,) = named(built.sr, "Image Library Group")
    found = [i.ReferencedSOPSequence[0].ReferencedSOPInstanceUID for i in group.ContentSequence]
    if labels.any():
        areas = [(labels == value).sum(axis=(1, 2)) for value in (2, 4)]
        indices = [int(area.argmax()) for area in areas]
    else:
        indices = [int(np.argmax(built.prediction.slice_probabilities))]
    assert found == [headers[index].SOPInstanceUID for index in indices]


def test_the_algorithm_equals_the_equipment(build):
    """IHE AIR: TID 4019 and TID 1004 repeat what Contributing Equipment says."""
    sr = build().sr
    (item,) = (i for i in sr.ContributingEquipmentSequence if i.Manufacturer == "ich-node")
    assert {i.TextValue for i in named(sr, "Algorithm Name")} == {item.ManufacturerModelName}
    assert {i.TextValue for i in named(sr, "Algorithm Version")} == {item.SoftwareVersions}
    assert item.DeviceUID == named(sr, "Device Observer UID")[0].UID
    assert named(sr, "Device Observer Manufacturer")[0].TextValue == item.Manufacturer
    assert named(sr, "Device Observer Model Name")[0].TextValue == item.ManufacturerModelName


def test_dcmqi_reads_findings_and_volumes(build):
    built: Built = build(subtypes=SUBTYPES)
    found = {
        group["Finding"]["CodeValue"]: float(group["measurementItems"][0]["value"])
        for group in dcmqi_report(built.results.sr)["Measurements"]
    }
    assert found == {
        OF_CLASS[klass].finding.value: built.results.volumes_ml[klass] for klass in SUBTYPES
    }


def test_highdicom_reads_the_groups(build):
    built = build()
    report = hd.sr.srread(built.results.sr).content
    found = report.get_volumetric_roi_measurement_groups()
    assert [group.tracking_uid for group in found] == [
        item.TrackingUID for item in built.seg.SegmentSequence
    ]
