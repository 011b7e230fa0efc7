"""What training found is shipped whole, calibrated, and measured against the bar."""

import json
import statistics
import sys
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import save_file
from scipy import ndimage
from scipy.special import logit

from ich_node.codes import CLASSES, SUBTYPES
from ich_node.infer.bundle import load_network, read_bundle
from ich_node.infer.network import SmartNet
from ich_node.infer.predictor import load_predictor
from ich_node.infer.weights import files_of, load_weights
from tests.training.phantom import phantom
from training import export
from training.calibrate import NEUTRAL, calibrate
from training.data import example, save
from training.evaluate.heads import HeadRow, measure_head
from training.evaluate.reading import volume_of_array
from training.export import write_bundle, write_weights
from training.real.records import UNTYPED
from training.recipe import Recipe, keep_recipe
from training.seeds import EVALUATION, VALIDATION, file_name
from training.simulate import simulate_head
from training.tiny import write_tiny_bundle


def test_kernels_are_the_same_for_who_computes_in_bf16(tmp_path):
    """Else its masks are of other weights; biases stay as fine as they were."""
    torch.manual_seed(3)
    (tmp_path / "models").mkdir()
    write_weights(tmp_path, SmartNet("tiny", len(CLASSES)))
    weights = load_weights(tmp_path)
    kernels = [value for value in weights.values() if value.ndim > 1]
    assert kernels
    for kernel in kernels:
        torch.testing.assert_close(kernel.bfloat16().float(), kernel.float(), rtol=0, atol=1e-7)
    biases = torch.cat([value.float() for name, value in weights.items() if "fc.bias" in name])
    assert (biases.bfloat16().float() != biases).any()


def test_exported_weights_are_loaded_to_half_precision(tmp_path):
    """From a bundle the node loads every tensor, thresholds and calibration."""
    torch.manual_seed(3)
    network = SmartNet("tiny", len(CLASSES))
    for part in (network.encoder, network.seg_decoder):
        part.to(memory_format=torch.channels_last)  # as training leaves them
    given = {name: (0.5 + index, -0.25) for index, name in enumerate(CLASSES)}
    folder = write_bundle(
        tmp_path / "b",
        network,
        "tiny",
        name="b",
        version="1.2",
        authors="A. Author",
        copyright="Some Clinic",
        calibration=given,
        thresholds=dict.fromkeys(CLASSES, 0.3),
        mask_threshold=0.4,
        about="A test.",
    )
    bundle = load_predictor(folder, "cpu").bundle
    assert bundle.calibration == given
    assert bundle.thresholds == dict.fromkeys(CLASSES, 0.3)
    assert (bundle.version, bundle.mask_threshold) == ("1.2", 0.4)
    loaded = load_network(bundle).state_dict()
    for name, tensor in network.state_dict().items():
        kept = 4e-3 if tensor.ndim > 1 else 1e-3  # kernels in the bits of bf16
        torch.testing.assert_close(loaded[name], tensor, rtol=kept, atol=1e-6)


def test_tiny_bundle_marks_a_simulated_head(tmp_path):
    """The bundle for tests of transport finds something, with a mask, on a simulated head."""
    predictor = load_predictor(write_tiny_bundle(tmp_path / "tiny"), "cpu")
    head = simulate_head(960_000, ("intraparenchymal",), slices=16, matrix=256)
    prediction = predictor.predict(volume_of_array(head.hu, head.spacing_mm))
    assert prediction.scores["intraparenchymal"].present
    assert prediction.labels.any()


def test_only_the_even_half_of_real_slices_calibrates(tmp_path):
    """By sorted name in each class, whatever the order of writing; the odd half is never read."""
    greys = {"normal": (10, 20, 30), "intraparenchymal": (40, 50, 60, 70)}
    for kind, values in greys.items():
        (tmp_path / kind).mkdir()
        for number, grey in reversed(list(enumerate(values))):
            Image.new("L", (8, 8), grey).save(tmp_path / kind / f"{number}.png")

    def run(hu):
        return SimpleNamespace(slice_logits=np.full((1, len(CLASSES)), hu.mean() * 255 / 80))

    found = export.real_slices(SimpleNamespace(run=run), tmp_path)
    np.testing.assert_allclose(found.logits[:, 0], [40, 60, 10, 30], rtol=1e-5)
    bleeds = [1, 0, 0, 0, 1, 0]
    np.testing.assert_array_equal(found.truth, [bleeds, bleeds, [0] * 6, [0] * 6])


