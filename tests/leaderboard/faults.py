"""One fault for each code that a file can raise: changes to the honest submission that break this rule and no other.

`test_gates.py` judges them in memory, `fixtures.py` makes files of them.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import pytest

from leaderboard import Reason
from tests.leaderboard.honest import MS, PAIRS, generating, walls_of

Changes = dict[str, Any]
COUNTS = ("quality.ref_correct", "quality.opt_correct", "quality.ref_only", "quality.opt_only")
PER_PAIR = ("ref_block_ns", "opt_block_ns", "order")
PER_BLOCK = ("cpu_ns", "minflt", "nivcsw", "parent_block_ns", "idle_cpu_ns", "idle_ns")


class Fault(NamedTuple):
    """What to change, and what the rule then says: `measured`, and a part of `required`."""

    changes: Changes
    measured: Any
    required: str


class Forgery(NamedTuple):
    """What to change in the sealed file; `resealed` gives it a fitting hash, as a careful forger would."""

    changes: Changes
    says: str
    resealed: bool = True


def in_all(field: str, value: Any, workers: int = 5) -> Changes:
    return {f"raw.workers.{worker}.{field}": value for worker in range(workers)}


def worker_with(**fields: Any) -> Callable[[dict[str, Any]], dict[str, Any]]:
    """A worker with other fields, whose parent saw what its blocks say."""

    def changed(worker: dict[str, Any]) -> dict[str, Any]:
        other = worker | fields
        return other | {"parent_block_ns": walls_of(other)}

    return changed


def shortened(worker: dict[str, Any]) -> dict[str, Any]:
    """A worker that measured a pair less."""
    cut = {name: worker[name][: PAIRS - 1] for name in PER_PAIR}
    return worker | cut | {name: worker[name] and worker[name][: 2 * PAIRS - 2] for name in PER_BLOCK}


def renumbered(workers: list[Any], order: tuple[int, ...]) -> list[Any]:
    """The same workers as if they had run in another order: from the slowest to the quickest."""
    by_place = {place: workers[worker] for place, worker in enumerate(order)}
    return [worker | {"pid_order": place} for place, worker in by_place.items()]


def answers(correct: int, reference: int = 356, n: int = 360) -> Changes:
    """Changes that give the candidate so many correct answers."""
    return dict.fromkeys(("quality.ref_only", "quality.opt_only")) | {
        "quality.n": n,
        "quality.ref_correct": reference,
        "quality.opt_correct": correct,
        "quality.value": correct / n,
        "quality.ref_value": reference / n,
    }


def loss(value: float, reference: float = 1.0, floor: float = 2.0, shuffled: float = 5.0) -> Changes:
    """Changes that make quality a loss; one who knows nothing has 4."""
    return dict.fromkeys(COUNTS) | {
        "task.higher_is_better": False, "task.quality_floor": floor,
        "quality.value": value, "quality.ref_value": reference,
        "audits.weight_shuffle": {"quality": shuffled, "ratio": 1.0, "chance": 4.0},
    }  # fmt: skip


def half_a_cpu(worker: dict[str, Any]) -> dict[str, Any]:
    return worker | {"cpu_ns": [wall // 2 for wall in walls_of(worker)]}


NOISE = {f"raw.workers.{worker}": half_a_cpu for worker in (0, 1)}

INVALID: dict[str, Fault] = {
    "QUALITY_GATE": Fault(answers(352), 352, ">= 353 correct"),
    "QUALITY_FLOOR": Fault({"task.quality_floor": 0.99}, 354 / 360, ">= 0.99"),
    "OUTPUT_LENGTH": Fault(
        {"task.output_tokens": 16}, "no answers timed token by token", "16 tokens in every answer"
    ),
    "GREEDY_AGREEMENT": Fault(generating() | {"generation.greedy_agreement": 0.75}, 0.75, "1.0 of the tokens"),
    "TEST_SET_INCOMPLETE": Fault({"task.n_test": 361}, 360, "361 test samples"),
    "TOO_FEW_WORKERS": Fault({"raw.workers": lambda workers: workers[:4]}, 4, ">= 5 workers"),
    "TOO_FEW_BLOCKS": Fault({"raw.workers.2": shortened}, 14, ">= 15 block pairs"),
    "TOO_FEW_QUERIES": Fault({"raw.queries.opt_ns": lambda times: times[:63]}, 63, ">= 64 queries"),
    "BLOCK_TOO_SHORT": Fault(
        {"raw.workers.3": worker_with(ref_block_ns=[19_999_999] * 15, inner_ref=80, cpu_ns=None)},
        19_999_999,
        ">= 20000000 ns",
    ),
    "NOT_STEADY": Fault({"raw.workers.4.steady": False}, 1, "0 unsteady workers"),
    "RECOMPILED_WHILE_TIMED": Fault({"raw.workers.0.compiled_while_timed": 2}, 2, "0 kernels"),
    "NOISY": Fault(NOISE, pytest.approx(0.4), "<= 20% of blocks"),
    "CLOCK_INCONSISTENT": Fault({"raw.workers.1.wall_ns": 10**8}, pytest.approx(7.4, rel=0.05), "<= 1"),
    "THREAD_POLICY": Fault({"env.blas.threads": 2}, "blas pool of 2", "1 thread in every pool"),
    "DIVISION_RULE": Fault({"candidate.retrained": True}, "retrained", "not trained further"),
    "PRACTICE_ONLY": Fault({"division": "practice"}, "practice", "closed or open"),
    "PERF_ACC_MISMATCH": Fault({"raw.workers.3.kept_mismatches": 2}, 2, "0 answers that differ"),
    "CACHING_SUSPECTED": Fault({"audits.same_sample_ratio": 1.21}, 1.21, "<= 1.2 (trace by one sample"),
    "SEED_SENSITIVE": Fault({"audits.alt_seed_ratio": 0.8}, 0.8, "within a factor of 1.2"),
    "WEIGHTS_IGNORED": Fault({"audits.weight_shuffle.quality": 0.9}, 0.9, "<= 0.320833 (accuracy with shuffled"),
    "BACKGROUND_WORK": Fault(
        {"raw.workers.2.idle_cpu_ns": [MS] * 2 * PAIRS}, pytest.approx(0.5), "<= 0.1 of a CPU in the pauses"
    ),
    "REFERENCE_OUT_OF_BAND": Fault(
        {"raw.reference_alone.block_ns": [15 * MS]}, pytest.approx(5 / 3, rel=0.01), "<= 1.25"
    ),
    "HARNESS_MODIFIED": Fault({"harness.dirty": True}, "changed files", "as committed"),
    "CALIBRATION_LEAK": Fault(
        {"audits.test_files_read": ["t10k-images-idx3-ubyte.gz"]}, "t10k-images-idx3-ubyte.gz", "no file of the test"
    ),
}  # fmt: skip

WARNING: dict[str, Fault] = {
    "TREND": Fault({"raw.workers": lambda workers: renumbered(workers, (2, 4, 0, 3, 1))}, "rising", "up and down"),
    "WIDE_CI": Fault(
        {"raw.workers.2": lambda worker: worker_with(
            ref_block_ns=[round(time * 0.9) for time in worker["ref_block_ns"]], cpu_ns=None)(worker)},
        pytest.approx(0.075, rel=0.1),
        "<= 0.05",
    ),
    "ON_BATTERY": Fault({"env.on_mains": False}, "battery", "mains"),
    "GOVERNOR": Fault({"env.governor": "powersave"}, "powersave", "performance"),
    "TURBO": Fault({"env.turbo": True}, "on", "off"),
    "LOAD": Fault({"env.load_1m": 1.01}, 1.01, "<= 1 before the run"),
    "CPU_QUOTA": Fault({"env.cgroup_quota": 1.5}, 1.5, ">= 2 CPUs"),
    "VIRTUALISED": Fault({"env.virtualised": True}, "virtual machine", "real hardware"),
    "UNKNOWN_ENV": Fault({"env.turbo": None, "env.governor": None}, "governor, turbo", "known"),
}  # fmt: skip

# What no rule can find in the data: the harness hands it in, because it knows the pins.
HANDED_IN: dict[str, tuple[Changes, Reason]] = {
    code: (
        {place: "f" * 64},
        Reason(code=code, severity="invalid", measured=f"other {what}", required="the pinned ones", hint="restore"),
    )
    for code, place, what in (
        ("REFERENCE_HASH", "reference.checkpoint_sha256", "weights"),
        ("DATASET_HASH", "task.dataset_sha256", "data"),
    )
}  # fmt: skip

# Files that claim what does not follow from them, or that cannot be read.
FORGED: dict[str, Forgery] = {
    "SCHEMA": Forgery({"quality.cheated": False}, "quality.cheated: Extra inputs are not permitted"),
    "SCHEMA_VERSION": Forgery({"schema_version": "9.0.0"}, "schema 9.0.0; this leaderboard reads 1.0.0"),
    "HASH_MISMATCH": Forgery({"notes": "edited"}, "it was changed", resealed=False),
    "DERIVED_MISMATCH": Forgery({"derived.ratio": 40.0}, "derived.ratio is 40.0, but the raw data give 3.98"),
    "VALIDITY_MISMATCH": Forgery(
        {"raw.workers.4.steady": False, "derived.score": None}, "status is VALID, but the data make it INVALID"
    ),
}


MANY = ("QUALITY_GATE", "NOT_STEADY", "THREAD_POLICY", "CACHING_SUSPECTED", "SEED_SENSITIVE", "HARNESS_MODIFIED")


def many_at_once() -> Changes:
    """A file of many faults, and a remark."""
    return {path: value for code in MANY for path, value in INVALID[code].changes.items()} | WARNING["TURBO"].changes
