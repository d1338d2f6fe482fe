"""A leaderboard to look at: some forty made-up submissions by eight people over two months.

    python -m tests.leaderboard.demo DIR

Its figures are drawn, not measured. Tests of the pages read it, and the README's picture shows it.
"""

import math
import random
import sys
from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from hashlib import sha256
from pathlib import Path
from typing import Any

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from leaderboard import Measured, Submission, finalise, verification, write
from leaderboard.schema import TIME_FORMAT
from tests.leaderboard.honest import MS, PAIRS, change, honest, walls_of

FIRST, LASTS = datetime(2026, 10, 1, 9), timedelta(days=60, hours=7)
TEAMS = (None, "Team Cache", "Night Owls")
WEIGHTS = b"There are no weights: nothing here was trained.\n"
PEOPLE = ("Ada", "Grace", "Alan", "Katherine", "Edsger", "Radia", "Donald", "Barbara")
# model: reference's time of a query in us, bytes, right answers, test samples, first score, how much is to be gained
MODELS: dict[str, tuple[float, int, int, int, float, float]] = {
    "mlp": (24.0, 26_280, 355, 360, 6.0, 4.0),
    "cnn": (160.0, 24_360, 357, 360, 20.0, 4.0),
    "transformer": (5200.0, 422_912, 498, 500, 30.0, 5.0),
}


def board(seed: int = 0, count: int = 42) -> list[Submission]:
    """The same submissions for the same seed."""
    noise = random.Random(seed)
    skill = {name: noise.uniform(0.35, 1.0) for name in PEOPLE}
    found = []
    for place in range(count):
        day = place / max(count - 1, 1)
        name = PEOPLE[place] if place < len(PEOPLE) else noise.choice(PEOPLE)
        model = list(MODELS)[place % 3] if place < 24 else noise.choice(["mlp", "cnn", "cnn", "transformer"])
        is_open = noise.random() < 0.25
        _, _, _, _, first, gain = MODELS[model]
        learnt = skill[name] * (0.25 + 0.75 * day) * noise.uniform(0.75, 1.05)
        ratio = first * gain**learnt * (1.3 if is_open else 1)
        found.append(_submission(noise, name, model, is_open, ratio, day, {}))
    return found


def made(seed: int, ratio: float = 10.0, **changes: Any) -> Submission:
    """One of Ada's for `cnn`, changed by dotted paths."""
    further = {"division": "closed"} | changes
    return _submission(random.Random(seed), "Ada", "cnn", False, ratio, day=seed / 100, further=further)


