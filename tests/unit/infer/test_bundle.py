"""A bundle is used only if it is whole, unaltered, and fits the network that it names."""

import json
import pickle
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from ich_node.codes import CLASSES
from ich_node.errors import BundleError
from ich_node.infer.bundle import METADATA, load_network, read_bundle
from ich_node.infer.weights import sha256_of
from training.tiny import write_tiny_bundle

WEIGHTS = Path("models/model.safetensors")


@pytest.fixture
def folder(tmp_path):
    return write_tiny_bundle(tmp_path / "tiny")


def _restate(folder: Path, change) -> None:
    """Change the metadata by a function of its decoded form."""
    stated = json.loads((folder / METADATA).read_text())
    change(stated)
    (folder / METADATA).write_text(json.dumps(stated))


def _replace_weights(folder: Path, change) -> None:
    """Change the weights, and let the metadata name the new file."""
    weights = load_file(folder / WEIGHTS)
    change(weights)
    save_file(weights, folder / WEIGHTS)
    sha256 = sha256_of(folder)
    _restate(folder, lambda stated: stated["ich_node"].update(sha256=sha256))


def test_written_bundle_is_read_as_it_was_written(folder):
    """Metadata say name, version, backbone, and a calibration and threshold for every class."""
    bundle = read_bundle(folder)
    assert (bundle.name, bundle.version, bundle.backbone) == ("tiny", "0", "tiny")
    assert set(bundle.calibration) == set(bundle.thresholds) == set(CLASSES)
    weights = load_file(folder / WEIGHTS)
    for name, tensor in load_network(bundle).state_dict().items():
        assert torch.equal(tensor, weights[name]), name


def test_network_is_loaded_for_inference(folder):
    """No dropout, no batch statistics: every part is in evaluation mode."""
    assert not any(part.training for part in load_network(read_bundle(folder)).modules())


def test_same_seed_writes_the_same_weights(folder, tmp_path):
    """The tiny bundle is a function of its seed: its SHA-256 may stand in expected results."""
    again = write_tiny_bundle(tmp_path / "again")
    other = write_tiny_bundle(tmp_path / "other", seed=1)
    assert read_bundle(again).sha256 == read_bundle(folder).sha256 != read_bundle(other).sha256


def test_one_altered_byte_is_refused(folder):
    """The error names the folder and both digests, and says what to do."""
    content = bytearray((folder / WEIGHTS).read_bytes())
    content[-1] ^= 1
    (folder / WEIGHTS).write_bytes(content)
    with pytest.raises(BundleError, match=r"models: SHA-256 .* install") as told:
        load_network(read_bundle(folder))
    assert read_bundle(folder).sha256[:16] in str(told.value)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda w: w.pop("slice_head.bias"), "slice_head.bias is missing"),
        (lambda w: w.update(surplus=torch.zeros(1)), "surplus is unknown"),
        (
            lambda w: w.update({"slice_head.bias": torch.zeros(7)}),
            r"slice_head.bias has shape \(7,\), expected \(6,\)",
        ),
    ],
    ids=["missing", "unknown", "shape"],
)
def test_partial_weights_are_refused(folder, change, said):
    """Every tensor is there, none besides, each of its shape; the error names it."""
    _replace_weights(folder, change)
    with pytest.raises(BundleError, match=said):
        load_network(read_bundle(folder))


def test_weights_of_another_network_are_told_briefly(folder):
    """Where everything differs, three tensors are named and the rest counted."""
    _restate(folder, lambda stated: stated["ich_node"].update(backbone="lite"))
    with pytest.raises(BundleError, match=r"and \d+ more") as told:
        load_network(read_bundle(folder))
    assert len(str(told.value)) < 600


def test_pickle_is_never_loaded(folder, tmp_path):
    """A pickle under the weights' name, even one that the metadata vouches for, does not run."""

    class Trap:
        def __reduce__(self):
            return (Path.touch, (tmp_path / "ran",))

    (folder / WEIGHTS).write_bytes(pickle.dumps(Trap()))
    sha256 = sha256_of(folder)
    _restate(folder, lambda stated: stated["ich_node"].update(sha256=sha256))
    with pytest.raises(BundleError, match="no safetensors"):
        load_network(read_bundle(folder))
    assert not (tmp_path / "ran").exists()


