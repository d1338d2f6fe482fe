"""Arrays that were decoded once, kept as one file in the user's cache and mapped into memory from then on.

The file is named after the digests of what it was decoded from, so another source is never answered with old data. It
begins with a line that says what must be in it, so a damaged or older one is recognised and made again.
"""

from __future__ import annotations

import json
import mmap
import os
import warnings
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack, suppress
from pathlib import Path

import numpy as np

from tinytorch.datasets.download import Found, cache, digest_over
from tinytorch.files import alone, atomic_file

FORMAT = 1  # to be raised when a decoder changes what it returns
ALIGNED = 64  # bytes: where the arrays begin

Arrays = dict[str, np.ndarray]
Layout = Mapping[str, tuple[tuple[int, ...], str]]  # shape and dtype of each array


def decoded(name: str, found: Sequence[Found], layout: Layout, decode: Callable[[], Arrays]) -> Arrays:
    """The arrays of `decode()`, read only, memory-mapped from a file that is made by the first who needs it.

    Of processes at once one decodes and the others wait for it. Where nothing can be kept, a warning says so and the
    arrays are in memory. Errors are those of `decode`.
    """
    digest = digest_over(here.digest for here in found).partition(":")[2]
    path = cache() / "decoded" / f"{name}-{digest[:32]}"
    header = line(name, digest, layout)
    if (arrays := kept(path, header, layout)) is not None:
        return arrays
    with ExitStack() as turn:
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            turn.enter_context(alone(path.parent))
        except OSError as error:
            return in_memory(decode(), path, error)
        if (arrays := kept(path, header, layout)) is not None:
            return arrays  # by whoever had the turn before
        arrays = decode()
        try:
            write(path, header, arrays, layout)
        except OSError as error:
            return in_memory(arrays, path, error)
        return kept(path, header, layout) or in_memory(arrays, path, OSError(None, "it cannot be mapped"))


def line(name: str, digest: str, layout: Layout) -> bytes:
    """The beginning of the file, as long as a multiple of ALIGNED."""
    text = json.dumps({"tinytorch": name, "format": FORMAT, "from": digest, "arrays": layout}).encode()
    return text.ljust((len(text) // ALIGNED + 1) * ALIGNED - 1) + b"\n"


def places(header: bytes, layout: Layout) -> tuple[dict[str, int], int]:
    """Where in the file each array begins, and how long the file is."""
    begins, end = {}, len(header)
    for name, (shape, dtype) in layout.items():
        begins[name] = end
        end += -(-int(np.prod(shape)) * np.dtype(dtype).itemsize // ALIGNED) * ALIGNED
    return begins, end


def kept(path: Path, header: bytes, layout: Layout) -> Arrays | None:
    """The arrays as they lie in the file; None where there is no file or not exactly such a one."""
    begins, end = places(header, layout)
    try:
        with path.open("rb") as file:
            if file.read(len(header)) != header or os.fstat(file.fileno()).st_size != end:
                return None
            mapped = mmap.mmap(file.fileno(), end, access=mmap.ACCESS_READ)
    except (OSError, ValueError):
        return None
    return {
        name: np.frombuffer(mapped, dtype, int(np.prod(shape)), begins[name]).reshape(shape)
        for name, (shape, dtype) in layout.items()
    }


def write(path: Path, header: bytes, arrays: Arrays, layout: Layout) -> None:
    for left in path.parent.glob(f".{path.name}.*"):  # by a process that was killed: nobody else has the turn
        with suppress(OSError):
            left.unlink()
    begins, end = places(header, layout)
    with atomic_file(path) as file:
        file.write(header)
        for name, (shape, dtype) in layout.items():
            array = np.ascontiguousarray(arrays[name], dtype)
            assert array.shape == tuple(shape), f"{name} is {array.shape}, not {shape}"
            file.seek(begins[name])
            file.write(array.data)
        file.truncate(end)


def in_memory(arrays: Arrays, path: Path, error: OSError) -> Arrays:
    warnings.warn(
        f"the decoded data cannot be kept as {path}: {error.strerror or error}; they are in memory now and will be "
        "decoded again next time; XDG_CACHE_HOME names another cache folder",
        stacklevel=2,
    )
    for array in arrays.values():
        array.flags.writeable = False
    return arrays
