"""Whether a process stays flat, as `make bench-load` judges it."""

from deploy.processes import growth, second_half

DONE = list(range(0, 1001, 10))


def judged(figures: list[float]) -> float:
    begins = second_half(DONE)
    return growth(DONE[begins:], figures[begins:])


def test_what_a_process_takes_until_it_is_warm_is_no_growth() -> None:
    assert abs(judged([min(done, 400) / 4 for done in DONE])) < 0.01


def test_what_grows_with_every_study_does_so_in_the_second_half() -> None:
    """Thirty megabytes a day, and twice as much at first."""
    slow = [3 * done / 100 for done in DONE]
    assert abs(judged(slow) - 3.0) < 0.01
    assert (
        abs(
            judged([figure + min(done, 500) / 10 for figure, done in zip(slow, DONE, strict=True)])
            - 3.0
        )
        < 0.01
    )


def test_what_is_at_hand_and_goes_again_is_no_growth() -> None:
    """A volume comes and goes with each study, ever larger ones at the end; a leak stays."""
    held = [600.0 + (done % 20 > 0) * done / 10 for done in DONE]
    assert abs(judged(held)) < 0.01
    leak = [figure + done / 20 for figure, done in zip(held, DONE, strict=True)]
    assert abs(judged(leak) - 5.0) < 0.01


def test_looks_that_meet_no_volume_at_first_tell_no_growth() -> None:
    """Whether a look falls between two volumes is chance; a leak is seen with them as without."""
    held = [700.0 + 33 * (done > 650 or done % 40 > 0) for done in DONE]
    assert abs(judged(held)) < 0.01
    leak = [figure + done / 20 for figure, done in zip(held, DONE, strict=True)]
    assert abs(judged(leak) - 5.0) < 0.2


def test_where_nothing_is_done_nothing_is_judged() -> None:
    assert second_half([0, 0, 0]) == 0
    assert growth([0, 0, 0], [1.0, 50.0, 100.0]) == 0.0
