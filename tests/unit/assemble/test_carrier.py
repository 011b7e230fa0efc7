"""SimpleITK is a second opinion that speaks up."""

from itertools import product

import numpy as np
import pytest

from ich_node.assemble import carrier
from ich_node.assemble.source import SourceImage
from ich_node.assemble.stack import stack_of
from ich_node.errors import CheckFailed
from ich_node.geometry import PlaneMap
from tests.support import series

WRONG_MAPS = [PlaneMap(*flags) for flags in product((False, True), repeat=3) if any(flags)]
AXIAL = (1.0, 0.0, 0.0, 0.0, 1.0, 0.0)


def stack():
    images = [SourceImage(f"{i}.dcm", ds) for i, ds in enumerate(series.head_series())]
    return stack_of(images, AXIAL)


@pytest.mark.parametrize("plane_map", WRONG_MAPS, ids=repr)
def test_map_that_contradicts_the_orientation_is_an_error(plane_map: PlaneMap) -> None:
    image = carrier.image_of(series.head_hu(), stack())
    with pytest.raises(CheckFailed, match="does not turn"):
        carrier.to_canonical(image, plane_map)


def test_header_that_contradicts_the_grid_is_an_error() -> None:
    built = stack()
    built.images[7].dataset.ImagePositionPatient = [0, 0, 0]
    with pytest.raises(CheckFailed, match="slice 7 lies at"):
        carrier.image_of(series.head_hu(), built)


def test_geometry_is_told_in_the_order_of_the_array() -> None:
    placed = carrier.geometry_of(carrier.image_of(series.head_hu(), stack()))
    assert placed["spacing_mm"] == pytest.approx(series.SPACING_MM)
    assert np.array(placed["direction"])[:, 0] == pytest.approx([0, 0, 1])
    assert placed["origin_mm"] == pytest.approx((-83.75, -106.5, -27.5))
