"""The course's names for the same measurements: `Profiler`, `quick_profile`, `analyze_weight_distribution`.

Where the course estimates, this measures: FLOPs are counted at the seam for any model, backward really runs,
activations are what the tape holds, and efficiency is a share of what this machine can do. Units are the course's:
milliseconds, MB of 2^20 bytes, FLOPs for one sample.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from profiler import cost
from profiler.clock import compare, stopwatch
from profiler.profiling import profile
from profiler.report import Report
from profiler.roofline import attainable_ns
from tinytorch.core.autograd import no_grad
from tinytorch.core.layers import Layer
from tinytorch.core.tensor import Tensor
from tinytorch.engine.dispatch import Phase

MB = 1 << 20
BUDGET_S = 0.5  # of each profile: notebooks ask for many


class Profiler:
    """`Profiler().profile_forward_pass(model, x)` and the like; `with Profiler() as p: ...` times a block (`p.elapsed`,
    in ms). `measurements` keeps the last forward profile of each class of models.
    """

    def __init__(self) -> None:
        self.measurements: dict[str, dict[str, Any]] = {}
        self.elapsed = 0.0

    def __enter__(self) -> Profiler:
        self._took = stopwatch().start()
        return self

    def __exit__(self, *exc: object) -> None:
        self.elapsed = self._took.seconds * 1e3

    def count_parameters(self, model: Any) -> int:
        """How many numbers a model's parameters hold, shared ones once; 0 for what has none."""
        if isinstance(model, Layer):
            return cost.parameters(model)
        return sum(p.size for p in model.parameters()) if hasattr(model, "parameters") else 0

    def count_flops(self, model: Layer, input_shape: Sequence[int]) -> int:
        """FLOPs of one forward pass for one sample of a batch of this shape; 2 for a multiply-add."""
        return cost.flops(model, made_up(model, input_shape)) // samples(input_shape)

    def measure_memory(self, model: Layer, input_shape: Sequence[int]) -> dict[str, float]:
        """In MB: parameters, activations held for backward, the peak of a forward pass with parameters and input."""
        x = made_up(model, input_shape)
        return memory(profile(model, x, budget_s=0, roofline=False), x)

    def measure_latency(self, model: Layer, input_tensor: Tensor, warmup: int = 10, iterations: int = 100) -> float:
        """Median time of a forward pass in ms, without recording gradients."""
        if iterations < 1 or warmup < 0:
            raise ValueError(f"measure_latency: {iterations} iterations and {warmup} of warm-up; give at least 1 and 0")
        with no_grad():
            for _ in range(warmup):
                model(input_tensor)
            return compare({"": lambda: model(input_tensor)}, rounds=iterations, sample_ns=1)[""].median_ns / 1e6

    def profile_layer(self, layer: Layer, input_shape: Sequence[int]) -> dict[str, Any]:
        """The forward profile of a layer on random input of this shape."""
        return {"layer_type": type(layer).__name__, **self.profile_forward_pass(layer, made_up(layer, input_shape))}

    def profile_forward_pass(self, model: Layer, input_tensor: Tensor) -> dict[str, Any]:
        """What a forward pass costs: counts, memory, time, rates, and what bounds it on this machine."""
        with no_grad():
            report = profile(model, input_tensor, backward=False, budget_s=BUDGET_S)
        held = profile(model, input_tensor, budget_s=0, roofline=False)
        result = {
            "parameters": self.count_parameters(model),
            "flops": report.flops // samples(input_tensor.shape),
            "batch_flops": report.flops,
            "latency_ms": report.wall_ns / 1e6,
            **memory(held, input_tensor),
            **rates(report, samples(input_tensor.shape)),
        }
        self.measurements[type(model).__name__] = result
        return result

    def profile_backward_pass(self, model: Layer, input_tensor: Tensor) -> dict[str, Any]:
        """Forward and backward as they really run; the latter's time and FLOPs are its own ops'."""
        forward = self.profile_forward_pass(model, input_tensor)
        report = profile(model, input_tensor, budget_s=BUDGET_S)
        n = samples(input_tensor.shape)
        assert report.memory is not None
        gradients = report.memory.gradient_bytes / MB
        total_ms = report.wall_ns / 1e6
        return {
            "forward_flops": forward["flops"],
            "forward_latency_ms": forward["latency_ms"],
            "forward_memory_mb": forward["peak_memory_mb"],
            "backward_flops": spent(report, "backward", "flops") // n,
            "backward_latency_ms": max(0.0, total_ms - forward["latency_ms"]),
            "gradient_memory_mb": gradients,
            "total_flops": report.flops // n,
            "total_latency_ms": total_ms,
            "total_memory_mb": (report.memory.parameter_bytes + report.memory.peak_bytes) / MB,
            "total_gflops_per_second": report.flops / report.wall_ns,
            "optimizer_memory_estimates": {"sgd": 0, "adam": 2 * gradients, "adamw": 2 * gradients},
            "memory_efficiency": forward["memory_efficiency"],
            "bottleneck": forward["bottleneck"],
        }


