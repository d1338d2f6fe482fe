"""Single kernels: matrix products, the convolutions of the milestone nets and their gradients, products of bytes.

With one thread each is compared with the machine's limit, which is measured in the same rounds, and with the peers;
with several, the large ones are compared with one thread.
"""

from __future__ import annotations

from benchmarks.contest import Case, Contestant
from benchmarks.libraries import NUMPY, ONNX, OURS, TORCH
from benchmarks.work import Conv, Gemm, Part

GROUP = "kernels"
GEMMS = (64, 128, 256, 512, 1024)
SHAPES = ((1, 16, 8), (16, 32, 4), (3, 64, 32), (64, 128, 16))  # channels, filters, size, of cnn and cnn-cifar10
BATCHES = (1, 64, 128)
GRADIENTS: tuple[Part, ...] = ("input grad", "weight grad")
GRADIENT_BATCH = 128
INT8 = (Gemm(512), Conv(64, 64, 32, 1))
LARGE_FLOPS = 50_000_000  # from here on, more than one thread is of use

KERNEL, REPEATED, SINGLE = (Contestant(OURS, name) for name in ("kernel", "repeated", "one thread"))
PLAIN = Contestant(OURS, "plain sums")  # convolution without fast transforms: as many multiplications as int8 does
INT8_KERNEL = Contestant(OURS, "int8", "int8")
FMA_LIMIT, DOT_LIMIT = (Contestant(OURS, f"{name} limit", "none") for name in ("fma", "dot"))
PEERS = (Contestant(TORCH, "eager"), Contestant(ONNX, "float32"), Contestant(NUMPY, "eager"))


def works(quick: bool) -> list[Gemm | Conv]:
    """All shapes; a few of each kind if `quick`."""
    if quick:
        return [Gemm(64), Gemm(512), Conv(16, 32, 4, 64), Conv(64, 128, 16, 1),
                *[Conv(16, 32, 4, 64, part) for part in GRADIENTS]]  # fmt: skip
    forward = [Conv(*shape, batch) for shape in SHAPES for batch in BATCHES]
    # The first convolution of a net passes no gradient on.
    grads = [Conv(*shape, GRADIENT_BATCH, part) for part in GRADIENTS for shape in SHAPES
             if part == "weight grad" or shape[0] > 3]  # fmt: skip
    return [*map(Gemm, GEMMS), *forward, *grads]


def peers_of(work: Gemm | Conv) -> tuple[Contestant, ...]:
    """ONNX Runtime has no gradients, and NumPy's im2col is far behind on large images."""
    if isinstance(work, Gemm):
        return PEERS
    return PEERS[:2] if work.part == "forward" else PEERS[:1]


def cases(threads: int, quick: bool) -> list[Case]:
    """What is compared with so many threads."""
    if threads > 1:
        large = [work for work in works(quick) if work.flops >= LARGE_FLOPS]
        return [Case(GROUP, work, (KERNEL, SINGLE, *peers_of(work))) for work in large]
    exact = [Case(GROUP, work, (KERNEL, REPEATED, FMA_LIMIT, *peers_of(work))) for work in works(quick)]
    in_bytes = (KERNEL, INT8_KERNEL, FMA_LIMIT, DOT_LIMIT)
    return exact + [Case(GROUP, work, (*in_bytes, *((PLAIN,) if isinstance(work, Conv) else ()))) for work in INT8]
