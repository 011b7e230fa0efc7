"""Nobody is in two parts, and nobody moves when others come."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from training.real.records import Case
from training.real.splits import PARTS, part_of, split_by_patient

CASES = st.lists(
    st.tuples(st.sampled_from(["rsna", "bhsd"]), st.text(min_size=1, max_size=3)), max_size=40
).map(lambda drawn: [Case(name, f"{index}", who, ()) for index, (name, who) in enumerate(drawn)])


@given(CASES, st.integers(0, 9))
def test_no_patient_is_in_two_parts_and_no_case_in_none(cases, seed):
    """Over data sets too: RSNA and BHSD share patients."""
    parts = split_by_patient(cases, seed=seed)
    assert sorted(case.name for part in parts.values() for case in part) == sorted(
        case.name for case in cases
    )
    patients = [{case.patient for case in part} for part in parts.values()]
    assert sum(map(len, patients)) == len(set().union(*patients))


@given(CASES, CASES, st.integers(0, 9))
def test_cases_that_are_added_move_nobody(cases, more, seed):
    before, after = (split_by_patient(given, seed=seed) for given in (cases, [*more, *cases]))
    for name, part in before.items():
        assert {case.patient for case in part} <= {case.patient for case in after[name]}


def test_parts_have_their_shares_and_the_seed_changes_them():
    """2,000 patients: each share within four standard deviations, 0.041 at most."""
    patients = [f"ID_{number:08x}" for number in range(2000)]
    drawn = [part_of(patient, PARTS, 42) for patient in patients]
    for name, share in PARTS.items():
        assert drawn.count(name) / 2000 == pytest.approx(share, abs=0.041)
    assert drawn != [part_of(patient, PARTS, 43) for patient in patients]


@pytest.mark.parametrize("fractions", [{"a": 0.7, "b": 0.2}, {"a": 1.5, "b": -0.5}])
def test_shares_must_be_shares_of_one(fractions):
    with pytest.raises(ValueError, match="sum to 1"):
        split_by_patient([], fractions)
