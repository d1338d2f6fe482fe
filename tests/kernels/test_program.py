"""Builder and program: folding, memory, relocation, and what they refuse."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from kernels import elementwise, layout, registry, symbols
from kernels.program import Builder, Ref, channels_last_strides
from tests.kernels.running import GUARD, Guarded, normal


def unary(build, name, x):
    return registry.lowering(name)(build, x)


def binary(build, name, a, b):
    return registry.lowering(name)(build, a, b)


def evaluate(build, output, *inputs):
    """The program's output for these inputs, with guards around all memory it may write."""
    made = build.finish([output])
    out, arena = Guarded(output.size * 4), Guarded(made.arena_bytes)
    given = iter(inputs)
    addresses = {"output0": out.address, "arena": arena.address}
    made.run([addresses[base] if base in addresses else next(given).ctypes.data for base in made.bases])
    out.check("output")
    arena.check("arena")
    return out.inside.view(np.float32).reshape(output.shape), made


operation = st.tuples(st.sampled_from(("add", "mul", "relu", "neg")), st.integers(0, 9), st.integers(0, 9))


@given(st.lists(operation, min_size=1))
def test_any_graph_gives_what_numpy_gives(graph):
    """Temporaries of many lifetimes share the arena and never disturb one another."""
    numpy_does = {"add": np.add, "mul": np.multiply, "relu": lambda x: np.maximum(x, 0), "neg": np.negative}
    build, x, w = Builder(), normal(33), normal(33)
    refs, values = [build.input(x.shape), build.constant(w)], [x, w]
    for name, i, j in graph:
        operands = [i % len(refs), j % len(refs)][: 2 if name in ("add", "mul") else 1]
        with np.errstate(all="ignore"):  # products of products may become infinite, in both in the same way
            values.append(numpy_does[name](*(values[k] for k in operands)))
        refs.append(registry.lowering(name)(build, *(refs[k] for k in operands)))
    out = registry.lowering("add")(build, refs[-1], refs[0])  # so that the output depends on the input
    build.fold()
    with np.errstate(all="ignore"):
        np.testing.assert_array_equal(evaluate(build, out, x)[0], values[-1] + x)


def test_folding_runs_what_is_constant_and_keeps_the_rest():
    build = Builder()
    a, b = normal(100), normal(100)
    x = build.input((100,))
    known = unary(build, "neg", binary(build, "add", build.constant(a), build.constant(b)))
    out = binary(build, "mul", x, known)
    assert build.is_constant(known) and not build.is_constant(out)
    build.fold()
    assert [step.kernel.name for step in build.steps] == ["mul"]
    value = normal(100)
    result, made = evaluate(build, out, value)
    np.testing.assert_array_equal(result, value * -(a + b))
    assert made.arena_bytes == 0 and made.bases == ["input0", "output0"]


def test_a_buffer_that_is_written_twice_is_constant_only_if_both_writers_are():
    build = Builder()
    x, y = build.input((4,)), build.empty((8,))
    halves = [Ref(y.buffer, (4,), (1,), y.dtype, start) for start in (0, 4)]
    layout.copy(build, build.constant(normal(4)), halves[0])
    layout.copy(build, x, halves[1])
    build.fold()
    assert len(build.steps) == 2


def test_constants_are_copies():
    w = normal(5)
    build = Builder()
    out = binary(build, "add", build.input((5,)), build.constant(w))
    kept, x = w.copy(), normal(5)
    w[:] = 0
    np.testing.assert_array_equal(evaluate(build, out, x)[0], x + kept)


def test_writing_to_a_constant_is_refused():
    build = Builder()
    w, g, hyper = build.constant(normal(3)), build.input((3,)), build.input((4,), dtype=np.float64)
    with pytest.raises(ValueError, match="sgd_step: w would be written, but it is a constant; make it an input"):
        registry.lowering("sgd_step")(build, w, g, None, hyper)


def test_steps_check_their_arguments():
    build = Builder()
    x = build.input((3,))
    with pytest.raises(TypeError, match="step relu: 2 arguments given; it takes x, y, n"):
        build.step(elementwise.relu, x, x, items=1, cost_ns=0)
    with pytest.raises(TypeError, match=r"step relu: n is .*; it has to be int"):
        build.step(elementwise.relu, x, x, x, items=1, cost_ns=0)
    with pytest.raises(TypeError, match="step relu: y is 3; it has to be Floats"):
        build.step(elementwise.relu, x, 3, 3, items=1, cost_ns=0)


