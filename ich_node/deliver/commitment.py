"""N-EVENT-REPORT out: the answer to a storage commitment whose association ended before it."""

from __future__ import annotations

from dataclasses import dataclass

from pynetdicom import build_role
from pynetdicom.sop_class import StorageCommitmentPushModel, StorageCommitmentPushModelInstance

from ich_node.deliver import deadline
from ich_node.deliver.scu import NoAssociation, associate, make_entity
from ich_node.settings import Destination, Tls
from ich_node.store.commitments import Commitment


@dataclass(frozen=True)
class Answer:
    """What a peer answered to a report: its DIMSE status, or None, and why there is none."""

    status: int | None
    fault: str = ""


def report(
    destination: Destination, calling_ae: str, truth: Commitment, *, tls: Tls | None = None
) -> Answer:
    """Tell a peer what is stored of what it asked for (PS3.4 J.3.3).

    We stay the SCP of the service, in an association that we ask for (PS3.7 D.3.3.4). Nothing that
    a peer does raises.
    """
    entity = make_entity(calling_ae)
    entity.add_requested_context(StorageCommitmentPushModel)
    role = build_role(StorageCommitmentPushModel, scp_role=True)
    association = associate(entity, destination, [role], tls=tls)
    if isinstance(association, NoAssociation):
        return Answer(None, association.text)
    try:
        with deadline.within(association, association.dimse_timeout):
            status, _reply = association.send_n_event_report(
                truth.event_information(),
                truth.event_type,
                StorageCommitmentPushModel,
                StorageCommitmentPushModelInstance,
            )
    except (RuntimeError, ValueError) as error:  # it ended, or does not let us be the SCP
        return Answer(None, f"{destination.ae_title} takes no report ({type(error).__name__})")
    finally:
        deadline.release(association)
    if "Status" not in status:
        return Answer(None, f"{destination.ae_title} did not answer the report")
    return Answer(int(status.Status))
