"""A node's settings, and objects as peers send them, for the tests of receiving and delivering."""

import tempfile
from pathlib import Path
from typing import Any

from pydicom import Dataset
from pydicom.uid import CTImageStorage, ExplicitVRLittleEndian
from pynetdicom.dsutils import split_dataset

from ich_node.receive.intake import Incoming
from ich_node.settings import Dicom, Settings, Source, Storage
from training.simulate.dicom import save

SENDER = Source(name="sender", ae_title="SENDER", hosts=("127.0.0.1",), quiet_seconds=2)


def node_settings(folder: Path, sources: tuple[Source, ...] = (SENDER,), **dicom: Any) -> Settings:
    """Settings of a node on a free port of the loopback address, with its folders made."""
    made = Settings(
        dicom=Dicom(host="127.0.0.1", **dicom).model_copy(update={"port": 0}),
        storage=Storage(data_dir=folder / "data", min_free_gb=0),
        sources=sources,
    )
    made.spool_dir.mkdir(parents=True)
    return made


def small_object(number: int = 1, sop_class: str = CTImageStorage, **values: Any) -> Dataset:
    """A data set of any class without pixels: series 1.2.3 of study 1.2."""
    found = Dataset()
    found.SOPClassUID = sop_class
    found.SOPInstanceUID = f"1.2.3.{number}"
    found.StudyInstanceUID = "1.2"
    found.SeriesInstanceUID = "1.2.3"
    found.Modality = "CT"
    found.PatientID = "SIMULATED-1"
    found.PatientName = "SIMULATED^HEAD"
    found.InstanceNumber = number
    for keyword, value in values.items():
        setattr(found, keyword, value)
    return found


def encoded(dataset: Dataset, syntax: str = ExplicitVRLittleEndian) -> bytes:
    """The data set's bytes in a transfer syntax, as a C-STORE carries them."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "object.dcm"
        save(dataset, path, syntax)
        return path.read_bytes()[split_dataset(path)[1] :]


def incoming(dataset: Dataset, syntax: str = ExplicitVRLittleEndian, **changes: Any) -> Incoming:
    """A C-STORE request for a data set; `changes` make it say otherwise."""
    values: dict[str, Any] = {
        "sop_class_uid": str(dataset.SOPClassUID),
        "sop_instance_uid": str(dataset.SOPInstanceUID),
        "transfer_syntax_uid": str(syntax),
        "source": SENDER,
        "calling_ae": SENDER.ae_title,
    } | changes
    return Incoming(data=values.pop("data", None) or encoded(dataset, syntax), **values)
