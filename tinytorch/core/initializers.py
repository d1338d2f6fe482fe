"""Where convolutions may start from besides random numbers: passing their input on, or whitening what they see.

Left out: the usual random starts, which each layer draws for itself (`layers.uniform_parameter`).
"""

from __future__ import annotations

import numpy as np

from tinytorch.core.spatial import Conv2d


def identity(layer: Conv2d) -> None:
    """The first filters pass the input's channels on as they are, the others keep their random start.

    Jordan 2024, "94% on CIFAR-10 in 3.29 seconds", section 3.3. As PyTorch's `dirac_` does, which sets the others to
    zero. ValueError for kernels without a middle, for groups, and for fewer filters than channels.
    """
    weight = layer.weight.data
    filters, channels, rows, columns = weight.shape
    if layer.groups > 1 or not (rows % 2 and columns % 2) or filters < channels:
        raise ValueError(
            f"identity: weight is {weight.shape}, groups {layer.groups}: it needs a kernel of odd size, one group, and "
            "as many filters as channels at least; let this layer start at random"
        )
    weight[:channels] = 0
    weight[np.arange(channels), np.arange(channels), rows // 2, columns // 2] = 1


def whitening(layer: Conv2d, x: np.ndarray, eps: float = 5e-4) -> None:
    """Filters that bring patches of x to independent outputs of one size, and the same filters negated; both fixed.

    x: normalised images (N, C, H, W); some thousands suffice. Filters are the eigenvectors of the covariance of all
    patches, the strongest first, over the root of eigenvalue + eps; weights require no gradient afterwards. The bias,
    if any, starts at 0 and is trained. Page 2019, "How to train your ResNet"; with negated filters and this eps Jordan
    2024, section 3.2. ValueError unless there are two filters for each value of a patch.
    """
    weight = layer.weight.data
    filters, *patch = weight.shape
    values = int(np.prod(patch))
    if filters != 2 * values or x.ndim != 4 or x.shape[1] != patch[0]:
        raise ValueError(
            f"whitening: weight is {weight.shape}, x is {x.shape}: a patch has {values} values, so {2 * values} "
            f"filters are needed, and images (N, {patch[0]}, H, W); build the layer so"
        )
    windows = np.lib.stride_tricks.sliding_window_view(x, patch[1:], axis=(2, 3))
    patches = windows.transpose(0, 2, 3, 1, 4, 5).reshape(-1, values).astype(np.float64)
    size, direction = np.linalg.eigh(patches.T @ patches / len(patches))
    found = (direction / np.sqrt(size + eps)).T[::-1].reshape(values, *patch)
    weight[...] = np.concatenate([found, -found])
    layer.weight.requires_grad = False
    if layer.bias is not None:
        layer.bias.data[...] = 0
