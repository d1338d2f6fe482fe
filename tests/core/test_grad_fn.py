"""Each result says which op made it: the names of the tape's nodes."""

from __future__ import annotations

import numpy as np
import pytest

import tinytorch
from tinytorch import Tensor
from tinytorch.core import autograd
from tinytorch.core.tensor import apply
from tinytorch.engine import ops
from tinytorch.engine.op import OPS

pytestmark = pytest.mark.usefixtures("backend")


@pytest.mark.parametrize("op", [op for op in OPS.values() if op.gradient is not None], ids=repr)
def test_nodes_are_named_after_their_op(op):
    kind = autograd.node_type(op)
    assert kind.__name__ == f"{type(op).__name__}Backward" and issubclass(kind, autograd.Node)
    assert op.node_type is kind


def test_grad_fn_of_results():
    x = Tensor.randn(2, 3, 4, 4, requires_grad=True)
    assert repr(x + 1).endswith("grad_fn=<AddBackward>)")
    kinds = {
        "AddBackward": x + 1,
        "MulBackward": x * 2,
        "DivBackward": x / 2,
        "SumBackward": x.sum(),
        "MaxBackward": x.max(),
        "ReshapeBackward": x.flatten(),
        "TransposeBackward": x.permute(0, 2, 3, 1),
        "GetitemBackward": x[0],
        "PowBackward": x**2,
        "MatmulBackward": x @ Tensor.randn(4, 2),
        "ReLUBackward": tinytorch.ReLU()(x),
        "GELUBackward": tinytorch.GELU()(x),
        "SoftmaxBackward": tinytorch.Softmax()(x),
        "LogSoftmaxBackward": tinytorch.log_softmax(x),
        "LinearBackward": tinytorch.Linear(4, 2)(x),
        "Conv2dBackward": tinytorch.Conv2d(3, 5, 3)(x),
        "MaxPool2dBackward": tinytorch.MaxPool2d(2)(x),
        "AvgPool2dBackward": tinytorch.AvgPool2d(2)(x),
        "BatchNormTrainBackward": tinytorch.BatchNorm2d(3)(x),
        "BatchNormBackward": tinytorch.BatchNorm2d(3).eval()(x),
        "EmbeddingBackward": apply(ops.embedding, Tensor.randn(5, 2, requires_grad=True), Tensor(np.array([1, 2]))),
        "CrossEntropyBackward": tinytorch.CrossEntropyLoss()(x.reshape(2, -1), Tensor(np.array([0, 1]))),
    }
    for name, result in kinds.items():
        assert result.grad_fn is result._grad_fn and result.grad_fn.name == type(result.grad_fn).__name__ == name
        assert repr(result.grad_fn) == f"<{name}>"
