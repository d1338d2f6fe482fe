"""How somebody got better: steps, and which of them were more than luck."""

from hypothesis import given

from leaderboard.history import best_so_far, courses
from tests.leaderboard.rows import INVALID, fields, row


def day(number, name="Ada", ratio=4.0, **changes):
    return row(number, name, ratio, created_utc=f"2025-03-{number:02}T12:00:00Z", **changes)


def steps(rows, name="ada"):
    (course,) = courses(rows, [name])
    return [(int(step.standing.submission_id, 16), step.surely, step.record) for step in course.steps], course.attempts


def test_only_what_is_better_than_all_before_is_a_step():
    rows = [day(1), day(2, ratio=3.0), day(3, ratio=5.0), day(4, ratio=9.0, **INVALID), day(5, ratio=4.9)]
    assert steps(rows) == ([(1, True, True), (3, True, True)], 5)
    assert steps(rows[::-1]) == steps(rows)


def test_a_step_is_sure_only_where_the_intervals_are_apart():
    assert steps([day(1), day(2, ratio=4.05)])[0] == [(1, True, True), (2, False, False)]
    assert steps([day(1), day(2, ratio=4.1)])[0] == [(1, True, True), (2, True, True)]  # 4.1 * 0.99 > 4 * 1.01


def test_a_record_beats_everybody_before_it():
    rows = [day(1, "Bob", 6.0), day(2), day(3, ratio=5.0), day(4, ratio=7.0), day(5, "Bob", 8.0)]
    assert steps(rows)[0] == [(2, True, False), (3, True, False), (4, True, True)]
    assert steps(rows, "bob")[0] == [(1, True, True), (5, True, True)]


def test_on_another_or_an_unknown_cpu_nothing_is_sure():
    for cpu in ("another", None):
        assert steps([day(1), day(2, ratio=8.0, cpu_model=cpu)])[0][1] == (2, False, False)


def test_boards_are_courses_of_their_own_and_tiers_are_not():
    rows = [day(1, division="open", tier=100), day(2, ratio=5.0, division="open", tier=99), day(3, ratio=6.0)]
    assert [(one.group.division, len(one.steps)) for one in courses(rows, ["ada"])] == [("closed", 1), ("open", 2)]


@given(fields())
def test_scores_only_rise_and_end_at_the_best(field):
    for name, own in best_so_far(field).items():
        scores = [one.score for one in own]
        assert scores == sorted(set(scores))
        assert scores[-1] == max(one.score for one in field if one.submitter_id == name and one.score is not None)
