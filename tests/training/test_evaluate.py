"""Bundles are measured on real slices, reports are whole, and short bars are told."""

import io
import json
import plistlib
import shutil
import tarfile
from dataclasses import replace

import numpy as np
import pytest
import torch
from PIL import Image

from ich_node.codes import CLASSES
from ich_node.infer.preprocess import preprocess
from tests.training.phantom import small_head
from training.evaluate import bars, real, run, simulated
from training.evaluate.__main__ import main
from training.evaluate.looks import look_at
from training.evaluate.reading import read_boxes, read_inv3, read_png
from training.evaluate.real_bars import real_bars
from training.evaluate.report import REAL, make_report, read_heads
from training.evaluate.rows import write_rows

CUT = 0.5


@pytest.fixture(scope="module")
def measured(tiny_bundle, tmp_path_factory):
    """The folder that `simulated` leaves, of nine small heads; and its exit status."""
    folder = tmp_path_factory.mktemp("report")
    with pytest.MonkeyPatch.context() as patch:
        for module in (simulated, run):
            patch.setattr(module, "draw_scan", small_head)
        status = main(
            ["simulated", "--bundle", str(tiny_bundle), "--heads", "9", "--out", str(folder)]
        )
    return folder, status


def test_report_on_simulated_heads_is_whole(measured):
    """Every section and picture is there; an untrained model is short of the bars."""
    folder, status = measured
    assert status == 1
    report = (folder / "report.md").read_text()
    for section in ("Bars", "Volumes", "Slices", "Sensitivity by true volume", "Volume error"):
        assert f"## {section}\n" in report
    for section in ("AUC by true volume", "Heads without a bleed", "Pictures"):
        assert f"## {section}\n" in report
    for section in ("Dice by true volume", "Predictive values", "Calibration"):
        assert f"## {section}\n" in report
    assert "| volume AUC, any | >= 0.98 |" in report
    assert "| short |" in report
    assert "| 2.7% |" in report
    for name in ("roc", "reliability", "bland_altman", "tsne", "looks"):
        assert f"({name}.png)" in report
        assert np.ptp(np.asarray(Image.open(folder / f"{name}.png"))) > 100


def test_report_is_made_again_from_its_rows(measured):
    """Without the model, the same page."""
    folder, _ = measured
    first = (folder / "report.md").read_text()
    (folder / "report.md").unlink()
    main(["report", "--out", str(folder)])
    assert (folder / "report.md").read_text() == first


def test_figures_stand_in_the_card_of_what_was_measured(measured, tiny_bundle, tmp_path, capsys):
    """Below what people wrote there, once however often; never in the card of other weights."""
    folder, _ = measured
    bundle = tmp_path / "tiny"
    shutil.copytree(tiny_bundle, bundle)
    card = bundle / "docs" / "README.md"
    before = card.read_text()
    for _ in range(2):
        assert main(["card", "--bundle", str(bundle), str(folder)]) == 0
    text = card.read_text()
    assert text.startswith(before.rstrip())
    assert text.count("\n## Measured: simulated heads\n") == 1
    assert text.count("\n### Dice by true volume\n") == 1
    assert "| volume AUC, any | >= 0.98 |" in text
    assert ".png" not in text
    assert main(["card", "--bundle", "smartnet-ich", str(folder)]) == 2
    assert "measured with weights of SHA-256" in capsys.readouterr().err


def test_runs_stand_side_by_side(measured, tmp_path, capsys):
    """Also those whose folders are called the same."""
    folder, _ = measured
    other = tmp_path / folder.name
    other.mkdir()
    (other / "heads.jsonl").write_text((folder / "heads.jsonl").read_text())
    assert main(["compare", str(folder), str(other)]) == 0
    assert capsys.readouterr().out.count(" 9 ") == 2


def test_a_row_that_cannot_be_read_is_named(tmp_path):
    (tmp_path / "heads.jsonl").write_text('{"seed": 1}\n')
    with pytest.raises(ValueError, match=r"heads\.jsonl, line 1: .*; measure again"):
        read_heads(tmp_path)


