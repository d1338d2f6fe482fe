"""What the machine can do at most: multiply-adds with nothing else to do, and memory with next to nothing to compute.

`fma_probe` and `dot_probe` run the innermost instruction of the f32 and of the int8 product, on tiles of the same size,
over and over the same few numbers. No product can be quicker on this machine, so its rate is what products are compared
with. `triad_probe` and `read_probe` go through memory of any size, again and again. Left out: timing them.
"""

from __future__ import annotations

import mmap
from collections.abc import Callable
from typing import Any, Literal

import numpy as np

from kernels import simd
from kernels.arena import ALIGNMENT
from kernels.machine import CONTRACT, EXACT, REDUCE, Bytes, Floats, Ints, Kernel, Words, kernel
from kernels.program import Builder, execute
from kernels.symbols import MIN_PART_NS

HEIGHT, VECTORS = simd.HEIGHTS[0], 2
DEPTH = 16  # positions of k that a round goes through, so that loads stay loads and nothing can be simplified
FMA_FLOPS = 2 * HEIGHT * VECTORS * simd.LANES * DEPTH  # of one round
DOT_OPS = 4 * FMA_FLOPS

Stream = Literal["triad", "read"]
ARRAYS = 3  # of a triad, as long as each other
LINE = ALIGNMENT // 4  # float32 numbers in a cache line
ZERO, HALF, ONE = np.float32(0), np.float32(0.5), np.float32(1)

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


@kernel(updates="memory", fastmath=CONTRACT)
def triad_probe(memory: Floats, apart: int, n: int, rounds: int, lo: int, hi: int) -> None:
    """`rounds` times y = a + x / 2, after which x and y change places, so that each round needs the one before.

    memory (items, apart): every item has its own part, which begins with a, x and y of n numbers each. Two numbers are
    read for each that is written: the triad of STREAM (McCalpin, Memory Bandwidth and Machine Balance in Current High
    Performance Computers, 1995).
    """
    for item in range(lo, hi):
        a = simd.shift(memory, item * apart)
        x, y = simd.shift(a, n), simd.shift(a, 2 * n)
        for _ in range(rounds):
            for i in range(n):
                y[i] = a[i] + HALF * x[i]
            x, y = y, x


@kernel(updates="memory", fastmath=REDUCE)
def read_probe(memory: Floats, apart: int, n: int, rounds: int, lo: int, hi: int) -> None:
    """`rounds` times the mean of the first 3 n numbers of a part, each times the mean before; left in x[0].

    As a product of a matrix and a vector does, it only reads: a number written costs as much again where its cache line
    has to be fetched first.
    """
    for item in range(lo, hi):
        x, mean = simd.shift(memory, item * apart), ONE
        for _ in range(rounds):
            total = ZERO
            for i in range(ARRAYS * n):
                total += mean * x[i]
            mean = total / np.float32(ARRAYS * n)
        x[0] = mean


@kernel(writes="memory", fastmath=EXACT)
def touch(memory: Floats, apart: int, lo: int, hi: int) -> None:
    """Ones everywhere, so that pages exist, near the core whose part they are."""
    for i in range(lo * apart, hi * apart):
        memory[i] = ONE


def length(nbytes: int, threads: int) -> int:
    """How long the three arrays of each thread are for a working set of up to `nbytes` in all: whole cache lines.

    For powers of two no array begins where another does in its page: loads would wait for stores that are elsewhere.
    """
    return nbytes // (4 * threads * ARRAYS * LINE) * LINE


class Streams:
    """Memory for `triad_probe` and `read_probe`: at most `nbytes`, a part for each of `threads`, touched first by it.

    It is given back to the system when the object is dropped. A part of it (its first bytes in every thread's part) is
    a working set as small as wanted.
    """

    def __init__(self, nbytes: int, threads: int = 1) -> None:
        self.threads, self.apart = threads, -(-nbytes // (4 * threads * LINE)) * LINE
        # Private, and in huge pages where there are some, as arrays of NumPy are: in small ones main memory gives
        # but two thirds of its rate.
        private = {"flags": mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS} if hasattr(mmap, "MAP_PRIVATE") else {}
        raw = mmap.mmap(-1, 4 * self.apart * threads, **private)
        if hasattr(mmap, "MADV_HUGEPAGE"):
            raw.madvise(mmap.MADV_HUGEPAGE)
        self.memory = np.frombuffer(raw, np.float32).reshape(threads, self.apart)
        self._linked(touch, self.apart)()

    def round_bytes(self, nbytes: int) -> int:
        """What a round moves, every input and output once."""
        return 4 * self.threads * ARRAYS * length(nbytes, self.threads)

    def probe(self, kind: Stream, nbytes: int, rounds: int) -> Callable[[], None]:
        """A function that goes `rounds` times through a working set of up to `nbytes`, all threads together."""
        kernel = {"triad": triad_probe, "read": read_probe}[kind]
        return self._linked(kernel, self.apart, length(nbytes, self.threads), rounds)

    def idle(self, steps: int) -> Callable[[], None]:
        """A program of so many steps that are called and compute nothing: what is left is the price of a step."""
        return self._linked(triad_probe, self.apart, 0, 0, steps=steps)

    def _linked(self, kernel: Kernel, *numbers: int, steps: int = 1) -> Callable[[], None]:
        build, items = Builder(), self.threads if steps == 1 else 1
        build.step(kernel, build.input(self.memory.shape), *numbers, items=items, cost_ns=items * MIN_PART_NS)
        rows = np.tile(build.finish().link([self.memory.ctypes.data]), (steps, 1))

        def run() -> None:
            execute(rows, self.threads)

        return run
