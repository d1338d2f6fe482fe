"""Weight formats as named arrays plus a few numbers, the way files hold them, and back with every doubt removed."""

from __future__ import annotations

from typing import Any

import numpy as np

from tinytorch.engine.block_sparse import EXECUTIONS, BlockSparse
from tinytorch.engine.formats import Format, Grid, Int8, Sparse


def describe(format: Format) -> dict[str, Any]:
    """What of a format is not an array, fit for JSON."""
    about: dict[str, Any] = {
        "kind": format.kind,
        "axis": format.axis,
        "grid": list(format.grid) if format.grid else None,
    }
    if isinstance(format, Sparse):
        about["shape"] = list(format.full_shape)
    if isinstance(format, BlockSparse):
        about |= {"channels": format.channels, "execution": format.execution}
    return about


def unpack(name: str, about: dict[str, Any], arrays: dict[str, np.ndarray]) -> Format:
    """The format that `describe` and the entries `name.*` make up; its entries are taken out of `arrays`.

    ValueError where they do not fit together: it fails here and not later in the model.
    """
    try:
        grid = Grid(float(about["grid"][0]), int(about["grid"][1])) if about["grid"] else None
        axis = int(about["axis"])
        packed: Int8 | Sparse
        if about["kind"] == Int8.kind:
            packed = Int8(grid, arrays.pop(f"{name}.codes"), arrays.pop(f"{name}.scale"), axis)
        elif about["kind"] in (Sparse.kind, BlockSparse.kind):
            shape = tuple(map(int, about["shape"]))
            values, bits = arrays.pop(f"{name}.values"), arrays.pop(f"{name}.bits")
            parts = (grid, values, bits, shape, arrays.pop(f"{name}.scale", None), axis)
            blocks = about["kind"] == BlockSparse.kind
            packed = BlockSparse(*parts, int(about["channels"]), about["execution"]) if blocks else Sparse(*parts)
        else:
            known = ", ".join(format.kind for format in (Int8, Sparse, BlockSparse))
            raise ValueError(f"unknown kind {about['kind']!r}; known: {known}")
        check(packed)
        return packed
    except (KeyError, TypeError, ValueError, IndexError, OverflowError) as error:
        raise ValueError(f"packed weight {name} is damaged ({error!r})") from error


def check(packed: Int8 | Sparse) -> None:
    """ValueError where the parts of a packed weight do not fit together: it fails here and not later in the model."""
    whole = packed.codes.dtype == np.int8 if isinstance(packed, Int8) else check_sparse(packed)
    channels = packed.shape[packed.axis]
    scaled = packed.scale is None or (packed.scale.dtype == np.float32 and packed.scale.shape == (channels,))
    grid = packed.grid is None or (0 < packed.grid.scale < np.inf and 0 <= packed.grid.zero_point <= 255)
    if not (whole and scaled and grid):
        raise ValueError("codes, scale or grid do not fit together")


def check_sparse(packed: Sparse) -> bool:
    """Whether there is a value for each weight whose bit is set, and a bit for each weight or block."""
    shape, dtype = packed.full_shape, np.int8 if packed.scale is not None else np.float32
    if min(shape) < 0 or packed.bits.dtype != np.uint8 or packed.values.dtype != dtype:
        return False
    if isinstance(packed, BlockSparse) and not check_blocks(packed):
        return False
    if packed.bits.shape != (-(-packed.bit_count // 8),):
        return False
    return packed.values.shape == (int(packed.mask.sum()),)


def check_blocks(packed: BlockSparse) -> bool:
    """Whether its input channels divide its inputs, and it says a known way to be computed with."""
    outputs = packed.full_shape[packed.axis]
    divided = packed.channels > 0 and packed.size % (packed.channels * max(1, outputs)) == 0
    return divided and packed.execution in EXECUTIONS