def slice_row(group, bleed, probability, half="", subdural=0.0):
    of_classes = (probability, 0.0, subdural, 0.0, 0.1, 0.0)
    return real.SliceRow(group, "s", half, bleed, 0.0, of_classes)


def good_rows():
    png = [
        slice_row(real.PNG, bleed, 0.9 if bleed else 0.1, half)
        for bleed in (True, False)
        for half in ("odd", "even")
        for _ in range(10)
    ]
    return real.RealRows(
        (*png, slice_row(real.SUBDURAL, True, 0.8, subdural=0.7)),
        (*(real.BoxRow(of, "x", 5, 10, 6) for of in "abcd"), real.BoxRow("a", "y", 0, 10, 6)),
        (real.ScanRow(real.TILTED, "t", "refused (gantry_tilt)", (), float("nan"), 0.0, 0, 0),),
    )


def faults(rows):
    return [bar.what for bar in real_bars(rows, CUT) if bar.met is False]


def test_real_bars_are_met_by_good_rows():
    found = real_bars(good_rows(), CUT)
    assert faults(good_rows()) == []
    assert bars.status(found) == 0


def test_rates_are_those_of_the_odd_half():
    """However bad the even half is, and however good."""
    good = good_rows()
    extra = [slice_row(real.PNG, True, 0.4, "even")] * 10
    assert faults(replace(good, slices=(*good.slices, *extra))) == []
    extra = [slice_row(real.PNG, True, 0.4, "odd")] * 10
    assert faults(replace(good, slices=(*good.slices, *extra))) == [
        "8-bit slices, odd half: sensitivity at 0.500"
    ]


def test_each_real_fault_is_told():
    good = good_rows()
    missed = replace(good, boxes=(*good.boxes, real.BoxRow("e", "x", 0, 10, 6)))
    assert faults(missed) == ["boxed slices: the mask overlaps a box"]
    for outcome, present in (("analysed", ("any",)), ("failed (error)", ())):
        scan = replace(good.scans[0], outcome=outcome, present=present)
        assert len(faults(replace(good, scans=(scan,)))) == 1
    mistaken = (*good.slices[:-1], slice_row(real.SUBDURAL, True, 0.8, subdural=0.05))
    assert len(faults(replace(good, slices=mistaken))) == 1


def test_a_scan_that_was_background_is_no_test():
    """Neither met nor short, whatever was found in it; other scans are as they were."""
    good = good_rows()
    called = replace(good.scans[0], outcome="analysed", present=("any",))
    other = replace(called, group=real.PHANTOM)
    rows = replace(good, scans=(good.scans[0], called, other))
    found = real_bars(rows, CUT, ("ge-head-tilt",))[-5:-1]
    assert [bar.met for bar in found] == [None, None, None, False]
    assert {bar.verdict for bar in found[:2]} == {"background of its training: no test"}
    assert [bar.met for bar in real_bars(rows, CUT, ())[-5:-1]] == [True, False, None, False]


def test_a_report_knows_the_backgrounds_of_its_bundle(tmp_path):
    """From the rows alone, without the model."""
    good = good_rows()
    for name in ("slices", "boxes", "scans"):
        write_rows(tmp_path / f"{name}.jsonl", getattr(good, name))
    stated = {
        "title": REAL,
        "name": "a",
        "version": "1",
        "sha256": "0" * 64,
        "precision": "fp32",
        "data": "x",
    }
    stated["slice_thresholds"] = dict.fromkeys(CLASSES, CUT)
    for backgrounds, told in (([], False), (["ge-head-tilt"], True)):
        (tmp_path / "model.json").write_text(json.dumps(stated | {"backgrounds": backgrounds}))
        make_report(tmp_path)
        report = (tmp_path / "report.md").read_text()
        assert ("background of its training: no test" in report) == told
    (tmp_path / "model.json").write_text(json.dumps({"name": "a"}))
    with pytest.raises(ValueError, match=r"model\.json is of an earlier version; measure again"):
        make_report(tmp_path)


