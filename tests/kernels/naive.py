"""Plain, slow, float64 references for the kernels, written so that they can be checked by eye."""

from __future__ import annotations

import numpy as np
import scipy.special

Pair = tuple[int, int]


def windows(x: np.ndarray, kernel: Pair, stride: Pair, padding: Pair, dilation: Pair, fill: float) -> np.ndarray:
    """x (N,C,H,W) -> (N,C,OH,OW,kh,kw), with `fill` around x."""
    n, c, h, w = x.shape
    padded = np.full((n, c, h + 2 * padding[0], w + 2 * padding[1]), fill)
    padded[:, :, padding[0] : padding[0] + h, padding[1] : padding[1] + w] = x
    out = [(padded.shape[2 + i] - dilation[i] * (kernel[i] - 1) - 1) // stride[i] + 1 for i in (0, 1)]
    result = np.empty((n, c, *out, *kernel))
    for oy, ox, ky, kx in np.ndindex(*out, *kernel):
        pixel = padded[:, :, oy * stride[0] + ky * dilation[0], ox * stride[1] + kx * dilation[1]]
        result[:, :, oy, ox, ky, kx] = pixel
    return result


def unwindow(grad: np.ndarray, shape: tuple[int, ...], stride: Pair, padding: Pair, dilation: Pair) -> np.ndarray:
    """The transpose of `windows`: gradients (N,C,OH,OW,kh,kw) added up where they came from in x of `shape`."""
    n, c, h, w = shape
    padded = np.zeros((n, c, h + 2 * padding[0], w + 2 * padding[1]))
    for oy, ox, ky, kx in np.ndindex(*grad.shape[2:]):
        y, x = oy * stride[0] + ky * dilation[0], ox * stride[1] + kx * dilation[1]
        padded[:, :, y, x] += grad[:, :, oy, ox, ky, kx]
    return padded[:, :, padding[0] : padding[0] + h, padding[1] : padding[1] + w]


def conv2d(x, w, bias, stride, padding, dilation):
    seen = windows(x, w.shape[2:], stride, padding, dilation, 0.0)
    y = np.einsum("nchwyx,ocyx->nohw", seen, w.astype(np.float64))
    return y if bias is None else y + bias[:, None, None]


def conv2d_input_grad(g, w, shape, stride, padding, dilation):
    return unwindow(np.einsum("nohw,ocyx->nchwyx", g, w.astype(np.float64)), shape, stride, padding, dilation)


def conv2d_weight_grad(x, g, shape, stride, padding, dilation):
    return np.einsum("nchwyx,nohw->ocyx", windows(x, shape[2:], stride, padding, dilation, 0.0), g.astype(np.float64))


def max_pool2d(x, kernel, stride, padding):
    return windows(x, kernel, stride, padding, (1, 1), -np.inf).max((4, 5))  # NumPy's maximum keeps nan


def max_pool2d_grad(g, x, kernel, stride, padding):
    seen = windows(x, kernel, stride, padding, (1, 1), -np.inf)
    flat = seen.reshape(*seen.shape[:4], -1)
    first = np.where(np.isnan(flat).any(-1), np.isnan(flat).argmax(-1), np.nan_to_num(flat, nan=-1e30).argmax(-1))
    chosen = np.arange(flat.shape[-1]) == first[..., None]
    return unwindow((chosen * g[..., None]).reshape(seen.shape), x.shape, stride, padding, (1, 1))


def avg_pool2d(x, kernel, stride, padding):
    return windows(x, kernel, stride, padding, (1, 1), 0.0).mean((4, 5))


def avg_pool2d_grad(g, shape, kernel, stride, padding):
    share = np.broadcast_to(g[..., None, None] / (kernel[0] * kernel[1]), (*g.shape, *kernel))
    return unwindow(share, shape, stride, padding, (1, 1))


def sigmoid(x):
    return 1 / (1 + np.exp(-x))


def gelu(x):
    return 0.5 * x * (1 + np.tanh(np.sqrt(2 / np.pi) * (x + 0.044715 * x**3)))


def gelu_grad(g, x):
    t = np.tanh(np.sqrt(2 / np.pi) * (x + 0.044715 * x**3))
    return g * (0.5 * (1 + t) + 0.5 * x * (1 - t * t) * np.sqrt(2 / np.pi) * (1 + 3 * 0.044715 * x * x))


def normal_cdf(x):
    return scipy.special.erfc(-x / np.sqrt(2)) / 2


def gelu_exact(x):
    return x * normal_cdf(x)


def gelu_exact_grad(g, x):
    return g * (normal_cdf(x) + x * np.exp(-x * x / 2) / np.sqrt(2 * np.pi))


ELEMENTWISE = {
    "add": lambda a, b: a + b,
    "sub": lambda a, b: a - b,
    "mul": lambda a, b: a * b,
    "div": lambda a, b: a / b,
    "neg": lambda x: -x,
    "abs": np.abs,
    "sqrt": np.sqrt,
    "exp": np.exp,
    "log": np.log,
    "relu": lambda x: np.maximum(x, 0),
    "relu_grad": lambda g, y: np.where(y > 0, g, 0),
    "sigmoid": sigmoid,
    "sigmoid_grad": lambda g, y: g * y * (1 - y),
    "tanh": np.tanh,
    "tanh_grad": lambda g, y: g * (1 - y * y),
    "gelu": gelu,
    "gelu_grad": gelu_grad,
}


def softmax(x):
    e = np.exp(x - x.max(-1, keepdims=True))
    return e / e.sum(-1, keepdims=True)


def log_softmax(x):
    shifted = x - x.max(-1, keepdims=True)
    return shifted - np.log(np.exp(shifted).sum(-1, keepdims=True))


def softmax_grad(g, y):
    return y * (g - (g * y).sum(-1, keepdims=True))


def log_softmax_grad(g, y):
    return g - np.exp(y) * g.sum(-1, keepdims=True)


def cross_entropy(logits, targets):
    return -log_softmax(logits)[np.arange(len(targets)), targets].mean()


def cross_entropy_grad(g, logits, targets):
    onehot = np.arange(logits.shape[1]) == targets[:, None]
    return (softmax(logits) - onehot) * g / len(targets)


def sgd_step(w, g, velocity, hyper):
    """-> w, velocity after the step."""
    lr, momentum, decay, nesterov, decoupled = hyper
    w, d = (w - lr * decay * w, g) if decoupled else (w, g + decay * w)
    if velocity is None:
        return w - lr * d, None
    velocity = momentum * velocity + d
    return w - lr * (d + momentum * velocity if nesterov else velocity), velocity


def adam_step(w, g, m, v, hyper):
    """-> w, m, v after the step."""
    lr, beta1, beta2, eps, decay, decoupled, correction1, correction2 = hyper
    if decoupled:
        w = w - lr * decay * w
    else:
        g = g + decay * w
    m, v = beta1 * m + (1 - beta1) * g, beta2 * v + (1 - beta2) * g * g
    return w - lr * (m / correction1) / (np.sqrt(v / correction2) + eps), m, v