def test_link_wants_every_base():
    build = Builder()
    out = unary(build, "neg", unary(build, "neg", build.input((3,))))
    made = build.finish([out])
    assert made.bases == ["input0", "output0", "arena"]
    with pytest.raises(ValueError, match="link: 1 addresses given; this program wants input0, output0, arena"):
        made.link([0])
    rows = made.link([1000, 2000, 3000])
    assert made.rows[0, 3] == 0 and rows[0, 3] == 1000  # the program itself is left as it was


def test_little_work_stays_on_one_thread():
    build = Builder()
    x = build.input((10_000_000,))
    unary(build, "neg", x)
    unary(build, "neg", build.input((10,)))
    large, small = build.steps
    assert small.parts == 1 and large.parts == 10_000_000 * 0.2 // symbols.MIN_PART_NS


def test_refs_know_their_layout():
    build = Builder()
    image = build.empty((2, 3, 4, 5), channels_last=True)
    assert image.channels_last and image.dense and not image.contiguous
    assert image.strides == channels_last_strides(image.shape)
    assert build.empty_like(image).strides == image.strides
    assert image.permute((0, 2, 3, 1)).contiguous
    assert build.empty((2, 1, 4, 5)).channels_last  # one channel is both
    assert not build.input((4,), (2,)).dense and not build.input((4,), (-1,)).contiguous


def test_reshape_and_transpose_are_views_where_they_can_be():
    build = Builder()
    x = build.input((2, 3, 4))
    flat = registry.lowering("reshape")(build, x, shape=(2, -1))
    turned = registry.lowering("transpose")(build, flat, axes=None)
    assert not build.steps and flat.shape == (2, 12) and turned.shape == (12, 2)
    value = normal(2, 3, 4)
    result, _ = evaluate(build, registry.lowering("reshape")(build, turned, shape=(24,)), value)
    np.testing.assert_array_equal(result, value.reshape(2, 12).T.ravel())
    assert [step.kernel.name for step in build.steps] == ["copy_strided"]


def test_flattening_a_channels_last_image_copies_it_into_the_public_order():
    build = Builder()
    value = normal(2, 4, 5, 3).transpose(0, 3, 1, 2)
    x = build.input(value.shape, channels_last_strides(value.shape))
    result, _ = evaluate(build, registry.lowering("reshape")(build, x, shape=(2, 60)), value)
    np.testing.assert_array_equal(result, value.reshape(2, 60))


def test_guards_would_notice():
    area = Guarded(16)
    area.raw[GUARD + 16] = 0
    with pytest.raises(AssertionError, match="written behind its end"):
        area.check("area")


def test_what_is_wanted_in_one_order_twice_is_copied_once():
    build, x = Builder(), normal(3, 4)
    turned = build.input(x.shape).permute((1, 0))
    total = binary(build, "add", build.contiguous(turned), unary(build, "neg", build.contiguous(turned)))
    assert [step.kernel.name for step in build.steps].count("copy_strided") == 1
    again = build.contiguous(build.input(x.shape).permute((1, 0)))  # of another array
    assert [step.kernel.name for step in build.steps].count("copy_strided") == 2
    difference = binary(build, "sub", total, again)
    np.testing.assert_array_equal(evaluate(build, difference, x, x)[0], -x.T)


def test_what_was_changed_since_is_copied_again():
    build = Builder()
    mean, var, stats, hyper = build.input((2,)), build.input((2,)), build.input((2, 2)), build.input((2,), dtype="f8")
    repeated = replace(mean, shape=(3, 2), strides=(0, 1))
    before = build.contiguous(repeated)
    registry.lowering("running_stats_step")(build, mean, stats, var, hyper)
    after = build.contiguous(repeated)
    out = binary(build, "sub", after, before)
    m, v, s, h = normal(2), normal(2), normal(2, 2), np.array([1.0, 1.0])
    expected = np.tile(s[0] - m, (3, 1))
    np.testing.assert_allclose(evaluate(build, out, m, v, s, h)[0], expected, rtol=1e-6)


def test_the_copy_of_a_lowering_that_declined_is_not_taken(monkeypatch):
    monkeypatch.setattr(registry, "_lowerings", dict(registry._lowerings))
    build, x = Builder(), normal(3, 4)
    turned = build.input(x.shape).permute((1, 0))

    def copies_and_declines(build, x):
        build.contiguous(x)

    registry.lowers("copies_and_declines")(copies_and_declines)
    assert unary(build, "copies_and_declines", turned) is None and not build.steps
    np.testing.assert_array_equal(evaluate(build, unary(build, "neg", build.contiguous(turned)), x)[0], -x.T)
