"""One honest submission in memory, and ways to change it: by dotted paths, so that a test states only its fault."""

import json
import math
import random
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest

from leaderboard import Measured, Submission, finalise
from leaderboard.verdict import content_sha256

PAIRS, WORKERS, QUERIES = 15, 5, 256
MS = 1_000_000


def _worker(place: int, advantage: float) -> dict[str, Any]:
    """Blocks of 25 ms in which the candidate does `advantage` times more queries per time, with 1 % of noise."""
    noise = random.Random(place)
    ref = [round(25 * MS * noise.uniform(0.99, 1.01)) for _ in range(PAIRS)]
    opt = [round(25 * MS * noise.uniform(0.99, 1.01) * 4 / advantage) for _ in range(PAIRS)]
    order = [("ref", "opt")[(pair + place) % 2] for pair in range(PAIRS)]
    walls = [wall for first, a, b in zip(order, ref, opt) for wall in ((a, b) if first == "ref" else (b, a))]
    return {
        "pid_order": place,
        "hash_seed": place,
        "inner_ref": 100,
        "inner_opt": 400,
        "ref_block_ns": ref,
        "opt_block_ns": opt,
        "order": order,
        "warmup_blocks": 6,
        "steady": True,
        "compiled_while_timed": 0,
        "cold_start_ns": 900 * MS,
        "cpu_ns": [round(wall * 0.99) for wall in walls],
        "minflt": [0] * len(walls),
        "nivcsw": [1] * len(walls),
        "wall_ns": sum(walls) + 3 * MS,
    }


def _honest() -> dict[str, Any]:
    noise = random.Random(99)
    return {
        "benchmark_version": "4f1c0ffee" + "0" * 23,
        "created_utc": "2025-03-01T12:00:00Z",
        "submitter": {"id": "ada", "display_name": "Ada", "team": None},
        "division": "closed",
        "thread_policy": "t1",
        "threads": 1,
        "model": "cnn",
        "task": {
            "dataset": "digits",
            "dataset_sha256": "1" * 64,
            "n_test": 360,
            "metric": "accuracy",
            "quality_floor": 0.95,
            "split_seed": 0,
        },
        "reference": {
            "id": "cnn-f32",
            "checkpoint_sha256": "2" * 64,
            "n_params": 7786,
            "bytes": 31_144,
            "flops": 800_000,
        },
        "candidate": {
            "checkpoint_sha256": "3" * 64,
            "nonzero_params": 5000,
            "bytes_stored": 8000,
            "weight_dtypes": ["int8", "float32"],
            "retrained": False,
            "pruned": True,
        },
        "pipeline": [
            {"stage": "profile", "enabled": True},
            {
                "stage": "quantize",
                "enabled": True,
                "emulated": True,
                "config": {"bits": 8, "percentile": 99.9, "layers": ["conv", "linear"]},
                "calibration_ids_sha256": "4" * 64,
                "calibration_n": 128,
                "seed": 0,
                "blocks": {
                    "inner_ref": 1,
                    "inner_opt": 2,
                    "ref_block_ns": [100, 90, 110],
                    "opt_block_ns": [100, 90, 110],
                    "order": ["ref", "opt", "ref"],
                },
                "correct": 354,
                "bytes": 8000,
                "flops": 800_000,
            },
            {"stage": "prune", "enabled": False},
        ],
        "harness": {
            "version": "0.1.0",
            "git_commit": "a" * 40,
            "dirty": False,
            "files_sha256": {"harness.py": "5" * 64},
        },
        "seeds": {"data": 1, "order": 2, "schedule": 3, "audit": None},
        "env": {
            "os": "Linux",
            "python": "3.11.7",
            "blas": {"vendor": "openblas", "threads": 1},
            "numba_threads": 1,
            "cpu_model": "a processor",
            "physical_cores": 2,
            "affinity_n": 2,
            "governor": "performance",
            "turbo": False,
            "on_mains": True,
            "load_1m": 0.1,
            "virtualised": False,
        },
        "raw": {
            "workers": [_worker(place, advantage) for place, advantage in enumerate((4.0, 4.1, 3.9, 4.05, 3.95))],
            "queries": {
                "ref_ns": [round(250_000 * noise.uniform(1, 1.2)) for _ in range(QUERIES)],
                "opt_ns": [round(62_500 * noise.uniform(1, 1.2)) for _ in range(QUERIES)],
                "trace_sha256": "6" * 64,
            },
        },
        "quality": {
            "n": 360,
            "ref_correct": 356,
            "opt_correct": 354,
            "ref_only": 3,
            "opt_only": 1,
            "value": 354 / 360,
            "ref_value": 356 / 360,
            "labels_sha256": "7" * 64,
        },
    }


def _set(content: dict[str, Any], changes: Mapping[str, Any]) -> None:
    """Set values by dotted paths; a function is applied to the value that is there."""
    for path, value in changes.items():
        *steps, last = [int(step) if step.isdigit() else step for step in path.split(".")]
        place: Any = content
        for step in steps:
            place = place[step]
        place[last] = value(place[last]) if callable(value) else value


def _entry(name: str, ratio: float, width: float, **changes: Any) -> Submission:
    """A submission with exactly this ratio; ratio_lo and ratio_hi are `width` (relative) below and above it."""
    content = _honest()
    for worker, shift in zip(content["raw"]["workers"], (0, width, -width, 0, 0)):
        worker["ref_block_ns"] = [round(25 * MS * ratio * math.exp(shift))] * PAIRS
        worker["opt_block_ns"] = [25 * MS] * PAIRS
        worker["inner_opt"] = worker["inner_ref"]
        worker["cpu_ns"] = None
        worker["wall_ns"] = 10**12
    content["submitter"] = {"id": name.lower(), "display_name": name}
    _set(content, changes)
    return finalise(Measured.model_validate(content))


@pytest.fixture
def alter() -> Callable[..., Measured]:
    """`alter({"quality.opt_correct": 350})`: the honest run with these values changed."""

    def build(changes: Mapping[str, Any] | None = None) -> Measured:
        content = _honest()
        _set(content, changes or {})
        return Measured.model_validate(content)

    return build


@pytest.fixture
def entry() -> Callable[..., Submission]:
    """`entry("Ada", 4.0, 0.05, **{"quality.n": ...})`: a submission with a chosen interval."""
    return _entry


@pytest.fixture
def generating() -> dict[str, Any]:
    """Changes that make the honest run one whose answers are written token by token: three of four tokens each."""
    later = [[20_000, 22_000, 21_000], [20_000, 19_000, 21_000], [20_000, 21_000, 30_000]]
    generation = {
        "prompts": 3, "tokens": [4, 4, 4], "ttft_ns": [150_000, 120_000, 130_000], "per_token_ns": later,
        "greedy_agreement": 1.0,
    }  # fmt: skip
    return {"generation": generation, "task.output_tokens": 4}


@pytest.fixture
def honest(alter: Callable[..., Measured]) -> Submission:
    """The honest submission, VALID without any warning."""
    return finalise(alter())


@pytest.fixture
def forge(honest: Submission, tmp_path: Path) -> Callable[..., Path]:
    """Write the honest submission with changes; `resealed` gives it a fitting hash, as a careful forger would."""

    def build(changes: Mapping[str, Any], resealed: bool = True) -> Path:
        content = honest.model_dump(mode="json")
        _set(content, changes)
        if resealed:
            content["integrity"]["content_sha256"] = content_sha256(content)
            content["submission_id"] = content["integrity"]["content_sha256"][:12]
        path = tmp_path / "forged.json"
        path.write_text(json.dumps(content))
        return path

    return build
