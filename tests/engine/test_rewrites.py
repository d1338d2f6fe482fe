"""The rewrites keep the mathematics, and fall away where they would not."""

from __future__ import annotations

import numpy as np
import pytest

from tests.engine.nets import small_cnn
from tinytorch import AvgPool2d, Conv2d, Flatten, Linear, MaxPool2d, ReLU, Sequential, Tensor
from tinytorch.core.layers import Layer
from tinytorch.engine.formats import Format
from tinytorch.engine.graph import Graph, trace
from tinytorch.engine.op import OPS
from tinytorch.engine.plan import capture
from tinytorch.engine.rewrites import POOL, fuse
from tinytorch.perf.quantization import quantize

RNG = np.random.default_rng(0)


def evaluate(graph: Graph, x: np.ndarray) -> np.ndarray:
    """Run a graph op by op, with what was fused done afterwards, in NumPy."""
    values = {id(graph.input): x}
    for node in graph.nodes:
        fused = {name: node.params[name] for name in ("activation", "pool", "grid") if name in node.params}
        params = {k: v for k, v in node.params.items() if k not in (*fused, "margin")}
        arrays = [None if v is None else values.get(id(v), v.array) for v in node.inputs]
        if isinstance(arrays[1] if len(arrays) > 1 else None, Format) and arrays[0].dtype == np.uint8:
            arrays[0] = arrays[1].grid.values(arrays[0])
        out = OPS[node.op](*arrays, **params) if node.op != "reshape" else arrays[0].reshape(params["shape"])
        out = np.maximum(out, 0) if fused.get("activation") == "relu" else out
        out = OPS["max_pool2d"].reference(out, **POOL) if fused.get("pool") else out
        values[id(node.out)] = fused["grid"].codes(out) if "grid" in fused else out
        assert values[id(node.out)].dtype == node.out.dtype and values[id(node.out)].shape == node.out.shape
    return values[id(graph.output)]


def ops_of(graph: Graph) -> list[str]:
    return [n.op for n in graph.nodes]


def fused(model: Layer, x: np.ndarray) -> Graph:
    """The graph after all rewrites, checked against the model on two inputs."""
    graph, expected = trace(model.predict, x)
    fuse(graph)
    other = RNG.standard_normal(x.shape).astype(np.float32)
    for given, wanted in ((x, expected), (other, model.predict(other))):
        np.testing.assert_allclose(evaluate(graph, given), wanted, rtol=1e-5, atol=1e-5)
        np.testing.assert_allclose(capture(model.predict, x)(given), wanted, rtol=1e-4, atol=1e-5)
    return graph


def image(*shape: int) -> np.ndarray:
    return RNG.standard_normal(shape).astype(np.float32)


def test_batch_norm_relu_and_flattening_are_folded():
    graph = fused(small_cnn(), image(1, 2, 4, 4))
    assert ops_of(graph) == ["conv2d", "conv2d", "reshape"]
    assert [n.params.get("activation") for n in graph.nodes] == ["relu", "relu", None]
    assert graph.nodes[1].inputs[1].shape == (3, 4, 4, 4)


def test_fuse_leaves_the_model_alone():
    model, x = small_cnn(), np.ones((1, 2, 4, 4), np.float32)
    before = model.state_dict()
    fuse(trace(model.predict, x)[0])
    assert all((before[k] == v).all() for k, v in model.state_dict().items())


def test_a_relu_is_not_fused_where_the_sum_before_it_is_used_again():
    layer = Linear(3, 3)

    def residual(x: np.ndarray) -> np.ndarray:
        h = layer(Tensor(x))
        return (ReLU()(h) + h).data

    x = RNG.standard_normal((2, 3)).astype(np.float32)
    graph, expected = trace(residual, x)
    fuse(graph)
    assert [n.op for n in graph.nodes] == ["linear", "relu", "add"]
    np.testing.assert_allclose(evaluate(graph, x), expected, rtol=1e-6, atol=1e-6)


def test_only_the_first_of_two_relus_is_fused():
    graph, _ = trace(Sequential(Linear(3, 3), ReLU(), ReLU()).predict, np.ones((1, 3), np.float32))
    fuse(graph)
    assert [n.op for n in graph.nodes] == ["linear", "relu"]


