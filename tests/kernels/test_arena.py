"""The arena: buffers that live at the same time never overlap, whatever the program."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from kernels.arena import ALIGNMENT, arena

life = st.tuples(st.integers(0, 12), st.integers(0, 5), st.integers(0, 3000)).map(lambda t: (t[0], t[0] + t[1], t[2]))


def alive_together(a, b):
    return a[0] <= b[1] and b[0] <= a[1]


@given(st.lists(life, max_size=25).map(lambda lives: dict(enumerate(lives))))
def test_live_buffers_never_overlap(lives):
    offsets, total = arena(lives)
    assert offsets.keys() == lives.keys()
    for i, (_, _, nbytes) in lives.items():
        assert offsets[i] % ALIGNMENT == 0
        assert offsets[i] >= 0 and offsets[i] + nbytes <= total
        for j in lives:
            if i < j and alive_together(lives[i], lives[j]):
                apart = offsets[i] + nbytes <= offsets[j] or offsets[j] + lives[j][2] <= offsets[i]
                assert apart, f"{lives[i]} at {offsets[i]} and {lives[j]} at {offsets[j]}"


def test_memory_is_used_again():
    chain = {i: (i, i + 1, 1000) for i in range(10)}
    assert arena(chain)[1] == 2 * 1024


def test_the_smallest_gap_that_fits_is_taken():
    # 0 and 2 end at step 0 and leave gaps of 640 and 128 bytes, with 1 between them; 4 needs 100.
    lives = {0: (0, 0, 640), 1: (0, 9, 320), 2: (0, 0, 128), 3: (0, 9, 64), 4: (1, 2, 100)}
    offsets, _ = arena(lives)
    assert offsets[0] < offsets[1] < offsets[2] < offsets[3]
    assert offsets[4] == offsets[2]


def test_nothing_needs_nothing():
    assert arena({}) == ({}, 0)
