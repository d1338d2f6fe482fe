"""This project's nets written a second time in PyTorch, with the same weights."""

from __future__ import annotations

import math

from tests.oracle.against import torch
from tinytorch import GPT, BatchNorm2d, Conv2d, Flatten, Layer, Linear, MaxPool2d, ReLU, Sequential, Sigmoid, Tanh

F, nn = torch.nn.functional, torch.nn


# -- layers one after another -----------------------------------------------------------------------------------------


def sequential(model: Sequential) -> torch.nn.Sequential:
    """The net of PyTorch's own layers; linear and convolution weights are copied."""
    return nn.Sequential(*map(layer, model))


def layer(ours: Layer) -> torch.nn.Module:
    """PyTorch's layer of the same kind and sizes."""
    if isinstance(ours, Linear):
        theirs = nn.Linear(ours.in_features, ours.out_features)
        theirs.weight.data, theirs.bias.data = torch.tensor(ours.weight.data.T.copy()), torch.tensor(ours.bias.data)
    elif isinstance(ours, Conv2d):
        how = {"stride": ours.stride, "padding": ours.padding, "dilation": ours.dilation, "groups": ours.groups}
        theirs = nn.Conv2d(ours.in_channels, ours.out_channels, ours.kernel_size, **how)
        theirs.weight.data, theirs.bias.data = torch.tensor(ours.weight.data), torch.tensor(ours.bias.data)
    elif isinstance(ours, MaxPool2d):
        theirs = nn.MaxPool2d(ours.kernel_size, ours.stride, ours.padding)
    elif isinstance(ours, BatchNorm2d):
        theirs = nn.BatchNorm2d(ours.num_features, ours.eps, ours.momentum)
    else:
        theirs = {ReLU: nn.ReLU, Sigmoid: nn.Sigmoid, Tanh: nn.Tanh, Flatten: nn.Flatten}[type(ours)]()
    return theirs


# -- GPT --------------------------------------------------------------------------------------------------------------


def weights(model: Layer) -> dict[str, torch.Tensor]:
    """All parameters by name, as leaves that require gradients."""
    return {name: torch.tensor(p.data, requires_grad=True) for name, p in model.named_parameters()}


def gpt(model: GPT, w: dict[str, torch.Tensor], tokens: torch.Tensor) -> torch.Tensor:
    """Logits of a GPT of the sizes of `model` with the weights w."""
    x = w["token_embedding.weight"][tokens]
    if model.positions == "learned":
        x = x + w["position_embedding.weight"][: tokens.shape[1]]
    elif model.positions == "sinusoidal":
        angles = torch.arange(tokens.shape[1])[:, None] * torch.exp(
            torch.arange(0, model.embed_dim, 2) * (-math.log(10_000.0) / model.embed_dim)
        )
        x = x + torch.stack([angles.sin(), angles.cos()], -1).flatten(1)
    for i in range(model.num_layers):
        x = block(x, w, f"blocks.{i}", model.num_heads, model.positions)
    return F.linear(F.layer_norm(x, x.shape[-1:], w["ln_f.gamma"], w["ln_f.beta"]), w["lm_head.weight"].T)


def block(x, w, name, heads, positions):
    def norm(x, at):
        return F.layer_norm(x, x.shape[-1:], w[f"{at}.gamma"], w[f"{at}.beta"])

    def linear(x, at):
        return F.linear(x, w[f"{at}.weight"].T, w[f"{at}.bias"])

    b, t, e = x.shape
    h = norm(x, f"{name}.ln1")
    parts = (linear(h, f"{name}.attention.{p}_proj").view(b, t, heads, e // heads).transpose(1, 2) for p in "qkv")
    q, k, v = parts
    if positions == "rotary":
        q, k = rotated(q), rotated(k)
    y = F.scaled_dot_product_attention(q, k, v, is_causal=True).transpose(1, 2).reshape(b, t, e)
    x = x + linear(y, f"{name}.attention.out_proj")
    return x + linear(F.gelu(linear(norm(x, f"{name}.ln2"), f"{name}.mlp.linear1")), f"{name}.mlp.linear2")


def rotated(x, base=10_000.0):
    """Pairs (i, i + D/2) turned by position times frequency, as complex numbers."""
    half = x.shape[-1] // 2
    angles = torch.arange(x.shape[-2])[:, None] * base ** (-torch.arange(half) / half)
    turned = torch.complex(x[..., :half].double(), x[..., half:].double()) * torch.exp(1j * angles.double())
    return torch.cat([turned.real, turned.imag], -1).to(x.dtype)
