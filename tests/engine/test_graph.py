"""Capture: the graph holds what depends on the input and nothing else, and the rewrites keep the mathematics."""

import numpy as np
import pytest

from tinytorch import BatchNorm2d, Conv2d, Dropout, Flatten, Linear, ReLU, Sequential, Tensor
from tinytorch.core.layers import Packed
from tinytorch.engine.formats import Grid, Int8
from tinytorch.engine.graph import Graph, GraphError, fuse, trace
from tinytorch.engine.op import OPS

RNG = np.random.default_rng(0)


def evaluate(graph: Graph, x: np.ndarray) -> np.ndarray:
    """Run a graph with the references, ReLUs that were fused included."""
    values = {id(graph.input): x}
    for node in graph.nodes:
        params = {k: v for k, v in node.params.items() if k != "activation"}
        arrays = [None if v is None else values.get(id(v), v.array) for v in node.inputs]
        out = OPS[node.op].reference(*arrays, **params)
        values[id(node.out)] = np.maximum(out, 0) if node.params.get("activation") == "relu" else out
    return values[id(graph.output)]


def small_cnn() -> Sequential:
    model = Sequential(
        Conv2d(2, 4, 3, padding=1), BatchNorm2d(4), ReLU(), Flatten(), Dropout(0.5), Linear(64, 3), ReLU()
    )
    norm = model.layers[1]
    norm.running_mean[:] = RNG.standard_normal(4)
    norm.running_var[:] = RNG.uniform(0.5, 2, 4)
    norm.gamma.data[:] = RNG.standard_normal(4)
    norm.beta.data[:] = RNG.standard_normal(4)
    return model.eval()


def test_trace_holds_the_ops_in_order():
    graph, _ = trace(small_cnn().predict, np.zeros((1, 2, 4, 4), np.float32))
    assert [n.op for n in graph.nodes] == ["conv2d", "batch_norm", "relu", "reshape", "linear", "relu"]
    assert graph.output is graph.nodes[-1].out


def test_fuse_folds_batch_norm_and_relu():
    model, x = small_cnn(), RNG.standard_normal((1, 2, 4, 4)).astype(np.float32)
    graph, expected = trace(model.predict, x)
    fuse(graph)
    assert [n.op for n in graph.nodes] == ["conv2d", "reshape", "linear"]
    assert [n.params.get("activation") for n in graph.nodes] == ["relu", None, "relu"]
    np.testing.assert_allclose(evaluate(graph, x), expected, rtol=1e-5, atol=1e-6)
    other = RNG.standard_normal(x.shape).astype(np.float32)
    np.testing.assert_allclose(evaluate(graph, other), model.predict(other), rtol=1e-5, atol=1e-6)


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
    np.testing.assert_allclose(evaluate(graph, x), expected, rtol=1e-6)


def test_only_the_first_of_two_relus_is_fused():
    graph, _ = trace(Sequential(Linear(3, 3), ReLU(), ReLU()).predict, np.ones((1, 3), np.float32))
    fuse(graph)
    assert [n.op for n in graph.nodes] == ["linear", "relu"]


def test_what_does_not_depend_on_the_input_is_a_constant():
    w = Tensor(np.ones((3, 3), np.float32))
    graph, _ = trace(lambda x: (Tensor(x) @ (w * 2 + 1).T).data, np.ones((1, 3), np.float32))
    assert [n.op for n in graph.nodes] == ["matmul"]
    constant = graph.nodes[0].inputs[1]
    assert constant is not None and (constant.array == 3).all()


def test_a_packed_weight_is_a_constant_that_kernels_take_as_codes():
    layer = Linear(3, 2)
    layer.weight = Packed(Int8.pack(layer.weight.data, 1, Grid.covering(-1, 1)))
    graph, _ = trace(layer.predict, np.ones((1, 3), np.float32))
    (node,) = graph.nodes
    assert node.op == "linear" and node.inputs[1].array is layer.weight.format is node.operand(1)
    assert node.operand(0) is None and node.operand(5) is None


def test_leaving_tensors_in_between_is_refused():
    layer = Linear(3, 3)
    with pytest.raises(GraphError, match="the result does not come from the input through ops"):
        trace(lambda x: layer.predict(x * 2), np.ones((1, 3), np.float32))
    with pytest.raises(GraphError, match="do not leave them for plain NumPy"):
        trace(lambda x: layer.predict(x) + 1, np.ones((1, 3), np.float32))
