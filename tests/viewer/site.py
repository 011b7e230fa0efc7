"""A hospital in small: a PACS with DICOMweb, a node beside it, and a viewer in a browser."""

from __future__ import annotations

import json
import subprocess
import urllib.request
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pydicom
import pytest
from pydicom import Dataset
from pydicom.pixels import pack_bits

from deploy.demo.running import RunningNode, configuration, free_port, running_node, wait_for
from ich_node.uids import derive
from tests.support.orthanc import AE_TITLE, Orthanc, running_orthanc
from tests.support.sender import store
from tests.support.series import write
from tests.viewer import phantom, programs
from tests.viewer.origin import origin

_ROOT = Path(__file__).parents[2]
_INJECT = Path(__file__).with_name("inject")
PICTURES = _ROOT / "out" / "viewer"
_DELIVERED_S, _LOOK_S = 180.0, 600.0


@dataclass(frozen=True)
class Viewer:
    """OHIF in headless Chromium, over a PACS."""

    orthanc: Orthanc
    address: str
    browser: dict[str, str]

    def look(self, name: str, study: str, open_row: str = "", index: int | None = None) -> Any:
        """Open a study, then the object whose row in the list says ``open_row``.

        Parameters
        ----------
        name
            Of the folder for the pictures.
        index
            Turn to the slice of this index, inferior to superior, before and after.

        Returns
        -------
        dict
            What `look.mjs` tells.
        """
        folder = PICTURES / name
        folder.mkdir(parents=True, exist_ok=True)
        asked = {
            **self.browser,
            "origin": self.address,
            "study": study,
            "folder": str(folder),
            "slices": phantom.SLICES,
            "instance": None if index is None else index + 1,
            "open": open_row,
        }
        done = subprocess.run(
            ["node", str(Path(__file__).with_name("look.mjs")), json.dumps(asked)],
            capture_output=True,
            text=True,
            timeout=_LOOK_S,
        )
        assert done.returncode == 0, done.stderr[-2000:]
        return json.loads(done.stdout)

    @contextmanager
    def changed(
        self, study: str, series: str, change: Callable[[Dataset], None] | None
    ) -> Iterator[None]:
        """For a while, have a changed copy in the place of a series' only object, or nothing."""
        query = {"StudyInstanceUID": study, "SeriesDescription": f"{series}*"}
        [name] = self._request(
            "POST", "/tools/find", json.dumps({"Level": "Instance", "Query": query}).encode()
        )
        original = self.orthanc.get_bytes(f"/instances/{name}/file")
        self._request("DELETE", f"/instances/{name}")
        put = None
        if change is not None:
            put = self._request("POST", "/instances", _copy(original, change))
        yield
        if put is not None:
            self._request("DELETE", f"/instances/{put['ID']}")
        self._request("POST", "/instances", original)

    def _request(self, method: str, path: str, body: bytes | None = None) -> Any:
        address = f"http://127.0.0.1:{self.orthanc.http_port}{path}"
        asked = urllib.request.Request(address, body, method=method)
        with urllib.request.urlopen(asked, timeout=60) as answer:
            return json.loads(answer.read() or b"null")


def _copy(original: bytes, change: Callable[[Dataset], None]) -> bytes:
    """Return a changed copy of an object, under UIDs of its own."""
    dataset = pydicom.dcmread(BytesIO(original))
    change(dataset)
    for keyword in ("SOPInstanceUID", "SeriesInstanceUID"):
        setattr(dataset, keyword, derive("changed", dataset[keyword].value))
    dataset.file_meta.MediaStorageSOPInstanceUID = dataset.SOPInstanceUID
    buffer = BytesIO()
    dataset.save_as(buffer, enforce_file_format=True)
    return buffer.getvalue()


@contextmanager
def viewer(folder: Path, studies: Sequence[Sequence[Dataset]]) -> Iterator[Viewer]:
    """Run it all; the studies went to the PACS and through the node, whose results came back."""
    ohif = programs.unpacked(programs.OHIF) / "dist"
    playwright = programs.unpacked(programs.PLAYWRIGHT) / "index.mjs"
    browser = {"playwright": str(playwright), "chromium": programs.path_of("chromium")}
    config = {
        "Plugins": [str(programs.ORTHANC_DICOMWEB)],
        "UnknownSopClassAccepted": True,  # it does not know label maps by name
    }
    with running_orthanc(folder / "orthanc", **config) as orthanc:
        _read_all(folder, orthanc, studies)
        with origin(ohif, orthanc.http_port) as address:
            yield Viewer(orthanc, address, browser)


def _read_all(folder: Path, orthanc: Orthanc, studies: Sequence[Sequence[Dataset]]) -> None:
    """Send studies to the PACS and to a node; wait until all results of each are in the PACS."""
    port = free_port()
    config = configuration(folder / "node", port, [("pacs", AE_TITLE, orthanc.dicom_port)])
    outputs = '["seg", "sr", "sc", "seg-labelmap", "pr"]'
    more = f"outputs = {outputs}\n[selection]\nwait_seconds = 1\n"
    config.write_text(f"{config.read_text()}{more}")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PYTHONPATH", f"{_INJECT}:{_ROOT}")
        with running_node(config, port) as node:
            for number, datasets in enumerate(studies):
                paths = write(datasets, folder / f"ct{number}")
                assert set(store(orthanc.dicom_port, paths, called=AE_TITLE)) == {0}
                assert set(store(node.port, paths)) == {0}
            uids = [str(datasets[0].StudyInstanceUID) for datasets in studies]
            there = partial(_all_delivered, node, uids)
            wait_for(there, _DELIVERED_S, "results of every study in the PACS")


def _all_delivered(node: RunningNode, studies: Sequence[str]) -> bool:
    stories = [node.show(study) for study in studies]
    deliveries = [
        [
            delivery["state"]
            for series in story["series"]
            for revision in series["revisions"]
            for delivery in revision["deliveries"]
        ]
        for story in stories
        if story is not None
    ]
    return len(deliveries) == len(studies) and all(
        states and set(states) <= {"delivered", "confirmed"} for states in deliveries
    )


def masks(seg: Dataset) -> npt.NDArray[np.uint8]:
    """Return the frames of a SEG, shape (frame, row, column)."""
    return np.asarray(seg.pixel_array, np.uint8).reshape(-1, seg.Rows, seg.Columns)


def one_column_off(seg: Dataset) -> None:
    """Move the mask by one column in every frame."""
    seg.PixelData = pack_bits(np.roll(masks(seg), 1, axis=2))


def one_slice_off(seg: Dataset) -> None:
    """Give every frame the mask of its neighbour."""
    seg.PixelData = pack_bits(np.roll(masks(seg), 1, axis=0))


def without_outlines(sr: Dataset) -> None:
    """Take the outlines out of the measurement groups: what this viewer is known to fail at."""
    for item in _items(sr):
        if "ContentSequence" in item:
            kept = [child for child in item.ContentSequence if child.ValueType != "SCOORD"]
            item.ContentSequence = kept


def _items(parent: Dataset) -> Iterator[Dataset]:
    for item in parent.get("ContentSequence", []):
        yield item
        yield from _items(item)
