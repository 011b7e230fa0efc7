"""The table of codes: complete, and free of mistyped SNOMED codes."""

import pytest

from ich_node import codes
from ich_node.codes import CLASSES, OF_CLASS, SUBTYPES, Concept
from ich_node.errors import Reason

# Verhoeff's tables: multiplication in the dihedral group of order 10, and the permutation.
_TIMES = (
    (0, 1, 2, 3, 4, 5, 6, 7, 8, 9),
    (1, 2, 3, 4, 0, 6, 7, 8, 9, 5),
    (2, 3, 4, 0, 1, 7, 8, 9, 5, 6),
    (3, 4, 0, 1, 2, 8, 9, 5, 6, 7),
    (4, 0, 1, 2, 3, 9, 5, 6, 7, 8),
    (5, 9, 8, 7, 6, 0, 4, 3, 2, 1),
    (6, 5, 9, 8, 7, 1, 0, 4, 3, 2),
    (7, 6, 5, 9, 8, 2, 1, 0, 4, 3),
    (8, 7, 6, 5, 9, 3, 2, 1, 0, 4),
    (9, 8, 7, 6, 5, 4, 3, 2, 1, 0),
)
_FIRST = (1, 5, 7, 6, 2, 8, 3, 0, 9, 4)


def verhoeff(number: str) -> bool:
    check, permutation = 0, tuple(range(10))
    for digit in reversed(number):
        check = _TIMES[check][permutation[int(digit)]]
        permutation = tuple(_FIRST[place] for place in permutation)
    return check == 0


def every_concept() -> list[Concept]:
    found = [value for value in vars(codes).values() if isinstance(value, Concept)]
    for entry in OF_CLASS.values():
        found += [entry.finding, entry.site]
    return found


@pytest.mark.parametrize("wrong", ["262052002", "83329005", "95457006", "274110009"])
def test_the_checksum_catches_codes_known_to_be_wrong(wrong: str):
    assert not verhoeff(wrong)


@pytest.mark.parametrize(
    "concept", [c for c in every_concept() if c.scheme == "SCT"], ids=lambda c: c.meaning
)
def test_every_snomed_code_has_its_check_digit(concept: Concept):
    assert verhoeff(concept.value)


def test_every_class_has_codes_of_its_own():
    assert set(OF_CLASS) == set(CLASSES)
    for column in ("finding", "name", "cielab"):
        assert len({getattr(OF_CLASS[name], column) for name in CLASSES}) == len(CLASSES)


def test_labels_keep_their_meaning():
    """The numbers in stored masks and in bundles depend on this order."""
    assert SUBTYPES == (
        "epidural",
        "subdural",
        "subarachnoid",
        "intraparenchymal",
        "intraventricular",
    )


def test_code_values_and_meanings_fit_their_attributes():
    """PS3.3 8.8: Coding Scheme Designator is SH, Code Meaning LO."""
    for concept in [*every_concept(), *(codes.of_reason(reason) for reason in Reason)]:
        assert 0 < len(concept.scheme) <= 16
        assert 0 < len(concept.meaning) <= 64
        assert concept.scheme == codes.OWN_SCHEME or len(concept.value) <= 16
