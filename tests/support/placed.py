"""CT series of a body known in patient space, cut by slices that lie anywhere.

What a scanner does: the table moves, the gantry may be tipped, the steps may change, and rows and
columns run as the patient lies.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from pydicom import Dataset

from ich_node.geometry import PlaneMap
from ich_node.selftest.series import build_series
from tests.support.series import set_pixels

Points = npt.NDArray[np.float64]
UPRIGHT = PlaneMap()
BALL_HU, BODY_HU, AIR_HU = 70.0, 30.0, -1000.0


@dataclass(frozen=True)
class Cut:
    """How a body is cut: heights of the slices along their normal, and how they lie, mm, degrees.

    ``tilt`` shears the stack; ``nod`` and ``turn`` rotate all of it about the right-left and the
    long axis. The middle of the slices is the origin of the patient's coordinates.
    """

    heights: tuple[float, ...]
    tilt: float = 0.0
    nod: float = 0.0
    turn: float = 0.0
    plane_map: PlaneMap = UPRIGHT
    pixel_mm: tuple[float, float] = (1.5, 1.6)
    matrix: tuple[int, int] = (128, 112)

    @property
    def axes(self) -> Points:
        """Columns: to the patient's left, to posterior and to superior, as the slices have them."""
        nod, turn = np.radians(self.nod), np.radians(self.turn)
        about_x = [[1, 0, 0], [0, np.cos(nod), -np.sin(nod)], [0, np.sin(nod), np.cos(nod)]]
        about_z = [[np.cos(turn), -np.sin(turn), 0], [np.sin(turn), np.cos(turn), 0], [0, 0, 1]]
        return np.array(about_x) @ np.array(about_z)

    def points(self, index: int) -> Points:
        """Patient coordinates of the pixels of a slice, shape (row, column, 3), mm."""
        middle = (self.heights[0] + self.heights[-1]) / 2
        height = self.heights[index] - middle
        rows, columns = (
            (np.arange(count) - (count - 1) / 2) * step
            for count, step in zip(self.matrix, self.pixel_mm, strict=True)
        )
        left, down, up = self.axes.T
        centre = height * (up - np.tan(np.radians(self.tilt)) * down)
        return centre + rows[:, None, None] * down + columns[None, :, None] * left


Body = Callable[[Points], npt.NDArray[np.float64]]


def ball(centre: Sequence[float], radius: float) -> Body:
    """Air, a round body in it, and a ball of blood in that."""

    def hu(points: Points) -> npt.NDArray[np.float64]:
        body = np.linalg.norm(points[..., :2], axis=-1) < 75
        inside = np.linalg.norm(points - np.array(centre), axis=-1) < radius
        return np.where(inside, BALL_HU, np.where(body, BODY_HU, AIR_HU))

    return hu


def series_of(cut: Cut, body: Body) -> list[Dataset]:
    """The data sets of a body cut so, inferior first."""
    planes = np.stack([body(cut.points(index)) for index in range(len(cut.heights))])
    datasets = build_series(planes.astype(np.float32), spacing_mm=(5.0, *cut.pixel_mm))
    for index, dataset in enumerate(datasets):
        where = cut.plane_map.to_source(np.moveaxis(cut.points(index), -1, 0))
        along_row, along_column = where[:, 0, 1] - where[:, 0, 0], where[:, 1, 0] - where[:, 0, 0]
        lengths = [float(np.linalg.norm(step)) for step in (along_column, along_row)]
        set_pixels(dataset, cut.plane_map.to_source(planes[index]) + 1024)
        cosines = [*(along_row / lengths[1]), *(along_column / lengths[0])]
        dataset.ImageOrientationPatient = [f"{part + 0.0:.8f}" for part in cosines]
        dataset.ImagePositionPatient = [f"{part:.6f}" for part in where[:, 0, 0]]
        dataset.PixelSpacing = [f"{length:.6g}" for length in lengths]
        del dataset.SliceLocation
    return datasets
