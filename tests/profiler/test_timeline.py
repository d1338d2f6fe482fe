"""Memory op by op: what lives, what there was, where it was, and the figures of a whole step."""

from __future__ import annotations

import numpy as np
import pytest

import profiler
from profiler.timeline import memory_of, record_memory
from tinytorch import (
    Adam,
    CrossEntropyLoss,
    Layer,
    Linear,
    ReLU,
    Sequential,
    Tensor,
    compile,
    compile_step,
    models,
    no_grad,
)
from tinytorch.engine import dispatch, ops

pytestmark = pytest.mark.usefixtures("backend")

MIB = 1 << 20


def ones(mib):
    return np.ones(mib * MIB // 4, np.float32)


def test_live_and_peak_of_each_op():
    a = ones(8)
    with profiler.record():
        ops.neg(ops.add(a, a))  # what is made once is made
    with record_memory() as timeline:
        b = ops.add(a, a)
        c = ops.add(b, a)
        del b
        ops.neg(c)  # freed at once
        d = ops.add(a, a)
    moments = timeline.moments
    assert [m.op for m in moments] == ["add", "add", "neg", "add"]
    assert [m.bytes for m in moments] == pytest.approx([8 * MIB, 16 * MIB, 16 * MIB, 16 * MIB], rel=0.01)
    assert [m.peak_bytes for m in moments] == pytest.approx([8 * MIB, 16 * MIB, 16 * MIB, 16 * MIB], rel=0.01)
    assert timeline.peak_bytes == pytest.approx(16 * MIB, rel=0.01) and c.size == d.size
    times = [m.at_ns for m in moments]
    assert times == sorted(times)


def test_what_an_op_needs_while_it_runs_is_in_its_peak():
    """NumPy's reference of a convolution lays out its input nine times over; that is gone when it returns."""
    layer, x = models.cnn()[0], Tensor(np.ones((256, 1, 64, 64), np.float32))
    with dispatch.use_backend("numpy"), no_grad():
        with profiler.record():
            layer(x)
        with record_memory(layer) as timeline:
            y = layer(x)
    (moment,) = timeline.moments
    assert moment.bytes == pytest.approx(y.data.nbytes, rel=0.01)
    assert moment.peak_bytes > y.data.nbytes + 9 * x.data.nbytes


def test_what_python_makes_before_an_op_and_after_the_last_counts():
    a = np.ones(3, np.float32)
    ops.add(a, a)
    with record_memory() as timeline:
        ones(24)
        ops.add(a, a)
        ones(32)
        ops.add(a, a)
        ones(16)
    first, second = timeline.moments
    assert first.peak_bytes == pytest.approx(24 * MIB, rel=0.01) and first.bytes < 0.01 * MIB
    assert second.peak_bytes == timeline.peak_bytes == pytest.approx(32 * MIB, rel=0.01)


def test_windows_around_and_inside_still_see_their_true_peaks():
    a = ones(8)
    with profiler.peak_memory() as outer, record_memory() as timeline:
        b = ones(24)
        del b
        with profiler.peak_memory() as inner:
            ops.add(a, a)
            ones(16)
        ops.add(a, a)
    assert outer.peak_bytes == pytest.approx(24 * MIB, rel=0.01)
    assert inner.peak_bytes == pytest.approx(16 * MIB, rel=0.01)
    assert timeline.peak_bytes == pytest.approx(24 * MIB, rel=0.01)


def test_watching_takes_nothing_for_itself():
    """A thousand ops that free what they make: nothing is live afterwards, though each left its moment."""
    a = np.ones(256, np.float32)
    with profiler.record():
        ops.add(a, a)
    with record_memory() as timeline:
        for _ in range(1000):
            ops.add(a, a)
    assert len(timeline.moments) == 1000
    assert abs(timeline.moments[-1].bytes - timeline.moments[10].bytes) < 2048
    assert timeline.peak_bytes < 16384


def test_layers_and_phases_have_their_names():
    model = Sequential(Linear(4, 3), ReLU())
    with record_memory(model) as timeline:
        model(Tensor(np.ones((2, 4)))).backward(np.ones((2, 3), np.float32))
    found = [(m.layer, m.phase, m.op) for m in timeline.moments]
    assert found[:2] == [("0", "forward", "linear"), ("1", "forward", "relu")]
    assert ("1", "backward", "relu_grad") in found and ("0", "backward", "linear_weight_grad") in found


# -- a whole step -----------------------------------------------------------------------------------------------------


def backward(result):
    """Of the sum of all elements."""
    result.backward(np.ones(result.shape, result.dtype))


class Wide(Layer):
    """x (n,) -> exp(x) + exp(x): three arrays of its size are made, all of them kept for backward."""

    def __init__(self):
        self.shift = Tensor(np.zeros(1, np.float32), requires_grad=True)

    def forward(self, x):
        y = x + self.shift
        return y.exp() + y


def test_activations_and_peak_of_a_step_by_hand():
    model, x = Wide(), Tensor(ones(8))
    memory = memory_of(lambda: model(x), model, None, backward, given=[x])
    assert memory.activation_bytes == 3 * 8 * MIB
    assert memory.parameter_bytes == memory.gradient_bytes == 4 and model.shift.grad is None
    at_peak = memory.at_peak
    assert at_peak is not None and at_peak.phase == "backward"
    # Behind the three lie the gradient it begins with, exp's, and their sum.
    assert memory.peak_bytes == pytest.approx(6 * 8 * MIB, rel=0.01)
    assert memory.peak_bytes == at_peak.peak_bytes
    forward = [m for m in memory.timeline if m.phase == "forward"]
    assert forward[-1].bytes == pytest.approx(memory.activation_bytes, rel=0.01)


def test_without_gradients_forward_is_all():
    model, x = Wide(), Tensor(ones(8))
    memory = memory_of(lambda: model(x), model, given=[x])
    assert memory.activation_bytes == memory.gradient_bytes == 0
    assert memory.peak_bytes == pytest.approx(3 * 8 * MIB, rel=0.01)
    assert {m.phase for m in memory.timeline} == {"forward"}
    assert memory_of(lambda: None).timeline == ()


def test_a_step_of_a_milestone_net():
    """It is a step like all others: nothing is made for the first time in it, and asking twice gives the same."""
    np.random.seed(0)
    model, loss_fn = models.mnist_mlp(), CrossEntropyLoss()
    optimizer = Adam(model.parameters())
    x, y = Tensor(np.random.random((600, 784)).astype(np.float32)), Tensor(np.zeros(600, np.int64))
    step = lambda: loss_fn(model(x), y)  # noqa: E731
    step().backward()
    optimizer.step()
    kept = [p.grad for p in model.parameters()]
    memory = memory_of(step, model, optimizer, backward, given=[x, y])
    size = 4 * profiler.parameters(model)
    assert (memory.parameter_bytes, memory.gradient_bytes, memory.optimizer_bytes) == (size, size, 2 * size + 64)
    assert memory.activation_bytes == 4 * (600 * (128 + 128 + 64 + 64 + 10) + 1)
    assert all(p.grad is g for p, g in zip(model.parameters(), kept))
    assert memory.timeline[-1].phase == "backward"
    assert memory.peak_bytes == max(m.peak_bytes for m in memory.timeline) > memory.activation_bytes
    again = memory_of(step, model, optimizer, backward, given=[x, y])
    assert again.peak_bytes == pytest.approx(memory.peak_bytes, rel=0.01)


def test_a_step_may_train():
    """It begins without gradients, as after `zero_grad`, whatever there was before."""
    model = Sequential(Linear(1024, 1024, bias=False))
    optimizer, x = Adam(model.parameters()), Tensor(np.ones((1, 1024), np.float32))

    def finish(result):
        result.sum().backward()
        optimizer.step()

    model[0].weight.grad = np.ones((1024, 1024), np.float32)
    memory = memory_of(lambda: model(x), model, optimizer, finish)
    assert memory.gradient_bytes == 4 * MIB and memory.optimizer_bytes == 2 * 4 * MIB + 64
    assert {m.phase for m in memory.timeline} == {"forward", "backward", "update"}
    assert memory.activation_bytes == 2 * 4 * 1024  # x, which was not said to be given, and the answer
    # The gradient as the op makes it, and its copy in .grad; NumPy's Adam makes two arrays more at a time for itself.
    at_once = 2 if dispatch.backend() == "numba" else 3
    assert memory.peak_bytes == pytest.approx(at_once * 4 * MIB, rel=0.02)


def test_gradients_are_put_back_after_an_error():
    model = Sequential(Linear(2, 2))
    model[0].weight.grad = grad = np.ones((2, 2), np.float32)
    with pytest.raises(ValueError, match="linear"):
        memory_of(lambda: model(Tensor(np.ones((1, 3)))), model)
    assert model[0].weight.grad is grad and not dispatch.watchers


def test_plans_have_an_arena_and_constants():
    if dispatch.backend() != "numba":
        pytest.skip("plans are compiled")
    model, x = models.cnn(), np.random.default_rng(0).random((64, 1, 8, 8), np.float32)
    plan = compile(model, x)
    memory = memory_of(lambda: plan(x), model, program=plan.program)
    assert (memory.arena_bytes, memory.constant_bytes) == (plan.arena_bytes, plan.constant_bytes)
    assert memory.arena_bytes > 0 and memory.constant_bytes > 0 and memory.timeline == ()
    assert memory.peak_bytes < plan.arena_bytes  # the answer: the arena is there before
    optimizer = Adam(model.parameters())
    y = np.zeros(64, np.int64)
    step = compile_step(model, optimizer, CrossEntropyLoss(), x, y)
    trained = memory_of(lambda: step(x, y), model, optimizer, program=step.linked.program)
    assert trained.arena_bytes == step.arena_bytes > memory.arena_bytes
    assert trained.optimizer_bytes == 2 * trained.parameter_bytes + 64
