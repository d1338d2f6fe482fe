"""What a person reads after a run: quality with its interval, the badge, and where a code is explained."""

from leaderboard import Measured, finalise
from mlperf.report import last_line, quality_line, verdict
from tests.leaderboard import faults, honest


def submission(**changes):
    content = honest.honest()
    honest.change(content, changes)
    return finalise(Measured.model_validate(content))


def test_quality_is_shown_with_its_interval_and_who_alone_was_right():
    assert quality_line(submission()) == (
        "accuracy 354/360 (98.3 %, 95 % interval 96.4 to 99.2), the reference 356/360; 1 right that the reference has "
        "wrong, 3 wrong that it has right"
    )


def test_the_badge_is_shown_where_it_is_earned():
    assert quality_line(submission(**faults.answers(356))).endswith("the reference 356/360, badge 99.9 %")
    assert "badge" not in quality_line(submission(**faults.answers(355)))


def test_a_loss_has_no_interval():
    assert quality_line(submission(**faults.loss(1.005))) == "accuracy 1.005, the reference 1"
    assert '"quality_interval":null,"badge":false' in last_line(submission(**faults.loss(1.005)), honest)


def test_the_verdict_says_where_a_code_is_explained():
    lines = verdict(submission(**faults.INVALID["NOT_STEADY"].changes)).splitlines()
    assert lines[0] == "INVALID" and lines[2].startswith("  INVALID NOT_STEADY: 1, required 0 unsteady workers; ")
    assert lines[-1] == "  python -m mlperf explain NOT_STEADY says why there is such a rule"
    assert len(verdict(submission()).splitlines()) == 2