def test_what_is_not_measured_is_neither_met_nor_short():
    """And where nothing is, the command does not pass."""
    nothing = real_bars(real.RealRows((), (), ()), CUT)
    assert {bar.met for bar in nothing} == {None}
    assert bars.status(nothing) == 1
    without = replace(good_rows(), slices=good_rows().slices[:-1])
    assert real_bars(without, CUT)[-1].verdict == "not measured"
    assert bars.status(real_bars(without, CUT)) == 0
    told = {bar.what: bar.verdict for bar in real_bars(good_rows(), CUT)}
    assert told["cranium"] == told["phantom"] == "not measured"
    fewer = replace(good_rows(), boxes=good_rows().boxes[:3])
    assert {bar.what: bar.met for bar in real_bars(fewer, CUT)}[
        "boxed slices: the mask overlaps a box"
    ] is None


def test_data_that_are_not_there_are_told_and_the_others_measured(tiny_bundle, tmp_path, capsys):
    """Nothing but the slice of `pydicom-data`, which the environment has."""
    status = main(
        [
            *("real", "--bundle", str(tiny_bundle), "--shared", str(tmp_path / "none")),
            *("--cranium", str(tmp_path / "none"), "--out", str(tmp_path)),
        ]
    )
    report = (tmp_path / "report.md").read_text()
    assert status in (0, 1)
    assert "| 8-bit slices: AUC | >= 0.95 | not measured | not measured |" in report
    for group in ("tilted head", "cranium", "phantom"):
        assert f"| {group} | no finding |  | not measured |" in report
    assert "| subdural slice: any, and the likeliest subtype |" in report
    assert "none" in capsys.readouterr().out


def write_png(path, value):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.full((64, 64), value, np.uint8)).save(path)


def test_8_bit_slices_are_hu_of_the_brain_window(tmp_path):
    for value, hu in ((0, 0), (255, 80), (51, 16)):
        write_png(tmp_path / "a.png", value)
        assert read_png(tmp_path / "a.png").shape == (1, 64, 64)
        np.testing.assert_allclose(read_png(tmp_path / "a.png"), hu, atol=1e-5)
    Image.new("RGB", (8, 8)).save(tmp_path / "rgb.png")
    with pytest.raises(ValueError, match=r"rgb\.png: mode RGB, expected 8-bit grey"):
        read_png(tmp_path / "rgb.png")


def test_halves_alternate_by_name_within_each_class(predictor, tmp_path):
    for kind in ("normal", "intraparenchymal"):
        for name in "bca":
            write_png(tmp_path / kind / f"{name}.png", 90)
    rows = list(real.png_slices(predictor, tmp_path))
    assert [(row.name, row.half, row.bleed) for row in rows] == [
        (name, half, bleed)
        for bleed in (False, True)
        for name, half in (("a", "even"), ("b", "odd"), ("c", "even"))
    ]
    with pytest.raises(ValueError, match=r"holds no \*\.png"):
        list(real.png_slices(predictor, tmp_path / "normal"))


def write_boxed(folder, data="{'x': 10.2, 'y': 30.0, 'width': 4.0, 'height': 20.0}"):
    np.save(folder / "1.2.npy", np.full((64, 48), 30, np.int16))
    (folder / "gt.csv").write_text(f'SOPInstanceUID,data,labelName\n1.2,"{data}",Subdural\n')


def test_boxes_run_x_along_columns_and_y_along_rows(predictor, tmp_path, monkeypatch):
    """Overlap is counted in the slice's own pixels."""
    write_boxed(tmp_path)
    box = read_boxes(tmp_path / "gt.csv")["1.2"][0]
    assert (box.rows, box.columns) == (slice(30, 50), slice(10, 14))
    mask = np.zeros((1, 64, 48), bool)
    mask[0, 40:64, 12:20] = True
    monkeypatch.setattr(real, "bleed_mask", lambda *_: mask)
    _, boxes = real.boxed_slices(predictor, tmp_path)
    assert boxes == [real.BoxRow("1.2", "Subdural", 10 * 2, 20 * 4, 24 * 8)]


