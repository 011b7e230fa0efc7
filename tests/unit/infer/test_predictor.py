"""Predictions lie on the source grid, say what the bundle's thresholds say, and repeat."""

import math
from contextlib import nullcontext
from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from structlog.testing import capture_logs
from torch import nn

from ich_node.codes import CLASSES, SUBTYPES
from ich_node.errors import ConfigError, DeviceLost
from ich_node.infer import predictor as module
from ich_node.infer.bundle import Bundle
from ich_node.infer.predictor import Predictor, judge, load_predictor
from ich_node.infer.preprocess import PUBLISHED
from ich_node.records import CtVolume
from training.tiny import write_tiny_bundle

_SURE, _NEVER = 0.5, 2.0


def _volume(hu) -> CtVolume:
    return CtVolume.of_even_slices(hu, (5.0, 0.5, 0.5))


def _noise(*shape: int):
    return np.random.default_rng(0).normal(30, 20, shape).astype(np.float32)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return write_tiny_bundle(tmp_path_factory.mktemp("bundles") / "tiny")


@pytest.fixture(scope="module")
def tiny(folder):
    return load_predictor(folder, "cpu", "fp32")


class Glass(nn.Module):
    """Stands in for SMART-Net: what is bright in the preprocessed slice is a bleed.

    Every class logit is `logit`; the mask of a subtype is the brighter the later it stands in
    `SUBTYPES`, so that the last one present wins.
    """

    def __init__(self, logit: float = 5.0) -> None:
        super().__init__()
        self.logit = logit

    def slices(self, x):
        return x.mean((2, 3)), x

    def volumes(self, sequences, depths):
        assert sequences.shape[1] == int(depths[0])
        return torch.full((1, len(CLASSES)), self.logit)

    def slice_head(self, features):
        return features.repeat(1, len(CLASSES)) * 10

    def segmenter(self, maps):
        bright = maps[:, :1] * 2 - 1
        return torch.cat([bright * 20, *(bright + index for index in range(len(SUBTYPES)))], 1)


def _bundle(**thresholds: float) -> Bundle:
    return Bundle(
        folder=None,
        name="glass",
        version="1",
        sha256="0" * 64,
        backbone="tiny",
        calibration=dict.fromkeys(CLASSES, (1.0, 0.0)),
        thresholds=dict.fromkeys(CLASSES, _NEVER) | thresholds,
        slice_calibration=dict.fromkeys(CLASSES, (1.0, 0.0)),
        slice_thresholds=dict.fromkeys(CLASSES, 0.5),
        mask_threshold=0.5,
        preprocessing=PUBLISHED,
    )


def _glass(**thresholds: float) -> Predictor:
    return Predictor(_bundle(**thresholds), Glass(), torch.device("cpu"), bf16=False)


@pytest.mark.parametrize("shape", [(1, 512, 512), (9, 256, 256), (35, 128, 200), (3, 600, 320)])
def test_any_size_is_read_on_its_own_grid(tiny, shape):
    """Labels have the volume's shape, and one probability comes for each source slice."""
    prediction = tiny.predict(_volume(_noise(*shape)))
    assert prediction.labels.shape == shape
    assert prediction.labels.dtype == np.uint8
    assert len(prediction.slice_probabilities) == shape[0]
    assert all(0 <= p <= 1 for p in prediction.slice_probabilities)
    assert tuple(prediction.scores) == CLASSES


def test_tiny_bundle_always_reports_one_subtype(tiny):
    """What the other tests lean on: present, with a mask, of intraparenchymal alone."""
    prediction = tiny.predict(_volume(_noise(12, 128, 128)))
    found = {name for name, score in prediction.scores.items() if score.present}
    assert found == {"any", "intraparenchymal"}
    assert set(np.unique(prediction.labels)) == {0, 1 + SUBTYPES.index("intraparenchymal")}


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_same_input_gives_the_same_output(folder, precision):
    """Twice, and from a model loaded anew: equal to the last bit."""
    volume = _volume(_noise(11, 160, 150))
    first = load_predictor(folder, "cpu", precision)
    results = [first.predict(volume), first.predict(volume)]
    results.append(load_predictor(folder, "cpu", precision).predict(volume))
    for other in results[1:]:
        np.testing.assert_array_equal(other.labels, results[0].labels)
        assert other.scores == results[0].scores
        assert other.slice_probabilities == results[0].slice_probabilities


