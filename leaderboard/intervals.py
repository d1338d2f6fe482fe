"""How well figures are known: 95 % intervals of a share of right answers and of a median time.

The interval of the ratio is `derived.ratio_lo` to `ratio_hi`, over processes (`derive.py`); these two are within a run
and say nothing of another process or machine. A mean loss has none: its texts are not in the file one by one.
"""

import math
from collections.abc import Sequence
from functools import lru_cache

from leaderboard.measured import Quality

CONFIDENCE = 0.95
Z = 1.959963984540054  # normal quantile of CONFIDENCE, two-sided


def quality_interval(quality: Quality) -> tuple[float, float] | None:
    """Wilson's interval of the share of right answers: what other samples like these would show. None for a loss.

    Unlike value +- z * error it stays within 0 and 1 and holds for few or no mistakes.
    """
    return None if quality.opt_correct is None else share_interval(quality.opt_correct, quality.n)


def share_interval(right: int, n: int) -> tuple[float, float]:
    """`quality_interval` of `right` answers out of n."""
    share = right / n
    middle = (share + Z * Z / (2 * n)) / (1 + Z * Z / n)
    half = Z / (1 + Z * Z / n) * math.sqrt(share * (1 - share) / n + Z * Z / (4 * n * n))
    return max(middle - half, 0.0), min(middle + half, 1.0)


def median_interval(times: Sequence[int]) -> tuple[int, int] | None:
    """Two of the times between which the true median lies with at least 95 %, whatever their distribution.

    Each time is below the median with probability 1/2, so how many are is binomial. None below six times.
    """
    skipped = _skipped(len(times))
    if skipped is None:
        return None
    ordered = sorted(times)
    return ordered[skipped], ordered[-1 - skipped]


@lru_cache(maxsize=256)
def _skipped(n: int) -> int | None:
    """How many of n ordered times may be left out at either end; None if even all of them say too little."""
    outside = 0.0
    for places in range(n // 2 + 1):  # the median lies beyond so many of the times, at either end
        log_ways = math.lgamma(n + 1) - math.lgamma(places + 1) - math.lgamma(n - places + 1)
        outside += 2 * math.exp(log_ways - n * math.log(2))
        if outside > 1 - CONFIDENCE:
            return places - 1 if places else None
    return None
