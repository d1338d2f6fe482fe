"""A GPT and attention in PyTorch, eager, written the quick way.

Functions instead of modules, one product for query, key and value, `scaled_dot_product_attention`, AdamW in its fused
form (a step takes 7 % longer with the default one), and for single tokens a cache of fixed size under
`torch.inference_mode`, keys and values of a layer written together.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from contextlib import nullcontext
from typing import Any

import numpy as np
import torch
from torch import layer_norm
from torch.nn.functional import cross_entropy, embedding, gelu, linear, scaled_dot_product_attention

from benchmarks.libraries import Made, stacked
from benchmarks.libraries.training import losses
from benchmarks.libraries.with_torch import quicker, tensor
from benchmarks.transformer_work import BETAS, EPS, LEARNING_RATE, WEIGHT_DECAY, Attention, Block, Gpt, GptStep, Token

Attend = Callable[[int, torch.Tensor], torch.Tensor]  # layer, its queries, keys and values -> what attention gives
QUIET = {"KINETO_LOG_LEVEL": "6"}  # or the profiler tells on stderr when it starts and stops


class Net:
    """The weights as tensors, those of linear layers (out, in)."""

    def __init__(self, net: Gpt, trained: bool = False) -> None:
        def own(a: np.ndarray) -> torch.Tensor:
            return tensor(a.copy()).requires_grad_(trained)

        weights = net.weights()
        self.tokens, self.places = own(weights["token_embedding.weight"]), own(weights["position_embedding.weight"])
        self.blocks = [Block(*[(own(w.T), own(b)) for w, b in block]) for block in net.blocks()]
        self.ln_f = own(weights["ln_f.gamma"]), own(weights["ln_f.beta"])
        self.head = own(weights["lm_head.weight"].T)
        self.width = (net.width,)

    def parameters(self) -> list[torch.Tensor]:
        blocks = [array for block in self.blocks for pair in block for array in pair]
        return [self.tokens, self.places, *blocks, *self.ln_f, self.head]

    def logits(self, x: torch.Tensor, attend: Attend) -> torch.Tensor:
        """From embedded tokens (..., width)."""
        for i, block in enumerate(self.blocks):
            x = x + linear(attend(i, linear(layer_norm(x, self.width, *block.ln1, EPS), *block.qkv)), *block.out)
            x = x + linear(gelu(linear(layer_norm(x, self.width, *block.ln2, EPS), *block.up)), *block.down)
        return linear(layer_norm(x, self.width, *self.ln_f, EPS), self.head)


def step(work: GptStep, threads: int) -> Made:
    x, y = map(tensor, work.data())
    net, heads, targets = Net(work.net, trained=True), work.net.heads, y.flatten()
    optimizer = torch.optim.AdamW(
        net.parameters(), lr=LEARNING_RATE, betas=BETAS, weight_decay=WEIGHT_DECAY, fused=True
    )  # fmt: skip

    def attend(_: int, qkv: torch.Tensor) -> torch.Tensor:
        batch, count, _ = qkv.shape
        q, k, v = qkv.view(batch, count, 3, heads, -1).permute(2, 0, 3, 1, 4).unbind(0)
        return scaled_dot_product_attention(q, k, v, is_causal=True).transpose(1, 2).reshape(batch, count, -1)

    def run(_: object) -> torch.Tensor:
        optimizer.zero_grad()
        logits = net.logits(embedding(x, net.tokens) + net.places, attend)
        loss = cross_entropy(logits.flatten(0, 1), targets)
        loss.backward()
        optimizer.step()
        return loss

    return Made(run, lambda: losses(lambda _: run(None).detach().numpy(), nullcontext))


def token(work: Token, threads: int) -> Made:
    size = work.net
    with torch.inference_mode():
        net = Net(size)
        caches = [torch.zeros(2, 1, size.heads, size.context, size.head_width) for _ in net.blocks]
        ids = tensor(work.text()).split(1)
    split, whole = (3, 1, size.heads, 1, size.head_width), (1, size.width)

    def run(i: int) -> torch.Tensor:
        def attend(layer: int, qkv: torch.Tensor) -> torch.Tensor:
            cache, new = caches[layer], qkv.view(split)
            cache.narrow(3, i, 1).copy_(new.narrow(0, 1, 2))
            keys, values = cache.narrow(3, 0, i + 1).unbind(0)
            return scaled_dot_product_attention(new[0], keys, values).view(whole)

        return net.logits(embedding(ids[i], net.tokens) + net.places[i], attend)

    def answer() -> np.ndarray:
        with torch.inference_mode():
            return stacked(lambda i: run(i).numpy(), range(work.end))[work.first :]

    return Made(run, answer, range(work.first, work.end), torch.inference_mode)


def attention(work: Attention, threads: int) -> Made:
    """In whichever order of memory is quicker: projections give the one, a copy the other."""
    arrays = [torch.from_numpy(a) for a in work.arrays()]

    def ordered(order: Callable[[torch.Tensor], torch.Tensor]) -> Callable[[Any], list[torch.Tensor]]:
        *given, g = map(order, arrays)
        q, k, v = (x.detach().requires_grad_() for x in given)

        def run(_: object) -> list[torch.Tensor]:
            out = scaled_dot_product_attention(q, k, v, is_causal=True)
            return [out, *torch.autograd.grad(out, (q, k, v), g)]

        return run

    run = quicker(ordered(lambda x: x), ordered(lambda x: x.contiguous()), query=None)

    def answer() -> np.ndarray:
        return np.concatenate([x.detach().numpy() for x in run(None)])

    return Made(run, answer, peak_bytes=lambda: allocated(run))


def allocated(run: Callable[[Any], Any]) -> int:
    """The most bytes that tensors made by a run hold at any moment of it."""
    os.environ |= QUIET
    with torch.profiler.profile(profile_memory=True) as watched:
        run(None)
    held = most = 0
    for event in watched.profiler.kineto_results.events():
        if event.name() == "[memory]":
            held += event.nbytes()
            most = max(most, held)
    return most


IMPLEMENTATIONS = {
    (GptStep, "eager"): step,
    (Token, "eager"): token,
    (Attention, "eager"): attention,
}