def samples(shape: Sequence[int]) -> int:
    """How many samples a batch of this shape has; one axis alone is one sample."""
    return shape[0] if len(shape) > 1 else 1


def made_up(model: Any, shape: Sequence[int]) -> Tensor:
    """Random input of a shape: ids where the model has a vocabulary, else standard normal numbers."""
    rng = np.random.default_rng(0)
    vocabulary = getattr(model, "vocab_size", None)
    return Tensor(rng.standard_normal(shape) if vocabulary is None else rng.integers(0, vocabulary, shape))


def memory(report: Report, x: Tensor) -> dict[str, float]:
    """The course's figures of memory, from a report whose forward recorded gradients."""
    held = report.memory
    assert held is not None
    forward = [moment.peak_bytes for moment in held.timeline if moment.phase == "forward"]
    peak = held.parameter_bytes + x.data.nbytes + max(forward, default=0)
    useful = held.parameter_bytes + x.data.nbytes + held.activation_bytes
    return {
        "parameter_memory_mb": held.parameter_bytes / MB,
        "activation_memory_mb": held.activation_bytes / MB,
        "peak_memory_mb": peak / MB,
        "memory_efficiency": min(1.0, useful / peak) if peak else 0.0,
    }


def rates(report: Report, n: int) -> dict[str, Any]:
    """Rates of a pass over n samples, the share of it that this machine would need at least, and what bounds it."""
    from profiler.tables import against_roof

    most = report.ceilings
    assert most is not None
    least = sum(attainable_ns(most, one.operations, one.bytes, one.arithmetic, one.calls) for one in report.lines)
    bottleneck = "overhead" if report.outside_ns > report.ops_ns else against_roof(report, report.lines)[1]
    return {
        "gflops_per_second": report.flops / report.wall_ns,
        "throughput_samples_per_sec": n / report.wall_ns * 1e9,
        "memory_bandwidth_mbs": report.bytes / report.wall_ns * 1e9 / MB,
        "computational_efficiency": least / report.wall_ns,
        "bottleneck": bottleneck,
        "is_memory_bound": bottleneck == "memory",
        "is_compute_bound": bottleneck == "compute",
    }


def spent(report: Report, phase: Phase, what: str) -> Any:
    return sum(getattr(line, what) for line in report.lines if line.phase == phase)


def quick_profile(model: Layer, input_tensor: Tensor, profiler: Profiler | None = None) -> dict[str, Any]:
    """The forward profile, also printed in a few lines."""
    result = (profiler or Profiler()).profile_forward_pass(model, input_tensor)
    print(f"parameters   {result['parameters']:,}")
    print(f"FLOPs        {result['flops']:,} a sample")
    print(f"latency      {result['latency_ms']:.3f} ms")
    print(f"peak memory  {result['peak_memory_mb']:.3f} MB")
    print(f"bound by     {result['bottleneck']}; {result['computational_efficiency']:.1%} of what the machine can do")
    return result


def analyze_weight_distribution(model: Any, percentiles: Sequence[float] = (10, 25, 50, 75, 90)) -> dict[str, Any]:
    """Statistics of the weights' absolute values: mean, std, min, max, percentiles, and how many percent are small."""
    tensors = model.parameters() if hasattr(model, "parameters") else [getattr(model, "weight", None)]
    weights = [np.abs(t.data).ravel() for t in tensors if t is not None]
    if not weights or not sum(w.size for w in weights):
        return {"error": "No weights found"}
    size = np.concatenate(weights)
    stats: dict[str, Any] = {"total_weights": size.size}
    stats |= {name: float(getattr(np, name)(size)) for name in ("mean", "std", "min", "max")}
    stats |= {f"percentile_{p}": float(np.percentile(size, p)) for p in percentiles}
    for threshold in (0.001, 0.01, 0.1):
        stats[f"below_threshold_{str(threshold).replace('.', '')}"] = float((size < threshold).mean() * 100)
    return stats