def test_a_box_that_cannot_be_read_is_named(tmp_path):
    write_boxed(tmp_path, data="{'x': 1}")
    with pytest.raises(ValueError, match=r"gt\.csv, line 2: KeyError: 'y'"):
        read_boxes(tmp_path / "gt.csv")


def test_mask_of_a_slice_is_on_its_own_grid(predictor):
    raw = real.run_slice(predictor, np.full((1, 100, 80), 40, np.float32))
    assert real.bleed_mask(predictor, raw, (1, 100, 80)).shape == (1, 100, 80)


def test_invesalius_project_is_turned(tmp_path):
    """Its rows run from posterior to anterior, its spacing is column, row, slice."""
    hu = np.arange(2 * 3 * 4, dtype=np.int16).reshape(2, 3, 4)
    about = {
        "matrix": {"filename": "matrix.dat", "dtype": "int16", "shape": [2, 3, 4]},
        "spacing": [0.5, 0.6, 1.5],
    }
    with tarfile.open(tmp_path / "a.inv3", "w:gz") as archive:
        for name, content in (("main.plist", plistlib.dumps(about)), ("matrix.dat", hu.tobytes())):
            member = tarfile.TarInfo(f"x/{name}")
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))
    volume = read_inv3(tmp_path / "a.inv3")
    assert volume.spacing_mm == (1.5, 0.6, 0.5)
    np.testing.assert_array_equal(volume.hu, hu[:, ::-1])


def test_grad_cam_is_bright_where_it_speaks_for_a_bleed(predictor):
    """By its definition, and not turned round: the positive part of the weighted deepest map."""
    hu = small_head(1).hu[3]
    found = look_at(predictor, "x", hu, hu > 1e4).grad_cam
    network = predictor.network
    x = torch.from_numpy(preprocess(hu[None], predictor.bundle.preprocessing))[:, None]
    deepest: list[torch.Tensor] = []
    x.requires_grad_()
    hook = network.encoder.layer4.register_forward_hook(lambda *given: deepest.append(given[2]))
    logit = network.slice_head(network.slices(x)[0])[0, 0]
    hook.remove()
    (slope,) = torch.autograd.grad(logit, deepest[0])
    heat = torch.relu((slope.mean((2, 3), keepdim=True) * deepest[0]).sum(1))[0].detach().numpy()
    assert heat.max() > 0
    step = len(found) // len(heat)
    coarse = found.reshape(len(heat), step, len(heat), step).mean((1, 3))
    assert np.corrcoef(coarse.ravel(), heat.ravel())[0, 1] > 0.9


def test_a_missing_folder_is_named(tmp_path, capsys):
    """On one line, with exit status 2."""
    assert main(["report", "--out", str(tmp_path / "none")]) == 2
    told = capsys.readouterr().err
    assert "none" in told
    assert told.count("\n") == 1


@pytest.mark.shared_data
def test_real_data_are_measured_whole(tiny_bundle, tmp_path, shared_data):
    """All but the cranium; a model that calls everything is short."""
    status = main(
        [
            "real",
            *("--bundle", str(tiny_bundle), "--shared", str(shared_data)),
            *("--cranium", str(tmp_path / "none"), "--out", str(tmp_path)),
        ]
    )
    assert status == 1
    report = (tmp_path / "report.md").read_text()
    assert "odd half: specificity at 0.000 | >= 0.90 | 0.000 (0.000 to 0.071, 0 of 50)" in report
    assert "| tilted head, by the node, ge-head-tilt | no finding | " in report
    assert report.count("| phantom, by the node, S216") + report.count("node, S2157") == 4
    for name in ("roc", "reliability", "looks"):
        assert (tmp_path / f"{name}.png").stat().st_size > 10_000