@pytest.mark.parametrize("size", (4, 5))
@pytest.mark.parametrize("order", ([ReLU(), MaxPool2d(2)], [MaxPool2d(2), ReLU()], [MaxPool2d(2)]))
def test_pooling_is_fused_before_and_behind_a_relu(order, size):
    graph = fused(Sequential(Conv2d(2, 5, 3), *order), image(2, 2, size + 2, size + 2))
    assert ops_of(graph) == ["conv2d"] and graph.nodes[0].params["pool"]
    assert graph.nodes[0].params.get("activation") == ("relu" if len(order) == 2 else None)


@pytest.mark.parametrize("pool", (MaxPool2d(3), MaxPool2d(2, stride=1), AvgPool2d(2), MaxPool2d(2, padding=1)))
def test_other_poolings_stay(pool):
    assert len(fused(Sequential(Conv2d(2, 5, 3), pool), image(1, 2, 8, 8)).nodes) == 2


def test_a_convolution_that_is_used_twice_is_not_pooled():
    conv, pool = Conv2d(2, 3, 3), MaxPool2d(2)

    def both(x: np.ndarray) -> np.ndarray:
        h = conv(Tensor(x))
        return (pool(h).sum() + h.sum()).data

    graph, _ = trace(both, image(1, 2, 6, 6))
    fuse(graph)
    assert "max_pool2d" in ops_of(graph) and "pool" not in graph.nodes[0].params


def test_flattening_the_input_itself_stays_a_view():
    assert ops_of(fused(Sequential(Flatten(), Linear(18, 3)), image(2, 2, 3, 3))) == ["reshape", "linear"]


def test_what_the_next_convolution_pads_is_laid_into_its_border():
    net = Sequential(Conv2d(2, 4, 3), ReLU(), MaxPool2d(2), Conv2d(4, 5, 3, padding=(1, 2)), Conv2d(5, 2, 1))
    graph = fused(net, image(2, 2, 8, 8))
    assert [n.params.get("margin") for n in graph.nodes] == [(1, 2), None, None]
    plan = capture(net.predict, image(2, 2, 8, 8))
    assert [step.kernel.name for step in plan.program.steps].count("spread_image") == 0


def test_a_border_keeps_its_zeros_between_runs():
    net = Sequential(Conv2d(1, 3, 1), Conv2d(3, 4, 3, padding=1), Conv2d(4, 4, 3, padding=1), ReLU())
    plan = capture(net.predict, image(1, 1, 5, 5))
    for _ in range(3):
        x = image(1, 1, 5, 5)
        np.testing.assert_allclose(plan(x), net.predict(x), rtol=1e-4, atol=1e-5)


# -- integers ----------------------------------------------------------------------------------------------------------


def quantised(*layers: Layer, x: np.ndarray) -> Layer:
    return quantize(Sequential(*layers), np.concatenate([x, image(7, *x.shape[1:])]))


def test_activations_stay_bytes_and_results_the_same_bits():
    x = image(2, 2, 8, 8)
    net = quantised(Conv2d(2, 4, 3, padding=1), ReLU(), MaxPool2d(2), Conv2d(4, 6, 3, padding=1), ReLU(), MaxPool2d(2),
                    Flatten(), Linear(24, 7), ReLU(), Linear(7, 3), x=x)  # fmt: skip
    graph = fused(net, x)
    assert [n.out.dtype.name for n in graph.nodes if n.op == "conv2d"] == ["uint8", "uint8", "uint8", "float32"]
    assert [n.params.get("margin") for n in graph.nodes if n.op == "conv2d"] == [(1, 1), None, None, None]
    plan = capture(net.predict, x)
    for _ in range(3):
        other = image(2, 2, 8, 8)
        np.testing.assert_array_equal(plan(other), net.predict(other))


def test_a_reader_in_float32_keeps_float32():
    x, first, second = image(3, 6), Linear(6, 5), Linear(5, 4)
    net = quantised(first, second, x=x)
    first, second = net.layers

    def both(x: np.ndarray) -> np.ndarray:
        h = first(Tensor(x))
        return (second(h).sum() + h.sum()).data

    graph, _ = trace(both, x)
    fuse(graph)
    assert {n.out.dtype.name for n in graph.nodes} == {"float32"}


def test_readers_with_different_grids_keep_float32():
    x = image(3, 6)
    first, second = quantised(Linear(6, 5), Linear(5, 4), x=x).layers
    second_too = quantised(Linear(5, 4), x=100 * image(3, 5)).layers[0]

    def both(x: np.ndarray) -> np.ndarray:
        h = first(Tensor(x))
        return (second(h).sum() + second_too(h).sum()).data

    graph, _ = trace(both, x)
    fuse(graph)
    assert {n.out.dtype.name for n in graph.nodes} == {"float32"}
