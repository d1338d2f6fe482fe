"""The rules that make a submission INVALID, as far as its own data can tell: of quality, of protocol, of honesty.

`mlperf` calls these through `verdict.finalise` right after measuring, and the leaderboard calls them again on every
reading, so a status is never taken on trust. They live here and not in `mlperf` because the leaderboard imports none of
the other packages. One function per code: its name is the code, its docstring the rule; the numbers are in `bands.py`,
why there is such a rule and what to do in `codes.py`. Rules that need more than the file (hashes of the pinned data, a
replay) are `mlperf`'s; it hands their reasons to `verdict.finalise`.
"""

from leaderboard.gates import honesty, protocol, quality
from leaderboard.rules import Rule

GATES: tuple[Rule, ...] = (
    quality.quality_gate,
    quality.quality_floor,
    quality.output_length,
    quality.greedy_agreement,
    quality.test_set_incomplete,
    protocol.too_few_workers,
    protocol.too_few_blocks,
    protocol.too_few_queries,
    protocol.block_too_short,
    protocol.not_steady,
    protocol.recompiled_while_timed,
    protocol.noisy,
    honesty.clock_inconsistent,
    protocol.thread_policy,
    protocol.division_rule,
    protocol.practice_only,
    honesty.perf_acc_mismatch,
    honesty.caching_suspected,
    honesty.seed_sensitive,
    honesty.weights_ignored,
    honesty.background_work,
    honesty.reference_out_of_band,
    honesty.harness_modified,
    honesty.calibration_leak,
)
