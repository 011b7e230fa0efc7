"""What an administrator asks for by `retry`, `reprocess`, `resend`, `hold` and `release`.

The first three act on the newest revision of every series of one study, the others on all that is
due at a destination. Each says what it did, line by line.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence

from ich_node.states import DeliveryEvent, DeliveryState, IllegalTransition, SeriesEvent
from ich_node.store import deliveries, destinations, results, retention, revisions
from ich_node.store.deliveries import Due
from ich_node.store.engine import Connection, Engine, writing
from ich_node.store.jobs import Jobs
from ich_node.store.revisions import Newest

_ASKED = "asked for by `ich-node {}`"
_RETRIED = {
    DeliveryState.RETRYING: "sent again to",
    DeliveryState.FAILED: "sent again to",
    DeliveryState.AWAITING: "proof asked for again from",
    DeliveryState.DELIVERED: "proof asked for again from",
}
_STORED = (DeliveryState.AWAITING, DeliveryState.DELIVERED)


def retry(
    engine: Engine, jobs: Jobs, study_instance_uid: str, unasked: Collection[str] = ()
) -> list[str]:
    """Run again what failed: the analysis, and what a destination has not stored or proven yet.

    Parameters
    ----------
    unasked
        Names of destinations that are never asked for proof (`commitment = "off"`).

    Returns
    -------
    list of str
        What was done; empty where nothing of the study has failed.

    Raises
    ------
    StoreError
        No such study has come.
    """
    text = _ASKED.format("retry")
    done = []
    with writing(engine) as connection:
        for newest in revisions.newest(connection, study_instance_uid):
            if _retry_analysis(connection, jobs, newest, text):
                done.append(f"series {newest.series_instance_uid}: analysed again")
            provable = _provable(connection, newest.key) - set(unasked)
            for name, state in deliveries.of_revision(connection, newest.key).items():
                if state not in _RETRIED or (state in _STORED and name not in provable):
                    continue
                deliveries.ask(connection, jobs, newest.key, name, DeliveryEvent.RETRY, text)
                uid, what = newest.series_instance_uid, _RETRIED[state]
                done.append(f"series {uid}: {what} {name}")
    return done


def _provable(connection: Connection, key: str) -> set[str]:
    """Return the destinations that can be asked for proof: they took objects that are kept."""
    if not results.has_any(connection, key):
        return set()  # deleted since: what is asked for is read from the objects
    return deliveries.took_some(connection, key)


def _retry_analysis(connection: Connection, jobs: Jobs, newest: Newest, text: str) -> bool:
    try:
        return revisions.requeue(connection, jobs, newest.item, text, event=SeriesEvent.RETRY)
    except IllegalTransition:  # it has not failed
        return False


def reprocess(engine: Engine, jobs: Jobs, study_instance_uid: str) -> list[str]:
    """Analyse every series of a study again that was analysed or refused before, as a new revision.

    With all equal that names the work (sources, model, version, device, precision) the objects are
    those kept from before, byte for byte.

    Returns
    -------
    list of str
        What was done; a series that is being received or analysed is left to end first.

    Raises
    ------
    StoreError
        No such study has come.
    """
    done = []
    with writing(engine) as connection:
        for newest in revisions.newest(connection, study_instance_uid):
            uid = newest.series_instance_uid
            if gone := retention.deleted_images(connection, uid):
                done.append(f"series {uid}: left alone, {gone} of its images were deleted")
                continue
            try:
                revisions.reopen(connection, jobs, uid, _ASKED.format("reprocess"))
                done.append(f"series {uid}: analysed again as a new revision")
            except IllegalTransition:
                done.append(f"series {uid}: left alone, it is {newest.state}")
    return done


def resend(engine: Engine, jobs: Jobs, study_instance_uid: str, names: Sequence[str]) -> list[str]:
    """Send the kept objects of a study once more, byte for byte.

    Parameters
    ----------
    names
        Of the destinations to send to; one that had nothing due before gets them too.

    Returns
    -------
    list of str
        What was done; empty where the study has no results.

    Raises
    ------
    StoreError
        No such study has come.
    """
    text = _ASKED.format("resend")
    done = []
    with writing(engine) as connection:
        held = destinations.held_in(connection)
        for newest in revisions.newest(connection, study_instance_uid):
            uid = newest.series_instance_uid
            key = results.newest_key(connection, uid)
            if key is None:
                continue
            try:
                revisions.apply(connection, key, SeriesEvent.RESEND, text)
            except IllegalTransition:  # what is asked for is being read again
                done.append(f"series {uid}: left alone, it is {newest.state}")
                continue
            known = deliveries.of_revision(connection, key)
            for name in names:
                if name in known:
                    deliveries.ask(connection, jobs, key, name, DeliveryEvent.RESEND, text)
                else:
                    deliveries.open_deliveries(connection, jobs, key, [name])
                waits = ", which is held" if name in held else ""
                done.append(f"series {uid}: sent to {name}{waits}")
    return done


def hold(engine: Engine, names: Sequence[str]) -> list[str]:
    """Let deliveries to destinations wait; one that is at hand ends first.

    Returns
    -------
    list of str
        What was done, and how many deliveries wait.
    """
    done = []
    with writing(engine) as connection:
        for name in names:
            if not destinations.hold(connection, name):
                done.append(f"{name}: is held already")
                continue
            waiting = _due(connection, name)
            for item in waiting:
                revisions.note(connection, item.key, "delivery_held", f"{name}: held")
            done.append(f"{name}: held; {len(waiting)} deliveries wait")
    return done


def release(engine: Engine, jobs: Jobs, names: Sequence[str]) -> list[str]:
    """Let deliveries to destinations go on, now.

    Returns
    -------
    list of str
        What was done, and how many deliveries go on.
    """
    done = []
    with writing(engine) as connection:
        for name in names:
            if not destinations.release(connection, name):
                done.append(f"{name}: is not held")
                continue
            waiting = _due(connection, name)
            for item in waiting:
                text, event = _ASKED.format("release"), DeliveryEvent.RELEASED
                deliveries.ask(connection, jobs, item.key, name, event, text)
            done.append(f"{name}: released; {len(waiting)} deliveries go on")
    return done


def _due(connection: Connection, name: str) -> list[Due]:
    return [item for item in deliveries.due_in(connection) if item.destination == name]
