"""Every rule: one change to the honest run that breaks it and nothing else, and both sides of its limit."""

import pytest

from leaderboard import Reason, finalise, judge
from leaderboard.cautions import CAUTIONS
from leaderboard.gates import GATES
from leaderboard.gates.quality import has_badge, quality_tier
from tests.leaderboard.faults import INVALID, MANY, WARNING, answers, in_all, loss, many_at_once
from tests.leaderboard.honest import walls_of


def test_the_honest_run_is_valid_without_any_remark(honest):
    assert honest.validity.status == "VALID"
    assert honest.validity.reasons == ()
    assert 3.8 < honest.derived.score < 4


@pytest.mark.parametrize(("code", "severity"), [(c, "invalid") for c in INVALID] + [(c, "warning") for c in WARNING])
def test_each_code_alone(alter, code, severity):
    changes, measured, required = (INVALID if severity == "invalid" else WARNING)[code]
    submission = finalise(alter(changes))
    assert [(reason.code, reason.severity) for reason in submission.validity.reasons] == [(code, severity)]
    (reason,) = submission.validity.reasons
    assert reason.measured == measured
    assert required in reason.required
    assert reason.hint
    assert submission.validity.status == ("INVALID" if severity == "invalid" else "VALID")
    assert (submission.derived.score is None) == (severity == "invalid")


def test_no_rule_is_without_a_case():
    assert {rule.__name__.upper() for rule in GATES} == set(INVALID)
    assert {rule.__name__.upper() for rule in CAUTIONS} == set(WARNING)
    assert all(rule.__doc__ for rule in (*GATES, *CAUTIONS))


def test_all_reasons_are_listed(alter):
    codes = [reason.code for reason in judge(alter(many_at_once())).reasons]
    assert codes == [*MANY, "TURBO"]


def test_tokens_in_time_and_number_are_valid(alter, generating):
    submission = finalise(alter(generating))
    assert (submission.validity.status, submission.validity.reasons) == ("VALID", ())


@pytest.mark.parametrize("last", [[20_000, 21_000], [20_000, 21_000, 30_000, 9_000]])
def test_an_answer_too_short_or_too_long_is_refused(alter, generating, last):
    changes = {"generation.tokens.2": len(last) + 1, "generation.per_token_ns.2": last}
    (reason,) = judge(alter(generating | changes)).reasons
    assert (reason.code, reason.measured, reason.required) == (
        "OUTPUT_LENGTH", len(last) + 1, "4 tokens in every answer",
    )  # fmt: skip


def test_tokens_that_no_task_asked_for_are_refused(alter, generating):
    (reason,) = judge(alter(generating | {"task.output_tokens": None})).reasons
    assert (reason.code, reason.measured) == ("OUTPUT_LENGTH", "answers in tokens that no task asked for")


@pytest.mark.parametrize(("correct", "reference", "n", "passes"), [
    (99, 100, 100, True), (98, 100, 100, False), (891, 900, 900, True), (890, 900, 900, False),
    (353, 356, 360, True), (352, 356, 360, False), (198, 200, 200, True), (200, 198, 200, True),
])  # fmt: skip
def test_the_gate_is_exact_in_counts(alter, correct, reference, n, passes):
    changes = answers(correct, reference, n) | {"task.n_test": n}
    assert (judge(alter(changes)).status == "VALID") == passes


@pytest.mark.parametrize(("value", "status"), [(1.01, "VALID"), (1.0101, "INVALID")])
def test_a_loss_may_be_one_percent_higher(alter, value, status):
    assert judge(alter(loss(value))).status == status


def test_a_loss_above_its_floor_is_refused(alter):
    assert [reason.code for reason in judge(alter(loss(2.5, reference=2.5))).reasons] == ["QUALITY_FLOOR"]


@pytest.mark.parametrize(("correct", "reference", "n", "badge"), [
    (999, 1000, 1000, True), (998, 1000, 1000, False), (360, 360, 360, True), (359, 360, 360, False),
])  # fmt: skip
def test_the_badge_is_exact_in_counts(alter, correct, reference, n, badge):
    assert has_badge(alter(answers(correct, reference, n))) == badge


@pytest.mark.parametrize(("correct", "tier", "status"), [
    (357, 100, "VALID"), (353, 99, "VALID"), (346, 97, "VALID"), (342, 95, "VALID"), (338, None, "INVALID"),
])  # fmt: skip
def test_the_open_division_has_tiers_and_may_train(alter, correct, tier, status):
    changes = answers(correct) | {"division": "open", "candidate.retrained": True, "task.quality_floor": 0.9}
    measured = alter(changes)
    assert quality_tier(measured) == tier
    assert judge(measured).status == status


def test_one_noisy_worker_of_five_is_tolerated(alter):
    assert judge(alter({"raw.workers.0.cpu_ns": [0] * 30})).status == "VALID"
    assert judge(alter(in_all("cpu_ns", None))).status == "VALID"  # unknown is not noisy


def test_practice_may_be_short(alter):
    changes = {"division": "practice", "raw.workers": lambda workers: workers[:1]}
    assert [reason.code for reason in judge(alter(changes)).reasons] == ["PRACTICE_ONLY"]


