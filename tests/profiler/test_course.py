"""The course's Profiler: its names, its units, and figures that are measured."""

from __future__ import annotations

import time

import numpy as np
import pytest

from tinytorch import Linear, ReLU, Sequential, Tensor, models
from tinytorch.perf.profiling import Profiler, analyze_weight_distribution, quick_profile

rng = np.random.default_rng(0)


def test_counts():
    profiler = Profiler()
    assert profiler.count_parameters(Linear(128, 64)) == 8256
    assert profiler.count_parameters(object()) == 0
    assert profiler.count_flops(Linear(128, 64), (1, 128)) == 16384
    assert profiler.count_flops(Linear(128, 64), (32, 128)) == 16384  # of one sample
    assert profiler.count_flops(models.transformer(), (2, 17)) == 3_669_824


def test_memory_of_a_large_layer():
    memory = Profiler().measure_memory(Linear(1024, 512), (32, 1024))
    assert memory["parameter_memory_mb"] == pytest.approx(2.0, rel=0.01)
    output = 32 * 512 * 4 / 2**20
    assert memory["activation_memory_mb"] == pytest.approx(output, rel=0.05)
    assert memory["peak_memory_mb"] >= memory["parameter_memory_mb"] + 3 * output - 0.01
    assert 0 < memory["memory_efficiency"] <= 1


def test_latency_and_the_elapsed_time_of_a_block():
    profiler, x = Profiler(), Tensor(rng.standard_normal((1, 128)))
    assert 0 < profiler.measure_latency(Linear(128, 64), x, warmup=2, iterations=5) < 1000
    with pytest.raises(ValueError, match="measure_latency: 0 iterations and 10 of warm-up; give at least 1 and 0"):
        profiler.measure_latency(Linear(128, 64), x, iterations=0)
    with profiler as block:
        time.sleep(0.02)
    assert 20 <= block.elapsed < 2000


def test_forward_and_backward_really_run():
    model, x = Sequential(Linear(64, 32), ReLU(), Linear(32, 8)), Tensor(rng.standard_normal((16, 64)))
    profiler = Profiler()
    forward = profiler.profile_forward_pass(model, x)
    assert forward["batch_flops"] == 16 * forward["flops"] == 16 * (2 * 64 * 32 + 32 + 2 * 32 * 8)
    assert forward["bottleneck"] in ("compute", "memory", "overhead") and forward["gflops_per_second"] > 0
    assert profiler.measurements == {"Sequential": forward}
    both = profiler.profile_backward_pass(model, x)
    counted = 2 * 64 * 32 + 2 * 2 * 32 * 8 + 32  # no gradient is owed to the input
    assert both["backward_flops"] >= counted and both["total_flops"] == both["forward_flops"] + both["backward_flops"]
    assert both["gradient_memory_mb"] == pytest.approx(forward["parameter_memory_mb"])
    assert both["total_latency_ms"] >= both["backward_latency_ms"] >= 0


def test_a_layer_and_quick_profile(capsys):
    layer = Profiler().profile_layer(Linear(256, 128), (32, 256))
    assert (layer["layer_type"], layer["parameters"]) == ("Linear", 32896)
    result = quick_profile(Linear(16, 8), Tensor(rng.standard_normal((8, 16))))
    told = capsys.readouterr().out
    assert "parameters   136" in told and "FLOPs        256 a sample" in told and result["parameters"] == 136


def test_weights():
    model = Sequential(Linear(10, 10))
    model[0].weight.data[:] = 0.05
    model[0].bias.data[:] = 0.0
    stats = analyze_weight_distribution(model)
    assert stats["total_weights"] == 110 and stats["below_threshold_01"] == 100
    assert stats["below_threshold_001"] == pytest.approx(100 * 10 / 110)
    assert stats["percentile_50"] == pytest.approx(0.05)
    assert analyze_weight_distribution(ReLU()) == {"error": "No weights found"}
