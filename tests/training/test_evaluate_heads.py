"""Heads are measured by what is known of them, and held against the bars."""

from dataclasses import replace

import numpy as np
import pytest

from ich_node.codes import CLASSES
from tests.training.phantom import small_head
from training.data import Example, example, save
from training.evaluate import bars
from training.evaluate.__main__ import main
from training.evaluate.heads import HeadRow, HeadSlice, measure_head
from training.evaluate.simulated_bars import simulated_bars, simulated_tables
from training.real.records import classes_of_labels

CUT = 0.5
CUTS = dict.fromkeys(CLASSES, CUT)


def own_head(seed, known="labels"):
    """A head as a site exports it: its labels are known, the classes of its slices, or its own."""
    head = small_head(seed)
    classes = classes_of_labels(head.labels)
    unknown = np.full_like(classes, np.nan)
    return Example(
        np.rint(head.hu).astype(np.int16),
        head.spacing_mm,
        head.labels if known == "labels" else None,
        unknown if known == "whole" else classes,
        True,
        classes.max(0) if known == "whole" else None,
    )


def head_row(bleeds, probability, dice=0.9):
    held = (float(bleeds),) * 6
    ml = tuple(6.0 * one for one in held)
    called = (probability >= CUT,) * 6
    shares = (probability,) * 6
    return HeadRow(1, 8, 5.0, 64, held, ml, ml, (dice,) * 6, shares, called, 1.0)


def test_slices_are_told_apart_by_the_blood_in_them():
    """Each band against the slices without; a slice of another band is in neither."""

    def one(seed, ml, probability):
        held = (float(ml > 0),) * 6
        return HeadSlice(seed, 0, held, (ml,) * 6, (probability,) * 6)

    small, large = one(1, 0.3, 0.2), one(2, 7.0, 0.9)
    unknown = HeadSlice(3, 0, (np.nan,) * 6, (np.nan,) * 6, (0.9,) * 6)
    clean = [one(4, 0.0, 0.1), one(5, 0.0, 0.3)]
    tables = simulated_tables([head_row(True, 0.9)], [small, large, unknown, *clean], CUTS)
    area, called = (
        next(line for line in tables[f"{what} of slices by true volume in the slice"][1:])
        for what in ("AUC", "Sensitivity")
    )
    assert [cell.split(" ")[0] for cell in area] == ["any", "0.500", "not", "not", "1.000"]
    assert "0 of 1" in called[1]
    assert called[2] == called[3] == "not measured"
    assert "1 of 1" in called[4]


def test_a_head_is_measured_on_its_own_grid(predictor):
    """Volumes in mL by class, of truth and mask, and of each slice."""
    head = small_head(1)
    found = measure_head(predictor, 1, example(head, scanned=True))
    voxel_ml = 5.0 * 3.5 * 3.5 / 1000
    assert found.head.true_ml[0] == pytest.approx(3 * 64 * voxel_ml)
    assert found.head.true_ml[2] == found.head.true_ml[0]  # label 2: subdural
    assert sum(found.head.true_ml[1:]) == found.head.true_ml[0]
    assert [row.true_ml[0] > 0 for row in found.slices] == [2 <= i < 5 for i in range(8)]
    assert found.head.present == tuple(name in ("any", "intraparenchymal") for name in CLASSES)
    assert len(found.of) == len(found.features) == 6


def test_without_a_mask_of_the_truth_volumes_and_dice_are_not_known(predictor):
    """Of slices whose classes are stated, and of a scan of which only the whole is."""
    for known in ("slices", "whole"):
        for seed, holds in ((3, 0), (1, 1)):
            found = measure_head(predictor, seed, own_head(seed, known)).head
            assert found.held[0] == holds
            assert np.isnan(found.dice).all()
            assert np.isnan(found.true_ml[0]) == (holds == 1)
            assert found.true_ml[1] == 0  # of a class that is known to be absent


def test_a_bleed_of_unknown_subtype_counts_for_any_alone(predictor):
    head = own_head(1)
    labels = np.where(head.labels > 0, 255, 0).astype(np.uint8)
    head = replace(head, labels=labels, slice_classes=classes_of_labels(labels))
    found = measure_head(predictor, 1, head)
    assert found.head.true_ml[0] > 0
    assert not np.isnan(found.head.dice[0])
    for values in (found.head.held, found.head.true_ml, found.head.dice):
        assert np.isnan(values[1:]).all()
    row = head_row(True, 0.9)
    unknown = replace(row, held=found.head.held, true_ml=found.head.true_ml)
    tables = simulated_tables([row, head_row(False, 0.1), unknown], found.slices, CUTS)
    counts = {line[0]: line[1:3] for line in tables["Volumes"][1:]}
    assert counts["any"] == ["2", "1"]
    assert counts["subdural"] == ["1", "1"]


def test_a_sites_own_heads_are_measured_and_held_against_no_bar(tiny_bundle, tmp_path):
    """Masks, classes of slices and classes of the whole, one beside the other."""
    heads, out = tmp_path / "heads", tmp_path / "report"
    heads.mkdir()
    for number, known in enumerate(("labels", "labels", "labels", "slices", "whole", "whole")):
        save(own_head(number, known), heads / f"case-{number}.npz")
    status = main(
        ["heads", "--bundle", str(tiny_bundle), "--folder", str(heads), "--out", str(out)]
    )
    assert status == 0
    report = (out / "report.md").read_text()
    assert report.startswith("# Heads of a folder")
    assert "## Bars" not in report
    lines = [line for line in report.splitlines() if line.startswith("| any |")]
    assert lines[0].split("|")[2:4] == [" 4 ", " 2 "]  # volumes: with a bleed, without
    assert lines[1].split("|")[2:4] == [" 6 ", " 26 "]  # slices: those of the last two unknown
    assert main(["report", "--out", str(out)]) == 0
    assert (out / "report.md").read_text() == report


def test_a_folder_without_heads_is_named(tiny_bundle, tmp_path, capsys):
    arguments = ["--bundle", str(tiny_bundle), "--folder", str(tmp_path)]
    assert main(["heads", *arguments, "--out", str(tmp_path)]) == 2
    assert "holds no heads" in capsys.readouterr().err


def test_simulated_bars_are_met_by_a_good_model_only():
    """AUC and Dice of large bleeds each fail alone."""
    good = [head_row(True, 0.9)] * 30 + [head_row(False, 0.1)] * 30
    assert bars.status(simulated_bars(good)) == 0
    blurred = [replace(row, dice=(0.7,) * 6) for row in good]
    assert [bar.what for bar in simulated_bars(blurred) if bar.met is False] == [
        "mean Dice, bleeds >= 5 mL"
    ]
    assert sum(bar.met is False for bar in simulated_bars(good + [head_row(True, 0.05)] * 3)) == 6


def test_false_alarms_are_counted_where_nothing_bleeds():
    """Of heads without a bleed, those called and those with a mask; others do not count."""
    none, one = (0.0,) * 6, (1.0,) * 6
    row = HeadRow(7, 8, 5.0, 64, none, none, none, one, none, (False,) * 6, 0.1)
    alarmed = replace(row, seed=9, present=(True,) * 6, found_ml=(2.5,) * 6)
    bleeding = replace(alarmed, seed=8, held=one, true_ml=one)
    slices = [HeadSlice(7, 0, none, none, none), HeadSlice(8, 0, one, one, one)]
    table = simulated_tables([row, alarmed, bleeding], slices, CUTS)["Heads without a bleed"]
    assert table[1] == ["2", "1", "1", "2.50", "2.50", "9"]
