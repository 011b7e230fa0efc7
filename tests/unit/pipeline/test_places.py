"""What is found in a resampled volume lies, in the objects, where it lies in the patient."""

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import product
from pathlib import Path
from unittest import mock

import numpy as np
import pydicom
import pytest
from hypothesis import Phase, given, settings
from hypothesis import strategies as st

from ich_node.assemble import assemble as stage
from ich_node.codes import SUBTYPES
from ich_node.geometry import PlaneMap
from ich_node.pipeline.stages import predict
from ich_node.records import CtVolume, Prediction
from ich_node.report import decode
from ich_node.report.build import build_results
from tests.support import placed, series
from tests.support.volumes import make_prediction

LABEL = 1 + SUBTYPES.index("intraparenchymal")
CENTRE, RADIUS = (8.0, -6.0, 5.0), 40.0

SECTIONS = {
    "even": [5.0] * 24,
    "thin then thick": [2.5] * 20 + [5.0] * 14,
    "a real scanner's": [4.0] * 13 + [1.1] + [7.0] * 11,
    "thick then less thick": [5.7] * 10 + [4.1] * 14,
    "overlapping": [2.0] * 60,
    "jitter": [5.0, 5.1, 4.9, 5.2, 4.8, 4.85] * 4,
}
# An example takes a second: to shrink one takes longer than to look at it.
WITHOUT_SHRINKING = (Phase.explicit, Phase.reuse, Phase.generate)

PLANE_MAPS = st.builds(PlaneMap, st.booleans(), st.booleans(), st.booleans())


@st.composite
def heights(draw: st.DrawFn) -> tuple[float, ...]:
    """Steps of a scanner's program, of two sections, or each of its own."""
    steps = draw(
        st.sampled_from(list(SECTIONS.values()))
        | st.tuples(st.floats(1.5, 6), st.floats(1.5, 6)).map(
            lambda pair: [pair[0]] * int(60 / pair[0]) + [pair[1]] * int(60 / pair[1])
        )
        | st.lists(st.floats(3, 4.4), min_size=30, max_size=30)
    )
    return tuple(float(part) for part in np.concatenate([[0.0], np.cumsum(steps)]))


CUTS = st.builds(
    placed.Cut,
    heights(),
    tilt=st.sampled_from([0.0]) | st.floats(-30, 30),
    nod=st.sampled_from([0.0]) | st.floats(-20, 20),
    turn=st.sampled_from([0.0]) | st.floats(-20, 20),
    plane_map=PLANE_MAPS,
)


@contextmanager
def assembled(cut: placed.Cut, body: placed.Body) -> Iterator[tuple[CtVolume, Path]]:
    """The volume of a body cut so, and a folder to write to; any body passes as a head."""
    with (
        tempfile.TemporaryDirectory() as folder,
        mock.patch.object(stage, "check_head", lambda *_: {}),
    ):
        files = series.write(placed.series_of(cut, body), Path(folder) / "ct")
        yield stage.assemble(files), Path(folder)


def drawn(volume: CtVolume, radius: float = RADIUS) -> Prediction:
    """A network that knows where the ball is, and says so on the grid it was given."""
    index = np.moveaxis(np.indices(volume.hu.shape), 0, -1) * volume.spacing_mm
    points = np.array(volume.origin_mm) + index @ np.array(volume.direction).T
    inside = np.linalg.norm(points - np.array(CENTRE), axis=-1) < radius
    return make_prediction(np.where(inside, LABEL, 0).astype(np.uint8))


def seen(volume: CtVolume) -> Prediction:
    """A network that finds what is bright."""
    threshold = (placed.BALL_HU + placed.BODY_HU) / 2
    return make_prediction(np.where(volume.hu > threshold, LABEL, 0).astype(np.uint8))


def points_of(frame: decode.Frame) -> np.ndarray:
    """Patient coordinates of every pixel of a frame, shape (row, column, 3) (PS3.3 C.7.6.2.1.1)."""
    rows, columns = np.indices(frame.mask.shape)
    return (
        frame.position
        + columns[..., None] * frame.pixel_spacing[1] * frame.orientation[:3]
        + rows[..., None] * frame.pixel_spacing[0] * frame.orientation[3:]
    )


