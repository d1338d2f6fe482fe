"""Capture: the graph holds what depends on the input and nothing else."""

import numpy as np
import pytest

from tests.engine.nets import small_cnn
from tinytorch import Linear, Tensor
from tinytorch.core.layers import Packed
from tinytorch.engine.formats import Grid, Int8
from tinytorch.engine.graph import GraphError, trace


def test_trace_holds_the_ops_in_order():
    graph, _ = trace(small_cnn().predict, np.zeros((1, 2, 4, 4), np.float32))
    assert [n.op for n in graph.nodes] == ["conv2d", "batch_norm", "relu", "reshape", "linear", "relu"]
    assert graph.output is graph.nodes[-1].out


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
