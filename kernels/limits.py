"""What one core can do at most: register tiles fed from registers or the nearest cache, with nothing else to do.

`fma_probe` and `dot_probe` run the innermost instruction of the f32 and of the int8 product, on tiles of the same size,
over and over the same few numbers. No product can be quicker on this machine, so its rate is what products are compared
with. Left out: the rate of memory.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from kernels import simd
from kernels.machine import CONTRACT, EXACT, Bytes, Floats, Ints, Words, kernel
from kernels.program import Builder, execute
from kernels.symbols import MIN_PART_NS

HEIGHT, VECTORS = simd.HEIGHTS[0], 2
DEPTH = 16  # positions of k that a round goes through, so that loads stay loads and nothing can be simplified
FMA_FLOPS = 2 * HEIGHT * VECTORS * simd.LANES * DEPTH  # of one round
DOT_OPS = 4 * FMA_FLOPS

_floats = simd.tile(HEIGHT, VECTORS)
_float_zeros, _float_rows, _float_step, _float_store = _floats.zeros, _floats.rows, _floats.step, _floats.store
_ints = simd.int_tile(HEIGHT, VECTORS)
_int_start, _int_rows, _int_step, _scaled = _ints.repeat, _ints.rows, _ints.step, _ints.scaled


@kernel(writes="c", fastmath=CONTRACT)
def fma_probe(a: Floats, b: Floats, c: Floats, offsets: Ints, rounds: int, lo: int, hi: int) -> None:
    """`rounds` times DEPTH multiply-adds of a tile; a (HEIGHT, DEPTH), b (DEPTH, PANEL), c (items, HEIGHT, PANEL).

    offsets (2, HEIGHT): where rows begin in a, and in c. Items: as many as there are threads to keep busy.
    """
    for item in range(lo, hi):
        tile, rows = _float_zeros(), _float_rows(a, offsets, 0)
        for _ in range(rounds):
            for k in range(DEPTH):
                tile = _float_step(tile, rows, k, b, k * simd.PANEL, simd.PANEL)
        _float_store(tile, c, offsets, HEIGHT, item * HEIGHT * simd.PANEL, simd.PANEL)


@kernel(writes="c", fastmath=EXACT)
def dot_probe(
    a: Bytes, b: Bytes, start: Words, scale: Floats, c: Floats, offsets: Ints, rounds: int, lo: int, hi: int
) -> None:
    """The same with products of bytes, four to a lane: a (HEIGHT, 4 DEPTH) unsigned, b (DEPTH, PANEL, 4) signed.

    start, scale (PANEL) as the product has them; offsets (2, HEIGHT) where rows begin in a, in bytes, and in c.
    """
    for item in range(lo, hi):
        tile, rows = _int_start(start, 0, simd.PANEL), _int_rows(a, offsets, 0)
        for _ in range(rounds):
            for k in range(DEPTH):
                tile = _int_step(tile, rows, 4 * k, b, 4 * k * simd.PANEL)
        floats = _scaled(tile, scale, scale, 0, simd.PANEL)
        _float_store(floats, c, offsets, HEIGHT, item * HEIGHT * simd.PANEL, simd.PANEL)


def probe(kind: str, rounds: int, threads: int = 1) -> Callable[[], None]:
    """A function that goes `rounds` rounds on each of `threads` threads; `kind` is "fma" or "dot"."""
    build, rng = Builder(), np.random.default_rng(0)
    width = 1 if kind == "fma" else 4
    offsets = build.constant(np.outer([DEPTH * width, simd.PANEL], np.arange(HEIGHT)))
    c = build.empty((threads, HEIGHT, simd.PANEL))
    if kind == "fma":
        a, b = (build.constant(rng.random(shape, np.float32)) for shape in ((HEIGHT, DEPTH), (DEPTH, simd.PANEL)))
        arguments: tuple[Any, ...] = (fma_probe, a, b, c, offsets)
    else:
        a = build.constant(rng.integers(0, 256, (HEIGHT, 4 * DEPTH), np.uint8))
        b = build.constant(rng.integers(0, 256, (DEPTH, simd.PANEL, 4), np.uint8))
        start, scale = build.constant(np.zeros(simd.PANEL, np.int32)), build.constant(np.ones(simd.PANEL, np.float32))
        arguments = (dot_probe, a, b, start, scale, c, offsets)
    build.step(*arguments, rounds, items=threads, cost_ns=threads * MIN_PART_NS)
    made = build.finish([c])
    result = np.empty(c.shape, np.float32)
    rows = made.link([result.ctypes.data])

    def run() -> None:
        execute(rows, threads)

    run.kept = made, result  # type: ignore[attr-defined]  # what the rows point at
    return run
