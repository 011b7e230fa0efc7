"""The states of a series and of a delivery, as the public interface names them."""

from __future__ import annotations

from enum import StrEnum


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


class DeliveryState(StrEnum):
    """Where the objects of one revision stand on their way to one destination."""

    PENDING = "pending"
    RETRYING = "retrying"
    DELIVERED = "delivered"
    FAILED = "failed"


class Status(StrEnum):
    """The outcome that `result.json` states."""

    ANALYSED = "analysed"
    REFUSED = "refused"
    FAILED = "failed"
