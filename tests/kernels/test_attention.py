"""Attention and its gradient in tiles, against the plain formulas in float64."""

from __future__ import annotations

import tracemalloc
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from kernels import attention_tiles, registry
from kernels.attention_grad import equal_parts
from kernels.attention_tiles import KEYS, QUERIES
from kernels.program import Builder
from tests.kernels.running import layouts, normal, run
from tests.tolerance import NMSE_REDUCTION, nmse
from tinytorch.engine import dispatch, ops

SHAPES = (  # B, H, T, S, D: tails of each, fewer queries than keys, and more
    (1, 1, 1, 1, 1), (2, 3, 5, 5, 4), (1, 2, 3, 7, 8), (2, 2, 33, 33, 17), (1, 2, 70, 130, 32), (3, 5, 64, 64, 32),
    (1, 2, QUERIES + 1, 2 * KEYS + 12, 48), (1, 1, 200, 200, 64), (1, 1, 17, 40, 256), (1, 9, 80, 80, 31),
)  # fmt: skip
MORE_QUERIES = ((1, 1, 5, 1, 3), (1, 2, 150, 70, 20))


def projected(b, h, t, d):
    """(B,H,T,D) as a projection gives it: (B,T,H,D) in memory."""
    return normal(b, t, h, d).transpose(0, 2, 1, 3)


def arrays(b, h, t, s, d):
    return projected(b, h, t, d), projected(b, h, s, d), projected(b, h, s, d)


def wide(*given):
    return [x.astype(np.float64) for x in given]


def check(q, k, v, causal, scale):
    """Forward and backward, the gradients one by one."""
    how = {"causal": causal, "scale": scale}
    expected = ops.attention.reference(*wide(q, k, v), **how)
    out = run("attention", q, k, v, **how)
    assert nmse(out, expected) < NMSE_REDUCTION
    assert out.transpose(0, 2, 1, 3).shape == (q.shape[0], q.shape[2], q.shape[1], q.shape[3])
    g = projected(*q.shape)
    flat = run("attention_grad", g, out, q, k, v, **how)
    reference = ops.attention_grad.reference(*wide(g), expected, *wide(q, k, v), **how)
    power, ends = np.square(wide(g)).sum(), (0, q.size, q.size + k.size, q.size + 2 * k.size)
    for begin, end in pairwise(ends):
        error = np.square(flat[begin:end] - reference[begin:end]).sum()
        # Where one key is seen, gradients of q and k are 0, as a difference of what is as large as g.
        assert error <= NMSE_REDUCTION * max(np.square(reference[begin:end]).sum(), 1e-3 * power)


@pytest.mark.parametrize("causal", (False, True))
@pytest.mark.parametrize("shape", SHAPES)
def test_forward_and_gradient(shape, causal):
    check(*arrays(*shape), causal, shape[-1] ** -0.5)


@pytest.mark.parametrize("shape", MORE_QUERIES)
def test_more_queries_than_keys(shape):
    check(*arrays(*shape), False, 0.3)
    q, k, v = arrays(*shape)
    assert run("attention", q, k, v, causal=True, scale=0.3) is None
    assert run("attention_grad", q, q, q, k, v, causal=True, scale=0.3) is None


@given(st.integers(1, 3), st.integers(1, 150), st.integers(0, 150), st.integers(1, 70), st.booleans())
def test_any_shape(h, t, more, d, causal):
    check(*arrays(2, h, t, t + more, d), causal, d**-0.5)


@pytest.mark.parametrize("h", (2, 9))
def test_keys_and_values_copied_together(h, monkeypatch):
    monkeypatch.setattr(attention_tiles, "MANY_QUERIES", 50)
    check(*arrays(1, h, 70, 75, 12), True, 0.3)


def test_any_layout():
    x = [normal(2, 3, 37, 12) for _ in range(5)]
    how = {"causal": True, "scale": -0.4}
    expected = run("attention", *x[2:], **how), run("attention_grad", *x, **how)
    for some in zip(*map(layouts, x)):
        assert nmse(run("attention", *some[2:], **how), expected[0]) < NMSE_REDUCTION
        assert nmse(run("attention_grad", *some, **how), expected[1]) < NMSE_REDUCTION