@settings(max_examples=10, deadline=None, phases=WITHOUT_SHRINKING)
@given(CUTS)
def test_mask_drawn_in_patient_space_comes_back_within_half_a_voxel(cut: placed.Cut) -> None:
    """For every orientation, tilt and spacing, by the coordinates that the SEG itself states."""
    with assembled(cut, placed.ball(CENTRE, RADIUS)) as (volume, folder):
        results = build_results(volume, predict(drawn, volume), folder)
        frames = {f.source_uid: f for f in decode.frames(pydicom.dcmread(results.seg))}
        half = np.linalg.norm(volume.spacing_mm) / 2
        for header in volume.source.headers:
            index = int(header.InstanceNumber) - 1
            where = cut.plane_map.to_source(np.moveaxis(cut.points(index), -1, 0))
            away = np.linalg.norm(np.moveaxis(where, 0, -1) - np.array(CENTRE), axis=-1)
            frame = frames.get(header.SOPInstanceUID)
            mask = frame.mask if frame else np.zeros(away.shape, bool)
            assert not mask[away > RADIUS + half].any()
            assert mask[away < RADIUS - half].all()
            if frame:
                assert np.allclose(points_of(frame), np.moveaxis(where, 0, -1), atol=0.01)


@settings(max_examples=10, deadline=None, phases=WITHOUT_SHRINKING)
@given(CUTS)
def test_volume_of_a_known_ball_is_told_within_two_percent(cut: placed.Cut) -> None:
    """Through tilt, uneven steps and resampling, and equal in SEG, SR and the results."""
    with assembled(cut, placed.ball(CENTRE, RADIUS)) as (volume, folder):
        results = build_results(volume, predict(seen, volume), folder)  # which checks them
        true_ml = 4 / 3 * np.pi * RADIUS**3 / 1000
        assert results.volumes_ml["intraparenchymal"] == pytest.approx(true_ml, rel=0.02)
        assert results.volumes_ml["any"] == results.volumes_ml["intraparenchymal"]


@pytest.mark.parametrize("degrees", [-30, -18.5, 5, 25])
@pytest.mark.parametrize("name", SECTIONS)
def test_the_volume_shows_the_body_where_it_is(name: str, degrees: float) -> None:
    """The centroid of what is bright, on the upright grid, is that of the ball in the patient."""
    steps = np.concatenate([[0.0], np.cumsum(SECTIONS[name])])
    cut = placed.Cut(tuple(steps.tolist()), tilt=degrees)
    with assembled(cut, placed.ball(CENTRE, RADIUS)) as (volume, _):
        bright = np.argwhere(volume.hu > (placed.BALL_HU + placed.BODY_HU) / 2)
        found = volume.origin_mm + np.array(volume.direction) @ (bright.mean(0) * volume.spacing_mm)
        off = np.abs((found - CENTRE) @ np.array(volume.direction)) / volume.spacing_mm
        assert off.max() < 0.25
        assert volume.geometry["tilt_deg"] == pytest.approx(degrees, abs=0.02)
        assert volume.geometry["resampled"]


@pytest.mark.parametrize("flags", list(product((False, True), repeat=3)), ids=str)
def test_a_regular_stack_is_read_as_it_was_sent(flags: tuple[bool, bool, bool]) -> None:
    """Then the grid of the volume is that of its source, and nothing is computed twice."""
    cut = placed.Cut(tuple(np.arange(0, 60, 5.0).tolist()), plane_map=PlaneMap(*flags))
    with assembled(cut, placed.ball(CENTRE, RADIUS)) as (volume, _):
        assert volume.hu is volume.source.hu
        found = seen(volume)
        back = predict(seen, volume)
        assert np.array_equal(back.labels, found.labels)
        assert back.slice_probabilities == found.slice_probabilities
