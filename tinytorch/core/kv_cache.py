"""What a transformer has seen so far: keys and values of all layers, so that no token is computed twice.

Pope et al. 2022, section 2. The memory is laid out once for `max_seq_len` tokens; rows of a batch may hold different
numbers of them.
"""

from __future__ import annotations

import numpy as np

from tinytorch.core.attention import Past
from tinytorch.core.tensor import Tensor
from tinytorch.engine import ops

__all__ = ["KVCache"]


class KVCache:
    """Keys and values of `num_layers` layers for `batch_size` texts of up to `max_seq_len` tokens.

    A layer hands its new keys and values to `update` and reads with `get` all it has, the new ones included; `advance`
    ends the step once every layer has done so. `reset` begins new texts.
    """

    def __init__(self, batch_size: int, max_seq_len: int, num_layers: int, num_heads: int, head_dim: int) -> None:
        sizes = {
            "batch_size": batch_size, "max_seq_len": max_seq_len, "num_layers": num_layers, "num_heads": num_heads,
            "head_dim": head_dim,
        }  # fmt: skip
        for name, size in sizes.items():
            if size < 1:
                raise ValueError(f"KVCache: {name} is {size}; give at least 1")
        self.batch_size, self.max_seq_len, self.num_layers = batch_size, max_seq_len, num_layers
        self.num_heads, self.head_dim = num_heads, head_dim
        shape = (batch_size, num_heads, max_seq_len, head_dim)
        self.caches = [
            Past(Tensor(np.zeros(shape, np.float32)), Tensor(np.zeros(shape, np.float32))) for _ in range(num_layers)
        ]
        self.lengths = np.zeros(batch_size, np.int64)  # tokens that each row holds
        self._waiting = [0] * num_layers  # tokens each layer was given since the last `advance`

    @property
    def seq_pos(self) -> int:
        """Tokens held, by the longest row."""
        return int(self.lengths.max())

    def positions(self, count: int) -> np.ndarray:
        """Where the next `count` tokens go: (batch, count) int64. ValueError where they do not fit."""
        if self.seq_pos + count > self.max_seq_len:
            raise ValueError(
                f"KVCache: it holds {self.seq_pos} tokens and has room for {self.max_seq_len}: {count} more do not "
                "fit; reset() it, generate fewer tokens, or build the model with a larger max_seq_len"
            )
        return self.lengths[:, None] + np.arange(count)

    def update(self, layer_idx: int, key: Tensor, value: Tensor) -> None:
        """Write the keys and values (B, heads, count, head_dim) of a layer's next tokens, behind those it has."""
        layer = self.layer(layer_idx)
        for name, new in (("key", key), ("value", value)):
            wanted = (self.batch_size, self.num_heads, new.shape[2] if new.ndim == 4 else "count", self.head_dim)
            if new.shape != wanted:
                raise ValueError(f"KVCache: {name} is {new.shape}: it must be {wanted}; make the cache for this model")
        if key.shape != value.shape:
            raise ValueError(f"KVCache: key is {key.shape}, value is {value.shape}: each key needs one value")
        positions = self.positions(key.shape[2])
        for cache, new in zip(layer, (key, value)):
            ops.cache_write(cache.data, new.data, positions)
        self._waiting[layer_idx] = key.shape[2]

    def get(self, layer_idx: int) -> tuple[Tensor, Tensor]:
        """Keys and values of all tokens a layer was given, the newest included: (B, heads, tokens, head_dim) views."""
        keys, values = self.layer(layer_idx)
        held = self.seq_pos + self._waiting[layer_idx]
        return Tensor(keys.data[:, :, :held]), Tensor(values.data[:, :, :held])

    def advance(self, count: int | None = None) -> None:
        """End a step: the tokens that layers were given since the last one, or `count`, are held from now on."""
        count = count or max(self._waiting) or 1
        self.positions(count)
        self.lengths += count
        self._waiting = [0] * self.num_layers

    def reset(self) -> None:
        """Forget everything."""
        self.lengths[...] = 0
        self._waiting = [0] * self.num_layers
        for cache in (tensor for layer in self.caches for tensor in layer):
            cache.data[...] = 0

    def layer(self, layer_idx: int) -> Past:
        if not 0 <= layer_idx < self.num_layers:
            raise ValueError(f"KVCache: there is no layer {layer_idx}; layers go from 0 to {self.num_layers - 1}")
        return self.caches[layer_idx]

    def get_memory_usage(self) -> dict[str, float]:
        """Bytes and megabytes (2^20 bytes) of the whole and of a layer, and how many tensors and numbers there are."""
        tensors = [tensor for layer in self.caches for tensor in layer]
        total = sum(tensor.data.nbytes for tensor in tensors)
        return {
            "total_bytes": total,
            "total_mb": total / 2**20,
            "per_layer_mb": total / 2**20 / self.num_layers,
            "cache_tensors": len(tensors),
            "total_elements": sum(tensor.size for tensor in tensors),
        }
