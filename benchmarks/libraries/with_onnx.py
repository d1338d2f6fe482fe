"""The work in ONNX Runtime: graphs written node by node with our weights, in float32 and quantised to int8."""

from __future__ import annotations

import logging
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
from onnx import TensorProto, helper, numpy_helper

from benchmarks.libraries import Made, stacked
from benchmarks.work import PADDING, Conv, Gemm, Net, calibration, parameters
from tinytorch.core import activations, layers, spatial
from tinytorch.core.layers import Layer, Sequential

OPSET = 17
INPUT, OUTPUT = "x", "y"


class Graph:
    """An ONNX graph in the making: one node after the other, each reading what the one before wrote."""

    def __init__(self) -> None:
        self.nodes: list[Any] = []
        self.constants: list[Any] = []
        self.last = INPUT

    def constant(self, values: np.ndarray) -> str:
        name = f"c{len(self.constants)}"
        self.constants.append(numpy_helper.from_array(np.ascontiguousarray(values), name))
        return name

    def add(self, op: str, *constants: np.ndarray, **attributes: Any) -> None:
        out = f"t{len(self.nodes)}"
        names = [self.last, *map(self.constant, constants)]
        self.nodes.append(helper.make_node(op, names, [out], name=out, **attributes))
        self.last = out

    def model(self, shape: Sequence[int], rank: int = 2) -> Any:
        """The finished model for inputs of this shape and outputs of so many axes."""
        self.nodes[-1].output[0] = OUTPUT
        made = helper.make_graph(
            self.nodes,
            "net",
            [helper.make_tensor_value_info(INPUT, TensorProto.FLOAT, list(shape))],
            [helper.make_tensor_value_info(OUTPUT, TensorProto.FLOAT, [f"d{i}" for i in range(rank)])],
            self.constants,
        )
        opsets = [helper.make_opsetid("", OPSET)]
        model = helper.make_model(made, opset_imports=opsets, ir_version=8)
        onnx.checker.check_model(model)
        return onnx.shape_inference.infer_shapes(model)


def translated(model: Sequential, shape: Sequence[int]) -> Any:
    """The same net with the same weights, in evaluation mode, for inputs of this shape."""
    graph = Graph()
    for layer in model:
        add_layer(graph, layer)
    return graph.model(shape)


def add_layer(graph: Graph, layer: Layer) -> None:
    """TypeError for a kind of layer that no net here has."""
    match layer:
        case layers.Linear():
            graph.add("Gemm", *parameters(layer))
        case spatial.Conv2d():
            add_conv(graph, *parameters(layer), layer.padding[0])
        case spatial.BatchNorm2d():
            statistics = (layer.running_mean, layer.running_var)
            graph.add("BatchNormalization", layer.gamma.data, layer.beta.data, *statistics, epsilon=layer.eps)
        case spatial.MaxPool2d():
            graph.add("MaxPool", kernel_shape=list(layer.kernel_size), strides=list(layer.stride))
        case layers.Flatten():
            graph.add("Flatten")
        case activations.ReLU():
            graph.add("Relu")
        case activations.Sigmoid() | activations.Tanh():
            graph.add(type(layer).__name__)
        case _:
            raise TypeError(f"with_onnx: no translation of {type(layer).__name__}; add one")


def add_conv(graph: Graph, weight: np.ndarray, bias: np.ndarray, padding: int) -> None:
    graph.add("Conv", weight, bias, kernel_shape=list(weight.shape[2:]), pads=[padding] * 4)


def session_of(model: Any, threads: int) -> Any:
    """All optimisations on, as is ONNX Runtime's default."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads, options.inter_op_num_threads = threads, 1
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_ALL
    options.log_severity_level = 3
    return onnxruntime.InferenceSession(model.SerializeToString(), options, ["CPUExecutionProvider"])


def session(model: Any, threads: int) -> Callable[[np.ndarray], np.ndarray]:
    """A function that answers a query."""
    run = session_of(model, threads).run
    wanted = [OUTPUT]
    return lambda x: run(wanted, {INPUT: x})[0]


class Calibration:
    """Hands calibration data to the quantiser, one batch of the net's own size after the other."""

    def __init__(self, x: np.ndarray, batch: int) -> None:
        whole = len(x) // batch * batch
        self.batches = iter([{INPUT: part} for part in np.split(x[:whole], whole // batch)])

    def get_next(self) -> dict[str, np.ndarray] | None:
        return next(self.batches, None)


def quantised(model: Any, x: np.ndarray, batch: int) -> Any:
    """int8 weights per channel, uint8 activations on grids measured with x: QDQ, which the session fuses."""
    from onnxruntime import quantization
    from onnxruntime.quantization.shape_inference import quant_pre_process

    logging.getLogger().setLevel(logging.ERROR)  # it would advise what has been done
    with tempfile.TemporaryDirectory() as folder:
        plain, ready, small = (str(Path(folder) / name) for name in ("plain.onnx", "ready.onnx", "small.onnx"))
        onnx.save(model, plain)
        quant_pre_process(plain, ready, skip_symbolic_shape=True)
        quantization.quantize_static(
            ready, small, Calibration(x, batch), quant_format=quantization.QuantFormat.QDQ, per_channel=True,
            activation_type=quantization.QuantType.QUInt8, weight_type=quantization.QuantType.QInt8,
        )  # fmt: skip
        return onnx.load(small)


def gemm(work: Gemm, threads: int) -> Made:
    """b is a constant, which ONNX Runtime packs before."""
    a, b = work.arrays()
    graph = Graph()
    graph.add("MatMul", b)
    return asked(session(graph.model(a.shape), threads), [a])


def conv(work: Conv, threads: int) -> Made:
    x, w, bias, _ = work.arrays()
    graph = Graph()
    add_conv(graph, w, bias, PADDING)
    return asked(session(graph.model(x.shape, rank=4), threads), [np.ascontiguousarray(x)])


def net(work: Net, threads: int) -> Made:
    queries = work.queries()
    return asked(session(translated(work.model(), queries[0].shape), threads), queries)


def net_int8(work: Net, threads: int) -> Made:
    queries = work.queries()
    model = quantised(translated(work.model(), queries[0].shape), calibration(work.name), work.batch)
    return asked(session(model, threads), queries)


def asked(run: Callable[[np.ndarray], np.ndarray], queries: list[np.ndarray]) -> Made:
    return Made(run, lambda: stacked(run, queries), queries)


IMPLEMENTATIONS = {
    (Gemm, "float32"): gemm,
    (Conv, "float32"): conv,
    (Net, "float32"): net,
    (Net, "int8"): net_int8,
}
