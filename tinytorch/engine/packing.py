"""Weight formats as named arrays plus a few numbers, the way files hold them, and back with every doubt removed."""

from __future__ import annotations

from typing import Any

import numpy as np

from tinytorch.engine.formats import Format, Grid, Int8, Sparse


def describe(format: Format) -> dict[str, Any]:
    """What of a format is not an array, fit for JSON."""
    about: dict[str, Any] = {
        "kind": format.kind,
        "axis": format.axis,
        "grid": list(format.grid) if format.grid else None,
    }
    return {**about, "shape": list(format.full_shape)} if isinstance(format, Sparse) else about


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
        elif about["kind"] == Sparse.kind:
            shape = tuple(map(int, about["shape"]))
            values, bits = arrays.pop(f"{name}.values"), arrays.pop(f"{name}.bits")
            packed = Sparse(grid, values, bits, shape, arrays.pop(f"{name}.scale", None), axis)
        else:
            raise ValueError(f"unknown kind {about['kind']!r}; known: {Int8.kind}, {Sparse.kind}")
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
    """Whether there is a value for each bit that is set, and a bit for each weight."""
    kept, dtype = packed.bits, np.int8 if packed.scale is not None else np.float32
    if min(packed.full_shape) < 0 or kept.dtype != np.uint8 or kept.size != -(-packed.size // 8):
        return False
    count = int(np.unpackbits(kept, count=packed.size).sum())
    return packed.values.dtype == dtype and packed.values.shape == (count,)
