"""Block sparsity: a weight stored without those of its blocks that are zero, which kernels then skip.

A block is DEPTH input channels by WIDTH output channels, at one position of a convolution's kernel or of the image that
was flattened before a linear layer. That is how the tiled products read a weight: WIDTH columns are the widest panel of
any CPU, DEPTH the four bytes of one integer dot product. Both belong to the file format; on narrower CPUs several
panels share a block. Left out: which blocks become zero (`perf/compression.py`), when it pays (`kernels/sparse.py`).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar, Literal, get_args

import numpy as np

from tinytorch.engine.formats import INTEGER_OPS, Grid, Int8, Sparse
from tinytorch.engine.op import size

DEPTH, WIDTH = 4, 32

# How a weight is to be computed with: as is quicker by the break-even that was measured, or as was decided already.
Execution = Literal["measured", "blocks", "dense"]
EXECUTIONS: tuple[Execution, ...] = get_args(Execution)


def by_channels(weight: np.ndarray, axis: int, channels: int) -> np.ndarray:
    """A weight as (input channels, positions, output channels), the last of which lie along `axis`."""
    moved = np.moveaxis(weight, axis, -1)
    positions = moved[..., :1].size // max(1, channels)
    return moved.reshape(channels, positions, moved.shape[-1])


def as_weight(values: np.ndarray, axis: int, shape: tuple[int, ...]) -> np.ndarray:
    """The inverse of `by_channels`, for a weight of this shape."""
    moved = [n for i, n in enumerate(shape) if i != axis % len(shape)]
    return np.ascontiguousarray(np.moveaxis(values.reshape(*moved, values.shape[-1]), -1, axis))


def blocks_of(channels: int, positions: int, outputs: int) -> tuple[int, int, int]:
    """How many blocks there are along each axis."""
    return -(-channels // DEPTH), positions, -(-outputs // WIDTH)


def spread(blocks: np.ndarray, shape: tuple[int, int, int]) -> np.ndarray:
    """A value for each block as a value for each of its weights, by channels."""
    return blocks.repeat(DEPTH, 0).repeat(WIDTH, 2)[: shape[0], :, : shape[2]]


def summed(values: np.ndarray) -> np.ndarray:
    """values (channels, positions, outputs) added up within each block."""
    channels, _, outputs = values.shape
    deep, positions, wide = blocks_of(*values.shape)
    full = np.zeros((deep * DEPTH, positions, wide * WIDTH), values.dtype)
    full[:channels, :, :outputs] = values
    return full.reshape(deep, DEPTH, positions, wide, WIDTH).sum((1, 4))


@dataclass(frozen=True, eq=False)
class BlockSparse(Sparse):
    """The values of all blocks that hold anything but zeros, and one bit per block.

    As in `Sparse`, values are float32 or int8 with a scale; they lie in the order of `by_channels`. `channels` is how
    many input channels the weight has: of a linear layer behind a flattened image those of the image.
    """

    kind: ClassVar[str] = "blocks"
    channels: int
    execution: Execution = "measured"

    @classmethod
    def pack(  # type: ignore[override]
        cls, weight: np.ndarray | Int8, axis: int, grid: Grid | None = None, channels: int | None = None,
        execution: Execution = "measured",
    ) -> BlockSparse:  # fmt: skip
        """Store a weight without its blocks of zeros; an int8 weight keeps its own scale, axis and grid.

        `channels` are the input channels, all inputs of a linear layer by default. Raises ValueError for a number of
        channels that does not divide the inputs.
        """
        if isinstance(weight, Int8):
            codes, scale, axis, grid = weight.codes, weight.scale, weight.axis, weight.grid
        else:
            codes, scale = np.asarray(weight, np.float32), None
        inputs = tuple(n for i, n in enumerate(codes.shape) if i != axis % codes.ndim)
        channels = (*inputs, 1)[0] if channels is None else channels
        if size(inputs) % max(1, channels):
            raise ValueError(
                f"BlockSparse.pack: {channels} channels do not divide the {size(inputs)} inputs of the weight "
                f"{codes.shape}; give those of the image that was flattened"
            )
        values = by_channels(codes, axis, channels)
        kept = summed((values != 0).astype(np.int32)) > 0
        return cls(
            grid, values[spread(kept, values.shape)], np.packbits(kept), codes.shape, scale, axis, channels, execution
        )

    @property
    def blocks(self) -> tuple[int, int, int]:
        """How many blocks the whole weight has, by channels."""
        return blocks_of(*self._by_channels)

    @property
    def kept(self) -> np.ndarray:
        """bool, one for each block: whether its values are stored."""
        return np.unpackbits(self.bits, count=self.bit_count).astype(bool).reshape(self.blocks)

    @property
    def bit_count(self) -> int:
        return size(self.blocks)

    @property
    def mask(self) -> np.ndarray:
        """bool, by channels: which weights are stored."""
        return spread(self.kept, self._by_channels)

    @property
    def _by_channels(self) -> tuple[int, int, int]:
        outputs = self.full_shape[self.axis]
        return self.channels, self.size // max(1, self.channels * outputs), outputs

    @property
    def _full(self) -> np.ndarray:
        full = np.zeros(self._by_channels, self.values.dtype)
        full[self.mask] = self.values
        return as_weight(full, self.axis, self.full_shape)

    def operand(self, op_name: str) -> Any:
        """The weight itself where there are kernels that skip blocks; else as for other formats."""
        axes = INTEGER_OPS.get(op_name)
        with_kernel = axes is not None and self.axis % len(self.full_shape) == axes[0]
        return self if with_kernel else super().operand(op_name)
