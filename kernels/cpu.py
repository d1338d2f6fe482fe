"""Which vector instructions this CPU has, and the path through them that the kernels take.

`KERNELS_SIMD=avx512|avx2|generic` forces a path. Left out: the instructions themselves (`simd/`).
"""

from __future__ import annotations

import os
import warnings
from typing import NamedTuple

import numba
from llvmlite import binding
from numba.core import registry


class Path(NamedTuple):
    """One instruction set: how many float32 lanes a vector has, and which tile heights cover a remainder of rows."""

    lanes: int
    # Tall first. height x 2 accumulators + 2 columns + 1 broadcast must fit in the registers (32 with AVX-512, else
    # 16), and at least 8 accumulators hide the 4 cycles of two multiply-add units. 1 must come last, so that every row
    # is covered. Measured with AVX-512: 8 rows are as quick as 12 on products (172 GFLOP/s at 256, limit 177), quicker
    # on convolutions of small images (154 against 117 to 151 at 4 x 4); 6 and 4 rows lose up to 5 and 15 %.
    heights: tuple[int, ...]
    # For sums over the pixels of an image (weight gradients), where each position of k brings new cache lines of A and
    # B: more rows a tile, fewer lines a multiply-add. Measured: 137 GFLOP/s against 114 with 8 rows.
    tallest: int
    registers: int  # vector registers
    features: frozenset[str]


PATHS = {
    "avx512": Path(16, (8, 4, 1), 12, 32, frozenset({"avx512f", "avx512vl", "avx512bw", "avx512dq"})),
    "avx2": Path(8, (6, 4, 1), 6, 16, frozenset({"avx2", "fma"})),
    "generic": Path(4, (6, 4, 1), 6, 16, frozenset()),
}


def choose_path(asked: str | None, features: frozenset[str]) -> str:
    """Name of the path to use: the one `asked` for, else the widest that the CPU's `features` allow.

    Raises ValueError if the name is unknown or the CPU lacks a feature that the path needs.
    """
    if not asked:
        return next(name for name, path in PATHS.items() if path.features <= features)
    if asked not in PATHS:
        raise ValueError(f"KERNELS_SIMD: unknown path {asked!r}; known: {', '.join(PATHS)}")
    missing = PATHS[asked].features - features
    if missing:
        able = [name for name, path in PATHS.items() if path.features <= features]
        raise ValueError(
            f"KERNELS_SIMD={asked}: this CPU lacks {', '.join(sorted(missing))}; it can run: {', '.join(able)}"
        )
    return asked


def host_features() -> frozenset[str]:
    return frozenset(name for name, present in binding.get_host_cpu_features().items() if present)


PATH = choose_path(os.environ.get("KERNELS_SIMD"), host_features())
LANES, HEIGHTS, TALLEST, REGISTERS, _ = PATHS[PATH]
PANEL = 2 * LANES  # columns of a full tile
# Whether one instruction forms the dot products of 4 pairs of bytes (VNNI). Without it the same sums take seven.
VNNI = PATH == "avx512" and "avx512vnni" in host_features()


def widen(path: str) -> None:
    """Let LLVM's own vectors be as wide as ours: by itself it takes half of AVX-512, for the clock of older CPUs' sake.

    Measured: exp, GELU and softmax take 0.65 of the time. Numba reads this at a process's first `@njit`; warns where
    that one has been.
    """
    if path != "avx512" or numba.config.CPU_FEATURES:  # type: ignore[attr-defined]
        return
    features = binding.get_host_cpu_features().flatten()
    numba.config.CPU_FEATURES = f"{features},-prefer-256-bit"  # type: ignore[attr-defined]
    if "_toplevel_target_context" in vars(registry.cpu_target):
        warnings.warn(
            "kernels: Numba was in use before they were imported; they are compiled anew and with vectors of half the "
            "width. Put `import kernels.cpu` before the first @njit",
            RuntimeWarning,
            stacklevel=3,
        )


widen(PATH)
