"""Rows of what ran: names, shapes, FLOPs, bytes and times, forward and backward, with the model none the wiser."""

from __future__ import annotations

import time
from itertools import pairwise

import numpy as np
import pytest

import profiler
from tinytorch import SGD, CrossEntropyLoss, Layer, Linear, ReLU, Sequential, Tensor, models, no_grad
from tinytorch.core.clipping import clip_grad_norm
from tinytorch.core.layers import Packed
from tinytorch.engine import dispatch
from tinytorch.engine.formats import Int8

pytestmark = pytest.mark.usefixtures("backend")


def image(n=1):
    return Tensor(np.random.default_rng(0).random((n, 1, 8, 8)))


def test_a_forward_pass_by_layer_and_op():
    model = models.cnn()
    with profiler.record(model) as recorded, no_grad():
        model(image(2))
    assert [(row.layer, row.op) for row in recorded.rows] == [
        ("0", "conv2d"), ("1", "relu"), ("2", "max_pool2d"), ("3", "conv2d"), ("4", "relu"), ("5", "max_pool2d"),
        ("6", "reshape"), ("7", "linear"),
    ]  # fmt: skip
    first = recorded.rows[0]
    assert first.shapes == ((2, 1, 8, 8), (16, 1, 3, 3), (16,)) and first.out_shape == (2, 16, 8, 8)
    assert first.flops == 2 * 9 * 2 * 16 * 64
    assert first.bytes == 4 * (2 * 64 + 16 * 9 + 16 + 2 * 16 * 64)
    assert recorded.rows[6].flops == 0 and recorded.rows[7].flops == 2 * 2 * 128 * 10


def test_a_training_step_is_recorded_whole():
    model = models.mlp()
    optimizer = SGD(model.parameters(), lr=0.1)
    with profiler.record(model) as recorded:
        CrossEntropyLoss()(model(Tensor(np.ones((4, 64)))), [1, 2, 3, 4]).backward()
        optimizer.step()
    ops = [row.op for row in recorded.rows]
    assert ops.count("linear") == 3 and ops.count("linear_weight_grad") == 3 and ops.count("linear_input_grad") == 2
    assert ops.count("sgd_step") == 6 and "cross_entropy_grad" in ops
    forward = sum(row.flops for row in recorded.rows if row.op == "linear")
    backward = sum(row.flops for row in recorded.rows if row.op.startswith("linear_"))
    assert backward == 2 * forward - 2 * 4 * 64 * 64  # no gradient is owed to the input
    where = [(row.layer, row.kind, row.phase, row.op) for row in recorded.rows]
    assert [(layer, phase) for layer, _, phase, op in where if op.startswith("linear")] == [
        ("0", "forward"), ("2", "forward"), ("4", "forward"), ("4", "backward"), ("4", "backward"), ("2", "backward"),
        ("2", "backward"), ("0", "backward"),
    ]  # fmt: skip
    assert where[5:7] == [("CrossEntropyLoss", "CrossEntropyLoss", phase, op) for phase, op in (
        ("forward", "cross_entropy"), ("backward", "cross_entropy_grad"))]  # fmt: skip
    updates = [(layer, kind) for layer, kind, phase, op in where if phase == "update"]
    assert updates == [("0", "Linear")] * 2 + [("2", "Linear")] * 2 + [("4", "Linear")] * 2


def test_without_a_model_names_begin_with_the_class_of_the_outermost_layer():
    x = Tensor(np.ones((1, 2)))
    with profiler.record() as recorded:
        Sequential(Linear(2, 2), ReLU())(x)
        Sequential(ReLU())(x)
        ReLU()(x)
        Tensor([1.0]) + Tensor([2.0])
    assert [row.layer for row in recorded.rows] == ["Sequential.0", "Sequential.1", "Sequential#2.0", "ReLU", ""]


def test_a_layer_of_another_model_has_its_class_for_a_name():
    with profiler.record(Sequential(Linear(2, 2))) as recorded:
        Sequential(ReLU())(Tensor(np.ones((1, 2))))
    assert [(row.layer, row.kind) for row in recorded.rows] == [("ReLU", "ReLU")]


