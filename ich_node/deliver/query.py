"""C-FIND out: how many instances of a series another system holds (PS3.4 C.4.1, C.6.2)."""

from __future__ import annotations

from typing import Any

from pydicom import Dataset
from pynetdicom.sop_class import StudyRootQueryRetrieveInformationModelFind

from ich_node.deliver import deadline
from ich_node.deliver.scu import NoAssociation, associate, make_entity
from ich_node.errors import IchNodeError
from ich_node.settings import Destination, Tls

# Short: who asks will ask again.
_CONNECT_S, _ANSWER_S = 5.0, 10.0
# What all matches of a C-FIND may take beyond the time of an answer: those of some thousand images.
_LISTING_S = 60.0
_PENDING = (0xFF00, 0xFF01)


class QueryFailed(IchNodeError):
    """The other system gave no answer, for the reason in the text."""


def count_instances(
    destination: Destination,
    calling_ae: str,
    study_instance_uid: str,
    series_instance_uid: str,
    *,
    tls: Tls | None = None,
) -> int:
    """Ask how many instances of a series a destination holds.

    Number of Series Related Instances (0020,1209) tells; who does not know it is asked for every
    instance.

    Returns
    -------
    int
        0 where it does not know the series.

    Raises
    ------
    QueryFailed
        It cannot be reached, or does not answer as it should.
    """
    entity = make_entity(calling_ae)
    entity.connection_timeout = _CONNECT_S
    entity.acse_timeout = entity.dimse_timeout = entity.network_timeout = _ANSWER_S
    entity.add_requested_context(StudyRootQueryRetrieveInformationModelFind)
    association = associate(entity, destination, tls=tls)
    if isinstance(association, NoAssociation):
        raise QueryFailed(association.text)
    try:
        found = find(association, _series(study_instance_uid, series_instance_uid))
        numbers = [_number(item) for item in found]
        if None not in numbers:
            return sum(number or 0 for number in numbers)
        return len(find(association, _images(study_instance_uid, series_instance_uid)))
    except RuntimeError as error:  # the association ended between the two
        raise QueryFailed("the association ended before the C-FIND") from error
    finally:
        deadline.release(association)


def find(association: Any, identifier: Dataset) -> list[Dataset]:  # noqa: ANN401
    """Return every match of a C-FIND in an association.

    Raises
    ------
    QueryFailed
        There is no answer, or no success.
    """
    found = []
    with deadline.within(association, association.dimse_timeout + _LISTING_S):
        model = StudyRootQueryRetrieveInformationModelFind
        for status, match in association.send_c_find(identifier, model):
            if "Status" not in status:
                deadline.abort(association)
                text = "timed out or connection lost; does it allow our AE title to query?"
                raise QueryFailed(f"no answer to the C-FIND: {text}")
            if status.Status in _PENDING:
                found.append(match if match is not None else Dataset())
            elif status.Status != 0:
                text = f"{status.Status:04X}H, expected 0000H"
                raise QueryFailed(f"the C-FIND was answered with {text}")
    return found


def _series(study_instance_uid: str, series_instance_uid: str) -> Dataset:
    identifier = _images(study_instance_uid, series_instance_uid)
    identifier.QueryRetrieveLevel = "SERIES"
    del identifier.SOPInstanceUID
    identifier.NumberOfSeriesRelatedInstances = ""
    return identifier


def _images(study_instance_uid: str, series_instance_uid: str) -> Dataset:
    identifier = Dataset()
    identifier.QueryRetrieveLevel = "IMAGE"
    identifier.StudyInstanceUID = study_instance_uid
    identifier.SeriesInstanceUID = series_instance_uid
    identifier.SOPInstanceUID = ""
    return identifier


def _number(match: Dataset) -> int | None:
    try:
        value = match.get("NumberOfSeriesRelatedInstances")
        return None if value in (None, "") else int(value)
    except Exception:  # whatever an element raises that cannot be decoded
        return None
