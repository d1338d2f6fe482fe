"""One block of memory for all temporaries of a program, laid out by lifetime.

Left out: which buffers live when (`program.py`).
"""

from __future__ import annotations

ALIGNMENT = 64  # bytes: a cache line, and the widest vector


def arena(lifetimes: dict[int, tuple[int, int, int]]) -> tuple[dict[int, int], int]:
    """Offsets for buffers with lifetimes {buffer: (first step, last step, bytes)}, and the bytes needed in all.

    In order of first use each buffer takes the smallest gap it fits in among those alive at the same time (best fit).
    Offsets are multiples of ALIGNMENT.
    """
    offsets: dict[int, int] = {}
    total = 0
    for buffer, (first, last, nbytes) in sorted(lifetimes.items(), key=lambda item: (item[1][0], -item[1][2])):
        taken = sorted(
            (offsets[other], offsets[other] + _rounded(lifetimes[other][2])) for other in offsets
            if lifetimes[other][0] <= last and first <= lifetimes[other][1]
        )  # fmt: skip
        gaps, cursor = [], 0
        for start, end in taken:
            if start - cursor >= _rounded(nbytes):
                gaps.append((start - cursor, cursor))
            cursor = max(cursor, end)
        offsets[buffer] = min(gaps)[1] if gaps else cursor
        total = max(total, offsets[buffer] + _rounded(nbytes))
    return offsets, total


def _rounded(nbytes: int) -> int:
    return -(-max(nbytes, 1) // ALIGNMENT) * ALIGNMENT
