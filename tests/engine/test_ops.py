"""Every op over every sample it declares: shape rule, gradient, FLOPs, layouts, and the compiled backend."""

from __future__ import annotations

import numpy as np
import pytest

from tests.engine.sampling import CASES, DIFFERENTIABLE, LAYOUTS, case, in_dtype, samples, tolerance
from tests.tolerance import GRADIENT_RELATIVE, NMSE_REDUCTION, nmse
from tinytorch.core.autograd import like
from tinytorch.engine import dispatch, ops
from tinytorch.engine.op import OPS, Spec

pytestmark = pytest.mark.filterwarnings("error")  # a reference computes without RuntimeWarnings
each_case = pytest.mark.parametrize("name, i", CASES)
each_differentiable = pytest.mark.parametrize("name, i", DIFFERENTIABLE)

# Ops of the forward direction that have no gradient; every backward op has none either.
WITHOUT_GRADIENT = {
    "adam_step", "augment", "average_step", "batch_stats", "cache_write", "cached_attention", "compare",
    "running_stats_step",
    "scale_to_norm", "sgd_step", "sign", "sum_of_squares",
}  # fmt: skip


def specs(arrays):
    return [None if a is None else Spec(a.shape, a.dtype) for a in arrays]


@each_case
@pytest.mark.parametrize("dtype", [np.float64, np.float32])
def test_shape_rule_tells_what_the_reference_gives(name, i, dtype):
    op, arrays, params = case(name, i)
    arrays = in_dtype(op, arrays, dtype)
    spec = op.shape(*specs(arrays), **params)
    out = np.asarray(op.reference(*arrays, **params))
    assert (spec.shape, spec.dtype) == (out.shape, out.dtype)
    assert type(spec.shape) is tuple


@pytest.mark.parametrize("name", sorted(OPS))
def test_samples_cover_more_than_one_shape_or_parameter(name):
    kinds = {(tuple(map(str, specs(s.arrays))), str(s.params)) for s in samples(OPS[name])}
    assert len(kinds) > 1 or name == "cast"


@pytest.mark.parametrize("name", sorted(OPS))
def test_no_gradient_is_said_and_not_forgotten(name):
    backward = name.endswith(("_grad", "_sums"))
    assert (OPS[name].gradient is None) == (backward or name in WITHOUT_GRADIENT)


@each_differentiable
def test_gradient_against_finite_differences(name, i):
    """<g, J v> by fourth-order central differences equals <J^T g, v>, in float64, for one input at a time."""
    op, arrays, params = case(name, i)
    rng = np.random.default_rng(2)
    out = np.asarray(op.reference(*arrays, **params))
    g = np.asarray(rng.standard_normal(out.shape))
    for k, x in enumerate(arrays):
        if x.dtype.kind != "f" or k in op.derived:
            continue
        v = np.asarray(rng.standard_normal(x.shape))

        def along(step, k=k, x=x, v=v):
            moved = [x + step * v if j == k else a for j, a in enumerate(arrays)]
            for j, rule in op.derived.items():
                moved[j] = rule(*moved) if rule else moved[j]
            return float((g * op.reference(*moved, **params)).sum())

        h = 1e-4
        numeric = (8 * (along(h) - along(-h)) - (along(2 * h) - along(-2 * h))) / (12 * h)
        gradient = gradient_of(op, k, g, out, arrays, params)
        assert gradient.shape == x.shape and gradient.dtype == x.dtype
        typical = np.linalg.norm(gradient) * np.linalg.norm(v) / max(x.size, 1) ** 0.5
        bound = GRADIENT_RELATIVE * max(abs(numeric), typical) + 1e-9
        assert abs(float((gradient * v).sum()) - numeric) <= bound, f"input {k}"


def gradient_of(op, k, g, out, arrays, params):
    """The gradient of input k alone, as the tape would bring it into the input's shape."""
    with dispatch.use_backend("numpy"):
        gradients = op.gradient(tuple(j == k for j in range(len(arrays))), g, out, *arrays, **params)
        return like(arrays[k], gradients[k])


@each_differentiable
def test_one_gradient_is_the_same_as_one_of_all(name, i):
    op, arrays, params = case(name, i)
    out = np.asarray(op.reference(*arrays, **params))
    g = np.asarray(np.random.default_rng(3).standard_normal(out.shape))
    floating = tuple(a.dtype.kind == "f" for a in arrays)
    with dispatch.use_backend("numpy"):
        together = op.gradient(floating, g, out, *arrays, **params)
    assert len(together) == len(arrays)
    for k, wanted in enumerate(floating):
        if wanted and k in op.derived:
            assert together[k] is None
        elif wanted:
            alone = gradient_of(op, k, g, out, arrays, params)
            np.testing.assert_array_equal(alone, like(arrays[k], together[k]))