def _submission(
    noise: random.Random, name: str, model: str, is_open: bool, ratio: float, day: float, further: Mapping[str, Any]
) -> Submission:
    query_us, size, right, samples, *_ = MODELS[model]
    lost = noise.choice([0, 0, 1, 2, 3, 3])
    worse = noise.random() < 0.08
    stored = round(size / noise.uniform(3.0, 4.2) / (noise.uniform(1.5, 2.5) if is_open else 1))
    content = honest()
    changes: dict[str, Any] = {
        "created_utc": (FIRST + day * LASTS).strftime(TIME_FORMAT),
        "submitter": {"id": name.lower(), "display_name": name, "team": noise.choice(TEAMS)},
        "division": "open" if is_open else "practice" if noise.random() < 0.05 else "closed",
        "model": model,
        "benchmark_version": f"{model}-2026",
        "task.n_test": samples,
        "reference.id": f"{model}-f32",
        "reference.bytes": size,
        "candidate.bytes_stored": stored,
        "candidate.retrained": is_open,
        "env.cpu_model": noise.choice(["AMD EPYC 9B14", "AMD Ryzen 7 7840U", "Intel Core i5-1240P"]),
        "env.virtualised": noise.random() < 0.3,
        "quality": _quality(samples, right, right - (right // 12 if worse else lost)),
        "pipeline": _pipeline(noise, ratio, right, lost, size, stored),
        "files": {"candidate.safetensors": sha256(WEIGHTS).hexdigest()},
        "raw.queries.ref_ns": _queries(noise, 1000 * query_us),
        "raw.queries.opt_ns": _queries(noise, 1000 * query_us / ratio),
    }
    change(content, changes | further)
    content["raw"]["reference_alone"]["inner"] = round(25_000 / query_us)
    for worker in content["raw"]["workers"]:
        worker["inner_ref"] = round(25_000 / query_us)
        _blocks(noise, worker, ratio * math.exp(noise.gauss(0, 0.012)))
    return finalise(Measured.model_validate(content))


def _quality(samples: int, right: int, kept: int) -> dict[str, Any]:
    return {
        "n": samples, "ref_correct": right, "opt_correct": kept, "ref_only": right - kept, "opt_only": 0,
        "value": kept / samples, "ref_value": right / samples,
    }  # fmt: skip


def _pipeline(
    noise: random.Random, ratio: float, right: int, lost: int, size: int, stored: int
) -> list[dict[str, Any]]:
    """Five stages that lead from the reference to this ratio and size."""
    steps = {
        "profile": (1.0, size, 0),
        "quantize": (ratio**0.1, round(size / 3.4), min(lost, 1)),
        "prune": (ratio**0.15, stored, lost),
        "cache": (ratio**0.55, stored, lost),
        "accelerate": (ratio * 0.99, stored, lost),
    }
    return [
        {
            "stage": stage,
            "enabled": True,
            "emulated": stage == "quantize",
            "config": {"amount": round(noise.uniform(0.3, 0.7), 2)} if stage == "prune" else {},
            "blocks": {
                "inner_ref": 1, "inner_opt": 1, "ref_block_ns": [round(MS * reached)] * 3, "opt_block_ns": [MS] * 3,
                "order": ["ref", "opt", "ref"],
            },
            "correct": right - missed,
            "bytes": bytes_after,
        }
        for stage, (reached, bytes_after, missed) in steps.items()
    ]  # fmt: skip


def _queries(noise: random.Random, typical_ns: float) -> list[int]:
    """256 times with a long tail to the right, as single queries have."""
    return [round(typical_ns * math.exp(abs(noise.gauss(0, 0.04)) + (noise.random() < 0.04) * 0.3)) for _ in range(256)]


def _blocks(noise: random.Random, worker: dict[str, Any], ratio: float) -> None:
    """25 ms blocks in which the candidate does `ratio` times more; every block spreads by 1.5 %."""
    worker["inner_opt"] = max(round(worker["inner_ref"] * ratio), 1)
    exact = worker["inner_opt"] / worker["inner_ref"] / ratio
    worker["ref_block_ns"] = [round(25 * MS * math.exp(noise.gauss(0, 0.015))) for _ in range(PAIRS)]
    worker["opt_block_ns"] = [round(25 * MS * exact * math.exp(noise.gauss(0, 0.015))) for _ in range(PAIRS)]
    walls = walls_of(worker)
    worker["parent_block_ns"] = [wall + MS // 10 for wall in walls]
    worker["cpu_ns"] = [round(wall * 0.99) for wall in walls]
    worker["wall_ns"] = sum(walls) + 3 * MS


def replays(submissions: Sequence[Submission]) -> list[verification.Verification]:
    """What an instructor signs of the older half: two in three were replayed, and one of them was not what it said."""
    key = Ed25519PrivateKey.from_private_bytes(b"a key that is known to everybody")
    valid = [one for one in submissions if one.derived.score is not None]
    return [
        verification.sign(_replay(one, failed=place == 4), key)
        for place, one in enumerate(valid[: len(valid) * 2 // 3])
        if place % 3
    ]


def _replay(one: Submission, failed: bool) -> verification.Replay:
    ratio = one.derived.ratio * (0.31 if failed else 0.99)
    allowed = f"{0.9 * one.derived.ratio:.3g} to {1.1 * one.derived.ratio:.3g}"
    return verification.Replay(
        submission_id=one.submission_id,
        content_sha256=one.integrity.content_sha256,
        verifier="instructor",
        created_utc=(FIRST + LASTS).strftime(TIME_FORMAT),
        machine=one.env,
        secret_seed_sha256="8" * 64,
        sandboxed=True,
        checks=(
            verification.Check(code="FILE_HASH", passed=True, measured="1 file", required="the declared hashes"),
            verification.Check(code="HIDDEN_QUALITY", passed=True, measured=0.98, required=">= 0.97"),
            verification.Check(code="RATIO_MISMATCH", passed=not failed, measured=round(ratio, 2), required=allowed),
        ),
        ratio=ratio,
        result="FAIL" if failed else "PASS",
    )


def keep(directory: Path, submissions: Sequence[Submission]) -> None:
    """Write a board with its travelling files and its records."""
    for one in submissions:
        write(one, directory, {"candidate.safetensors": WEIGHTS} if one.files else None)
    for record in replays(submissions):
        verification.write(record, directory)


if __name__ == "__main__":
    keep(Path(sys.argv[1]), board())
