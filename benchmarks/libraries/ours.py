"""The work in this framework's kernels: single ones with the output given, plans, eager and captured steps, probes.

A kernel is run as a plan runs it, from rows that are ready. "repeated" has these rows many times over, so that one
call from Python starts many runs: that is the kernel's own time, which is compared with the machine's limit.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import nullcontext
from itertools import chain as concatenated
from itertools import repeat
from typing import Any

import numpy as np

import tinytorch
from benchmarks.libraries import Made, Unavailable, stacked
from benchmarks.libraries.training import chain, losses, stepping
from benchmarks.libraries.with_numpy import GEOMETRY
from benchmarks.work import LEARNING_RATE, Affine, Blocked, Chain, Conv, Gemm, Net, TrainingStep, calibration
from kernels import limits, machine, registry
from kernels.conv import correlate
from kernels.conv import padded as padded_image
from kernels.program import Builder, aligned
from kernels.threads import set_num_threads
from mlperf.answering import eager, eagerly
from tinytorch import SGD, CrossEntropyLoss, DataLoader, ImageDataset, ImageTransform
from tinytorch.engine.block_sparse import BlockSparse, Execution
from tinytorch.engine.dispatch import use_backend
from tinytorch.engine.formats import Format, Grid, Int8
from tinytorch.perf.quantization import quantize

REPEATED_NS = 100_000  # how long a call of repeated rows takes, roughly
FLOPS_PER_NS = 100  # what a core does, roughly
PROBE_NS = 2_000_000
FED_IMAGES = 16384  # more bytes than a core's own caches hold, as of a real data set


class Linked:
    """One op as rows of addresses: inputs are read where they are, the output is written where it was."""

    def __init__(self, build: Builder, out: Any, inputs: list[np.ndarray], threads: int) -> None:
        build.fold()
        made = build.finish([out])
        nbytes = {"output0": build.buffers[out.buffer].nbytes, "arena": made.arena_bytes}
        memory = {name: aligned(np.zeros(nbytes[name], np.uint8)) for name in made.bases[len(inputs) :]}
        if "arena" in memory:
            made.fill_borders(memory["arena"])
        bases = [a.ctypes.data for a in inputs] + [a.ctypes.data for a in memory.values()]
        self.kept = made, inputs, memory
        self.rows, self.threads = made.link(bases), threads
        flat = memory["output0"][: nbytes["output0"] // out.dtype.itemsize * out.dtype.itemsize].view(out.dtype)
        strides = [stride * out.dtype.itemsize for stride in out.strides]
        self.output = np.lib.stride_tricks.as_strided(flat[out.offset :], out.shape, strides)

    def made(self, repeat: int = 1, read: Callable[[np.ndarray], np.ndarray] = np.array) -> Made:
        """Its rows `repeat` times as one call."""
        rows = np.tile(self.rows, (repeat, 1))
        execute, arguments = machine.loop().execute, (rows.ctypes.data, *rows.shape, self.threads)

        def run(_: object, keep: Any = (self, rows)) -> None:
            execute(*arguments)

        def answer() -> np.ndarray:
            run(None)
            return read(self.output)

        return Made(run, answer, per_run=repeat)


def link(op: str, arrays: list[Any], given: int, threads: int, **params: Any) -> Linked:
    """An op whose first `given` arrays are inputs and whose others are constants. Unavailable where it is declined."""
    build = Builder()
    refs: list[Any] = [build.input(a.shape, [s // a.itemsize for s in a.strides], a.dtype) for a in arrays[:given]]
    refs += [build.constant(a) if isinstance(a, np.ndarray) else a for a in arrays[given:]]
    lower = registry.lowering(op, next((a.kind for a in arrays if isinstance(a, Format)), "dense"))
    out = lower(build, *refs, **params) if lower is not None else None
    if out is None:
        raise Unavailable(f"{op} has no kernel for this")
    return Linked(build, out, arrays[:given], threads)


def repeats(flops: int) -> int:
    return max(1, round(REPEATED_NS * FLOPS_PER_NS / flops))


def linked_gemm(work: Gemm, threads: int) -> Linked:
    return link("matmul", list(work.arrays()), 2, threads)


def linked_conv(work: Conv, threads: int) -> Linked:
    """Forward with constant weights, as in inference; gradients with all arrays given, as in training."""
    x, w, bias, g = work.arrays()
    if work.part == "forward":
        return link("conv2d", [x, w, bias], 1, threads, **GEOMETRY)
    if work.part == "input grad":
        return link("conv2d_input_grad", [g, w], 2, threads, shape=x.shape, **GEOMETRY)
    return link("conv2d_weight_grad", [x, g], 2, threads, shape=w.shape, **GEOMETRY)


def linked_int8(work: Gemm | Conv, threads: int) -> tuple[Linked, Grid]:
    """Codes in, codes out, as between two layers of a quantised net; and the grid of the output."""
    x, w, *rest = work.arrays()
    grid = Grid.covering(float(x.min()), float(x.max()))
    codes = codes_like(x, grid)
    exact = link("matmul", [x, w], 2, threads) if isinstance(work, Gemm) else linked_conv(work, threads)
    y = exact.made().answer()
    leaving = Grid.covering(float(y.min()), float(y.max()))
    if isinstance(work, Gemm):
        return link("linear", [padded(codes), Int8.pack(w, 1, grid)], 1, threads, grid=leaving), leaving
    arrays = [padded(codes), Int8.pack(w, 0, grid), rest[0]]
    return link("conv2d", arrays, 1, threads, grid=leaving, **GEOMETRY), leaving


def codes_like(x: np.ndarray, grid: Grid) -> np.ndarray:
    """x on a grid, in the order of memory it has."""
    return grid.codes(x) if x.ndim == 2 else grid.codes(x.transpose(0, 2, 3, 1)).transpose(0, 3, 1, 2)


def padded(codes: np.ndarray) -> np.ndarray:
    """The same codes in the same order of memory, with bytes behind them that may be read."""
    order = np.argsort([-stride for stride in codes.strides], kind="stable")
    straight = codes.transpose(order)
    raw = np.zeros(codes.size + 64, np.uint8)
    copy = raw[: codes.size].reshape(straight.shape)
    copy[...] = straight
    return copy.transpose(np.argsort(order))


def gemm(work: Gemm, threads: int) -> Made:
    return linked_gemm(work, threads).made()


def gemm_repeated(work: Gemm, threads: int) -> Made:
    return linked_gemm(work, threads).made(repeats(work.flops))


def conv(work: Conv, threads: int) -> Made:
    return linked_conv(work, threads).made()


def conv_repeated(work: Conv, threads: int) -> Made:
    return linked_conv(work, threads).made(repeats(work.flops))


def conv_plain(work: Conv, threads: int) -> Made:
    """The sum over each window as it stands, whatever would be quicker."""
    x, w, bias, _ = work.arrays()
    build = Builder()
    image = padded_image(build, build.input(x.shape, [s // x.itemsize for s in x.strides]), GEOMETRY["padding"])
    kernel = build.constant(w.transpose(2, 3, 1, 0))
    y = correlate(build, image, kernel, build.constant(bias), GEOMETRY["stride"], GEOMETRY["dilation"], None)
    return Linked(build, y, [x], threads).made()


def int8(work: Gemm | Conv, threads: int) -> Made:
    linked, grid = linked_int8(work, threads)
    return linked.made(read=lambda codes: grid.values(codes))


def blocked(integers: bool, execution: Execution) -> Callable[[Blocked, int], Made]:
    """A layer of which blocks are zero, in float32 or from codes to codes; repeated, so that small ones show."""

    def implementation(work: Blocked, threads: int) -> Made:
        x, w, bias = work.arrays()
        op, geometry = ("linear", {}) if isinstance(work.layer, Affine) else ("conv2d", GEOMETRY)
        exact = link(op, [x, BlockSparse.pack(w, work.axis, execution=execution), bias], 1, threads, **geometry)
        if not integers:
            return exact.made(repeats(work.flops))
        y = exact.made().answer()
        grid, leaving = (Grid.covering(float(a.min()), float(a.max())) for a in (x, y))
        weight = BlockSparse.pack(Int8.pack(w, work.axis, grid), work.axis, execution=execution)
        linked = link(op, [padded(codes_like(x, grid)), weight, bias], 1, threads, grid=leaving, **geometry)
        return linked.made(repeats(work.flops), read=lambda codes: leaving.values(codes))

    return implementation


def one_thread(implementation: Callable[..., Made]) -> Callable[..., Made]:
    """The same with one thread, in a process that may use more."""
    return lambda work, threads: implementation(work, 1)


def fma_limit(work: Any, threads: int) -> Made:
    """Multiply-adds alone; `per_run` is how many FLOPs one run makes, so its time is that of one FLOP."""
    return limit("fma", limits.FMA_FLOPS, threads)


def dot_limit(work: Any, threads: int) -> Made:
    """The same for products of bytes."""
    return limit("dot", limits.DOT_OPS, threads)


def limit(kind: str, ops: int, threads: int) -> Made:
    rounds = PROBE_NS * FLOPS_PER_NS // limits.FMA_FLOPS
    run = limits.probe(kind, rounds, threads)
    return Made(lambda _: run(), lambda: np.zeros(0), per_run=rounds * threads * ops)


# -- nets --------------------------------------------------------------------------------------------------------------


def net_eager(work: Net, threads: int) -> Made:
    run, queries = eager(work.model()), work.queries()

    def answer() -> np.ndarray:
        with eagerly("numba"):
            return stacked(run, queries)

    return Made(run, answer, queries, lambda: eagerly("numba"))


def net_plan(work: Net, threads: int) -> Made:
    return planned(work, work.model(), threads)


def net_int8(work: Net, threads: int) -> Made:
    return planned(work, quantize(work.model(), calibration(work.name)), threads)


def planned(work: Net, model: Any, threads: int) -> Made:
    queries = work.queries()
    plan = tinytorch.compile(model, queries[0], threads)
    return Made(plan, lambda: stacked(plan, queries), queries)


def step_captured(work: TrainingStep, threads: int) -> Made:
    model, (x, y) = work.model(), work.data()
    optimizer = SGD(model.parameters(), lr=LEARNING_RATE)
    step = tinytorch.compile_step(model, optimizer, CrossEntropyLoss(), x, y, threads)

    def run(_: object) -> Any:
        return step(x, y)

    return Made(run, lambda: losses(run, nullcontext))


def step_fed(work: TrainingStep, threads: int) -> Made:
    """Captured, each batch another one, made from bytes by all that `ImageTransform` does, while a step runs."""
    model, (x, y) = work.model(), work.data()
    step = tinytorch.compile_step(model, SGD(model.parameters(), lr=LEARNING_RATE), CrossEntropyLoss(), x, y, threads)
    shape, rng = (FED_IMAGES, *x.shape[1:]), np.random.default_rng(2)
    data = ImageDataset(rng.integers(0, 256, shape, np.uint8), rng.integers(0, 10, FED_IMAGES))
    middle = (0.5,) * shape[1]
    transform = ImageTransform(middle, middle, padding=4, flip="alternate", cutout=8, seed=0)
    loader = DataLoader(data, work.batch, True, True, seed=0, transform=transform, prefetch=True)
    batches = concatenated.from_iterable(repeat(loader))

    def run(_: object) -> Any:
        images, labels = next(batches)
        return step(images.data, labels.data)

    return Made(run, lambda: losses(lambda _: step(x, y), nullcontext))


def operations(work: Chain, threads: int) -> Made:
    return chain(work, lambda: use_backend("numba"))


IMPLEMENTATIONS: dict[tuple[type, str], Callable[[Any, int], Made]] = {
    (Gemm, "kernel"): gemm,
    (Gemm, "repeated"): gemm_repeated,
    (Gemm, "one thread"): one_thread(gemm),
    (Gemm, "int8"): int8,
    (Gemm, "fma limit"): fma_limit,
    (Gemm, "dot limit"): dot_limit,
    (Conv, "kernel"): conv,
    (Conv, "repeated"): conv_repeated,
    (Conv, "one thread"): one_thread(conv),
    (Conv, "plain sums"): conv_plain,
    (Conv, "int8"): int8,
    (Conv, "fma limit"): fma_limit,
    (Conv, "dot limit"): dot_limit,
    (Blocked, "dense"): blocked(False, "dense"),
    (Blocked, "blocks"): blocked(False, "blocks"),
    (Blocked, "int8 dense"): blocked(True, "dense"),
    (Blocked, "int8 blocks"): blocked(True, "blocks"),
    (Net, "eager"): net_eager,
    (Net, "plan"): net_plan,
    (Net, "int8 plan"): net_int8,
    (TrainingStep, "eager"): stepping("numba"),
    (TrainingStep, "captured"): step_captured,
    (TrainingStep, "captured and fed"): step_fed,
    (Chain, "eager"): operations,
}


def prepare(threads: int) -> None:
    """To be called once, before anything is made."""
    set_num_threads(threads)