def test_cutting_into_batches_is_not_seen(tiny, monkeypatch):
    """Slices go through in batches and maps in chunks only to bound memory."""
    hu = _noise(13, 96, 96)
    with torch.inference_mode():
        whole = tiny.run(hu)
        masks = torch.cat(list(tiny.mask_logits(whole.maps)))
        monkeypatch.setattr(module, "_BATCH", 3)
        monkeypatch.setattr(module, "_CHUNK", 2)
        parts = tiny.run(hu)
        cut = torch.cat(list(tiny.mask_logits(parts.maps)))
    np.testing.assert_allclose(parts.class_logits, whole.class_logits, rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(parts.slice_logits, whole.slice_logits, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(cut, masks, rtol=1e-4, atol=1e-4)


@settings(max_examples=25, deadline=None)
@given(
    rows=st.integers(128, 700),
    columns=st.integers(128, 700),
    down=st.floats(0.3, 0.7),
    across=st.floats(0.3, 0.7),
)
def test_mask_lies_where_the_blood_was(rows, columns, down, across):
    """From HU to labels, a disc's centre moves by less than half a source pixel."""
    y, x = np.mgrid[:rows, :columns]
    disc = (y - down * rows) ** 2 + (x - across * columns) ** 2 <= (0.12 * min(rows, columns)) ** 2
    hu = np.where(disc, 80, 0).astype(np.float32)[None].repeat(2, 0)
    labels = _glass(subdural=_SURE).predict(_volume(hu)).labels
    assert set(np.unique(labels)) == {0, 1 + SUBTYPES.index("subdural")}
    for axis in (0, 1):
        moved = np.mean(np.argwhere(labels[1])[:, axis]) - np.mean(np.argwhere(disc)[:, axis])
        assert abs(moved) < 0.5


def test_slices_keep_their_order():
    """Probabilities and masks run inferior to superior, as the volume does."""
    hu = np.zeros((5, 128, 128), np.float32)
    hu[:, :4, :4] = 80  # so that min-max is the same for every slice
    hu[3, 30:90, 30:90] = 80
    prediction = _glass(epidural=_SURE).predict(_volume(hu))
    assert int(np.argmax(prediction.slice_probabilities)) == 3
    assert [bool(plane[40:80, 40:80].any()) for plane in prediction.labels] == [
        False, False, False, True, False,
    ]  # fmt: skip


def test_voxel_goes_to_the_likeliest_subtype_that_is_present():
    """Masks are disjoint; a class that is not present has no voxel, and another takes its place."""
    hu = np.zeros((2, 128, 128), np.float32)
    hu[:, 40:90, 40:90] = 80
    last = _glass(epidural=_SURE, subarachnoid=_SURE, intraventricular=_SURE)
    assert set(np.unique(last.predict(_volume(hu)).labels)) == {0, 5}
    assert set(np.unique(_glass(epidural=_SURE).predict(_volume(hu)).labels)) == {0, 1}


def test_no_subtype_present_leaves_the_mask_empty():
    """`any` alone has a probability but no voxel: it is never a segment."""
    hu = np.zeros((2, 128, 128), np.float32)
    hu[:, 40:90, 40:90] = 80
    prediction = _glass(any=_SURE).predict(_volume(hu))
    assert prediction.scores["any"].present
    assert not prediction.labels.any()


def test_mask_threshold_of_the_bundle_decides_the_voxels():
    """A higher threshold keeps fewer voxels, one that cannot be reached none."""
    volume = _volume(_noise(2, 128, 128))
    counts = []
    for threshold in (0.1, 0.5, 0.9, 1.1):
        glass = _glass(epidural=_SURE)
        bundle = replace(glass.bundle, mask_threshold=threshold)
        counts.append(int((replace(glass, bundle=bundle).predict(volume).labels > 0).sum()))
    assert counts == sorted(counts, reverse=True)
    assert counts[0] > counts[2] > counts[3] == 0


def test_threshold_itself_is_present():
    """Present means: calibrated probability at or above the threshold."""
    bundle = _bundle(epidural=0.5)
    assert judge(bundle, np.zeros(6))["epidural"].present
    assert not judge(bundle, np.full(6, -1e-9))["epidural"].present


def test_probability_is_the_calibrated_one():
    """Slope and offset of each class are applied to its own logit before the threshold."""
    calibration = dict.fromkeys(CLASSES, (1.0, 0.0)) | {"subdural": (2.0, -3.0)}
    bundle = replace(_bundle(subdural=0.5), calibration=calibration)
    scores = judge(bundle, np.full(6, 1.0))
    assert scores["subdural"].probability == pytest.approx(1 / (1 + math.exp(1)))
    assert not scores["subdural"].present
    assert scores["epidural"].probability == pytest.approx(1 / (1 + math.exp(-1)))


@pytest.mark.parametrize("own", [True, False])
@pytest.mark.parametrize("subtype", [True, False])
def test_any_is_present_if_its_own_or_a_subtypes_is(own, subtype):
    """`any` follows its subtypes; its probability and threshold stay its own."""
    scores = judge(
        _bundle(any=0.5 if own else 0.9, epidural=0.5 if subtype else 0.9), np.full(6, 1.0)
    )
    assert scores["any"].present is (own or subtype)
    assert scores["any"].probability == pytest.approx(1 / (1 + math.exp(-1)))


def test_extreme_logits_give_probabilities():
    """A very sure network still gives numbers in 0..1, without warnings."""
    with np.errstate(all="raise"):
        scores = judge(_bundle(), np.array([-900.0, 900.0, -50.0, 50.0, 0.0, 1.0]))
    assert all(0 <= score.probability <= 1 for score in scores.values())


def test_identity_says_what_ran(folder, tiny):
    """Name, version, digest, device kind and precision: all that changes the numbers."""
    assert tiny.identity == tiny.predict(_volume(_noise(1, 64, 64))).model
    assert (tiny.identity.name, tiny.identity.device, tiny.identity.precision) == (
        "tiny", "cpu", "fp32",
    )  # fmt: skip
    assert tiny.identity.sha256 == tiny.bundle.sha256
    assert load_predictor(folder, "cpu", "bf16").identity.precision == "bf16"


def test_load_says_which_device_and_precision(folder):
    """One log line states the model, its digest, the device and the precision."""
    with capture_logs() as lines:
        load_predictor(folder, "cpu", "fp32")
    assert [(line["event"], line["device"], line["precision"]) for line in lines] == [
        ("model loaded", "cpu", "fp32")
    ]


def test_cuda_that_is_not_there_is_refused(folder, monkeypatch):
    """Asked-for CUDA without a device is the configuration's fault, and named by its key."""
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 0)
    with pytest.raises(ConfigError, match=r"model\.device = 'cuda:0'"):
        load_predictor(folder, "cuda:0")


def test_auto_takes_the_cpu_where_there_is_no_cuda(folder, monkeypatch):
    """`auto` never fails for want of a GPU."""
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert load_predictor(folder, "auto").identity.device == "cpu"


class Tight(Glass):
    """A device with the memory for so many slices at once."""

    def __init__(self, slices: int) -> None:
        super().__init__()
        self.room = slices
        self.tried: list[int] = []

    def slices(self, x):
        self.tried.append(len(x))
        if len(x) > self.room:
            raise torch.cuda.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB")
        return super().slices(x)


def on_tight(monkeypatch, slices: int) -> tuple[Predictor, Tight]:
    """A predictor whose own device is tight, and whose CPU is not; both are the CPU in truth."""
    network = Tight(slices)
    monkeypatch.setattr(module, "_on_device", lambda *_arguments: Glass())
    bundle = _bundle(any=_SURE, subdural=_SURE)
    # The device is one by its name only: what goes there stays.
    monkeypatch.setattr(torch.Tensor, "to", lambda tensor, *_arguments: tensor)
    monkeypatch.setattr(Predictor, "_precision", lambda _self: nullcontext())
    return Predictor(bundle, network, torch.device("cuda"), bf16=False), network


@pytest.mark.parametrize(
    ("room", "tried", "note", "device"),
    [
        (8, [8, 3], "", "cuda"),
        (4, [8, 4, 4, 3], "read in parts, 1/2 at once", "cuda"),
        (1, [8, 4, *[1] * 11], "read in parts, 1/8 at once", "cuda"),
        (0, [8, 4, 1], "read on the CPU", "cpu"),
    ],
)
def test_where_memory_is_short_less_goes_at_once_and_at_last_the_cpu_reads(
    monkeypatch, room, tried, note, device
):
    """The result says so and names the device that read; its findings are the same."""
    tight, network = on_tight(monkeypatch, room)
    volume = _volume(_noise(11, 96, 96))
    with capture_logs() as said:
        found = tight.predict(volume)
    assert network.tried == tried
    assert [text.split(":")[0] for text in found.notes] == [note] * bool(note)
    assert found.model.device == device
    assert [line["now"] for line in said][-1:] == [note] * bool(note)
    plain = Predictor(tight.bundle, Glass(), torch.device("cpu"), bf16=False).predict(volume)
    np.testing.assert_array_equal(found.labels, plain.labels)
    assert found.scores == plain.scores


@pytest.mark.parametrize(
    "text", ["CUDA error: an illegal memory access\nFor debugging ...", "cuDNN error: FAILED"]
)
def test_a_device_that_has_failed_is_told_apart_from_errors_of_ours(monkeypatch, text):
    def fail(error: Exception):
        def slices(_x):
            raise error

        network = Glass()
        network.slices = slices
        return Predictor(_bundle(), network, torch.device("cpu"), bf16=False)

    with pytest.raises(DeviceLost, match=text.splitlines()[0]) as told:
        fail(RuntimeError(text)).predict(_volume(_noise(3, 96, 96)))
    assert "debugging" not in str(told.value)
    with pytest.raises(RuntimeError, match="shape"):
        fail(RuntimeError("shape mismatch")).predict(_volume(_noise(3, 96, 96)))


def test_a_device_that_is_there_and_cannot_be_used_leaves_the_cpu_to_read(folder, monkeypatch):
    """Where nobody asked for it by name; who did is told."""
    on_device = module._on_device

    def broken(read, device):
        if device.type == "cuda":
            raise RuntimeError("CUDA error: unknown error")
        return on_device(read, device)

    monkeypatch.setattr(module, "_on_device", broken)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    with capture_logs() as said:
        assert load_predictor(folder, "auto", "fp32").identity.device == "cpu"
    assert said[0]["event"] == "the device cannot be used; the CPU reads"
    with pytest.raises(RuntimeError, match="unknown error"):
        load_predictor(folder, "cuda", "fp32")
