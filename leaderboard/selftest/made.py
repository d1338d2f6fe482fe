"""Submissions to be hard on: made up, VALID, each with files that travel and all different from each other."""

import os
from hashlib import sha256
from pathlib import Path
from typing import Any

from leaderboard import travelling
from leaderboard.example import honest
from leaderboard.schema import Measured, Submission
from leaderboard.store import file_problems, load_all, write
from leaderboard.verdict import finalise

FILES = {
    "weights.safetensors": b"weights" * 1200,
    "entry/main.py": b"def optimize(model, calibration, context):\n    return model\n",
    "entry/settings.json": b"{}",
}
DECLARED = {path: sha256(content).hexdigest() for path, content in FILES.items()}
_BASE = Measured.model_validate(honest() | {"files": DECLARED})


def submission(notes: str, **parts: Any) -> Submission:
    """One with these notes, which tell it from others, and with other parts in place of the honest ones."""
    return finalise(_BASE.model_copy(update={"notes": notes, **parts}))


def varied(seed: int) -> Submission:
    """One with times, submitter and model of its own, and no files."""
    content = honest(seed, advantage=3 + seed % 18 / 10)
    name = f"Student {seed % 200}"
    content["submitter"] = {"id": name.lower().replace(" ", "-"), "display_name": name}
    content["model"] = ("perceptron", "xor", "mlp", "cnn", "transformer")[seed % 5]
    return finalise(Measured.model_validate(content))


def keep(directory: Path, notes: str) -> str:
    """Write one with its files; its id."""
    one = submission(notes)
    write(one, directory, FILES)
    return one.submission_id


def tree(directory: Path) -> dict[str, bytes]:
    """Every file below a directory, by its path there."""
    return {
        path.relative_to(directory).as_posix(): path.read_bytes() for path in directory.rglob("*") if path.is_file()
    }


def halves(directory: Path) -> list[str]:
    """What is there in part: problems of submissions and of their files, and files without their submission."""
    loaded = load_all(directory)
    found = [f"{problem.path}: {problem.code} {problem.reason}" for problem in loaded.problems]
    for one in loaded.submissions:
        found += [f"{problem.path}: {problem.reason}" for problem in file_problems(one, directory)]
    for place, folders, _ in os.walk(directory):
        for folder in (Path(place, name) for name in folders if name.endswith(travelling.SUFFIX)):
            if not (folder / travelling.UNFINISHED).exists() and not folder.with_suffix(".json").exists():
                found.append(f"{folder.name} has no submission")
    return found
