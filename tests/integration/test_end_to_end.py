"""The main job: what DCMTK sends to a running node comes back to a real Orthanc."""

from __future__ import annotations

import threading
from collections import Counter
from pathlib import Path

import numpy as np
import pydicom
import pytest
from pydicom.uid import SegmentationStorage

from deploy.demo.running import RunningNode, configuration, free_port, running_node, wait_for
from ich_node.selftest.series import write_series
from tests.support.dcmtk import storescu
from tests.support.orthanc import AE_TITLE, Orthanc
from tests.support.validators import dcentvfy_errors, dciodvfy_errors
from training.simulate import simulate_head

pytestmark = [pytest.mark.dcmtk, pytest.mark.orthanc]

_DEADLINE_S = 240.0
_ENDED = ("confirmed", "refused", "failed")


def node_for(folder: Path, orthanc: Orthanc, bundle: str):
    port = free_port()
    config = configuration(folder, port, [("orthanc", AE_TITLE, orthanc.dicom_port)], bundle=bundle)
    return running_node(config, port)


def delivered(node: RunningNode, study: str) -> dict | None:
    """Return the story when every series has ended and Orthanc has proven to hold its objects."""
    story = node.show(study)
    if story is None or any(series["state"] not in _ENDED for series in story["series"]):
        return None
    deliveries = [
        delivery
        for series in story["series"]
        for revision in series["revisions"]
        for delivery in revision["deliveries"]
    ]
    return (
        story if deliveries and all(item["state"] == "confirmed" for item in deliveries) else None
    )


def send(node: RunningNode, paths: list[Path]) -> str:
    sent = storescu(node.port, paths)
    assert sent.returncode == 0, sent.stdout + sent.stderr
    return str(pydicom.dcmread(paths[0], stop_before_pixels=True).StudyInstanceUID)


def modalities(orthanc: Orthanc) -> Counter[str]:
    return Counter(tags["Modality"] for tags in orthanc.instances())


def test_a_simulated_bleed_comes_back_where_it_belongs(tmp_path: Path, orthanc: Orthanc) -> None:
    """SEG and SR are in Orthanc, valid, in the source study, and in patient space on the bleed."""
    head = simulate_head(900_102, ("intraparenchymal",))
    paths = write_series(head.hu, tmp_path / "ct", spacing_mm=head.spacing_mm, seed=900_102)
    with node_for(tmp_path / "node", orthanc, "smartnet-ich") as node:
        study = send(node, paths)
        wait_for(lambda: delivered(node, study), _DEADLINE_S, "delivery")
    received = {tags["Modality"]: tags for tags in orthanc.instances()}
    assert sorted(received) == ["SEG", "SR"]
    files = {
        modality: orthanc.file(tags["orthanc_id"], tmp_path / f"{modality}.dcm")
        for modality, tags in received.items()
    }
    for path in files.values():
        assert dciodvfy_errors(path) == []
        assert pydicom.dcmread(path).StudyInstanceUID == study
    assert dcentvfy_errors([*paths, *files.values()]) == []
    true = np.argwhere(head.labels > 0).mean(0)
    assert np.linalg.norm(patient_centroid(files["SEG"]) - lps(paths, true)) < 5.0


def patient_centroid(seg: Path) -> np.ndarray:
    """Centroid (LPS, mm) of all segments from the SEG's own geometry alone."""
    data = pydicom.dcmread(seg)
    assert data.SOPClassUID == SegmentationStorage
    shared = data.SharedFunctionalGroupsSequence[0]
    cosines = np.array(shared.PlaneOrientationSequence[0].ImageOrientationPatient, float)
    spacing = np.array(shared.PixelMeasuresSequence[0].PixelSpacing, float)
    points = []
    frames = data.pixel_array.reshape(-1, data.Rows, data.Columns)
    for frame, groups in zip(frames, data.PerFrameFunctionalGroupsSequence, strict=True):
        origin = np.array(groups.PlanePositionSequence[0].ImagePositionPatient, float)
        rows, columns = np.nonzero(frame)
        points.append(
            origin
            + columns[:, None] * spacing[1] * cosines[:3]
            + rows[:, None] * spacing[0] * cosines[3:]
        )
    return np.concatenate(points).mean(0)


