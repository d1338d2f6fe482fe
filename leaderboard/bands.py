"""Every number that the rules decide by, in one place. Whoever changes one raises RULES_VERSION.

Results are ranked together only where they were judged by the same numbers: the version is part of every task's
`benchmark_version`. The anchors are MLPerf's audits (TEST01, TEST04, TEST05), whose bands are for machines that do
nothing else; here they are wider, as measured on machines that students have.
"""

from fractions import Fraction
from typing import NamedTuple

from leaderboard.schema import Division

RULES_VERSION = 2  # 1: before the audits


class Protocol(NamedTuple):
    """The least that a division asks for. A harness should aim above `block_ns`: it is judged by the median block."""

    workers: int
    pairs: int
    block_ns: int
    queries: int


RANKED = Protocol(workers=5, pairs=15, block_ns=20_000_000, queries=64)
PROTOCOLS: dict[Division, Protocol] = {
    "closed": RANKED,
    "open": RANKED,
    "practice": Protocol(workers=1, pairs=5, block_ns=2_000_000, queries=64),
}

# Percent of the reference's quality. The open division is ranked in tiers, so its gate is the lowest of them.
QUALITY_TIERS = (100, 99, 97, 95)
GATE_PERCENT: dict[Division, int] = {"closed": 99, "practice": 99, "open": QUALITY_TIERS[-1]}
BADGE_PERCENT = Fraction(999, 10)  # shown beside a result, decides nothing

DIRTY_CPU_SHARE = 0.8  # a block that got less CPU time than this share of its wall time was disturbed
DIRTY_BLOCKS = 0.2  # this share of disturbed blocks is tolerated
BUSY_CPU_SHARE = 1.1  # CPU time per wall time and thread; the rest is the clocks' disagreement


class Band(NamedTuple):
    """How far a ratio of times may be from 1. A query that takes less than SHORT_QUERY_NS may stray as far as `short`:
    there the calls and the clock themselves are a good part of the time."""

    usual: float
    short: float


SHORT_QUERY_NS = 200_000
SAME_SAMPLE = Band(1.10, 1.20)  # the ranked trace by one sample over and over, and new samples by the ranked trace
OTHER_ORDER = Band(1.05, 1.20)  # another order of the queries by the ranked one, or the other way round
SHUFFLED_TIME = Band(1.10, 1.20)  # a query with shuffled weights by one with the real ones, or the other way round
STANDARD_ERRORS = 3  # by so many may shuffled weights do better than chance, ...
# ... and by this share of what the candidate knows: shuffled weights are no fair coin. Of 100 shuffles of the digits'
# networks 5 to 7 were above three standard errors (0.15), the best had 0.21; the candidates have 0.95 and more.
SHUFFLED_KNOWS = 0.25

# The parent's view of a block may differ by this share of it and by this time: two messages between processes, and
# waking up. In blocks of 40 ms the middle of 60 differed by 75 to 90 us, even on busy CPUs, a single one by 3 ms.
CLOCK_SHARE = 0.01
CLOCK_NS = 500_000
IDLE_CPU_SHARE = 0.10  # of a pause in which nobody was asked anything, so much may be computed; falling asleep: 0.015
REFERENCE_SLOWED = 1.25  # the reference beside the candidate may take this many times what it takes alone
