"""A GPT and attention in PyTorch, eager, written the quick way.

Functions instead of modules, one product for query, key and value, `scaled_dot_product_attention`, and for single
tokens a cache of fixed size under `torch.inference_mode`.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import nullcontext
from typing import Any

import numpy as np
import torch
from torch.nn.functional import (
    cross_entropy,
    embedding,
    gelu,
    layer_norm,
    linear,
    scaled_dot_product_attention,
)

from benchmarks.libraries import Made, stacked
from benchmarks.libraries.training import losses
from benchmarks.libraries.with_torch import least_ns, quicker, tensor
from benchmarks.transformer_work import BETAS, EPS, LEARNING_RATE, WEIGHT_DECAY, Attention, Block, Gpt, GptStep, Query
from benchmarks.transformer_work import Token as TokenWork

Attend = Callable[[int, torch.Tensor], torch.Tensor]  # layer, its queries, keys and values -> what attention gives


class Net:
    """The weights as tensors, those of linear layers (out, in)."""

    def __init__(self, net: Gpt, trained: bool = False) -> None:
        def own(a: np.ndarray) -> torch.Tensor:
            return tensor(a.copy()).requires_grad_(trained)

        weights = net.weights()
        self.tokens, self.places = own(weights["token_embedding.weight"]), own(weights["position_embedding.weight"])
        self.blocks = [Block(*[(own(w.T), own(b)) for w, b in block]) for block in net.blocks()]
        self.ln_f, self.head = [own(weights[f"ln_f.{name}"]) for name in ("gamma", "beta")], own(weights["lm_head.weight"].T)
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
    """With the quicker of AdamW's two forms on a CPU: one call for all parameters (fused), or op by op."""
    x, y = map(tensor, work.data())
    heads, targets = work.net.heads, y.flatten()

    def attend(_: int, qkv: torch.Tensor) -> torch.Tensor:
        batch, count, _ = qkv.shape
        q, k, v = qkv.view(batch, count, 3, heads, -1).permute(2, 0, 3, 1, 4).unbind(0)
        return scaled_dot_product_attention(q, k, v, is_causal=True).transpose(1, 2).reshape(batch, count, -1)

    def with_fused(fused: bool) -> Callable[[Any], torch.Tensor]:
        net = Net(work.net, trained=True)
        optimizer = torch.optim.AdamW(
            net.parameters(), lr=LEARNING_RATE, betas=BETAS, weight_decay=WEIGHT_DECAY, fused=fused
        )

        def run(_: object) -> torch.Tensor:
            optimizer.zero_grad()
            logits = net.logits(embedding(x, net.tokens) + net.places, attend)
            loss = cross_entropy(logits.flatten(0, 1), targets)
            loss.backward()
            optimizer.step()
            return loss

        return run

    run = with_fused(min((True, False), key=lambda fused: least_ns(with_fused(fused), None)))
    return Made(run, lambda: losses(lambda _: run(None).detach().numpy(), nullcontext))


def token(work: TokenWork, threads: int) -> Made:
    with torch.inference_mode():
        net, size = Net(work.net), work.net
        caches = [torch.zeros(2, 1, size.heads, size.context, size.head_width) for _ in net.blocks]
    split, whole = (3, 1, size.heads, 1, size.head_width), (1, size.width)

    def read(token: torch.Tensor, i: int) -> torch.Tensor:
        def attend(layer: int, qkv: torch.Tensor) -> torch.Tensor:
            cache, new = caches[layer], qkv.view(split)
            cache.narrow(3, i, 1).copy_(new.narrow(0, 1, 2))
            keys, values = cache.narrow(3, 0, i + 1).unbind(0)
            return scaled_dot_product_attention(new[0], keys, values).view(whole)

        return net.logits(embedding(token, net.tokens) + net.places[i], attend)

    def run(query: tuple[torch.Tensor, int]) -> torch.Tensor:
        return read(*query)

    def made(query: Query) -> tuple[torch.Tensor, int]:
        return torch.tensor([query.token]), query.position

    queries = [made(query) for query in work.queries()]

    def answer() -> np.ndarray:
        with torch.inference_mode():
            for i, one in enumerate(work.text()[: work.first]):
                read(torch.tensor([one]), i)
            return stacked(lambda query: run(query).numpy(), queries)

    return Made(run, answer, queries, torch.inference_mode)


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
    return Made(
        run, lambda: np.concatenate([x.detach().numpy() for x in run(None)]), peak_bytes=lambda: allocated(run)
    )


def allocated(run: Callable[[Any], Any]) -> int:
    """The most bytes that tensors made by a run hold at any moment of it."""
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
    (TokenWork, "eager"): token,
    (Attention, "eager"): attention,
}
