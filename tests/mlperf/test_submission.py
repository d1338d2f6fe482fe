"""From reports to a submission, without measuring: quality, pins, the environment."""

import json
from dataclasses import replace

import numpy as np
import pytest

from mlperf import cgroup, environment, submission, tasks, worker
from mlperf.contestant import dtypes_of
from mlperf.metrics import sha256_of
from mlperf.pins import pin_reasons
from mlperf.process import Report
from mlperf.submission import Entry, generation_of, quality_of
from profiler import machine
from tinytorch import models
from tinytorch.perf.compression import magnitude_prune
from tinytorch.perf.quantization import quantize


def report(ref_labels, opt_labels):
    return Report({}, {}, [], ref_labels, opt_labels, {}, 1)


def test_quality_counts_and_takes_the_worst_worker():
    truth = np.array([0, 1, 1, 0])
    reports = [report([0, 1, 1, 1], [0, 1, 1, 0]), report([0, 1, 1, 1], [0, 0, 1, 0])]
    quality = quality_of(reports, tasks.DIGIT, truth)
    assert (quality.n, quality.ref_correct, quality.opt_correct) == (4, 3, 3)
    assert (quality.ref_only, quality.opt_only) == (1, 1)
    assert quality.value == 0.75
    assert quality.labels_sha256 == sha256_of([0, 0, 1, 0])


def tokens(same, later):
    times = {"tokens": [3] * len(same), "ttft_ns": [9] * len(same), "per_token_ns": later, "same": same}
    return report([], [])._replace(generation=times)


def test_the_tokens_of_all_workers_are_kept():
    found = generation_of([tokens([3, 2], [[1, 2], [3, 4]]), tokens([3], [[5, 6]])], 3)
    assert (found.prompts, found.tokens, found.ttft_ns) == (3, (3, 3, 3), (9, 9, 9))
    assert found.per_token_ns == ((1, 2), (3, 4), (5, 6))
    assert found.greedy_agreement == 8 / 9
    assert generation_of([report([], [])], None) is None


def test_a_loss_is_kept_as_a_value():
    reports = [report([1.5, 1.7], [1.6, 1.8]), report([1.5, 1.7], [1.6, 2.0])]
    quality = quality_of(reports, tasks.NEXT_CHARACTER, np.zeros((2, 4)))
    assert (quality.n, quality.value, quality.opt_correct) == (2, 1.8, None)
    assert quality.ref_value == pytest.approx(1.6)


def test_sequences_are_right_as_a_whole():
    truth = np.array([[1, 2], [3, 4], [5, 6]])
    quality = quality_of([report(truth.tolist(), [[1, 2], [3, 5], [5, -1]])], tasks.STRING, truth)
    assert (quality.ref_correct, quality.opt_correct, quality.ref_only) == (3, 1, 2)
    assert quality.labels_sha256 == sha256_of([1, 2, 3, 5, 5, -1])


def test_anything_not_pinned_is_a_reason(untrained, monkeypatch):
    task = untrained("mlp")
    found = list(pin_reasons(task))
    assert found[0].code == "REFERENCE_HASH"
    assert found[0].measured.startswith("weights ")
    assert "python -m mlperf.tasks" in found[0].hint
    monkeypatch.setattr(tasks, "REFERENCE_CODE_SHA256", "f" * 64)
    other = replace(task)
    other.__dict__["data"] = task.data._replace(y_test=1 - task.data.y_test)
    codes = [(reason.code, reason.severity, str(reason.measured).split()[0]) for reason in pin_reasons(other)]
    assert codes == [
        ("REFERENCE_HASH", "invalid", "weights"),
        ("REFERENCE_HASH", "invalid", "code"),
        ("DATASET_HASH", "invalid", "data"),
    ]


def test_stored_dtypes_are_those_in_the_file():
    np.random.seed(0)
    model, x = models.mlp(), np.random.default_rng(0).standard_normal((9, 64)).astype(np.float32)
    assert dtypes_of(model) == ("float32",)
    assert dtypes_of(quantize(model, x)) == ("float32", "int8")
    assert dtypes_of(magnitude_prune(quantize(model, x), 0.5)) == ("float32", "int8", "uint8")


def test_order_schedule_and_audit_are_drawn_anew_and_the_data_seed_is_the_recipes():
    task = tasks.find("mlp")
    first, second = (submission.seeds_of(Entry(task, task.recipe, "me")) for _ in range(2))
    assert first.data == second.data == task.recipe.quantize.seed
    assert first.data is not None
    for name in ("order", "schedule", "audit"):
        assert getattr(first, name) != getattr(second, name)
    assert len({first.order, first.schedule, first.audit}) == 3


