"""Module 20: the capstone, from raw times to a score that others believe."""

from __future__ import annotations

import math

from tito.checks import Check, Module, Part

PARTS = (
    Part(
        "log_ratios", "", ">>> blocks = Blocks(ref_block_ns=(10,), opt_block_ns=(5,), inner_ref=1, inner_opt=1, "
        "order=('ref',))\n"
        ">>> [round(x, 4) for x in log_ratios(blocks)]\n[0.6931]",
        "Of each pair, time per query: a block's time over how many queries it had. math.log of reference over "
        "candidate.",
    ),
    Part(
        "pair_median", "", ">>> blocks = Blocks(ref_block_ns=(10,), opt_block_ns=(5,), inner_ref=1, inner_opt=1, "
        "order=('ref',))\n"
        ">>> round(pair_median(blocks), 4)\n0.6931",
        "A median does not care how far a disturbed block lies away.",
    ),
    Part(
        "slow_queries_allowed", "", ">>> slow_queries_allowed(64, 0.9), slow_queries_allowed(662, 0.99)\n(1, 1)",
        "Add up P[Binomial(queries, 1 - percentile) = t] for t = 0, 1, ... until they pass 1 - confidence; one less is "
        "allowed. With math.lgamma large numbers of queries do not overflow.",
    ),
    Part(
        "early_stopping_ns", "", ">>> early_stopping_ns(list(range(64)))\n63",
        "So many of the slowest may be left out; None where none may.",
    ),
)  # fmt: skip

B = "r, o = {}, {}\nb = Blocks(ref_block_ns=r, opt_block_ns=o, inner_ref={}, inner_opt={}, order=('ref',) * len(r))\n"
CHECKS = (
    Check("log_ratios", "each pair of blocks is compared by time per query", (
        (f"{B.format((10,), (5,), 1, 1)}list(log_ratios(b))", [math.log(2)]),
        (f"{B.format((10,), (10,), 1, 4)}list(log_ratios(b))", [math.log(4)]),
        (f"{B.format((10, 20), (10, 5), 1, 1)}list(log_ratios(b))", [0, math.log(4)]),
    )),
    Check("pair_median", "the middle pair counts", (
        (f"{B.format((10,), (5,), 1, 1)}pair_median(b)", math.log(2)),
        (f"{B.format((10, 10, 10), (5, 5, 1), 1, 1)}pair_median(b)", math.log(2)),
        (f"{B.format((10, 20), (10, 5), 1, 1)}pair_median(b)", math.log(2)),
    )),
    Check("slow_queries_allowed", "as many queries may be slow as 99 % certainty allows", (
        ("slow_queries_allowed(1, 0.9)", 0),
        ("slow_queries_allowed(63, 0.9)", 0),
        ("slow_queries_allowed(64, 0.9)", 1),
        ("slow_queries_allowed(256, 0.9)", 14),
        ("slow_queries_allowed(661, 0.99), slow_queries_allowed(662, 0.99)", (0, 1)),
        ("slow_queries_allowed(100000, 0.9) > 9700", True),
    )),
    Check("early_stopping_ns", "an upper estimate of the 90th percentile", (
        ("early_stopping_ns([5] * 10)", None),
        ("early_stopping_ns(list(range(64)))", 63),
        ("early_stopping_ns(list(range(256)))", 242),
        ("early_stopping_ns(list(range(256))[::-1])", 242),
    )),
)  # fmt: skip

MODULE = Module(
    20, "capstone", "Can I make a claim about speed that others believe?",
    {"leaderboard.derive": PARTS},
    "from leaderboard.derive import early_stopping_ns, log_ratios, pair_median, slow_queries_allowed\n"
    "from leaderboard.measured import Blocks",
    CHECKS,
)  # fmt: skip
