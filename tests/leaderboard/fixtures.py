"""Makes the files in `fixtures/`: `python -m tests.leaderboard.fixtures`, after a change of a rule, a pin or a version.

honest.json is VALID; CODE.json fails for that reason alone; MANY.json for several. Those of older versions of the
schema were made by the code of their day and are never made again.
"""

import json
from pathlib import Path
from typing import Any

from leaderboard import Measured, finalise
from leaderboard.verdict import canonical, content_sha256
from mlperf import tasks
from tests.leaderboard import faults, honest

FOLDER = Path(__file__).parent / "fixtures"
MODEL = "cnn"


def base() -> dict[str, Any]:
    """The honest submission as one of this very task, with fewer figures where the rules need no more."""
    task, content = tasks.find(MODEL), honest.honest()
    pins = {
        "benchmark_version": task.version,
        "task.dataset": task.dataset,
        "task.dataset_sha256": task.dataset_sha256,
        "reference.checkpoint_sha256": task.weights_sha256,
        "reference.code_sha256": tasks.REFERENCE_CODE_SHA256,
    }
    fewer = {f"raw.queries.{arm}": lambda times: times[:64] for arm in ("ref_ns", "opt_ns")}
    for field in ("cpu_ns", "minflt", "nivcsw"):
        fewer |= faults.in_all(field, None)
    honest.change(content, pins | fewer)
    return content


def sealed(changes: faults.Changes, *further: Any) -> dict[str, Any]:
    """The submission after these changes, as a harness would seal it."""
    content = base()
    honest.change(content, changes)
    return finalise(Measured.model_validate(content), further).model_dump(mode="json")


def forged(forgery: faults.Forgery) -> dict[str, Any]:
    """The honest file, changed afterwards."""
    content = sealed({})
    honest.change(content, forgery.changes)
    if forgery.resealed:
        content["integrity"]["content_sha256"] = content_sha256(content)
        content["submission_id"] = content["integrity"]["content_sha256"][:12]
    return content


def all_files() -> dict[str, bytes]:
    """Name and content of every file."""
    files = {"honest": sealed({}), "MANY": sealed(faults.many_at_once())}
    files |= {code: sealed(fault.changes) for code, fault in faults.INVALID.items()}
    files |= {code: sealed(changes, reason) for code, (changes, reason) in faults.HANDED_IN.items()}
    files |= {code: forged(forgery) for code, forgery in faults.FORGED.items()}
    files["BENCHMARK_VERSION"] = sealed({"benchmark_version": "0" * 12})
    return {f"{name}.json": canonical(content) + b"\n" for name, content in files.items()}


def main() -> None:
    """Write them all, and remove what is no longer made."""
    FOLDER.mkdir(exist_ok=True)
    files = all_files()
    for path in FOLDER.glob("*.json"):
        if path.name not in files and not path.name.startswith("v"):
            path.unlink()
    for name, content in files.items():
        (FOLDER / name).write_bytes(content)
    print(json.dumps({"files": len(files), "bytes": sum(map(len, files.values()))}))


if __name__ == "__main__":
    main()
