"""A report whose figures are round, on a machine whose figures are round."""

from __future__ import annotations

from typing import Any

from profiler.report import Line, Memory, Moment, Report
from profiler.roofline import Ceilings

K, M = 1 << 10, 1 << 20
MACHINE = Ceilings(
    cpu="Quick 9", simd="avx2", threads=2, float32_flops_per_s=100e9, int8_ops_per_s=400e9, call_ns=1000, step_ns=10,
    bandwidth=((16 * K, 400e9), (M, 100e9), (128 * M, 20e9)), caches=(("L1", 32 * K), ("L2", M)),
    measured_utc="2026-01-02T03:04:05Z",
)  # fmt: skip


def line(layer: str = "0", op: str = "linear", ns: float = 1e6, **more: Any) -> Line:
    """A line; a product of 40 MFLOP and 1 MiB in a millisecond unless told otherwise."""
    figures: dict[str, Any] = {
        "layer": layer, "kind": "Linear", "phase": "forward", "op": op, "kernels": ("product",), "calls": 1,
        "shapes": ((32, 512), (512, 512), None), "out_shape": (32, 512), "flops": 40_000_000, "bytes": M,
        "ns": ns, "ns_low": 0.9 * ns, "ns_high": 1.1 * ns,
    }  # fmt: skip
    figures["operations"] = more.get("flops", figures["flops"])
    return Line(**figures | more)


LINES = (
    line(),
    line("1", "relu", 1e5, kind="ReLU", shapes=((32, 512),), flops=16_384, bytes=128 * K, kernels=()),
    line("1", "relu_grad", 1e5, kind="ReLU", phase="backward", shapes=((32, 512),) * 2, flops=16_384, bytes=192 * K),
    line("0", "linear_weight_grad", 6e5, phase="backward", shapes=((32, 512), (32, 512)), out_shape=(512, 512)),
    line("", "adam_step", 1e5, kind="", phase="update", calls=2, shapes=((512, 512),), flops=2_621_440, bytes=8 * M),
)  # fmt: skip
MEMORY = Memory(
    parameter_bytes=M, gradient_bytes=M, optimizer_bytes=2 * M, activation_bytes=128 * K, peak_bytes=1_300_000,
    resident_bytes=200 * M, timeline=(
        Moment(at_ns=1000, layer="0", phase="forward", op="linear", bytes=65_536, peak_bytes=70_000),
        Moment(at_ns=2000, layer="0", phase="backward", op="linear_weight_grad", bytes=1_200_000, peak_bytes=1_300_000),
    ),
)  # fmt: skip


def report(**changes: Any) -> Report:
    """A training step of two layers: 1.9 ms in ops, 0.1 ms outside."""
    figures: dict[str, Any] = {
        "subject": "made up", "form": "eager", "backend": "numba", "threads": 2, "passes": 20, "lines": LINES,
        "created_utc": "2026-01-02T03:04:05Z", "wall_ns": 2e6, "wall_low_ns": 1.9e6, "wall_high_ns": 2.1e6,
        "observed_ns": 2.05e6, "outside_ns": 1e5, "memory": MEMORY, "ceilings": MACHINE, "doubts": ("too round",),
    }  # fmt: skip
    return Report(**figures | changes)