@pytest.mark.parametrize(
    ("folders", "said"),
    [
        (("normal", "old"), "old: not the name of a class; expected normal .* or one of epidural"),
        (("normal", "subdural/none"), r"subdural holds no \*.png"),
        (("subdural", "epidural"), "with and without a bleed"),
        ((), "with and without a bleed"),
    ],
)
def test_real_slices_that_cannot_calibrate_are_refused(tmp_path, folders, said):
    """A folder that strayed there would teach the threshold a wrong truth."""
    for folder in folders:
        (tmp_path / folder).mkdir(parents=True)
        Image.new("L", (8, 8), 20).save(tmp_path / folder / "0.png")
    logits = SimpleNamespace(slice_logits=np.zeros((1, len(CLASSES))))
    with pytest.raises(ValueError, match=said):
        export.real_slices(SimpleNamespace(run=lambda _: logits), tmp_path)


def test_heads_are_calibrated_by_what_training_is_told_of_them(tiny_bundle, tmp_path):
    """A bleed of unknown subtype is no absent one; of CQ500 the whole is known, of no slice."""
    untyped = phantom({2: ("subdural",)}, slices=4)
    untyped.labels[untyped.labels > 0] = UNTYPED
    bare = untyped.slice_classes.copy()
    bare[2, 1:] = np.nan
    told = [
        replace(untyped, slice_classes=bare),
        untyped,  # its table says what its mask does not
        replace(
            untyped,
            labels=None,
            slice_classes=np.full((4, 6), np.nan, np.float32),
            classes=np.array([1, 0, 1, 0, np.nan, 0], np.float32),
        ),
    ]
    for number, head in enumerate(told):
        save(head, tmp_path / f"{number}.npz")
    validated = export.validate(load_predictor(tiny_bundle, "cpu"), tmp_path)
    volumes, slices = validated.volumes, validated.slices
    nan = np.nan
    expected = [[1, *[nan] * 5], [1, 0, 1, 0, 0, 0], [1, 0, 1, 0, nan, 0]]
    np.testing.assert_array_equal(volumes.truth, expected)
    of_slices = slices.truth.reshape(3, 4, 6)
    np.testing.assert_array_equal(of_slices[0, 2], expected[0])
    np.testing.assert_array_equal(of_slices[1, 2], expected[1])
    assert not of_slices[:2, [0, 1, 3]].any()
    assert np.isnan(of_slices[2]).all()


def test_heads_of_which_only_the_whole_is_known_are_calibrated_by(tiny_bundle, tmp_path):
    """And slices of which nothing is known keep what they had."""
    unknown = np.full((4, 6), np.nan, np.float32)
    for number in range(6):
        head = phantom({2: ("subdural",)} if number % 2 else {}, slices=4)
        known = np.array([number % 2, 0, number % 2, 0, 0, 0], np.float32)
        whole = replace(head, labels=None, slice_classes=unknown, classes=known)
        save(whole, tmp_path / f"{number}.npz")
    validated = export.validate(load_predictor(tiny_bundle, "cpu"), tmp_path)
    found = {name: slope for name, (slope, _) in calibrate(validated.volumes)[0].items()}
    assert {name for name, slope in found.items() if slope != 1.0} == {"any", "subdural"}
    assert validated.mask_threshold == 0.5
    assert calibrate(validated.slices) == (NEUTRAL, dict.fromkeys(CLASSES, 0.5))