POOLS = worker.NO_POOLS


def test_environment_is_captured_or_null():
    found = environment.capture(POOLS, 1, None)
    assert found.python.startswith("CPython 3.")
    assert found.mem_total_bytes > 2**20
    assert found.affinity_n >= 1
    assert found.timer.overhead_ns > 0
    assert found.load_1m is None
    assert set(found.env_vars) == set(environment.THREAD_VARIABLES)
    json.loads(found.model_dump_json())


def test_what_the_system_hides_is_null(monkeypatch, tmp_path):
    for module, name in ((machine, "CPU_INFO"), (machine, "CPU_FOLDER"), (cgroup, "MOUNTED"), (cgroup, "MINE")):
        monkeypatch.setattr(module, name, tmp_path / "hidden")
    found = environment.capture(POOLS, 1, 0.5)
    assert (found.cpu_flags_sha256, found.governor, found.turbo, found.virtualised, found.cgroup_quota) == (None,) * 5


def test_system_files_are_understood(monkeypatch, tmp_path):
    monkeypatch.setattr(machine, "CPU_INFO", tmp_path / "cpuinfo")
    monkeypatch.setattr(machine, "CPU_FOLDER", tmp_path)
    monkeypatch.setattr(cgroup, "MOUNTED", tmp_path)
    monkeypatch.setattr(cgroup, "MINE", tmp_path / "mine")
    (tmp_path / "mine").write_text("0::/\n")
    (tmp_path / "cpuinfo").write_text("model name\t: Quick 9\nflags\t\t: sse hypervisor\n\nmodel name\t: other\n")
    (tmp_path / "cpu.max").write_text("150000 100000\n")
    (tmp_path / "cpufreq").mkdir()
    (tmp_path / "cpufreq/boost").write_text("0\n")
    found = environment.capture(POOLS, 1, 0.5)
    assert (found.cpu_model, found.virtualised, found.cgroup_quota, found.turbo) == ("Quick 9", True, 1.5, False)


@pytest.mark.parametrize(("mine", "files", "quota"), [
    ("0::/", {"cpu.max": "150000 100000"}, 1.5),
    ("0::/", {"cpu.max": "max 100000"}, None),
    ("0::/a/b", {"a/b/cpu.max": "max 100000", "a/cpu.max": "50000 100000", "cpu.max": "max"}, 0.5),  # that of a parent
    ("0::/not/shown", {"cpu.max": "200000 100000"}, 2.0),  # a container sees its own group as the mount
    ("1:cpu:/", {"cpu/cpu.cfs_quota_us": "-1", "cpu/cpu.cfs_period_us": "100000"}, None),
    ("3:cpu,cpuacct:/job", {"cpu,cpuacct/job/cpu.cfs_quota_us": "25000", "cpu,cpuacct/job/cpu.cfs_period_us": "100000"},
     0.25),
    ("2:cpuset:/\n1:cpu:/\n0::/", {"cpu/cpu.cfs_quota_us": "300000", "cpu/cpu.cfs_period_us": "100000"}, 3.0),
    ("0::/", {"cpu.max": "what is this"}, None),
    ("", {"cpu.max": "100000 100000"}, None),
])  # fmt: skip
def test_quotas_of_control_groups_of_both_versions(monkeypatch, tmp_path, mine, files, quota):
    monkeypatch.setattr(cgroup, "MOUNTED", tmp_path / "cgroup")
    monkeypatch.setattr(cgroup, "MINE", tmp_path / "mine")
    (tmp_path / "mine").write_text(mine + "\n")
    for name, text in files.items():
        path = tmp_path / "cgroup" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text + "\n")
    assert cgroup.cpu_quota() == quota


def test_every_file_of_the_harness_is_hashed(monkeypatch):
    found = environment.harness()
    assert {"mlperf/harness.py", "mlperf/worker.py", "mlperf/submission.py"} <= set(found.files_sha256)
    assert {"profiler/samples.py", "profiler/doubts.py"} <= set(found.files_sha256), "the clock measures"
    monkeypatch.setenv("PATH", "")
    without_git = environment.harness()
    assert (without_git.git_commit, without_git.dirty) == (None, None)


@pytest.mark.parametrize("fast", [True, False])
def test_fast_measures_less_than_ranked(fast):
    task = tasks.find("cnn")
    entry = Entry(task, task.recipe, "me", "practice", fast=fast)
    assert (entry.effort.workers < 5) is fast