@each_differentiable
def test_gradients_are_computed_by_ops_alone(name, i):
    """Whatever a rule works with is an input, the result of an op or a single number: so backward can be captured."""
    op, arrays, params = case(name, i)
    out = np.asarray(op.reference(*arrays, **params))
    g = np.asarray(np.random.default_rng(4).standard_normal(out.shape))
    events: list[dispatch.Event] = []
    with dispatch.use_backend("numpy"), dispatch.watch(events.append):
        gradients = op.gradient(tuple(a.dtype.kind == "f" for a in arrays), g, out, *arrays, **params)
    known = {id(a) for a in (g, out, *arrays)}
    for event in events:
        strangers = [a.shape for a in event.arrays if id(a) not in known and a.size != 1]
        assert not strangers, f"{event.op} is given {strangers}, which no op made"
        known.add(id(event.out))
    assert all(id(gradient) in known for gradient in gradients if isinstance(gradient, np.ndarray))


@each_case
def test_flops_are_a_whole_number_known_from_shapes(name, i):
    op, arrays, params = case(name, i)
    out = op.shape(*specs(arrays), **params)
    flops = op.flops(out, *specs(arrays), **params)
    assert type(flops) is int and flops >= 0
    assert flops == 0 or all(n > 0 for a in arrays if a is not None for n in a.shape)


def test_flops_of_known_work():
    x, w, b = Spec((32, 784), np.dtype("f4")), Spec((784, 128), np.dtype("f4")), Spec((128,), np.dtype("f4"))
    assert ops.linear.flops(ops.linear.shape(x, w, b), x, w, b) == 2 * 32 * 784 * 128
    image, kernel = Spec((2, 4, 8, 8), np.dtype("f4")), Spec((6, 2, 3, 3), np.dtype("f4"))
    how = {"stride": (1, 1), "padding": (1, 1), "dilation": (1, 1), "groups": 2}
    assert ops.conv2d.flops(ops.conv2d.shape(image, kernel, **how), image, kernel, **how) == 2 * 2 * 6 * 64 * 2 * 9
    out = ops.conv2d.shape(image, kernel, **how)
    assert ops.conv2d_input_grad.flops(image, out, kernel, shape=image.shape, **how) == 2 * 2 * 6 * 64 * 2 * 9
    assert ops.conv2d_weight_grad.flops(kernel, image, out, shape=kernel.shape, **how) == 2 * 2 * 6 * 64 * 2 * 9
    assert ops.add.flops(Spec((3, 4), np.dtype("f4"))) == 12
    assert ops.sum.flops(Spec((), np.dtype("f4")), x) == 32 * 784
    assert ops.reshape.flops(x, x) == ops.transpose.flops(x, x) == ops.embedding.flops(x, x, x) == 0
    pooled = Spec((1, 1, 2, 2), np.dtype("f4"))
    assert ops.max_pool2d.flops(pooled, image, kernel=(3, 3)) == 36


# -- layouts and backends ----------------------------------------------------------------------------------------------


@each_case
@pytest.mark.parametrize("layout", LAYOUTS)
def test_layout_of_inputs_does_not_matter(backend, name, i, layout):
    op, arrays, params = case(name, i)
    arrays = in_dtype(op, arrays, np.float32)
    expected = np.asarray(op.reference(*in_dtype(op, arrays, np.float32), **params))
    moved = [None if a is None else LAYOUTS[layout](a) for a in arrays]
    result = dispatch.call(op, *moved, **params)
    assert result.dtype == expected.dtype
    assert nmse(result, expected) <= NMSE_REDUCTION
    if op.in_place:
        assert result is moved[0]
    else:
        for a, b in zip(moved, arrays):
            np.testing.assert_array_equal(a, b)  # inputs are only read


@pytest.mark.parametrize("name, i", [c for c in CASES if OPS[c[0]].in_place])
@pytest.mark.parametrize("layout", ["contiguous", *LAYOUTS])
def test_ops_in_place_change_their_first_array_and_state(backend, name, i, layout):
    op, arrays, params = case(name, i)
    arrays = in_dtype(op, arrays, np.float32)
    expected = in_dtype(op, arrays, np.float32)
    op.reference(*expected, **params)
    moved = [None if a is None else LAYOUTS.get(layout, np.copy)(a) for a in arrays]
    result = dispatch.call(op, *moved, **params)
    assert result is moved[0]
    for got, wanted, before in zip(moved, expected, arrays):
        if wanted is not None:
            assert nmse(got, wanted) <= tolerance(op)
            assert np.array_equal(got, before) == np.array_equal(wanted, before)


@pytest.mark.parametrize("name", sorted(OPS))
def test_numba_backend_equals_the_reference(name):
    """Through the seam as users call it; where the kernel declines, that is the reference itself.

    One error over all samples, for in a single number everything may cancel but the rounding.
    """
    results, references = [], []
    for i in range(len(samples(OPS[name]))):
        op, arrays, params = case(name, i)
        arrays = in_dtype(op, arrays, np.float32)
        expected = np.asarray(op.reference(*in_dtype(op, arrays, np.float32), **params))
        with dispatch.use_backend("numba"):
            result = dispatch.call(op, *arrays, **params)
        assert (result.shape, result.dtype) == (expected.shape, expected.dtype)
        results.append(result.ravel())
        references.append(expected.ravel())
    assert nmse(np.concatenate(results), np.concatenate(references)) <= tolerance(OPS[name])
