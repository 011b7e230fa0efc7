"""Who may associate, and with which reason the others are rejected (PS3.8 table 9-21)."""

import pytest

from ich_node.receive.policy import Rejection, cannot_judge, judge, too_many
from ich_node.settings import Settings, Source

PACS = Source(name="pacs", ae_title="PACS", hosts=("10.1.2.3", "10.9.0.0/16"))
PACS_6 = Source(name="pacs-6", ae_title="PACS", hosts=("2001:db8::/32", "fe80::/10"))
OTHER = Source(name="other", ae_title="OTHER", hosts=("10.1.2.4",))
SETTINGS = Settings(sources=(PACS, PACS_6, OTHER))


@pytest.mark.parametrize(
    ("called", "calling", "address", "expected"),
    [
        ("ICH_NODE", "PACS", "10.1.2.3", PACS),
        ("ICH_NODE        ", "PACS            ", "10.1.2.3", PACS),  # padded, as some send
        ("ICH_NODE", "PACS", "10.9.255.1", PACS),  # of a network
        ("ICH_NODE", "PACS", "::ffff:10.1.2.3", PACS),  # IPv4 seen through an IPv6 socket
        ("ICH_NODE", "PACS", "2001:db8::5", PACS_6),  # the second entry of one AE title
        ("ICH_NODE", "PACS", "fe80::1%eth0", PACS_6),  # link-local with its zone
        ("ICH_NODE", "OTHER", "10.1.2.4", OTHER),
    ],
)
def test_a_configured_source_may_associate(
    called: str, calling: str, address: str, expected: Source
) -> None:
    assert judge(called, calling, address, SETTINGS) is expected


@pytest.mark.parametrize(
    ("called", "calling", "address", "reason", "words"),
    [
        ("WRONG", "PACS", "10.1.2.3", 7, "called AE title 'WRONG' is not 'ICH_NODE'"),
        ("ich_node", "PACS", "10.1.2.3", 7, "called AE title"),  # case counts
        ("ICH_NODE", "NOBODY", "10.1.2.3", 3, "'NOBODY' is in no [[sources]]"),
        ("ICH_NODE", "pacs", "10.1.2.3", 3, "'pacs' is in no [[sources]]"),
        ("ICH_NODE", "", "10.1.2.3", 3, "is in no [[sources]]"),
        ("ICH_NODE", "PACS", "10.1.2.4", 3, "10.1.2.4, which is not in its hosts (10.1.2.3, "),
        ("ICH_NODE", "OTHER", "10.1.2.3", 3, "(10.1.2.4)"),  # the address of another source
        ("ICH_NODE", "PACS", "::ffff:10.1.2.4", 3, "not in its hosts"),
    ],
)
def test_anybody_else_is_rejected_for_good_with_the_reason(
    called: str, calling: str, address: str, reason: int, words: str
) -> None:
    rejection = judge(called, calling, address, SETTINGS)
    assert isinstance(rejection, Rejection)
    assert (rejection.result, rejection.source, rejection.reason) == (1, 1, reason)
    assert words in rejection.cause


def test_nobody_may_associate_where_no_source_is_configured() -> None:
    assert isinstance(judge("ICH_NODE", "PACS", "127.0.0.1", Settings()), Rejection)


def test_one_association_too_many_is_rejected_for_now() -> None:
    rejection = too_many("all are open")
    assert (rejection.result, rejection.source, rejection.reason) == (2, 3, 2)
    assert rejection.cause == "all are open"


def test_what_cannot_be_judged_is_rejected_for_now() -> None:
    rejection = cannot_judge(ValueError("DOE^JANE"))
    assert (rejection.result, rejection.source, rejection.reason) == (2, 1, 1)
    assert "DOE" not in rejection.cause