def twice(values):
    return [2 * value for value in values]


@pytest.mark.parametrize(("changes", "found"), [
    ({"threads": 2}, "t1 with threads = 2"),
    ({"thread_policy": "tN"}, "tN with threads = 1"),
    ({"env.numba_threads": 4}, "numba pool of 4"),
    (in_all("cpu_ns", twice), "ref kept 1.98 CPUs busy; opt kept 1.98 CPUs busy"),
])  # fmt: skip
def test_thread_policy_names_what_it_found(alter, changes, found):
    (reason,) = judge(alter(changes | {"env.affinity_n": 8})).reasons
    assert reason.code == "THREAD_POLICY"
    assert found in reason.measured


def test_two_threads_in_both_pools_are_tn(alter):
    changes = {"thread_policy": "tN", "threads": 2, "env.blas.threads": 2, "env.numba_threads": 2}
    assert judge(alter(changes | in_all("cpu_ns", twice))).status == "VALID"


def test_the_harness_adds_reasons_that_need_more_than_the_file(alter):
    reason = Reason(code="DATASET_HASH", severity="invalid", measured="1111", required="2222", hint="fetch it again")
    submission = finalise(alter(), [reason])
    assert submission.validity.reasons == (reason,)
    assert (submission.validity.status, submission.derived.score) == ("INVALID", None)


def test_the_harness_cannot_hand_in_what_follows_from_the_data(alter):
    reason = Reason(code="NOISY", severity="warning", measured=1, required="", hint="")
    with pytest.raises(ValueError, match="judge: NOISY follows from the data"):
        judge(alter(), [reason])


# -- rules that came with schema 1.2.0 --------------------------------------------------------------------------------

NOT_MADE = {
    "PERF_ACC_MISMATCH": {"raw.workers.0.kept": None},
    "CACHING_SUSPECTED": {"audits.fresh_ratio": None},
    "SEED_SENSITIVE": {"audits.alt_seed_ratio": None},
    "WEIGHTS_IGNORED": {"audits.weight_shuffle.chance": None},
    "CLOCK_INCONSISTENT": {"raw.workers.2.parent_block_ns": None},
    "BACKGROUND_WORK": {"raw.workers.2.idle_cpu_ns": None},
    "REFERENCE_OUT_OF_BAND": {"raw.reference_alone": None},
}


@pytest.mark.parametrize("code", NOT_MADE)
def test_an_audit_that_was_not_made_is_a_fault_of_a_ranked_run_alone(alter, code):
    (reason,) = judge(alter(NOT_MADE[code])).reasons
    assert (reason.code, reason.severity, reason.measured) == (code, "invalid", "not measured")
    assert "submit again" in reason.hint
    practice = judge(alter(NOT_MADE[code] | {"division": "practice"}))
    assert [reason.code for reason in practice.reasons] == ["PRACTICE_ONLY"]


def test_files_of_older_versions_stay_what_they_were(alter):
    older = {path: value for changes in NOT_MADE.values() for path, value in changes.items()}
    older |= {"audits": None, "harness.dirty": True, **in_all("kept_mismatches", 1), **in_all("threads_started", 9)}
    del older["audits.fresh_ratio"], older["audits.alt_seed_ratio"], older["audits.weight_shuffle.chance"]
    for version, status in (("1.0.0", "VALID"), ("1.1.0", "VALID"), ("1.2.0", "INVALID")):
        measured = alter(older).model_copy(update={"schema_version": version})
        assert judge(measured).status == status


SHORT, LONG = {}, in_all("inner_opt", 50) | in_all("inner_ref", 50)  # 62.5 us and 500 us a query, ratio 0.5
ALONE = {"raw.reference_alone.inner": 50}


@pytest.mark.parametrize(("field", "code", "usual", "short"), [
    ("same_sample_ratio", "CACHING_SUSPECTED", 1.10, 1.20),
    ("fresh_ratio", "CACHING_SUSPECTED", 1.10, 1.20),
    ("alt_seed_ratio", "SEED_SENSITIVE", 1.05, 1.20),
    ("weight_shuffle.ratio", "WEIGHTS_IGNORED", 1.10, 1.20),
])  # fmt: skip
def test_a_short_query_may_stray_further(alter, field, code, usual, short):
    for limit, changes in ((short, SHORT), (usual, LONG | ALONE)):
        assert judge(alter(changes | {f"audits.{field}": limit})).status == "VALID"
        (reason,) = judge(alter(changes | {f"audits.{field}": limit + 0.001})).reasons
        assert (reason.code, reason.measured) == (code, limit + 0.001)


def test_the_two_bands_meet_at_200_microseconds_in_nanoseconds(alter):
    """A candidate's block of exactly 200,000 ns a query is not short; one ns less is."""

    def measured(block_ns):
        def exact(worker):
            other = worker | {"opt_block_ns": [block_ns] * 15, "inner_opt": 100, "cpu_ns": None, "wall_ns": 10**12}
            return other | {"parent_block_ns": walls_of(other)}

        return alter({f"raw.workers.{k}": exact for k in range(5)} | {"audits.same_sample_ratio": 1.15})

    assert [reason.code for reason in judge(measured(20_000_000)).reasons] == ["CACHING_SUSPECTED"]
    assert judge(measured(20_000_000 - 1)).reasons[0].code == "BLOCK_TOO_SHORT"
    assert judge(measured(20_000_000 - 1)).reasons[1:] == ()


