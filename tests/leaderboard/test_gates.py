"""Every rule: one change to the honest run that breaks it and nothing else, and both sides of its limit."""

import pytest

from leaderboard import Reason, finalise, judge
from leaderboard.cautions import CAUTIONS
from leaderboard.gates import GATES, quality_tier

COUNTS = ("quality.ref_correct", "quality.opt_correct", "quality.ref_only", "quality.opt_only")


def answers(correct, reference=356, n=360):
    """Changes that give the candidate so many correct answers."""
    return dict.fromkeys(("quality.ref_only", "quality.opt_only")) | {
        "quality.n": n,
        "quality.ref_correct": reference,
        "quality.opt_correct": correct,
        "quality.value": correct / n,
        "quality.ref_value": reference / n,
    }


def in_all(workers, field, value):
    return {f"raw.workers.{worker}.{field}": value for worker in range(workers)}


def slowed(field, factor):
    """Scale the same field of every worker."""
    return in_all(5, field, lambda values: [round(value * factor) for value in values])


INVALID = {
    "QUALITY_GATE": (answers(352), 352, ">= 353 correct"),
    "QUALITY_FLOOR": ({"task.quality_floor": 0.99}, 354 / 360, ">= 0.99"),
    "OUTPUT_LENGTH": ({"task.output_tokens": 16}, "no answers timed token by token", "16 tokens in every answer"),
    "GREEDY_AGREEMENT": ({"generation.greedy_agreement": 0.75}, 0.75, "1.0 of the tokens"),
    "TEST_SET_INCOMPLETE": ({"task.n_test": 361}, 360, "361 test samples"),
    "TOO_FEW_WORKERS": ({"raw.workers": lambda workers: workers[:4]}, 4, ">= 5 workers"),
    "TOO_FEW_BLOCKS": (
        {
            **{f"raw.workers.2.{name}": lambda x: x[:14] for name in ("ref_block_ns", "opt_block_ns", "order")},
            **{f"raw.workers.2.{name}": lambda x: x[:28] for name in ("cpu_ns", "minflt", "nivcsw")},
        },
        14,
        ">= 15 block pairs",
    ),
    "TOO_FEW_QUERIES": ({"raw.queries.opt_ns": lambda times: times[:63]}, 63, ">= 64 queries"),
    "BLOCK_TOO_SHORT": (
        {"raw.workers.3.ref_block_ns": [19_999_999] * 15, "raw.workers.3.inner_ref": 80, "raw.workers.3.cpu_ns": None},
        19_999_999,
        ">= 20000000 ns",
    ),
    "NOT_STEADY": ({"raw.workers.4.steady": False}, 1, "0 unsteady workers"),
    "RECOMPILED_WHILE_TIMED": ({"raw.workers.0.compiled_while_timed": 2}, 2, "0 kernels"),
    "NOISY": (in_all(2, "cpu_ns", lambda times: [time // 2 for time in times]), 0.4, "<= 20% of blocks"),
    "CLOCK_INCONSISTENT": ({"raw.workers.1.wall_ns": 10**8}, pytest.approx(7.4, rel=0.05), "<= 1"),
    "THREAD_POLICY": ({"env.blas.threads": 2}, "blas pool of 2", "1 thread in every pool"),
    "DIVISION_RULE": ({"candidate.retrained": True}, "retrained", "not trained further"),
    "PRACTICE_ONLY": ({"division": "practice"}, "practice", "closed or open"),
}

WARNING = {
    "TREND": ({"raw.workers": lambda workers: _renumbered(workers, (2, 4, 0, 3, 1))}, "rising", "up and down"),
    "WIDE_CI": (
        {
            "raw.workers.2.ref_block_ns": lambda times: [round(time * 0.9) for time in times],
            "raw.workers.2.cpu_ns": None,
        },
        pytest.approx(0.075, rel=0.1),
        "<= 0.05",
    ),
    "ON_BATTERY": ({"env.on_mains": False}, "battery", "mains"),
    "GOVERNOR": ({"env.governor": "powersave"}, "powersave", "performance"),
    "TURBO": ({"env.turbo": True}, "on", "off"),
    "LOAD": ({"env.load_1m": 1.01}, 1.01, "<= 1 before the run"),
    "CPU_QUOTA": ({"env.cgroup_quota": 1.5}, 1.5, ">= 2 CPUs"),
    "VIRTUALISED": ({"env.virtualised": True}, "virtual machine", "real hardware"),
    "UNKNOWN_ENV": ({"env.turbo": None, "env.governor": None}, "governor, turbo", "known"),
}


def _renumbered(workers, order):
    """The same workers as if they had run in another order: from the slowest to the quickest."""
    by_place = {place: workers[worker] for place, worker in enumerate(order)}
    return [worker | {"pid_order": place} for place, worker in by_place.items()]


def test_the_honest_run_is_valid_without_any_remark(honest):
    assert honest.validity.status == "VALID"
    assert honest.validity.reasons == ()
    assert 3.8 < honest.derived.score < 4


@pytest.mark.parametrize(("code", "severity"), [(c, "invalid") for c in INVALID] + [(c, "warning") for c in WARNING])
def test_each_code_alone(alter, generating, code, severity):
    changes, measured, required = (INVALID if severity == "invalid" else WARNING)[code]
    submission = finalise(alter((generating if code == "GREEDY_AGREEMENT" else {}) | changes))
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
    changes = INVALID["NOT_STEADY"][0] | INVALID["QUALITY_GATE"][0] | WARNING["TURBO"][0] | INVALID["PRACTICE_ONLY"][0]
    codes = [reason.code for reason in judge(alter(changes)).reasons]
    assert codes == ["QUALITY_GATE", "NOT_STEADY", "PRACTICE_ONLY", "TURBO"]


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
    loss = {"task.higher_is_better": False, "task.quality_floor": 2.0, "quality.value": value, "quality.ref_value": 1.0}
    assert judge(alter(dict.fromkeys(COUNTS) | loss)).status == status


def test_a_loss_above_its_floor_is_refused(alter):
    loss = {"task.higher_is_better": False, "task.quality_floor": 2.0, "quality.value": 2.5, "quality.ref_value": 2.5}
    assert [reason.code for reason in judge(alter(dict.fromkeys(COUNTS) | loss)).reasons] == ["QUALITY_FLOOR"]


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
    assert judge(alter(in_all(5, "cpu_ns", None))).status == "VALID"  # unknown is not noisy


def test_practice_may_be_short(alter):
    changes = {"division": "practice", "raw.workers": lambda workers: workers[:1]}
    assert [reason.code for reason in judge(alter(changes)).reasons] == ["PRACTICE_ONLY"]


@pytest.mark.parametrize(("changes", "found"), [
    ({"threads": 2}, "t1 with threads = 2"),
    ({"thread_policy": "tN"}, "tN with threads = 1"),
    ({"env.numba_threads": 4}, "numba pool of 4"),
    (slowed("cpu_ns", 2), "ref kept 1.98 CPUs busy; opt kept 1.98 CPUs busy"),
])  # fmt: skip
def test_thread_policy_names_what_it_found(alter, changes, found):
    (reason,) = judge(alter(changes | {"env.affinity_n": 8})).reasons
    assert reason.code == "THREAD_POLICY"
    assert found in reason.measured


def test_two_threads_in_both_pools_are_tn(alter):
    changes = {"thread_policy": "tN", "threads": 2, "env.blas.threads": 2, "env.numba_threads": 2}
    assert judge(alter(changes | slowed("cpu_ns", 1.9))).status == "VALID"


def test_the_harness_adds_reasons_that_need_more_than_the_file(alter):
    reason = Reason(code="DATASET_HASH", severity="invalid", measured="1111", required="2222", hint="fetch it again")
    submission = finalise(alter(), [reason])
    assert submission.validity.reasons == (reason,)
    assert (submission.validity.status, submission.derived.score) == ("INVALID", None)


def test_the_harness_cannot_hand_in_what_follows_from_the_data(alter):
    reason = Reason(code="NOISY", severity="warning", measured=1, required="", hint="")
    with pytest.raises(ValueError, match="judge: NOISY follows from the data"):
        judge(alter(), [reason])
