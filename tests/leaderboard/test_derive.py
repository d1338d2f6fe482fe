"""The figures: against numbers worked out by hand, and as properties."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from leaderboard import Blocks
from leaderboard.derive import blocks_in_order, derive, early_stopping_ns, pair_median, slow_queries_allowed
from leaderboard.verdict import finalise


def blocks(ref, opt, inner_ref=1, inner_opt=1):
    order = ["ref", "opt"] * len(ref)
    return Blocks(inner_ref=inner_ref, inner_opt=inner_opt, ref_block_ns=ref, opt_block_ns=opt, order=order[: len(ref)])


def test_the_median_is_taken_over_pairs_and_per_query():
    assert pair_median(blocks([8, 100, 4], [2, 1, 4], inner_ref=2, inner_opt=4)) == pytest.approx(
        math.log(4 / 1 * 4 / 2)
    )


def test_the_ratio_is_the_median_worker_and_its_bounds_the_extremes(alter):
    measured = alter({f"raw.workers.{k}.ref_block_ns": [(10 + k) * 1000] * 15 for k in range(5)}
                     | {f"raw.workers.{k}.opt_block_ns": [4000] * 15 for k in range(5)}
                     | {f"raw.workers.{k}.inner_opt": 100 for k in range(5)})  # fmt: skip
    derived = derive(measured, valid=True)
    assert (derived.ratio_lo, derived.ratio, derived.ratio_hi) == pytest.approx((2.5, 3.0, 3.5))
    assert derived.worker_medians == pytest.approx([math.log((10 + k) / 4) for k in range(5)])
    assert derived.score == derived.ratio_lo
    assert derive(measured, valid=False).score is None


def test_the_order_of_workers_in_the_file_does_not_matter(alter):
    assert derive(alter({"raw.workers": lambda workers: workers[::-1]}), True) == derive(alter(), True)


def test_blocks_come_in_the_order_they_ran(alter):
    worker = alter().raw.workers[1]
    assert worker.order[:2] == ("opt", "ref")
    first_four = list(blocks_in_order(worker))[:4]
    assert first_four == [
        ("opt", worker.opt_block_ns[0]),
        ("ref", worker.ref_block_ns[0]),
        ("ref", worker.ref_block_ns[1]),
        ("opt", worker.opt_block_ns[1]),
    ]


# The figures of MLPerf's rules (24,576 and so on belong to another, older bound).
@pytest.mark.parametrize(("percentile", "least"), [(0.5, 11), (0.9, 64), (0.95, 130), (0.99, 662)])
def test_least_number_of_queries(percentile, least):
    assert slow_queries_allowed(least - 1, percentile) == 0
    assert slow_queries_allowed(least, percentile) == 1


@pytest.mark.parametrize(("queries", "place"), [(64, 1), (256, 14), (1024, 80), (5000, 450)])
def test_p90_is_that_place_from_the_slowest(queries, place):
    times = [1000 + k for k in range(queries)]
    assert early_stopping_ns(times[::-1]) == 1000 + queries - place


def test_too_few_queries_give_no_p90(alter):
    derived = derive(alter({"raw.queries.opt_ns": [2000] * 63, "raw.queries.ref_ns": []}), False)
    assert (derived.latency_us_p50, derived.latency_us_p90) == (2.0, None)
    assert (derived.reference_latency_us_p50, derived.reference_latency_us_p90) == (None, None)


@given(st.lists(st.integers(1, 10**12), min_size=64, max_size=300))
def test_p90_is_a_pessimistic_estimate(times):
    estimate = early_stopping_ns(times)
    assert sum(time > estimate for time in times) < 0.1 * len(times)


@given(st.lists(st.tuples(st.integers(1, 2**63 - 1), st.integers(1, 2**63 - 1)), min_size=1, max_size=9))
def test_exchanging_the_arms_inverts_the_ratio(pairs):
    ref, opt = zip(*pairs)
    assert pair_median(blocks(ref, opt)) == pytest.approx(-pair_median(blocks(opt, ref)), rel=1e-9, abs=1e-12)


def test_quality_size_and_stages(honest):
    derived = honest.derived
    assert derived.quality_rel == 354 / 356
    assert derived.size_ratio == 31_144 / 8000
    assert derived.stage_ratios == (None, pytest.approx(2.0), None)


def test_a_loss_is_better_when_smaller(alter):
    counts = dict.fromkeys(("quality.ref_correct", "quality.opt_correct", "quality.ref_only", "quality.opt_only"))
    loss = {"task.higher_is_better": False, "task.quality_floor": 3.0, "quality.value": 2.0, "quality.ref_value": 1.0}
    assert derive(alter(counts | loss), True).quality_rel == 0.5
    assert derive(alter(counts | loss | {"quality.value": 0.0}), True).quality_rel is None


def test_the_first_token_and_those_after_it(alter, generating, honest):
    derived = derive(alter(generating), True)
    assert derived.ttft_ms_p50 == 0.13
    assert derived.tokens_per_s == pytest.approx(1e9 / 21_000)
    alone = {"generation.tokens": [1] * 3, "generation.per_token_ns": [[], [], []], "task.output_tokens": 1}
    assert derive(alter(generating | alone), True).tokens_per_s is None
    assert (honest.derived.ttft_ms_p50, honest.derived.tokens_per_s) == (None, None)


def test_extreme_times_stay_finite(alter):
    huge, tiny = [2**63 - 1] * 15, [1] * 15
    extreme = {f"raw.workers.{k}.ref_block_ns": huge for k in range(5)} | {
        f"raw.workers.{k}.opt_block_ns": tiny for k in range(5)
    }
    extreme |= {"raw.workers.0.inner_opt": 2**63 - 1, "raw.workers.1.inner_ref": 2**63 - 1}
    assert math.isfinite(finalise(alter(extreme)).derived.ratio_hi)
