"""Vectors, register tiles and raw memory as Numba types: the only place of the project that contains LLVM IR.

A register tile is a tuple of LLVM vectors, `height` rows of `vectors` vectors each. LLVM keeps such a tuple in
registers, so a kernel written in Python as a loop over `tile.step` runs at the rate of the core's multiply-add units.
Only the number of lanes, the tile heights and the byte dot product depend on the CPU (`cpu.py`); the instructions are
portable LLVM (fmuladd, masked load and store), so `generic` works wherever LLVM does.

Left out: loops over tiles (`product.py`, `int8.py`), all that LLVM vectorises well by itself (`elementwise.py`, ...).
"""

from kernels.cpu import HEIGHTS as HEIGHTS
from kernels.cpu import LANES as LANES
from kernels.cpu import PANEL as PANEL
from kernels.simd.clock import *  # noqa: F403
from kernels.simd.integers import *  # noqa: F403
from kernels.simd.raw import *  # noqa: F403
from kernels.simd.tiles import *  # noqa: F403
from kernels.simd.vectors import *  # noqa: F403
from kernels.simd.weights import *  # noqa: F403
