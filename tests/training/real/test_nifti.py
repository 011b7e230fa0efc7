"""A NIfTI file is read as it lies in the patient, and a mask only with the image it lies on."""

import itertools

import nibabel as nib
import numpy as np
import pytest

from tests.support.datasets import SHAPE, SPACING_MM, save_nifti, tiny_hu
from training.real import nifti
from training.real.records import DataError

AXES = [
    "".join(letters)
    for order in itertools.permutations(("LR", "AP", "SI"))
    for letters in itertools.product(*order)
]


@pytest.mark.parametrize("axes", AXES)
def test_every_orientation_of_a_file_gives_the_same_volume(tmp_path, axes):
    """48 orders and directions of axes; spacing and slice numbers follow them."""
    hu = tiny_hu()
    scan = nifti.read_ct(save_nifti(hu.astype(np.int16), tmp_path / "a.nii.gz", axes))
    np.testing.assert_array_equal(scan.hu, hu)
    assert scan.hu.dtype == np.float32
    assert scan.spacing_mm == pytest.approx(SPACING_MM)
    assert axes[scan.file_axis] in "SI"
    up = axes[scan.file_axis] == "S"
    assert scan.file_slices == tuple(range(SHAPE[0]) if up else reversed(range(SHAPE[0])))


def test_a_mask_stored_otherwise_than_its_image_is_refused_with_both_names(tmp_path):
    """Same head, same shape of array, another affine: voxels would not fall on one another."""
    image = save_nifti(tiny_hu().astype(np.int16), tmp_path / "image.nii.gz", "LAS")
    mask = save_nifti(np.ones(SHAPE, np.uint8), tmp_path / "mask.nii.gz", "LPS")
    with pytest.raises(DataError, match=r"image\.nii\.gz and mask mask\.nii\.gz lie up to 69.0 mm"):
        nifti.read_mask(mask, image)


def test_a_mask_of_another_shape_is_refused_with_both_names(tmp_path):
    image = save_nifti(tiny_hu().astype(np.int16), tmp_path / "image.nii.gz")
    mask = save_nifti(np.ones((5, 24, 20), np.uint8), tmp_path / "mask.nii.gz")
    with pytest.raises(DataError, match=r"image\.nii\.gz has shape .20, 24, 6., mask mask\.nii"):
        nifti.read_mask(mask, image)


def test_headers_may_be_rounded(tmp_path):
    """Half the tolerance apart is the same place."""
    image = save_nifti(tiny_hu().astype(np.int16), tmp_path / "image.nii.gz")
    moved = nib.load(save_nifti(np.ones(SHAPE, np.uint8), tmp_path / "mask.nii.gz"))
    affine = moved.affine.copy()
    affine[0, 3] += 0.05
    nib.save(nib.Nifti1Image(np.asarray(moved.dataobj), affine), tmp_path / "moved.nii.gz")
    assert nifti.read_mask(tmp_path / "moved.nii.gz", image).all()


def test_a_file_that_does_not_say_how_it_lies_is_refused(tmp_path):
    """nibabel would guess an affine."""
    nib.save(nib.Nifti1Image(np.zeros((4, 4, 4), np.int16), None), tmp_path / "a.nii")
    with pytest.raises(DataError, match="sform_code and qform_code are 0"):
        nifti.read_ct(tmp_path / "a.nii")


def test_a_windowed_copy_is_not_hu(tmp_path):
    grey = np.clip(tiny_hu() * 255 / 80, 0, 255).astype(np.uint8)
    with pytest.raises(DataError, match="not plausible HU"):
        nifti.read_ct(save_nifti(grey, tmp_path / "a.nii.gz"))


def test_padding_becomes_air(tmp_path):
    hu = tiny_hu().astype(np.int16)
    hu[:, :2] = -3024
    assert nifti.read_ct(save_nifti(hu, tmp_path / "a.nii.gz")).hu.min() == -1024


@pytest.mark.parametrize("name", ["a.nii", "a.nii.gz"])
def test_a_file_that_breaks_off_is_named(tmp_path, name):
    path = save_nifti(tiny_hu().astype(np.int16), tmp_path / name)
    path.write_bytes(path.read_bytes()[:-200])
    with pytest.raises(DataError, match=rf"^{name} breaks off; download it again"):
        nifti.read_ct(path)


@pytest.mark.parametrize(
    ("volume", "wrong"),
    [(np.zeros((2, 2, 2, 2), np.int16), "three axes"), (np.full((3, 3, 3), np.nan), "no numbers")],
)
def test_what_is_no_volume_is_refused(tmp_path, volume, wrong):
    nib.save(nib.Nifti1Image(volume, np.eye(4)), tmp_path / "a.nii")
    with pytest.raises(DataError, match=wrong):
        nifti.read_ct(tmp_path / "a.nii")


def test_a_mask_with_fractions_was_resampled_wrongly(tmp_path):
    image = save_nifti(tiny_hu().astype(np.int16), tmp_path / "image.nii.gz")
    mask = save_nifti(np.full(SHAPE, 0.4, np.float32), tmp_path / "mask.nii.gz")
    with pytest.raises(DataError, match="fractions"):
        nifti.read_mask(mask, image)