def test_masks_are_cut_where_they_fit_best(tiny_bundle, tmp_path):
    """Of a network that says too much, later; heads without a bleed have no say."""
    heads = {
        number: phantom(held, slices=4)
        for number, held in enumerate([{2: ("subdural",)}, {}, {1: ("epidural",)}])
    }
    for number, head in heads.items():
        save(head, tmp_path / f"{number}.npz")
    predictor = load_predictor(tiny_bundle, "cpu")
    for sure, expected in ((0.85, 0.8), (0.45, 0.4)):
        logits = iter([_said(heads[0], sure), _said(heads[2], sure)])
        eager = SimpleNamespace(
            bundle=predictor.bundle,
            run=predictor.run,
            mask_logits=lambda _, logits=logits: [next(logits)],
        )
        validated = export.validate(eager, tmp_path)
        assert validated.dice.shape == (2, len(export.CUTS))
        assert validated.mask_threshold == expected


def _said(head, sure):
    """Logits (slice, 6, row, column): of the bleed as sure, around it a little less."""
    near = ndimage.binary_dilation(head.labels > 0, np.ones((1, 9, 9)))
    said = np.where(head.labels > 0, sure, np.where(near, sure - 0.1, 0.01))
    return torch.from_numpy(logit(said)[:, None].repeat(6, 1)).float()


def test_a_run_is_exported_with_its_recipe_and_calibrated(tmp_path, monkeypatch):
    """From the run's folder alone: weights, what they read, thresholds of heads and of slices."""
    run, validation, slices = (tmp_path / name for name in ("run", "validation", "slices"))
    recipe = Recipe(backbone="tiny", preprocessing="ours")
    keep_recipe(recipe, run)
    torch.manual_seed(5)
    save_file(SmartNet("tiny", len(CLASSES)).state_dict(), run / "network.safetensors")
    origin = {"heads": {"seeds": [[0, 3]], "others": 1}, "start_sha256": None}
    (run / "origin.json").write_text(json.dumps(origin))
    validation.mkdir()
    asked = [(), ("epidural",), (), ("subdural",)]
    for seed, bleeds in zip(VALIDATION.seeds, asked, strict=False):
        head = simulate_head(seed, bleeds, slices=8, matrix=256, thickness_mm=20.0, noise=False)
        save(example(head, scanned=False), validation / file_name(seed))
    for name, grey in (("intraparenchymal", 200), ("normal", 100)):
        (slices / name).mkdir(parents=True)
        for number in range(4):
            Image.new("L", (224, 224), grey + number).save(slices / name / f"{number}.png")
    told = ["--run", run, "--validation", validation, "--slices", slices, "--out", tmp_path / "b"]
    told += ["--name", "site-model", "--version", "2.1"]
    told += ["--authors", "A. Author", "--copyright", "Some Clinic; not to be passed on"]
    told += ["--background", "ge-head-tilt", "--background", "other"]
    monkeypatch.setattr(sys, "argv", ["export", *map(str, told)])
    export.main()
    bundle = read_bundle(tmp_path / "b")
    assert (bundle.name, bundle.version) == ("site-model", "2.1")
    assert bundle.preprocessing == recipe.reads
    assert bundle.backgrounds == ("ge-head-tilt", "other")
    stated = json.loads((tmp_path / "b" / "configs" / "metadata.json").read_text())
    assert stated["recipe"]["backbone"] == "tiny"
    assert stated["origin"] == origin
    assert stated["authors"] == "A. Author"
    assert stated["copyright"] == "Some Clinic; not to be passed on"
    assert bundle.slice_calibration["any"] != bundle.calibration["any"]
    assert load_network(bundle) is not None


def test_a_bundle_has_the_licence_that_it_was_given_and_no_other(tmp_path):
    """Least of all that of this project, or the one of what lay in the folder before."""
    terms = tmp_path / "terms.txt"
    terms.write_text("Not to be passed on.")
    for given in (terms, None):
        write_bundle(
            tmp_path / "b",
            SmartNet("tiny", len(CLASSES)),
            "tiny",
            name="b",
            version="1",
            authors="A. Author",
            copyright="Some Clinic",
            license_file=given,
            thresholds=dict.fromkeys(CLASSES, 0.3),
            mask_threshold=0.4,
            about="A test.",
        )
        found = [path.read_text() for path in tmp_path.glob("b/LICENSE")]
        assert found == ([] if given is None else ["Not to be passed on."])