def test_bundle_without_weights_is_refused(folder):
    """The error names the folder where weights belong."""
    (folder / WEIGHTS).unlink()
    with pytest.raises(BundleError, match=r"no \*\.safetensors"):
        load_network(read_bundle(folder))


@pytest.mark.parametrize(
    "change",
    [
        lambda stated: stated.pop("ich_node"),
        lambda stated: stated.pop("version"),
        lambda stated: stated["ich_node"].pop("sha256"),
        lambda stated: stated["ich_node"]["thresholds"].pop("any"),
        lambda stated: stated["ich_node"]["calibration"].update(any=[1.0]),
        lambda stated: stated["ich_node"].update(mask_threshold="high"),
    ],
    ids=["no part of ours", "version", "sha256", "threshold", "calibration", "mask threshold"],
)
def test_incomplete_metadata_are_refused(folder, change):
    """The error names the metadata file and what a bundle states."""
    _restate(folder, change)
    with pytest.raises(BundleError, match=r"metadata\.json.*a bundle states"):
        read_bundle(folder)


def test_metadata_that_are_no_json_are_refused(folder):
    """A damaged file is a BundleError, not a traceback of the decoder."""
    (folder / METADATA).write_text("{")
    with pytest.raises(BundleError, match=r"metadata\.json"):
        read_bundle(folder)


def test_unknown_backbone_is_refused_with_the_known_ones(folder):
    """The error says which backbones there are."""
    _restate(folder, lambda stated: stated["ich_node"].update(backbone="vast"))
    with pytest.raises(BundleError, match=r"'vast' is unknown; known: .*resnet50.*lite"):
        read_bundle(folder)


def test_unknown_bundle_is_refused_with_the_key(tmp_path):
    """The error names the configuration key, the value, and what was looked for."""
    with pytest.raises(BundleError, match=r"model\.bundle = '.*nowhere'.*metadata\.json"):
        read_bundle(tmp_path / "nowhere")


def test_an_entry_in_two_files_is_refused(folder):
    """Which of the two is meant cannot be told."""
    save_file(load_file(folder / WEIGHTS), folder / "models" / "other.safetensors")
    _restate(folder, lambda stated: stated["ich_node"].update(sha256=sha256_of(folder)))
    with pytest.raises(BundleError, match="another weight file"):
        load_network(read_bundle(folder))


@pytest.mark.parametrize(
    "stated",
    [
        pytest.param("published", id="text"),
        pytest.param([192], id="list"),
        pytest.param({"size": "192"}, id="no number"),
        pytest.param({"size": 200}, id="no multiple"),
        pytest.param({"size": 16}, id="too small"),
        pytest.param({"blur": True}, id="unknown"),
        pytest.param({"bone_hu": 60.0}, id="below the window"),
        pytest.param({"bone_hu": 300.0, "clahe": True}, id="no grey level for it"),
    ],
)
def test_a_preprocessing_that_is_none_is_refused(folder, stated):
    """What a network was taught to read is no matter of guessing."""
    _restate(folder, lambda metadata: metadata["ich_node"].update(preprocessing=stated))
    with pytest.raises(BundleError, match="preprocessing"):
        read_bundle(folder)


def test_backgrounds_are_a_list_of_names(folder):
    """Nothing is taken for a name by letters; none are stated where there were none."""
    assert read_bundle(folder).backgrounds == ()
    _restate(folder, lambda metadata: metadata["ich_node"].update(backgrounds="ge-head-tilt"))
    with pytest.raises(BundleError, match="backgrounds = 'ge-head-tilt', expected a list"):
        read_bundle(folder)


def test_the_shipped_bundle_states_its_background():
    """Its card says which real head bleeds were drawn on, and so does what tools read."""
    assert read_bundle("smartnet-ich").backgrounds == ("ge-head-tilt",)
