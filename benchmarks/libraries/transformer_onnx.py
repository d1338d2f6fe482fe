"""A GPT reading one token in ONNX Runtime: the graph its own tools make for decoding, written node by node.

Linear layers are one Gemm each, query, key and value joined; attention is `GroupQueryAttention`, whose past and present
keys and values are bound to the same memory, so that nothing is copied. Written with plain nodes that hand on a longer
past each time, the same takes a quarter longer. In int8 each weight has one scale and activations are quantised as they
come (`DynamicQuantizeMatMul`, what `quantize_dynamic` ends up as), which is quicker than scales for each channel.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from onnx import TensorProto, helper, numpy_helper
from onnxruntime import OrtValue

from benchmarks.libraries import Made, stacked
from benchmarks.libraries.with_onnx import OPSET, session_of
from benchmarks.transformer_work import EPS, Gpt, Pair, Token

CONTRIB = "com.microsoft"
LARGEST_CODE = 127
SINGLE = {"token": (np.int64, (1,)), "position": (np.int64, (1,)), "before": (np.int32, (1,)), "total": (np.int32, ())}
KINDS = {np.int64: TensorProto.INT64, np.int32: TensorProto.INT32}


class Graph:
    """A graph in the making: `add` takes the names of what a node reads, or arrays, and gives the name it writes."""

    def __init__(self, int8: bool) -> None:
        self.int8 = int8
        self.nodes: list[Any] = []
        self.constants: list[Any] = []

    def name(self, given: str | np.ndarray) -> str:
        if isinstance(given, str):
            return given
        self.constants.append(numpy_helper.from_array(np.ascontiguousarray(given), f"c{len(self.constants)}"))
        return self.constants[-1].name

    def add(self, op: str, *inputs: Any, also: tuple[str, ...] = (), domain: str = "", **attributes: Any) -> str:
        out = f"t{len(self.nodes)}"
        names = [self.name(each) for each in inputs]
        self.nodes.append(helper.make_node(op, names, [out, *also], name=out, domain=domain, **attributes))
        return out

    def linear(self, x: str, weight: np.ndarray, *bias: np.ndarray) -> str:
        if not self.int8:
            return self.add("Gemm", x, weight, *bias)
        scale = np.abs(weight).max() / np.float32(LARGEST_CODE)
        codes = np.round(weight / scale).astype(np.int8)
        zero = np.zeros((), np.int8)
        return self.add("DynamicQuantizeMatMul", x, codes, np.array(scale), zero, *bias, domain=CONTRIB)

    def norm(self, x: str, pair: Pair) -> str:
        return self.add("LayerNormalization", x, *pair, axis=-1, epsilon=EPS)


def graph_of(net: Gpt, int8: bool) -> Any:
    """Token, position, how many tokens lie before it and how many there are with it, and the caches -> logits."""
    graph, weights = Graph(int8), net.weights()
    joined, alone = np.array([1, 1, 3 * net.width]), np.array([1, net.width])
    x = graph.add(
        "Add",
        graph.add("Gather", weights["token_embedding.weight"], "token"),
        graph.add("Gather", weights["position_embedding.weight"], "position"),
    )
    for i, block in enumerate(net.blocks()):
        qkv = graph.add("Reshape", graph.linear(graph.norm(x, block.ln1), *block.qkv), joined)
        past, present = ([f"{when} {part}{i}" for part in ("keys", "values")] for when in ("past", "present"))
        heads = graph.add(
            "GroupQueryAttention", qkv, "", "", *past, "before", "total", also=tuple(present), domain=CONTRIB,
            num_heads=net.heads, kv_num_heads=net.heads,
        )  # fmt: skip
        x = graph.add("Add", x, graph.linear(graph.add("Reshape", heads, alone), *block.out))
        hidden = graph.add("Gelu", graph.linear(graph.norm(x, block.ln2), *block.up), domain=CONTRIB)
        x = graph.add("Add", x, graph.linear(hidden, *block.down))
    final = (weights["ln_f.gamma"], weights["ln_f.beta"])
    graph.linear(graph.norm(x, final), weights["lm_head.weight"])
    graph.nodes[-1].output[0] = "logits"
    cache = [1, net.heads, net.context, net.head_width]
    info, size = helper.make_tensor_value_info, [1, net.vocabulary]
    made = helper.make_graph(
        graph.nodes,
        "token",
        [info(name, KINDS[kind], shape) for name, (kind, shape) in SINGLE.items()]
        + [info(f"past {name}", TensorProto.FLOAT, cache) for name in caches(net)],
        [info("logits", TensorProto.FLOAT, size)]
        + [info(f"present {name}", TensorProto.FLOAT, cache) for name in caches(net)],
        graph.constants,
    )
    opsets = [helper.make_opsetid("", OPSET), helper.make_opsetid(CONTRIB, 1)]
    return helper.make_model(made, opset_imports=opsets, ir_version=8)


def caches(net: Gpt) -> list[str]:
    return [f"{part}{i}" for i in range(net.layers) for part in ("keys", "values")]


def reader(work: Token, int8: bool, threads: int) -> Callable[[int], np.ndarray]:
    """A function that reads the token at a position; all it reads and writes stays bound to the same memory."""
    net, text = work.net, work.text()
    session = session_of(graph_of(net, int8), threads)
    binding = session.io_binding()
    single = {name: np.zeros(shape, kind) for name, (kind, shape) in SINGLE.items()}
    logits = np.zeros((1, net.vocabulary), np.float32)
    shape = (1, net.heads, net.context, net.head_width)
    past = {name: np.zeros(shape, np.float32) for name in caches(net)}
    kept = []  # a binding does not hold what it points to

    def value(a: np.ndarray) -> OrtValue:
        kept.append((a, OrtValue.ortvalue_from_numpy(a)))
        return kept[-1][1]

    for name, a in single.items():
        binding.bind_ortvalue_input(name, value(a))
    binding.bind_ortvalue_output("logits", value(logits))
    for name, a in past.items():
        both = value(a)
        binding.bind_ortvalue_input(f"past {name}", both)
        binding.bind_ortvalue_output(f"present {name}", both)
    token, position, before, total = single.values()

    def run(i: int, keep: Any = kept) -> np.ndarray:
        token[0] = text[i]
        position[0] = before[0] = i
        total[()] = i + 1
        session.run_with_iobinding(binding)
        return logits

    return run


def reading(int8: bool) -> Callable[[Token, int], Made]:
    def implementation(work: Token, threads: int) -> Made:
        run = reader(work, int8, threads)
        return Made(run, lambda: stacked(run, range(work.end))[work.first :], range(work.first, work.end))

    return implementation


IMPLEMENTATIONS = {
    (Token, "float32"): reading(int8=False),
    (Token, "int8"): reading(int8=True),
}
