"""Which machine and which versions the figures belong to, as found; what the system does not tell is None."""

from __future__ import annotations

import platform
from typing import Any

from mlperf.environment import installed, load_1m, turbo
from profiler.machine import cpu_model

PACKAGES = ("numpy", "numba", "llvmlite", "torch", "onnx", "onnxruntime")


def machine() -> dict[str, Any]:
    """CPU, path through its vector instructions, system, versions."""
    from kernels.cpu import PATH, VNNI

    return {
        "cpu": cpu_model(),
        "simd": PATH,
        "int8_dot_product": VNNI,
        "os": platform.platform(),
        "python": platform.python_version(),
        "turbo": turbo(),
        "load_1m": load_1m(),
        **{package: installed(package) for package in PACKAGES},
    }
