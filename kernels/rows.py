"""Along the rows of a matrix: the extreme element of each, for reductions and for what is shifted by it.

Left out: sums, which LLVM turns into vector instructions by itself where a kernel is `REDUCE`.
"""

from __future__ import annotations

from typing import Any

from numba import njit

from kernels.machine import EXACT
from kernels.simd import LANES, across_max, across_min, vector_load, vector_max, vector_min


@njit(fastmath=EXACT, error_model="numpy")
def larger(a, b):
    """The larger; nan if one is."""
    return b if b > a or b != b else a


@njit(fastmath=EXACT, error_model="numpy")
def smaller(a, b):
    """The smaller; nan if one is."""
    return b if b < a or b != b else a


def row_extreme(choose: Any, better: Any, across: Any) -> Any:
    """Compiled `(x, first, n)`: the extreme of x[first : first + n] for n >= 1, nan if there is one.

    `choose` takes the better of two numbers, `better` that of two vectors, `across` that of the lanes of one. The last
    vector overlaps the one before, which does no harm to an extreme.
    """

    @njit(fastmath=EXACT, error_model="numpy")
    def extreme(x, first, n):
        if n < LANES:
            best = x[first]
            for i in range(first + 1, first + n):
                best = choose(best, x[i])
            return best
        so_far = vector_load(x, first, LANES)
        for i in range(LANES, n - LANES, LANES):
            so_far = better(so_far, vector_load(x, first + i, LANES))
        return across(better(so_far, vector_load(x, first + n - LANES, LANES)))

    return extreme


row_max = row_extreme(larger, vector_max, across_max)
row_min = row_extreme(smaller, vector_min, across_min)
