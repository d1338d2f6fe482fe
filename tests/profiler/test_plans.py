"""Plans, captured steps and decoders, profiled: a line for each kernel step, and all lines make up a pass."""

from __future__ import annotations

import numpy as np
import pytest
from tabulate import tabulate

import profiler
import tinytorch
from profiler.lines import lines
from profiler.plans import profile_plan
from profiler.profiling import watched_passes
from profiler.report import Line
from tinytorch import GPT, Adam, Conv2d, CrossEntropyLoss, Decoder, Flatten, Linear, MaxPool2d, ReLU, Sequential, models
from tinytorch.engine.watching import watchers
from tinytorch.perf.quantization import quantize

RNG = np.random.default_rng(0)


def sample(*shape: int) -> np.ndarray:
    return RNG.standard_normal(shape).astype(np.float32)


def cnn() -> Sequential:
    np.random.seed(0)
    return models.MODELS["cnn"]()


def profiled(plan, *inputs, budget_s: float = 0.05):
    return profile_plan(plan, *inputs, budget_s=budget_s, roofline=False)[0]


def without_times(lines: tuple[Line, ...]) -> str:
    told = "layer kind phase op kernels shapes out_shape flops operations arithmetic bytes"
    columns = told.split()
    rows = [[" ".join(line.kernels) if c == "kernels" else str(getattr(line, c)) for c in columns] for line in lines]
    return tabulate(rows, columns, tablefmt="simple", disable_numparse=True)


@pytest.mark.parametrize("kind", ["float32", "int8"])
def test_the_lines_of_a_plan_are_golden(kind, golden_plan):
    model, x = cnn(), sample(1, 1, 8, 8)
    if kind == "int8":
        model = quantize(model, sample(64, 1, 8, 8))
    report = profiled(tinytorch.compile(model, x), x)
    golden_plan(f"profile_cnn_{kind}", without_times(report.lines) + "\n")


def test_what_the_report_says():
    model, x = cnn(), sample(3, 1, 8, 8)
    plan = tinytorch.compile(model, x)
    report, recording = profile_plan(plan, x, budget_s=0.05, roofline=False, subject="the net")
    assert (report.subject, report.form, report.threads, report.ceilings) == ("the net", "plan", 1, None)
    assert report.flops == profiler.flops(model, x)
    for line in report.lines:
        assert line.calls == len(line.kernels) == 1 and 0 <= line.ns_low <= line.ns <= line.ns_high
    assert len(recording.calls) == len(report.lines) == len(plan.program.steps)
    assert (report.memory.arena_bytes, report.memory.constant_bytes) == (plan.arena_bytes, plan.constant_bytes)
    assert 0 < report.memory.peak_bytes < 1 << 20 and report.memory.activation_bytes == 0
    assert "readings of the clock inside the compiled loop" in report.doubts[-1] and not watchers
    assert type(report).model_validate_json(report.model_dump_json()) == report
    assert "0+1+2" in str(report)


@pytest.mark.parametrize("threads", [1, 2])
def test_steps_add_up_to_what_a_pass_takes_unwatched(threads):
    """Large enough that a pass takes milliseconds. The quickest passes are compared, watched and not, since others may
    work on the machine, and there are a few attempts.
    """
    np.random.seed(0)
    model = Sequential(
        Conv2d(3, 32, 3, padding=1), ReLU(), Conv2d(32, 32, 3, padding=1), ReLU(), MaxPool2d(2), Flatten(),
        Linear(32 * 16 * 16, 128), ReLU(), Linear(128, 10),
    )  # fmt: skip
    x = sample(32, 3, 32, 32)
    plan, missed = tinytorch.compile(model, x, threads=threads), []
    for _ in range(5):
        watched, free_ns = watched_passes(lambda: plan(x), None, budget_s=0.5)
        _, steps_ns = lines(watched.recording.calls, watched.recording.table, watched.recording.ends)
        missed.append(steps_ns.min() / min(free_ns))
        if 0.95 <= missed[-1] <= 1.05:
            return
    raise AssertionError(f"steps over wall time: {missed}")


def test_a_captured_step_is_profiled_and_taken_back():
    model, x, y = cnn(), sample(16, 1, 8, 8), np.arange(16) % 10
    optimizer = Adam(model.parameters())
    step = tinytorch.compile_step(model, optimizer, CrossEntropyLoss(), x, y)
    before, count = model.state_dict(), optimizer.step_count
    report = profiled(step, x, y)
    assert {line.phase for line in report.lines} == {"forward", "backward", "update"}
    assert {line.layer for line in report.lines if line.phase == "update"} == {"0", "3", "7"}
    assert optimizer.step_count == count
    for name, value in model.state_dict().items():
        np.testing.assert_array_equal(value, before[name])


def test_the_flops_of_a_captured_step_are_those_of_eager_training():
    model, x, y = cnn(), sample(16, 1, 8, 8), np.arange(16) % 10
    optimizer, loss = Adam(model.parameters()), CrossEntropyLoss()
    step = tinytorch.compile_step(model, optimizer, loss, x, y)
    with profiler.record(model) as eager:
        loss(model(tinytorch.Tensor(x)), tinytorch.Tensor(y)).backward()
        optimizer.step()
    lines = profiled(step, x, y).lines
    for phase in ("forward", "backward", "update"):
        of_step = sum(line.flops for line in lines if line.phase == phase)
        assert of_step == sum(row.flops for row in eager.rows if row.phase == phase), phase


def test_a_decoder_reads_one_token_and_stays_where_it_is():
    np.random.seed(0)
    gpt = GPT(11, embed_dim=8, num_layers=1, num_heads=2, max_seq_len=8)
    decoder, other = Decoder(gpt), Decoder(gpt)
    for d in (decoder, other):
        d.prefill([[1, 2, 3]])
    report = profiled(decoder, [4])
    assert any(line.op == "cached_attention" for line in report.lines)
    assert "half of all positions" in report.doubts[-1]
    np.testing.assert_array_equal(decoder.decode([4]), other.decode([4]))


def test_plans_inside_a_recording_are_rows_among_the_others():
    model, x = cnn(), sample(2, 1, 8, 8)
    plan = tinytorch.compile(model, x)
    with profiler.record(model) as recording:
        plan(x)
        model(tinytorch.Tensor(x))
        plan(x)
    rows = recording.rows
    steps = [row for row in rows if row.layer == "0+1+2"]
    assert len(steps) == 4 and len(recording.calls) < len(rows)
    assert {row.layer for row in rows} >= {"0", "1", "0+1+2"}
    ends = [row.start_ns + row.ns for row in rows]
    assert ends == sorted(ends) and recording.began_ns <= rows[0].start_ns and ends[-1] <= recording.ended_ns


def test_what_is_refused():
    with pytest.raises(TypeError, match="profile: a list cannot be profiled; give a model, a plan, a captured step or"):
        profile_plan([], sample(1))
    x = sample(2, 1, 8, 8)
    with pytest.raises(tinytorch.engine.plan.PlanError, match="the plan was captured for"):
        profile_plan(tinytorch.compile(cnn(), x), x[:1])
    assert not watchers