@pytest.mark.parametrize("left_out", ["--name", "--version", "--authors", "--copyright"])
def test_a_bundle_is_named_by_who_makes_it(left_out, tmp_path, monkeypatch, capsys):
    """Or reports of a site's own model would be signed with the name of the shipped one."""
    told = {"--name": "site-model", "--version": "2.1", "--out": str(tmp_path / "b")}
    told |= {"--authors": "A. Author", "--copyright": "Some Clinic"}
    told.pop(left_out)
    monkeypatch.setattr(sys, "argv", ["export", *(word for pair in told.items() for word in pair)])
    with pytest.raises(SystemExit):
        export.main()
    assert f"required: {left_out}" in capsys.readouterr().err


def test_shipped_bundle_is_small():
    """It lives in the repository and in the wheel: no file above 15 MiB, 30 MB in all."""
    sizes = [path.stat().st_size for path in files_of(read_bundle("smartnet-ich").folder)]
    assert max(sizes) <= 15 * 2**20
    assert sum(sizes) < 30e6


def test_the_full_network_fits_the_files_of_a_bundle():
    """ResNet-50 in half precision: 110 MB in all, no tensor larger than a file may be."""
    with torch.device("meta"):
        network = SmartNet("resnet50", len(CLASSES))
    sizes = [value.numel() * 2 for value in network.state_dict().values()]
    assert sum(sizes) <= 110e6
    assert max(sizes) <= 15 * 2**20 - 2**17


def test_shipped_bundle_is_in_half_precision():
    """Every weight; what only counts batches is a whole number."""
    weights = load_weights(read_bundle("smartnet-ich").folder)
    whole = {name for name, value in weights.items() if value.dtype != torch.float16}
    assert all(name.endswith("num_batches_tracked") for name in whole)


def test_large_weights_are_cut_into_files_and_read_back(tmp_path, monkeypatch):
    """Whatever the number of files, the network is the same to half precision."""
    torch.manual_seed(3)
    folder = write_tiny_bundle(tmp_path / "tiny")
    network = load_network(read_bundle(folder))
    monkeypatch.setattr(export, "_SHARD_BYTES", 2000)
    write_weights(folder, network)
    files = files_of(folder)
    assert len(files) > 3
    assert files[0].name == f"model-00001-of-{len(files):05d}.safetensors"
    found = load_weights(folder)
    for name, value in network.state_dict().items():
        assert found[name].dtype in (torch.float16, torch.int64)
        torch.testing.assert_close(found[name].to(value.dtype), value, rtol=1e-3, atol=1e-6)


def test_what_half_precision_cannot_hold_stays_whole(tmp_path):
    """A running variance of a million is not made infinite."""
    folder = write_tiny_bundle(tmp_path / "tiny")
    network = load_network(read_bundle(folder))
    network.encoder.bn1.running_var.fill_(1e6)
    write_weights(folder, network)
    assert load_weights(folder)["encoder.bn1.running_var"].max() == 1e6


@pytest.mark.timeout(600)
def test_shipped_bundle_finds_and_outlines_bleeds():
    """On heads that nothing was chosen by: most bleeds found, most clean heads left clean.

    A few heads, so that a bundle that was broken is noticed; `make model` measures it, and its card
    says how far it is from its bars.
    """
    predictor = load_predictor("smartnet-ich", "cpu")

    def measured(seed: int, *names: str) -> HeadRow:
        head = example(simulate_head(seed, names, matrix=256), scanned=True)
        return measure_head(predictor, seed, head).head

    bleeding = [
        (CLASSES.index(name), measured(seed, name))
        for seed, name in zip(EVALUATION.seeds[10:20], SUBTYPES * 2, strict=True)
    ]
    assert statistics.mean(row.dice[0] for _, row in bleeding) >= 0.25
    found = [(index, row) for index, row in bleeding if row.present[0]]
    assert len(found) >= 6
    named = sum(row.present[index] for index, row in found)
    assert named > len(found) / 2, "what is found is to be named rightly mostly"
    clean = [measured(seed) for seed in EVALUATION.seeds[20:25]]
    assert sum(row.present[0] for row in clean) <= 1