def test_calls_of_one_signature_are_described_once_and_parameters_that_cannot_be_hashed_are_taken():
    x = Tensor(np.ones((4, 2)))
    with profiler.record() as recorded:
        for _ in range(3):
            x[1:3] * x[1:3]
            x[0:2]
    assert len(recorded.rows) == 12 and len(recorded.calls) == 3
    assert recorded.began_ns <= recorded.rows[0].start_ns <= recorded.ended_ns


def test_clipping_is_part_of_the_update():
    model = Sequential(Linear(3, 2))
    with profiler.record(model) as recorded:
        model(Tensor(np.ones((2, 3)))).sum().backward()
        clip_grad_norm(model.parameters(), 0.01)
    assert {row.phase for row in recorded.rows[-2:]} == {"update"}
    assert {row.layer for row in recorded.rows if row.phase == "backward"} == {"", "0"}  # sum is outside all layers


def test_the_innermost_layer_and_its_dotted_name_count():
    class Block(Layer):
        def __init__(self):
            self.inner = [Linear(2, 2)]

        def forward(self, x):
            return self.inner[0](x) + x

    model = Sequential(Block(), Block())
    with profiler.record(model) as recorded:
        model(Tensor(np.ones((1, 2))))
    assert [(row.layer, row.op) for row in recorded.rows] == [
        ("0.inner.0", "linear"), ("0", "add"), ("1.inner.0", "linear"), ("1", "add"),
    ]  # fmt: skip


def test_times_are_in_order_and_within_the_wall_time():
    model, x = models.mlp(), Tensor(np.ones((64, 64)))
    start = time.perf_counter_ns()
    with profiler.record(model) as recorded:
        model(x)
    end = time.perf_counter_ns()
    assert all(row.ns > 0 for row in recorded.rows)
    starts = [row.start_ns for row in recorded.rows]
    assert starts == sorted(starts) and start <= starts[0] and starts[-1] + recorded.rows[-1].ns <= end
    assert all(a.start_ns + a.ns <= b.start_ns for a, b in pairwise(recorded.rows))


def test_views_move_no_bytes_but_copies_do():
    x = Tensor(np.ones((4, 6)))
    with profiler.record() as recorded:
        x.reshape(2, 12)
        x.transpose()
        x.T.reshape(24)
    by_op = [(row.op, row.bytes) for row in recorded.rows if row.op == "reshape"]
    assert by_op == [("reshape", 0), ("reshape", 2 * 4 * 24)]
    assert [row.bytes for row in recorded.rows if row.op == "transpose"] == [0, 0]


def test_a_packed_weight_counts_what_it_stores_or_what_its_emulation_moves():
    model = Sequential(Linear(8, 4))
    model[0].weight = Packed(Int8.pack(model[0].weight.data, axis=1))
    with profiler.record(model) as recorded:
        model(Tensor(np.ones((1, 8))))
    (row,) = [row for row in recorded.rows if row.op == "linear"]
    assert row.flops == 64 and row.layer == "0"
    weight_bytes = row.bytes - 4 * (8 + 4 + 4)
    assert weight_bytes in (4 * 32, 32 + 4 * 4)  # dequantised, or codes and scales where a kernel reads them


def test_recording_changes_nothing_and_ends():
    model = models.cnn()
    plain = model(image()).data
    with profiler.record(model) as recorded:
        np.testing.assert_array_equal(model(image()).data, plain)
    count = len(recorded.rows)
    model(image())
    assert len(recorded.rows) == count and not dispatch.watchers


def test_recordings_may_lie_inside_each_other():
    x = Tensor([1.0])
    with profiler.record() as outer:
        x + x
        with profiler.record() as inner:
            x * x
    assert [row.op for row in outer.rows] == ["add", "mul"] and [row.op for row in inner.rows] == ["mul"]


def test_an_error_inside_ends_the_recording():
    with pytest.raises(ValueError, match="linear"), profiler.record() as recorded:
        Linear(2, 2)(Tensor(np.ones((1, 3))))
    assert recorded.rows == [] and not dispatch.watchers and not dispatch.scopes
