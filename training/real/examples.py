"""Real cases as files beside the simulated heads, in a folder for each part of the split."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from ich_node.infer.preprocess import OURS, SIZE, resize
from training.real.progress import tracked
from training.real.records import Case, DataError, Fault, Loaded
from training.real.sources import load_case
from training.real.splits import split_by_patient

SPLIT = "split.json"


def arrays_of(loaded: Loaded) -> dict[str, npt.NDArray[Any]]:
    """Bring a case to the plane of training heads: its edges stay, finer pixels are averaged.

    Returns
    -------
    dict
        ``hu`` int16 (slice, 256, 256); ``spacing_mm`` float32 (3,) of that grid; ``classes``
        float32 (6,); where they are known ``labels`` uint8 (slice, 256, 256), by nearest
        neighbour, and ``slice_classes`` float32 (slice, 6). Values as in `records.Loaded`.
    """
    planes = torch.from_numpy(loaded.hu)[:, None]
    hu = np.concatenate([resize(plane[None], (SIZE, SIZE), OURS)[0].numpy() for plane in planes])
    spacing = [
        step * count / SIZE
        for step, count in zip(loaded.spacing_mm[1:], loaded.hu.shape[1:], strict=True)
    ]
    arrays: dict[str, npt.NDArray[Any]] = {
        "hu": np.rint(np.clip(hu, -1024, 32767)).astype(np.int16),
        "spacing_mm": np.array([loaded.spacing_mm[0], *spacing], np.float32),
        "classes": loaded.classes,
    }
    if loaded.labels is not None:
        rows, columns = (
            ((np.arange(SIZE) + 0.5) * count / SIZE).astype(int)
            for count in loaded.labels.shape[1:]
        )
        arrays["labels"] = loaded.labels[:, rows][:, :, columns]
    if loaded.slice_classes is not None:
        arrays["slice_classes"] = loaded.slice_classes
    return arrays


def export(
    cases: Iterable[Case], out: Path, fractions: Mapping[str, float], seed: int
) -> tuple[dict[str, int], list[Fault]]:
    """Write each case as ``OUT/<part>/<data set>-<name>.npz``, parts split by patient.

    What is there is kept, so that a second call takes up where the first ended.

    Parameters
    ----------
    cases
        Of one data set or of several.
    out
        Made if need be. Its ``split.json`` keeps fractions and seed.

    Returns
    -------
    counts, faults
        Files of each part that are there now; the cases that cannot be loaded.

    Raises
    ------
    DataError
        The folder was split otherwise: patients would come to lie in two parts.
    """
    _keep_split(out, fractions, seed)
    parts, faults = split_by_patient(cases, fractions, seed), []
    counts = dict.fromkeys(parts, 0)
    for part in parts:
        (out / part).mkdir(exist_ok=True)
    each = [(part, case) for part, members in parts.items() for case in members]
    for part, case in tracked(each, "scans"):
        try:
            _write(case, out / part / f"{case.dataset}-{case.name}.npz")
            counts[part] += 1
        except DataError as error:
            faults.append(Fault(case.name, str(error)))
    return counts, faults


def _write(case: Case, path: Path) -> None:
    """Load and write one case; a file under its own name is always whole."""
    if path.exists():
        return
    part = path.with_suffix(".part.npz")
    arrays = arrays_of(load_case(case))
    np.savez_compressed(part, allow_pickle=False, **arrays)
    part.rename(path)


def _keep_split(out: Path, fractions: Mapping[str, float], seed: int) -> None:
    stated = {"seed": seed, "fractions": dict(fractions)}
    kept = out / SPLIT
    if kept.exists() and (before := json.loads(kept.read_text(encoding="utf-8"))) != stated:
        raise DataError(
            f"{out} was split by {before}, now {stated} is asked for: patients would come to lie "
            "in two parts; give another folder"
        )
    out.mkdir(parents=True, exist_ok=True)
    kept.write_text(json.dumps(stated) + "\n", encoding="utf-8")