@pytest.mark.parametrize(("shuffled", "chance", "passes"), [
    (0.32, 0.1, True), (0.33, 0.1, False), (0.24, 0.0, True), (0.25, 0.0, False), (0.02, 0.1, True),
])  # fmt: skip
def test_shuffled_weights_may_keep_a_quarter_of_what_the_candidate_knows(alter, shuffled, chance, passes):
    """The candidate's quality is 354 / 360."""
    changes = {"audits.weight_shuffle.quality": shuffled, "audits.weight_shuffle.chance": chance}
    assert (judge(alter(changes)).status == "VALID") == passes


@pytest.mark.parametrize(("shuffled", "passes"), [(0.984, True), (0.985, False)])
def test_where_the_candidate_knows_little_three_standard_errors_count(alter, shuffled, passes):
    """Always the commonest answer is right in 95 % of 360 samples: 0.95 + 3 x 0.0115."""
    changes = {"audits.weight_shuffle.quality": shuffled, "audits.weight_shuffle.chance": 0.95}
    assert (judge(alter(changes)).status == "VALID") == passes


@pytest.mark.parametrize(("shuffled", "passes"), [(7.0, True), (3.25, True), (3.24, False), (1.0, False)])
def test_a_loss_must_come_three_quarters_of_the_way_to_knowing_nothing(alter, shuffled, passes):
    reasons = judge(alter(loss(1.0, shuffled=shuffled))).reasons
    assert [reason.code for reason in reasons] == ([] if passes else ["WEIGHTS_IGNORED"])
    assert passes or (reasons[0].measured, reasons[0].required[:6]) == (shuffled, ">= 3.2")


def test_weights_that_change_the_time_are_suspicious_either_way(alter):
    for ratio in (0.8, 1.3):
        (reason,) = judge(alter({"audits.weight_shuffle.ratio": ratio})).reasons
        assert (reason.code, reason.measured) == ("WEIGHTS_IGNORED", ratio)


@pytest.mark.parametrize("factor", [0.8, 1.2])
def test_a_block_is_as_long_as_the_parent_saw_it(alter, factor):
    """A child whose clock runs slow in the candidate's blocks, or one that claims more than passed."""

    def seen(worker):
        sides = [side for first in worker["order"] for side in (first, "opt" if first == "ref" else "ref")]
        views = [round(wall * factor) if side == "opt" else wall for wall, side in zip(walls_of(worker), sides)]
        return worker | {"parent_block_ns": views}

    (reason,) = judge(alter({"raw.workers.2": seen})).reasons
    assert (reason.code, reason.measured) == ("CLOCK_INCONSISTENT", pytest.approx(factor, rel=0.01))
    assert "within 1% + 500000 ns" in reason.required


def test_a_late_message_now_and_then_is_no_fault(alter):
    late = in_all("parent_block_ns", lambda seen: [ns + 10**9 * (k % 5 == 0) for k, ns in enumerate(seen)])
    assert judge(alter(late)).status == "VALID"


def test_work_in_the_pauses_after_one_arm_alone_is_seen(alter):
    def idle(worker):
        sides = [side for first in worker["order"] for side in (first, "opt" if first == "ref" else "ref")]
        return worker | {"idle_cpu_ns": [300_000 * (side == "opt") for side in sides]}

    (reason,) = judge(alter({"raw.workers.2": idle})).reasons
    assert (reason.code, reason.measured) == ("BACKGROUND_WORK", pytest.approx(0.15))


def test_threads_started_are_background_work(alter):
    (reason,) = judge(alter({"raw.workers.1.threads_started": 1})).reasons
    assert (reason.code, reason.measured) == ("BACKGROUND_WORK", "1 threads started while timed")


def test_a_reference_that_is_quicker_beside_the_candidate_is_no_fault(alter):
    assert judge(alter({"raw.reference_alone.block_ns": [50_000_000]})).status == "VALID"


def test_code_of_ones_own_belongs_into_the_open_division(alter):
    own = {"entry": {"main": "entry/mine.py"}, "candidate.form": "entry", "audits.test_files_read": []}
    (reason,) = judge(alter(own)).reasons
    assert (reason.code, reason.measured) == ("DIVISION_RULE", "an entry's own code")
    assert judge(alter(own | {"division": "open"})).status == "VALID"
    (reason,) = judge(alter(own | {"division": "open", "audits.test_files_read": None})).reasons
    assert (reason.code, reason.measured) == ("CALIBRATION_LEAK", "not measured")


def test_practice_may_be_measured_by_changed_files(alter):
    changes = {"division": "practice", "harness.dirty": True}
    assert [reason.code for reason in judge(alter(changes)).reasons] == ["PRACTICE_ONLY"]
