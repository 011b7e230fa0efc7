"""Who finds a place among the open associations: each source has its share."""

from collections.abc import Sequence

import pytest

from ich_node.receive import peers as peers_module
from ich_node.receive.peers import Peers

SITE = ("ct", "pacs", "router")


@pytest.fixture
def entering(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Let each association be that of a thread of its own; the list tells who asks last."""
    threads = [0]
    monkeypatch.setattr(peers_module.threading, "get_ident", lambda: threads[-1])
    return threads


def enter(peers: Peers, threads: list[int], source: str) -> str | None:
    threads.append(threads[-1] + 1)
    return peers.enter(source)


def entered(peers: Peers, threads: list[int], source: str) -> int:
    """How many associations a source gets that asks for more and more of them."""
    count = 0
    while enter(peers, threads, source) is None:
        count += 1
    return count


@pytest.mark.parametrize(
    ("limit", "sources", "most"),
    [
        (64, ("pacs",), 64),
        (64, SITE, 62),
        (32, [f"ct-{number}" for number in range(40)], 24),
        (2, SITE, 2),
        (1, SITE, 1),
    ],
    ids=["alone", "two others", "many others", "few places", "one place"],
)
def test_one_source_may_have_all_places_but_one_for_each_without_up_to_a_quarter(
    entering: list[int], limit: int, sources: Sequence[str], most: int
) -> None:
    assert entered(Peers(limit, sources), entering, sources[0]) == most


def test_a_source_without_a_place_finds_one_while_another_would_take_them_all(
    entering: list[int],
) -> None:
    peers = Peers(8, SITE)
    assert entered(peers, entering, "ct") == 6
    assert enter(peers, entering, "ct") == (
        "'ct' holds 6 of dicom.max_associations = 8; the last ones are kept for sources that "
        "have none"
    )
    assert enter(peers, entering, "pacs") is None
    assert enter(peers, entering, "pacs") is not None
    assert enter(peers, entering, "router") is None
    assert enter(peers, entering, "router") == "dicom.max_associations = 8 associations are open"


def test_a_place_that_becomes_free_goes_to_the_source_that_has_none(entering: list[int]) -> None:
    peers = Peers(8, SITE)
    entered(peers, entering, "ct")
    for source in ("pacs", "router"):
        enter(peers, entering, source)
    peers.leave()
    assert enter(peers, entering, "ct") is not None
    assert enter(peers, entering, "router") is None


def test_what_was_heard_of_is_told_once_with_its_age(
    entering: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whether an image is new does not count: its sender is at work."""
    clock = [100.0]
    monkeypatch.setattr(peers_module.time, "monotonic", lambda: clock[0])
    peers = Peers(8, SITE)
    enter(peers, entering, "ct")
    for uid, at in (("1.2.3", 100.0), ("1.2.4", 101.0), ("1.2.3", 102.0)):
        clock[0] = at
        peers.brought(uid)
    peers.leave()
    clock[0] = 102.5
    assert peers.heard() == {"1.2.3": 0.5, "1.2.4": 1.5}
    assert peers.heard() == {}