def lps(paths: list[Path], index: np.ndarray) -> np.ndarray:
    """Patient coordinates of a (slice, row, column) index of the sent series."""
    first, second = (pydicom.dcmread(path, stop_before_pixels=True) for path in paths[:2])
    start = np.array(first.ImagePositionPatient, float)
    step = np.array(second.ImagePositionPatient, float) - start
    cosines = np.array(first.ImageOrientationPatient, float)
    rows, columns = (float(value) for value in first.PixelSpacing)
    along = index[2] * columns * cosines[:3] + index[1] * rows * cosines[3:]
    return start + index[0] * step + along


@pytest.mark.shared_data
def test_a_real_tilted_head_ends_with_its_stated_outcome(
    tmp_path: Path, orthanc: Orthanc, shared_data: Path
) -> None:
    """Tilted slices with uneven steps are read by the shipped model, and reported."""
    paths = sorted((shared_data / "ge-head-tilt").glob("*.dcm"))
    with node_for(tmp_path / "node", orthanc, "smartnet-ich") as node:
        study = send(node, paths)
        story = wait_for(lambda: delivered(node, study), _DEADLINE_S, "delivery")
    [series] = story["series"]
    assert (series["state"], series["reason"]) == ("confirmed", None)
    assert modalities(orthanc)["SR"] == 1
    for tags in orthanc.instances():
        path = orthanc.file(tags["orthanc_id"], tmp_path / f"{tags['Modality']}.dcm")
        # The de-identified source lacks a Study Date; the tool warns of it, and so of its copy.
        assert [line for line in dciodvfy_errors(path) if line.startswith("Error")] == []
        assert pydicom.dcmread(path).StudyInstanceUID == study


@pytest.mark.shared_data
def test_the_plastic_phantom_gets_a_report_and_no_segmentation(
    tmp_path: Path, orthanc: Orthanc, shared_data: Path, tiny_bundle: Path
) -> None:
    """The phantom's 5 mm series holds no brain: the SR in the PACS says that it was not read."""
    paths = sorted((shared_data / "philips-phantom" / "S21570" / "S2010").iterdir())
    with node_for(tmp_path / "node", orthanc, str(tiny_bundle)) as node:
        study = send(node, paths)
        wait_for(lambda: delivered(node, study), _DEADLINE_S, "delivery")
    assert modalities(orthanc) == {"SR": 1}


def test_ten_studies_from_four_senders_give_ten_reports(
    tmp_path: Path, orthanc: Orthanc, tiny_bundle: Path
) -> None:
    """Parallel senders: an SR for each study, in that study, none twice."""
    head = simulate_head(900_101, ("intraparenchymal",), matrix=128)
    studies = [
        write_series(head.hu, tmp_path / f"ct{n}", spacing_mm=head.spacing_mm, seed=900_200 + n)
        for n in range(10)
    ]
    uids = [str(pydicom.dcmread(paths[0]).StudyInstanceUID) for paths in studies]
    with node_for(tmp_path / "node", orthanc, str(tiny_bundle)) as node:

        def sender(which: int) -> None:
            for paths in studies[which::4]:
                send(node, paths)

        threads = [threading.Thread(target=sender, args=(which,)) for which in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()

        def all_confirmed() -> bool:
            listed = node.studies()
            return len(listed) == len(uids) and all(
                series["state"] == "confirmed" for study in listed for series in study["series"]
            )

        wait_for(all_confirmed, _DEADLINE_S, "ten confirmed studies")
    reports = [tags for tags in orthanc.instances() if tags["Modality"] == "SR"]
    assert Counter(tags["StudyInstanceUID"] for tags in reports) == dict.fromkeys(uids, 1)
