"""FLOPs against PyTorch's own counter: the same integers, forward and backward, for single ops and the milestone nets.

`torch.utils.flop_counter` counts matrix products, convolutions and attention, and nothing else; so the rows of ours
that are such products are compared, and activations, norms and losses left out. Two things in it (2.13) are amended:

- On a CPU, attention is `_scaled_dot_product_flash_attention_for_cpu`, which it does not know and counts as 0; it is
  given its own formula for the same algorithm on other devices.
- The weight gradient of a convolution in groups is counted as if every output channel met every input channel: 28,800
  instead of 14,400 for x (2, 4, 9, 9), w (8, 2, 3, 3), two groups, an output of 5 x 5. So there the same convolution is
  asked for a second time, each group by itself.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from tests.oracle import nets
from tests.oracle.against import BOUND, torch
from tests.tolerance import nmse
from tinytorch import Conv2d, Linear, Tensor, models
from tinytorch.core.attention import create_causal_mask, scaled_dot_product_attention
from tinytorch.core.tensor import apply
from tinytorch.engine import dispatch, ops

flop_counter = pytest.importorskip("torch.utils.flop_counter")

pytestmark = [pytest.mark.oracle, pytest.mark.usefixtures("backend")]
F, aten = torch.nn.functional, torch.ops.aten

# What a product is called by us and by PyTorch. An op that is in neither table has no product in it.
OURS = {
    "matmul": "matmul", "linear": "matmul", "linear_input_grad": "matmul", "linear_weight_grad": "matmul",
    "conv2d": "conv", "conv2d_input_grad": "conv backward", "conv2d_weight_grad": "conv backward",
    "attention": "attention", "attention_grad": "attention backward",
}  # fmt: skip
THEIRS = {
    "mm": "matmul", "addmm": "matmul", "bmm": "matmul", "baddbmm": "matmul",
    "convolution": "conv", "convolution_backward": "conv backward",
    "_scaled_dot_product_flash_attention_for_cpu": "attention",
    "_scaled_dot_product_flash_attention_for_cpu_backward": "attention backward",
}  # fmt: skip
ON_CPU = {  # the formulas without what the counter wraps around them a second time
    aten._scaled_dot_product_flash_attention_for_cpu: flop_counter.sdpa_flop.__wrapped__,
    aten._scaled_dot_product_flash_attention_for_cpu_backward: flop_counter.sdpa_backward_flop.__wrapped__,
}

Counts = Counter[str]


@contextmanager
def our_counts() -> Iterator[Counts]:
    """FLOPs of what runs in the block, by kind of product."""
    counts: Counts = Counter()

    def add(event: dispatch.Event) -> None:
        if event.op.name in OURS:
            counts[OURS[event.op.name]] += event.op.flops(event.out, *event.arrays, **event.params)

    with dispatch.watch(add):
        yield counts


@contextmanager
def their_counts() -> Iterator[Counts]:
    counts: Counts = Counter()
    with flop_counter.FlopCounterMode(display=False, custom_mapping=ON_CPU) as counter:
        yield counts
    for packet, flops in counter.get_flop_counts().get("Global", {}).items():
        counts[THEIRS[packet.__name__]] += flops


def of_ours(forward: Callable[[], Tensor]) -> tuple[Counts, Counts]:
    """Of forward, and of backward."""
    with our_counts() as ahead:
        y = forward()
    with our_counts() as back:
        y.backward(np.ones(y.shape, y.dtype))
    return ahead, back


def of_theirs(forward: Callable[[], torch.Tensor]) -> tuple[Counts, Counts]:
    with their_counts() as ahead:
        y = forward()
    with their_counts() as back:
        y.backward(torch.ones_like(y))
    return ahead, back


def leaf(*shape: int, wanted: bool = True) -> tuple[Tensor, torch.Tensor]:
    """Zeros on both sides: how often numbers are multiplied does not depend on them."""
    return Tensor(np.zeros(shape), requires_grad=wanted), torch.zeros(shape, requires_grad=wanted)


# -- the milestone nets -----------------------------------------------------------------------------------------------

IMAGES = {
    "perceptron": (2,), "xor": (2,), "mlp": (64,), "cnn": (1, 8, 8), "mlp-mnist": (784,), "cnn-cifar10": (3, 32, 32),
}  # fmt: skip
TEXTS = {"transformer": 17, "gpt-shakespeare": 64}


@pytest.mark.parametrize("batch", [1, 3])
@pytest.mark.parametrize("name", IMAGES)
def test_milestone_nets_of_layers(name, batch):
    model = models.MODELS[name]()
    theirs, x = nets.sequential(model), np.random.default_rng(0).random((batch, *IMAGES[name]), np.float32)
    ahead, back = of_ours(lambda: model(Tensor(x)))
    assert (ahead, back) == of_theirs(lambda: theirs(torch.tensor(x)))
    assert nmse(model(Tensor(x)).data, theirs(torch.tensor(x)).detach().numpy()) <= BOUND[np.float32]
    conv = {"conv"} if "cnn" in name else set()
    assert ahead.keys() == {"matmul"} | conv and back.keys() == {"matmul"} | {f"{kind} backward" for kind in conv}


@pytest.mark.parametrize("batch", [1, 3])
@pytest.mark.parametrize("name", TEXTS)
def test_milestone_nets_of_text(name, batch):
    model = models.MODELS[name]()
    ids = np.random.default_rng(0).integers(0, 28, (batch, TEXTS[name]))
    w = nets.weights(model)
    ahead, back = of_ours(lambda: model(ids))
    assert (ahead, back) == of_theirs(lambda: nets.gpt(model, w, torch.tensor(ids)))
    assert ahead.keys() == {"matmul", "attention"} and back.keys() == {"matmul", "attention backward"}


# -- single ops -------------------------------------------------------------------------------------------------------

sizes = st.integers(1, 7)
heavy = settings(max_examples=60)


@given(rows=st.lists(sizes, min_size=1, max_size=3), k=sizes, n=sizes, bias=st.booleans(), wanted=st.booleans())
@heavy
def test_linear_layers_of_any_rows(rows, k, n, bias, wanted):
    """With the gradient of x and without, as in the first layer of a net."""
    layer = Linear(k, n, bias)
    w, b = torch.zeros(n, k, requires_grad=True), torch.zeros(n, requires_grad=True) if bias else None
    x, torch_x = leaf(*rows, k, wanted=wanted)
    ahead, back = of_ours(lambda: layer(x))
    assert (ahead, back) == of_theirs(lambda: F.linear(torch_x, w, b))
    assert back["matmul"] == (2 if wanted else 1) * ahead["matmul"]


@given(stack=st.lists(st.tuples(sizes, st.sampled_from("abx")), max_size=2), m=sizes, k=sizes, n=sizes)
@heavy
def test_matmul_of_stacks_that_broadcast(stack, m, k, n):
    """Along each leading axis the stacks are equally long, or one of them is 1 and repeated."""
    a, torch_a = leaf(*(1 if one == "a" else size for size, one in stack), m, k)
    b, torch_b = leaf(*(1 if one == "b" else size for size, one in stack), k, n)
    assert of_ours(lambda: a @ b) == of_theirs(lambda: torch_a @ torch_b)


pairs = st.tuples(st.integers(1, 3), st.integers(1, 3))


@given(
    batch=st.integers(1, 3), image=st.tuples(st.integers(1, 11), st.integers(1, 11)), kernel=pairs, stride=pairs,
    padding=st.tuples(st.integers(0, 2), st.integers(0, 2)), dilation=pairs, groups=st.integers(1, 3),
    c=st.integers(1, 3), o=st.integers(1, 3), wanted=st.booleans(),
)  # fmt: skip
@settings(max_examples=150)
def test_convolutions(batch, image, kernel, stride, padding, dilation, groups, c, o, wanted):
    assume(all(n + 2 * p > d * (k - 1) for n, p, d, k in zip(image, padding, dilation, kernel)))
    how = {"stride": stride, "padding": padding, "dilation": dilation}
    ours = Conv2d(c * groups, o * groups, kernel, groups=groups, **how)

    def convolution(groups: int) -> Callable[[], torch.Tensor]:
        x, w = (torch.zeros(s, requires_grad=r) for s, r in (((batch, c * groups, *image), wanted),
                                                             ((o * groups, c, *kernel), True)))  # fmt: skip
        return lambda: F.conv2d(x, w, **how, groups=groups)

    x, _ = leaf(batch, c * groups, *image, wanted=wanted)
    ahead, back = of_ours(lambda: ours(x))
    together, counted = of_theirs(convolution(groups))
    one, one_back = of_theirs(convolution(1))
    assert ahead == together == Counter({"conv": groups * one["conv"]})
    assert back == Counter({"conv backward": groups * one_back["conv backward"]})
    # What PyTorch counts of the whole: its gradient of x rightly, its gradient of w once too often for every group.
    assert counted["conv backward"] == ahead["conv"] * (wanted + groups)


@given(b=sizes, heads=sizes, t=sizes, s=sizes, d=sizes, causal=st.booleans())
@heavy
def test_attention(b, heads, t, s, d, causal):
    """In full also where it is causal, on both sides; PyTorch aligns the triangle elsewhere, which costs the same."""
    assume(not causal or t <= s)
    (q, torch_q), (k, torch_k), (v, torch_v) = leaf(b, heads, t, d), leaf(b, heads, s, d), leaf(b, heads, s, d)
    ahead, back = of_ours(lambda: apply(ops.attention, q, k, v, causal=causal, scale=1.0))

    def flash() -> torch.Tensor:
        with torch.nn.attention.sdpa_kernel(torch.nn.attention.SDPBackend.FLASH_ATTENTION):
            return F.scaled_dot_product_attention(torch_q, torch_k, torch_v, is_causal=causal)

    assert (ahead, back) == of_theirs(flash)
    assert 2 * back["attention backward"] == 5 * ahead["attention"]


@pytest.mark.parametrize("mask", [None, 5])
def test_attention_of_small_ops_is_their_plain_one(mask):
    """Its weights are kept and not computed again: four products on the way back, where the fused op has five."""
    (q, torch_q), (k, torch_k), (v, torch_v) = leaf(2, 3, 5, 4), leaf(2, 3, 5, 4), leaf(2, 3, 5, 4)
    keep = None if mask is None else create_causal_mask(mask)

    def plain() -> torch.Tensor:
        with torch.nn.attention.sdpa_kernel(torch.nn.attention.SDPBackend.MATH):
            return F.scaled_dot_product_attention(torch_q, torch_k, torch_v, is_causal=mask is not None)

    ahead, back = of_ours(lambda: scaled_dot_product_attention(q, k, v, keep)[0])
    assert (ahead, back) == of_theirs(plain)
    assert back["matmul"] == 2 * ahead["matmul"] == 8 * 2 * 3 * 5 * 5 * 4
