"""What is remembered of a destination: the SOP classes that it does not accept, and the hold."""

from ich_node.records import Verdict
from ich_node.store import destinations
from ich_node.store.engine import Engine, writing

SEG, SR = "1.2.840.10008.5.1.4.1.1.66.4", "1.2.840.10008.5.1.4.1.1.88.34"
STORED = Verdict("seg", "1", 0, True, False, "stored", SEG)
REFUSED = Verdict("seg", "1", None, False, False, "not accepted", SEG, class_refused=True)


def learn(engine: Engine, *verdicts: Verdict) -> list[str]:
    with writing(engine) as connection:
        return destinations.learn(connection, "pacs", verdicts)


def test_a_class_that_is_not_accepted_is_remembered_for_its_destination_and_new_once(
    engine: Engine,
) -> None:
    assert learn(engine, REFUSED) == [SEG]
    assert learn(engine, REFUSED) == []
    assert list(destinations.refused_classes(engine, "pacs")) == [SEG]
    assert destinations.refused_classes(engine, "other") == {}


def test_a_class_that_is_stored_after_all_is_forgotten(engine: Engine) -> None:
    learn(engine, REFUSED)
    learn(engine, STORED)
    assert destinations.refused_classes(engine, "pacs") == {}


def test_one_object_of_a_class_that_is_refused_for_itself_says_nothing_of_the_class(
    engine: Engine,
) -> None:
    wrong = Verdict("sr", "2", 0xC000, False, False, "refused", SR)
    assert learn(engine, wrong, STORED) == []
    assert destinations.refused_classes(engine, "pacs") == {}
