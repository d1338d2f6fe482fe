"""Looking up rows of a table by integer ids."""

from __future__ import annotations

import numpy as np

from tinytorch.engine.op import Op, Sample, SampleIterator, Shaped, Spec, normal, size

__all__ = ["check_ids", "embedding", "embedding_grad"]

FEW = 16  # ids that Python looks at more quickly than NumPy reduces them (4 us for one): a decoder checks one at a time


def check_ids(name: str, ids: np.ndarray, count: int, what: str) -> None:
    """IndexError naming the first id outside 0..count-1 and its position: a kernel must never see one."""
    if ids.size <= FEW:
        good = all(0 <= i < count for i in ids.ravel().tolist())
    else:
        good = ids.min() >= 0 and ids.max() < count
    if not good:
        position = tuple(int(i) for i in np.argwhere((ids < 0) | (ids >= count))[0])
        raise IndexError(
            f"{name}: id {int(ids[position])} at position {position} is outside 0..{count - 1}; "
            f"the {what} is {count}: check how the ids were made"
        )


class Embedding(Op):
    """table (V, D), ids (...) integers -> (..., D)"""

    def shape(self, table: Shaped, ids: Shaped) -> Spec:
        if len(table.shape) != 2:
            raise ValueError(f"embedding: table is {table.shape}: it must be (vocabulary, width)")
        if not np.issubdtype(ids.dtype, np.integer):
            raise TypeError(f"embedding: ids are {ids.dtype}: they must be integers; convert them with astype(int)")
        return Spec((*ids.shape, table.shape[1]), table.dtype)

    def check(self, table: np.ndarray, ids: np.ndarray) -> None:
        check_ids("embedding", ids, table.shape[0], "vocabulary size")

    def reference(self, table: np.ndarray, ids: np.ndarray) -> np.ndarray:
        return table[ids]

    def gradient(self, need: tuple, g: np.ndarray, out: np.ndarray, table: np.ndarray, ids: np.ndarray) -> tuple:
        return need[0] and embedding_grad(g, ids, shape=table.shape), None

    def flops(self, out: Shaped, *_: Shaped) -> int:
        return 0

    def samples(self, rng: np.random.Generator) -> SampleIterator:
        for shape in ((5,), (2, 3), (), (0,)):
            yield Sample((normal(rng, 7, 4), rng.integers(0, 7, shape)))


class EmbeddingGrad(Op):
    """Rows of g summed into a zero table of `shape`, an id seen twice receiving both"""

    gradient = None

    def shape(self, g: Shaped, ids: Shaped, shape: tuple[int, ...]) -> Spec:
        if g.shape != (*ids.shape, *shape[1:]):
            raise ValueError(
                f"embedding_grad: g is {g.shape}, ids are {ids.shape}, the table is {shape}: g must be "
                f"{(*ids.shape, *shape[1:])}; pass forward's ids"
            )
        return Spec(shape, g.dtype)

    def reference(self, g: np.ndarray, ids: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
        out = np.zeros(shape, g.dtype)
        np.add.at(out, ids, g)
        return out

    def flops(self, out: Shaped, g: Shaped, *_: Shaped, **__: object) -> int:
        return size(g.shape)

    def samples(self, rng: np.random.Generator) -> SampleIterator:
        for shape in ((5,), (2, 3), (0,)):
            yield Sample((normal(rng, *shape, 4), rng.integers(0, 7, shape)), {"shape": (7, 4)})


embedding, embedding_grad = Embedding(), EmbeddingGrad()
