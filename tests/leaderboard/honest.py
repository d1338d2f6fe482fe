"""The honest submission, and ways to change it: by dotted paths, so that a test states only its fault."""

import math
from collections.abc import Mapping
from typing import Any

from leaderboard import Measured, Submission, finalise
from leaderboard.example import MS, PAIRS, QUERIES, REF_QUERY_NS, WORKERS, honest, walls_of

__all__ = ["MS", "PAIRS", "QUERIES", "REF_QUERY_NS", "WORKERS", "change", "entry", "generating", "honest", "walls_of"]


def change(content: dict[str, Any], changes: Mapping[str, Any]) -> None:
    """Set values by dotted paths; a function is applied to the value that is there."""
    for path, value in changes.items():
        *steps, last = [int(step) if step.isdigit() else step for step in path.split(".")]
        place: Any = content
        for step in steps:
            place = place[step]
        place[last] = value(place[last]) if callable(value) else value


def generating() -> dict[str, Any]:
    """Changes that make the honest run one whose answers are written token by token: three of four tokens each."""
    later = [[20_000, 22_000, 21_000], [20_000, 19_000, 21_000], [20_000, 21_000, 30_000]]
    generation = {
        "prompts": 3, "tokens": [4, 4, 4], "ttft_ns": [150_000, 120_000, 130_000], "per_token_ns": later,
        "greedy_agreement": 1.0,
    }  # fmt: skip
    return {"generation": generation, "task.output_tokens": 4}


def entry(name: str, ratio: float, width: float, **changes: Any) -> Submission:
    """A submission with exactly this ratio; ratio_lo and ratio_hi are `width` (relative) below and above it."""
    content = honest()
    for worker, shift in zip(content["raw"]["workers"], (0, width, -width, 0, 0)):
        worker["ref_block_ns"] = [round(25 * MS * ratio * math.exp(shift))] * PAIRS
        worker["opt_block_ns"] = [25 * MS] * PAIRS
        worker["inner_opt"] = worker["inner_ref"]
        worker["cpu_ns"] = None
        worker["parent_block_ns"] = walls_of(worker)
        worker["wall_ns"] = 10**12
    content["raw"]["reference_alone"]["block_ns"] = [round(25 * MS * ratio)]
    content["submitter"] = {"id": name.lower(), "display_name": name}
    change(content, changes)
    return finalise(Measured.model_validate(content))
