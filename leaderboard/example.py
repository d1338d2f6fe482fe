"""A made-up run, for trying out what becomes of runs: none of its figures was measured, and nobody is shown it."""

import random
from collections.abc import Mapping
from typing import Any

PAIRS, WORKERS, QUERIES = 15, 5, 256
MS = 1_000_000
REF_QUERY_NS = 250_000


def walls_of(worker: Mapping[str, Any]) -> list[int]:
    """The times of a worker's blocks in the order in which they ran."""
    pairs = zip(worker["order"], worker["ref_block_ns"], worker["opt_block_ns"])
    return [wall for first, a, b in pairs for wall in ((a, b) if first == "ref" else (b, a))]


def _worker(place: int, advantage: float, seed: int) -> dict[str, Any]:
    """Blocks of 25 ms in which the candidate does `advantage` times more queries per time, with 1 % of noise."""
    noise = random.Random(place + WORKERS * seed)
    worker: dict[str, Any] = {
        "pid_order": place,
        "hash_seed": place,
        "inner_ref": 100,
        "inner_opt": 400,
        "ref_block_ns": [round(25 * MS * noise.uniform(0.99, 1.01)) for _ in range(PAIRS)],
        "opt_block_ns": [round(25 * MS * noise.uniform(0.99, 1.01) * 4 / advantage) for _ in range(PAIRS)],
        "order": [("ref", "opt")[(pair + place) % 2] for pair in range(PAIRS)],
        "warmup_blocks": 6,
        "steady": True,
        "compiled_while_timed": 0,
        "cold_start_ns": 900 * MS,
        "threads_started": 0,
        "kept": 8,
        "kept_mismatches": 0,
    }
    walls = walls_of(worker)
    return worker | {
        "cpu_ns": [round(wall * 0.99) for wall in walls],
        "minflt": [0] * len(walls),
        "nivcsw": [1] * len(walls),
        "wall_ns": sum(walls) + 3 * MS,
        "parent_block_ns": [wall + MS // 10 for wall in walls],
        "idle_cpu_ns": [20_000] * len(walls),
        "idle_ns": [2 * MS] * len(walls),
    }


def honest(seed: int = 0, advantage: float = 4.0) -> dict[str, Any]:
    """The measured half of a submission that is VALID without any remark, `advantage` (up to 4.8) times faster."""
    noise = random.Random(99 + seed)
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
        "seeds": {"data": 1, "order": 2, "schedule": 3, "audit": 4},
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
            "workers": [
                _worker(place, advantage * luck, seed) for place, luck in enumerate((1, 1.025, 0.975, 1.0125, 0.9875))
            ],
            "queries": {
                "ref_ns": [round(REF_QUERY_NS * noise.uniform(1, 1.2)) for _ in range(QUERIES)],
                "opt_ns": [round(REF_QUERY_NS / 4 * noise.uniform(1, 1.2)) for _ in range(QUERIES)],
                "trace_sha256": "6" * 64,
            },
            "reference_alone": {"inner": 100, "block_ns": [25 * MS, 25 * MS + 1, 25 * MS - 1]},
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
        "audits": {
            "same_sample_ratio": 1.01,
            "fresh_ratio": 0.99,
            "alt_seed_ratio": 1.0,
            "weight_shuffle": {"quality": 0.1, "ratio": 1.02, "chance": 0.1},
        },
    }