def test_large_scores_do_not_overflow():
    q, k, v = arrays(1, 2, 90, 90, 16)
    for causal in (False, True):
        y = run("attention", 100 * q, 100 * k, v, causal=causal, scale=1.0)
        # A score of 1e4 is rounded by 1e-3 / 2, and so is the logarithm of its weight.
        assert nmse(y, ops.attention.reference(*wide(100 * q, 100 * k, v), causal=causal, scale=1.0)) < 1e-6
        assert np.abs(y).max() <= np.abs(v).max() * (1 + 1e-6)


def test_nan_and_infinity_as_in_the_reference():
    q, k, v = arrays(1, 1, 70, 130, 8)
    q[0, 0, 3, 2] = np.nan
    k[0, 0, 100, 1] = np.inf  # scores of both infinities
    v[0, 0, 2, 5] = np.inf
    with np.errstate(all="ignore"):
        expected = ops.attention.reference(q, k, v, causal=False, scale=0.4)
    y = run("attention", q, k, v, causal=False, scale=0.4)
    np.testing.assert_array_equal(np.isnan(y), np.isnan(expected))
    np.testing.assert_array_equal(np.isinf(y), np.isinf(expected))


def test_a_key_that_cannot_be_has_no_weight():
    """Scores of -inf, also throughout the first block of keys, weigh nothing; only they give nan."""
    q, k, v = arrays(1, 1, 40, 2 * KEYS, 4)
    q[...] = np.abs(q)
    k[0, 0, :KEYS, 0] = -np.inf
    y = run("attention", q, k, v, causal=False, scale=0.5)
    assert nmse(y, ops.attention.reference(*wide(q, k[:, :, KEYS:], v[:, :, KEYS:]), causal=False, scale=0.5)) < 1e-10
    k[..., 0] = -np.inf
    assert np.isnan(run("attention", q, k, v, causal=False, scale=0.5)).all()


def test_what_is_not_seen_is_not_looked_at():
    q, k, v = arrays(1, 2, 150, 150, 8)
    expected = run("attention", q, k, v, causal=True, scale=0.4)
    k[:, :, 101:] = np.nan
    v[:, :, 128:] = np.nan  # from a block of keys on: 0 times nan is nan where it shares a group with what is seen
    y = run("attention", q, k, v, causal=True, scale=0.4)
    np.testing.assert_array_equal(y[:, :, :101], expected[:, :, :101])
    assert np.isnan(y[:, :, 101:]).all()


def scratch_bytes(op: str, n: int) -> int:
    """Of the temporaries of a program for n positions of one head of 64, apart from its result."""
    build = Builder()
    x = [build.input((1, 1, n, 64)) for _ in range(3 if op == "attention" else 5)]
    out = registry.lowering(op)(build, *x, causal=True, scale=0.125)
    return build.finish([out]).arena_bytes


def test_memory_is_linear_in_the_number_of_tokens():
    """Scratch for 512, 2,048 and 8,192 tokens: less than the arrays' own bytes per token allow, never the square."""
    for op, arrays_of_a_token in (("attention", 4), ("attention_grad", 60)):
        sizes = {n: scratch_bytes(op, n) for n in (512, 2048, 8192)}
        for n, nbytes in sizes.items():
            assert nbytes <= arrays_of_a_token * 64 * 4 * n + 2**20, f"{op}: {nbytes} bytes for {n} tokens"
        assert sizes[8192] - sizes[2048] <= 4.1 * (sizes[2048] - sizes[512]) + 2**22


def test_an_eager_call_allocates_as_much():
    x = [normal(1, 1, 8192, 16) for _ in range(5)]
    with dispatch.use_backend("numba"):
        ops.attention(*x[2:], causal=True, scale=0.25)
        ops.attention_grad(*x, causal=True, scale=0.25)
        tracemalloc.start()
        ops.attention(*x[2:], causal=True, scale=0.25)
        forward = tracemalloc.get_traced_memory()[1]
        tracemalloc.reset_peak()
        ops.attention_grad(*x, causal=True, scale=0.25)
        backward = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
    square = 4 * 8192**2
    assert forward < square / 20 and backward < square / 5


def test_parts_cost_the_same():
    assert equal_parts(512, 512, False, 4) == [0, 2, 4, 6, 8]
    starts = equal_parts(4096, 4096, True, 8)
    assert starts[0] == 0 and starts[-1] == 64 and starts == sorted(starts)
    costs = [sum(range(a + 1, b + 1)) for a, b in pairwise(starts)]
    assert max(costs) < 1.2 * sum(costs) / 8
