"""The states of a series and of a delivery, and the tables of what leads from one to another.

The tables are complete: what stands in none of their lines does not happen. The database changes
a state only by `after`, and keeps each change as an event.
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum
from typing import TypeVar


class IllegalTransition(Exception):
    """An event that the table does not know in this state; nothing was changed."""


class SeriesState(StrEnum):
    """Where a series stands between the first image and the confirmed result."""

    RECEIVING = "receiving"
    COMPLETE = "complete"
    ASSEMBLED = "assembled"
    INFERRED = "inferred"
    REPORTED = "reported"
    DELIVERED = "delivered"
    CONFIRMED = "confirmed"
    REFUSED = "refused"
    FAILED = "failed"


class SeriesEvent(StrEnum):
    """What happens to a series, or to the revision of it that is analysed.

    ``image`` an image came; ``waits`` a better series of its study may be coming; ``chosen`` it was
    passed over and is to be read after all; ``lost`` a destination does not hold what it stored,
    ``unproven`` it does not prove as required that it does;
    ``requeued`` its job was lost and another carries it, ``disturbed`` it is tried again later
    because the disk or the database failed;
    ``retry``, ``reprocess`` and ``resend`` an administrator asked; the others are the ends of the
    stages.
    """

    IMAGE = "image"
    COMPLETE = "complete"
    WAITS = "waits"
    CHOSEN = "chosen"
    ASSEMBLED = "assembled"
    INFERRED = "inferred"
    REPORTED = "reported"
    DELIVERED = "delivered"
    CONFIRMED = "confirmed"
    LOST = "lost"
    UNPROVEN = "unproven"
    REFUSED = "refused"
    FAILED = "failed"
    REQUEUED = "requeued"
    DISTURBED = "disturbed"
    RETRY = "retry"
    REPROCESS = "reprocess"
    RESEND = "resend"


class DeliveryState(StrEnum):
    """Where the objects of one revision stand on their way to one destination.

    ``awaiting proof`` and ``delivered`` say that the destination answered every C-STORE with
    success; in ``delivered`` no more can be had, in ``confirmed`` it has proven that it holds them.
    """

    PENDING = "pending"
    RETRYING = "retrying"
    AWAITING = "awaiting proof"
    DELIVERED = "delivered"
    CONFIRMED = "confirmed"
    FAILED = "failed"


class DeliveryEvent(StrEnum):
    """What happens to a delivery.

    ``stored``, ``postponed`` and ``refused`` are the ends of an attempt to send. Of one to have it
    proven: ``confirmed``; ``asked``, there is no answer yet; ``lost``, the destination does not
    hold an object and gets it again; ``unprovable``, it cannot or may not be asked; ``refused``
    where proof is required. ``answered`` brings the next attempt forward; ``requeued`` says that
    its job was lost, ``released`` that its destination is held no more; ``retry`` asks now for what
    is not stored or not proven yet, ``resend`` for everything once more.
    """

    STORED = "stored"
    POSTPONED = "postponed"
    REFUSED = "refused"
    ASKED = "asked"
    ANSWERED = "answered"
    CONFIRMED = "confirmed"
    LOST = "lost"
    UNPROVABLE = "unprovable"
    REQUEUED = "requeued"
    RELEASED = "released"
    RETRY = "retry"
    RESEND = "resend"


class AnnouncementState(StrEnum):
    """Where a list of instances stands: a performed procedure step, or a commitment's answer.

    A commitment is ``asked`` while its association is there, ``owed`` when that ended before the
    report was taken or its taking failed for now, ``reported`` after it, ``declined`` where the
    peer will not take it.
    """

    IN_PROGRESS = "in progress"
    DISCONTINUED = "discontinued"
    COMPLETED = "completed"
    ASKED = "asked"
    OWED = "owed"
    REPORTED = "reported"
    DECLINED = "declined"


class Status(StrEnum):
    """The outcome that `result.json` states."""

    ANALYSED = "analysed"
    REFUSED = "refused"
    FAILED = "failed"


_S, _E = SeriesState, SeriesEvent
_UNDER_WAY = (_S.COMPLETE, _S.ASSEMBLED, _S.INFERRED)
_BUILT = (_S.REPORTED, _S.DELIVERED, _S.CONFIRMED)

# Some stand here twice, from the state before and from the state itself: a step that had ended
# when its process was killed is run again, and changes nothing.
SERIES: Mapping[tuple[SeriesState, SeriesEvent], SeriesState] = {
    **{(state, _E.IMAGE): _S.RECEIVING for state in _S},
    (_S.RECEIVING, _E.COMPLETE): _S.COMPLETE,
    (_S.COMPLETE, _E.WAITS): _S.COMPLETE,
    (_S.REFUSED, _E.CHOSEN): _S.COMPLETE,
    (_S.COMPLETE, _E.ASSEMBLED): _S.ASSEMBLED,
    (_S.ASSEMBLED, _E.ASSEMBLED): _S.ASSEMBLED,
    (_S.ASSEMBLED, _E.INFERRED): _S.INFERRED,
    (_S.INFERRED, _E.INFERRED): _S.INFERRED,
    (_S.INFERRED, _E.REPORTED): _S.REPORTED,
    **{(state, _E.REPORTED): state for state in _BUILT},
    (_S.REPORTED, _E.DELIVERED): _S.DELIVERED,
    (_S.DELIVERED, _E.DELIVERED): _S.DELIVERED,
    (_S.DELIVERED, _E.CONFIRMED): _S.CONFIRMED,
    (_S.CONFIRMED, _E.CONFIRMED): _S.CONFIRMED,
    **{(state, _E.LOST): _S.REPORTED for state in (_S.REPORTED, _S.DELIVERED)},
    (_S.DELIVERED, _E.UNPROVEN): _S.REPORTED,
    **{(state, _E.REFUSED): _S.REFUSED for state in (*_UNDER_WAY, _S.REFUSED)},
    **{(state, _E.FAILED): _S.FAILED for state in (*_UNDER_WAY, _S.FAILED)},
    **{(s, e): _S.COMPLETE for s in _UNDER_WAY for e in (_E.REQUEUED, _E.DISTURBED)},
    (_S.FAILED, _E.RETRY): _S.COMPLETE,
    **{(state, _E.REPROCESS): _S.COMPLETE for state in (*_BUILT, _S.REFUSED, _S.FAILED)},
    **{(state, _E.RESEND): _S.REPORTED for state in _BUILT},
    (_S.REFUSED, _E.RESEND): _S.REFUSED,
}

_D, _V = DeliveryState, DeliveryEvent
_TO_SEND = (_D.PENDING, _D.RETRYING)
_DUE = (*_TO_SEND, _D.AWAITING)
DELIVERIES: Mapping[tuple[DeliveryState, DeliveryEvent], DeliveryState] = {
    **{(state, _V.STORED): _D.AWAITING for state in _TO_SEND},
    **{(state, _V.POSTPONED): _D.RETRYING for state in _TO_SEND},
    **{(state, _V.REFUSED): _D.FAILED for state in _DUE},
    (_D.AWAITING, _V.ASKED): _D.AWAITING,
    (_D.AWAITING, _V.ANSWERED): _D.AWAITING,
    (_D.AWAITING, _V.CONFIRMED): _D.CONFIRMED,
    (_D.AWAITING, _V.LOST): _D.RETRYING,
    (_D.AWAITING, _V.UNPROVABLE): _D.DELIVERED,
    **{(state, event): state for state in _DUE for event in (_V.REQUEUED, _V.RELEASED)},
    **{(state, _V.RETRY): _D.PENDING for state in (_D.RETRYING, _D.FAILED)},
    **{(state, _V.RETRY): _D.AWAITING for state in (_D.AWAITING, _D.DELIVERED)},
    **{(state, _V.RESEND): _D.PENDING for state in _D},
}

State = TypeVar("State", bound=StrEnum)
Event = TypeVar("Event", bound=StrEnum)


def after(table: Mapping[tuple[State, Event], State], state: State, event: Event) -> State:
    """Return the state that an event leads to.

    Raises
    ------
    IllegalTransition
        The table has no such line.
    """
    try:
        return table[state, event]
    except KeyError:
        raise IllegalTransition(f"{event!s} cannot happen to what is {state!s}") from None


UNFINISHED = _UNDER_WAY
READ = (_S.ASSEMBLED, _S.INFERRED, *_BUILT)
# What these lists say holds.
ANSWERED = (
    AnnouncementState.COMPLETED,
    AnnouncementState.ASKED,
    AnnouncementState.OWED,
    AnnouncementState.REPORTED,
    AnnouncementState.DECLINED,
)
DUE = _DUE
TO_SEND = _TO_SEND
# Each destination has answered every C-STORE with success.
ARRIVED = (_D.AWAITING, _D.DELIVERED, _D.CONFIRMED)
