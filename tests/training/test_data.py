"""Examples are what the network reads."""

import sys

import numpy as np
import pytest

from ich_node.codes import CLASSES
from tests.support.datasets import write_masked, write_physionet
from tests.training.phantom import phantom, write_phantoms
from training import data
from training.real import instance22, physionet
from training.real.examples import export
from training.real.records import UNTYPED, classes_of_labels
from training.simulate import NotDrawn, simulate_head


def test_example_is_the_head_in_whole_hu():
    head = simulate_head(4, matrix=64, slices=8, thickness_mm=18.0, noise=False)
    found = data.example(head, scanned=False)
    assert found.hu.dtype == np.int16
    assert not found.scanned
    np.testing.assert_allclose(found.hu, head.hu, atol=0.5)
    np.testing.assert_array_equal(found.labels, head.labels)
    assert found.spacing_mm == head.spacing_mm


def test_saved_example_comes_back(tmp_path):
    """Written and read, equal; no half-written file stands under the name that is read."""
    one = phantom({2: ("subdural",)})
    data.save(one, tmp_path / "000004.npz")
    again = data.load(tmp_path / "000004.npz")
    for name in ("hu", "labels", "slice_classes"):
        np.testing.assert_array_equal(getattr(again, name), getattr(one, name))
    assert again.spacing_mm == pytest.approx(one.spacing_mm)
    assert (again.scanned, again.classes) == (False, None)
    assert [path.name for path in tmp_path.iterdir()] == ["000004.npz"]


def test_what_is_no_head_is_named_with_what_writes_one(tmp_path):
    np.savez(tmp_path / "a.npz", other=np.zeros(3))
    (tmp_path / "b.npz").write_bytes(b"PK no archive")
    for name in ("a.npz", "b.npz"):
        with pytest.raises(ValueError, match=rf"{name}.*python -m training.data"):
            data.load(tmp_path / name)


def test_only_whole_heads_are_listed_and_none_is_an_error(tmp_path):
    write_phantoms(tmp_path)
    (tmp_path / "000009.part.npz").write_bytes(b"half")
    assert [path.name for path in data.head_files(tmp_path)] == [f"{n:06d}.npz" for n in range(4)]
    with pytest.raises(FileNotFoundError, match=r"holds no heads.*training.data"):
        data.head_files(tmp_path / "nowhere")


def test_slice_classes_say_what_each_slice_holds():
    """Order of `codes.CLASSES`: any, then the subtypes; an unknown subtype may be any of them."""
    labels = np.zeros((4, 4, 4), np.uint8)
    labels[1, 0, 0], labels[2, 1, 1], labels[2, 2, 2] = 1, 2, 5
    labels[3, 0, 0], labels[3, 1, 1] = UNTYPED, 3
    nan = np.nan
    np.testing.assert_array_equal(
        classes_of_labels(labels),
        [
            [0, 0, 0, 0, 0, 0],
            [1, 1, 0, 0, 0, 0],
            [1, 0, 1, 0, 0, 1],
            [1, nan, nan, 1, nan, nan],
        ],
    )


def test_what_labels_do_not_tell_is_taken_from_what_is_stated():
    """And nothing else is: a mask that was seen is not talked out of."""
    labels = np.zeros((2, 4, 4), np.uint8)
    labels[0, 0, 0] = UNTYPED
    stated = np.array([[1, 1, 1, 0, 0, 0], [1, 1, 0, 0, 0, 0]], np.float32)
    np.testing.assert_array_equal(
        data.known_classes(labels, stated), [[1, 1, 1, 0, 0, 0], [0, 0, 0, 0, 0, 0]]
    )
    assert data.known_classes(None, stated) is stated


def test_scans_vary_in_thickness_and_field():
    """The seed draws the scan too, and a head's scan repeats."""
    drawn = [data.draw_scan(seed, (), matrix=32).spacing_mm for seed in (0, 1, 2, 1)]
    assert len(set(drawn)) == 3
    assert drawn[1] == drawn[3]


def test_exported_heads_of_one_class_of_masks_keep_the_stated_subtypes(tmp_path):
    """PhysioNet: a slice of two subtypes has an untyped mask, and both are known of the slice."""
    held = ((), ("subdural",), ("subdural", "subarachnoid"), (), (), ())
    cases = physionet.find(write_physionet(tmp_path / "data", {49: held})).cases
    export(cases, tmp_path / "out", {"train": 1.0}, 1)
    head = data.load(tmp_path / "out" / "train" / "physionet-049.npz")
    assert head.scanned
    assert head.hu.shape == head.labels.shape == (6, 256, 256)
    assert set(np.unique(head.labels[2])) == {0, UNTYPED}
    known = data.known_classes(head.labels, head.slice_classes)
    assert known[2].tolist() == [float(name in ("any", *held[2])) for name in CLASSES]


def test_exported_heads_of_unknown_subtypes_know_any_alone(tmp_path):
    """INSTANCE22."""
    mask = np.zeros((6, 24, 20), np.uint8)
    mask[2, 8:12, 9:12] = 1
    write_masked(tmp_path / "data", tmp_path / "label", {"001": mask})
    export(instance22.find(tmp_path).cases, tmp_path / "out", {"train": 1.0}, 1)
    (path,) = data.head_files(tmp_path / "out" / "train")
    head = data.load(path)
    assert head.slice_classes[:, 0].tolist() == [0, 0, 1, 0, 0, 0]
    assert np.isnan(head.slice_classes[2, 1:]).all()


def test_a_head_that_cannot_be_drawn_is_left_out(tmp_path, monkeypatch, capsys):
    """And the others are drawn."""

    def draw(seed, *_, **__):
        if seed == 1:
            raise NotDrawn(seed, ("subdural",))
        return phantom({})

    monkeypatch.setattr(data, "draw_example", draw)
    monkeypatch.setattr(sys, "argv", ["data", "--count", "3", "--out", str(tmp_path)])
    data.main()
    assert [path.name for path in data.head_files(tmp_path)] == ["000000.npz", "000002.npz"]
    told = capsys.readouterr().out
    assert "left out: seed 1: in none of 40 draws can all of subdural be seen" in told
    assert "2 heads" in told


def test_heads_of_one_bleed_are_drawn_on_demand(tmp_path, monkeypatch):
    """Each head holds that one alone; without a wish the seed says which."""
    asked = []

    def draw(seed, *_, bleeds):
        asked.append(bleeds)
        return phantom({})

    monkeypatch.setattr(data, "draw_example", draw)
    for wish in ([], ["--bleed", "subdural"]):
        out = str(tmp_path / str(len(wish)))
        monkeypatch.setattr(sys, "argv", ["data", "--count", "1", "--out", out, *wish])
        data.main()
    assert asked == [None, ("subdural",)]
