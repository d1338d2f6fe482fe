"""FLOPs of every op: whole numbers, the same on both backends, and for products and sums those of the reference itself.

`golden/flops.txt` has the count for each sample, so that a change of one is seen.
"""

from __future__ import annotations

from collections import Counter
from typing import ClassVar

import numpy as np
import pytest

from tests.engine.sampling import CASES, case, samples
from tinytorch.engine import dispatch, ops
from tinytorch.engine.op import OPS, Spec

# Ops that move, choose or compare, and compute nothing.
FREE = {
    "cache_write", "cast", "compare", "concat", "embedding", "expand", "getitem", "getitem_grad", "reshape",
    "transpose", "where",
}  # fmt: skip


def flops_of(op, arrays, params):
    return op.flops(op.shape(*arrays, **params), *arrays, **params)


@pytest.mark.parametrize("name, i", CASES)
def test_counts_are_plain_integers(name, i):
    """Of arrays as of specs: NumPy's integers would overflow in sums and are no JSON."""
    op, arrays, params = case(name, i)
    specs = [None if a is None else Spec(a.shape, a.dtype) for a in arrays]
    by_values, by_shape = flops_of(op, arrays, params), flops_of(op, specs, params)
    assert type(by_values) is type(by_shape) is int and 0 <= by_values <= by_shape
    assert by_values == by_shape or op.flops_of_values


@pytest.mark.parametrize("name", sorted(OPS))
def test_zero_cost_ops_say_zero_and_others_do_not(name):
    counts = [flops_of(*case(name, i)) for i in range(len(samples(OPS[name])))]
    assert all(n == 0 for n in counts) if name in FREE else any(n > 0 for n in counts)


def test_the_golden_table(golden):
    lines = []
    for name, i in CASES:
        op, arrays, params = case(name, i)
        shapes = " ".join("-" if a is None else "x".join(map(str, a.shape)) or "()" for a in arrays)
        how = " ".join(f"{k}={v}".replace(" ", "") for k, v in params.items())
        lines.append(f"{name:28} {flops_of(op, arrays, params):>10,}  {shapes}  {how}".rstrip())
    golden("flops", "\n".join(lines) + "\n")


# -- what the references really do ------------------------------------------------------------------------------------

COMPARING = {"equal", "not_equal", "less", "less_equal", "greater", "greater_equal"}
# Ops whose count is that of their reference. Others are counted as they are written on paper: without the shift by a
# maximum that keeps exp from overflowing, in a gradient without what forward computed already, and without the few
# operations on numbers of one channel or row.
LITERAL = {
    "abs", "add", "augment", "average_step", "clip", "conv2d_weight_grad", "div", "dropout", "exp",
    "linear_input_grad",
    "linear_weight_grad", "log", "log_softmax_grad", "matmul", "max", "maximum", "min", "mul", "neg", "pow", "power",
    "relu", "running_stats_step", "scale_to_norm", "sgd_step", "sigmoid_grad", "sign", "softmax_grad", "sqrt", "sub",
    "sum", "tanh", "tanh_grad",
} | FREE - {"getitem_grad"}  # fmt: skip  # which adds where an element was picked twice
LITERAL_CASES = [(name, i) for name, i in CASES if name in LITERAL and case(name, i)[1][0].ndim]


class Counting(np.ndarray):
    """An array that counts the arithmetic done with it."""

    done: ClassVar[Counter[str]] = Counter()

    def __array_ufunc__(self, ufunc, method, *inputs, out=None, **options):
        plain = [np.asarray(a) if isinstance(a, Counting) else a for a in inputs]
        if out:
            options["out"] = tuple(np.asarray(a) for a in out)
        result = getattr(ufunc, method)(*plain, **options)
        size = plain[0].size if method == "reduce" else np.size(result)
        if ufunc is np.matmul:
            size *= 2 * plain[0].shape[-1]
        # What is done with a lone number, such as a rate, is once and not for each element.
        if ufunc.__name__ not in COMPARING and np.ndim(plain[0]) + np.ndim(plain[-1]) > 0:
            Counting.done[ufunc.__name__] += size
        if out:
            return out[0]
        return result.view(Counting) if isinstance(result, np.ndarray) else result


def counted(op, arrays, params):
    """Operations that the reference does with the arrays' numbers."""
    Counting.done.clear()
    op.reference(*(a.view(Counting) if a is not None and a.dtype.kind == "f" else a for a in arrays), **params)
    return Counting.done.total()


@pytest.mark.parametrize("name, i", LITERAL_CASES)
def test_the_count_is_what_the_reference_does(name, i):
    op, arrays, params = case(name, i)
    expected = flops_of(op, arrays, params)  # before: an op in place changes them
    assert counted(op, arrays, params) == expected


@pytest.mark.parametrize("name", ["linear", "conv2d", "conv2d_input_grad", "attention", "attention_grad"])
def test_products_are_counted_as_the_reference_multiplies(name):
    """Biases, softmax and the sums of overlapping taps are left out, as PyTorch does."""
    for i in range(len(samples(OPS[name]))):
        op, arrays, params = case(name, i)
        counted(op, arrays, params)
        assert Counting.done["matmul"] == flops_of(op, arrays, params)


# -- ops whose cost depends on values ---------------------------------------------------------------------------------


@pytest.mark.parametrize("velocity, decay, nesterov, decoupled, per_weight", [
    (False, 0, 0, 0, 2), (False, 0.1, 0, 0, 4), (True, 0, 0, 0, 4), (True, 0.1, 0, 0, 6), (True, 0.1, 1, 0, 8),
    (True, 0, 1, 0, 6), (False, 0, 0, 1, 2), (False, 0.1, 0, 1, 3), (True, 0.1, 1, 1, 7),
])  # fmt: skip
def test_sgd_counts_the_terms_it_has(velocity, decay, nesterov, decoupled, per_weight):
    w = np.ones((3, 5))
    hyper = np.array([0.1, 0.9 if velocity else 0, decay, nesterov, decoupled])
    assert flops_of(ops.sgd_step, (w, w, w if velocity else None, hyper), {}) == 15 * per_weight


@pytest.mark.parametrize("decay, decoupled, per_weight", [(0, 0, 13), (0, 1, 13), (0.1, 1, 14), (0.1, 0, 15)])
def test_adam_counts_the_decay_it_has(decay, decoupled, per_weight):
    w = np.ones((3, 5))
    hyper = np.array([0.01, 0.9, 0.999, 1e-8, decay, decoupled, 0.1, 0.001])
    assert flops_of(ops.adam_step, (w, w, w, w, hyper), {}) == 15 * per_weight


def test_backward_counts_the_gradients_that_are_wanted(backend):
    """As observed at the seam: a product for each of them, and none where nobody asked."""
    x, w = np.ones((8, 5), np.float32), np.ones((5, 3), np.float32)
    for need, products in (((True, True), 2), ((False, True), 1), ((True, False), 1), ((False, False), 0)):
        seen: list[int] = []
        with dispatch.watch(lambda e, seen=seen: seen.append(e.op.flops(e.out, *e.arrays, **e.params))):
            ops.linear.gradient(need, np.ones((8, 3), np.float32), np.ones((8, 3), np.float32), x, w)
        assert sum(seen) == products * 2 * 8 * 5 * 3
