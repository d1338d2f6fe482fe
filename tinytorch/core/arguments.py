"""What callers of Tensor methods may write, brought into the one form that ops take.

Left out: `Tensor` itself; everything here is plain Python and NumPy.
"""

from __future__ import annotations

from math import prod
from typing import Any

import numpy as np
from numpy.typing import DTypeLike

Number = int | float | bool | np.number
Axis = int | tuple[int, ...] | None


def as_data(data: Any, dtype: DTypeLike | None = None) -> np.ndarray:
    """Anything numeric as the array a tensor holds; float32 unless it is an array of integers or asked otherwise."""
    given = isinstance(data, np.ndarray | np.generic)
    try:
        array = np.asarray(data)
    except (ValueError, TypeError) as error:
        raise TypeError(f"Tensor: the data are not an array of numbers ({error}); rows must have one length") from None
    if array.dtype.kind not in "fiub":
        raise TypeError(f"Tensor: the data are {array.dtype}, not numbers; convert them first")
    if dtype is None and given and array.dtype.kind != "f":
        return array
    return array.astype(np.float32 if dtype is None else dtype, copy=False)


def sizes(arguments: tuple[Any, ...]) -> tuple[int, ...]:
    """`f(2, 3)` and `f((2, 3))` alike."""
    if len(arguments) == 1 and isinstance(arguments[0], tuple | list):
        arguments = tuple(arguments[0])
    return tuple(int(n) for n in arguments)


def all_sizes(shape: tuple[int, ...], wanted: tuple[int, ...]) -> tuple[int, ...]:
    """A new shape for an array of `shape`, its one -1 worked out."""
    if -1 not in wanted:
        return wanted
    total, known = prod(shape), prod(n for n in wanted if n != -1)
    if wanted.count(-1) > 1 or not known or total % known:
        raise ValueError(
            f"reshape: x is {shape} with {total} elements, {wanted}: the -1 cannot be worked out; give all sizes"
        )
    return tuple(total // known if n == -1 else n for n in wanted)


def exchanged(ndim: int, axes: tuple[int, ...]) -> tuple[int, ...]:
    """The order of axes that `transpose` is asked for: two are exchanged (the last two by default), or all are said."""
    if len(axes) not in (0, 2):
        return axes
    order = list(range(ndim))
    i, j = (axis_below("transpose", axis, ndim) for axis in axes or (-1, -2))
    order[i], order[j] = order[j], order[i]
    return tuple(order)


def axes_of(axis: Any) -> tuple[int, ...] | None:
    """One axis or several as a tuple; None, all axes, stays None."""
    return None if axis is None else tuple(int(a) for a in axis) if isinstance(axis, tuple | list) else (int(axis),)


def axis_below(name: str, axis: int, ndim: int) -> int:
    """`axis` counted from the front; ValueError where there is none such."""
    if not -ndim <= axis < ndim:
        raise ValueError(f"{name}: there is no axis {axis}; axes go from {-ndim} to {ndim - 1}")
    return axis % ndim


def plain_index(index: Any) -> Any:
    """An index with tensors replaced by their arrays."""
    if isinstance(index, tuple):
        return tuple(plain_index(i) for i in index)
    if isinstance(index, np.integer):
        return int(index)
    # True equals 1, but as an index it means another thing: as an array the two are told apart by the seam's cache
    return np.asarray(index) if isinstance(index, bool) or hasattr(index, "__array__") else index


def plain_number(value: Any) -> Any:
    """A number as a Python number: NumPy's own would decide the dtype of a result."""
    return value.item() if isinstance(value, np.generic) else value
