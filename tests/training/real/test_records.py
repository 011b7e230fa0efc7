"""What is not known of a scan is never called absent."""

import numpy as np

from tests.support.datasets import row_of
from training.real.records import UNTYPED, classes_of_labels, classes_of_slices

NAN = np.nan


def test_untyped_voxels_make_the_other_subtypes_unknown():
    """None, a subtype alone, untyped alone, a subtype beside untyped voxels."""
    labels = np.zeros((4, 2, 2), np.uint8)
    labels[1, 0, 0] = labels[3, 0, 0] = 2
    labels[2, 0, 1] = labels[3, 0, 1] = UNTYPED
    np.testing.assert_array_equal(
        classes_of_labels(labels),
        [row_of(), row_of("subdural"), [1, NAN, NAN, NAN, NAN, NAN], [1, NAN, 1, NAN, NAN, NAN]],
    )


def test_a_scan_has_what_a_slice_has_and_may_have_what_a_slice_may():
    slices = np.array([[0, 0, 0, 0, 0, 0], [1, NAN, 1, 0, 0, NAN], [1, 1, 0, 0, 0, 0]], np.float32)
    np.testing.assert_array_equal(classes_of_slices(slices), [1, 1, 1, 0, 0, NAN])
