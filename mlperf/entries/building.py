"""Building an entry: its `optimize` runs once in a process of its own, and what it keeps is collected.

The process is given the training part alone. Which files of the test data it opened all the same is told, and judged
by the leaderboard (CALIBRATION_LEAK).
"""

from __future__ import annotations

import hashlib
import shutil
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from leaderboard import Candidate, EntrySource, Stage
from mlperf import environment, process
from mlperf.confinement import limits
from mlperf.confinement.hearing import Refused
from mlperf.confinement.sandbox import locked_up
from mlperf.contestant import CANDIDATE, Contestant, Making
from mlperf.entries import context
from mlperf.entries.source import FOLDER, Source, unpack
from mlperf.sources import places
from mlperf.tasks import Task
from tinytorch import weights

FACTORY = "mlperf.entries.entry:pair"
BUILDING = replace(limits.ENTRY, seconds=1800)  # it may train
SEED = 0  # of what an entry draws, so that a replay draws the same


def write_training(task: Task, folder: Path) -> Path:
    """The training part as files that processes map."""
    folder.mkdir(exist_ok=True)
    np.save(folder / "x.npy", task.data.x_train)
    np.save(folder / "y.npy", task.data.y_train)
    return folder


def given_to(task: Task, main: str, folder: Path, threads: int) -> dict[str, Any]:
    """What a process is told that builds or measures the entry that lies in a folder, the training part included."""
    return {
        "task": task.name,
        "folder": str(folder / FOLDER),
        "main": main,
        "training": str(write_training(task, folder / "training")),
        "kept": str(folder / context.FOLDER),
        "threads": threads,
        "seed": SEED,
    }


def built(task: Task, main: str, folder: Path, threads: int, model_sha256: str | None) -> Making:
    """How workers make an entry that was built before and lies in a folder."""
    return Making(FACTORY, {**given_to(task, main, folder, threads), "model_sha256": model_sha256}, limits.ENTRY)


def of_entry(task: Task, source: Source, folder: Path, threads: int, sandboxed: bool = False) -> Contestant:
    """Build an entry in a folder. Raises Refused where it fails, breaks a rule or reaches a limit, WorkerError where it
    dies.

    It may write to a folder within that one, which is removed; what it keeps stays.
    """
    unpack(source, folder / FOLDER)
    given, private = given_to(task, source.main, folder, threads), folder / "private"
    private.mkdir()
    data = places(task.dataset)
    job = {**given, "kept": str(private / context.FOLDER), "test_files": data}
    facts = process.run(
        "mlperf.entries.entry:build", job, threads=threads, name="the entry's build", limits=BUILDING, folder=private,
        sandbox=locked_up([folder], data) if sandboxed else None,
    )  # fmt: skip
    written = [] if facts["model_sha256"] is None else [CANDIDATE]
    for name in (*map(context.file_of, facts["kept"]), *written):
        require_plain(private, name)
    for name in (context.FOLDER, CANDIDATE):
        if (private / name).exists():
            (private / name).rename(folder / name)
    shutil.rmtree(private)
    return contestant(task, source, folder, threads, given, facts)


def require_plain(folder: Path, name: str) -> None:
    """Refused where an entry said that it keeps a file and there is none, or a link to what may be none of its own."""
    path = folder / name
    if path.resolve() != folder.resolve() / name or not path.is_file():
        raise Refused("ENTRY", f"{name} is no plain file; keep things by `context.once` and leave them there")


def contestant(
    task: Task, source: Source, folder: Path, threads: int, given: Mapping[str, Any], facts: Mapping[str, Any]
) -> Contestant:
    """A built entry as what is measured and entered.

    What the context's stages made is as large as its file; of anything else all that it keeps counts, or the reference
    where it keeps nothing. The source counts, too.
    """
    kept = set(map(context.file_of, facts["kept"]))
    files = {path: (folder / path).read_bytes() for path in kept}
    weights_bytes = sum(map(len, files.values())) or task.checkpoint.stat().st_size
    if facts["model_sha256"] is not None:
        files[CANDIDATE] = (folder / CANDIDATE).read_bytes()
        if facts["staged"]:
            weights_bytes = len(files[CANDIDATE])
    digest = hashlib.sha256("".join(hashlib.sha256(files[path]).hexdigest() for path in sorted(files)).encode())
    candidate = Candidate(
        checkpoint_sha256=digest.hexdigest() if files else weights.sha256(task.checkpoint),
        code_sha256=environment.code_sha256(),
        nonzero_params=facts["nonzero"],
        bytes_stored=weights_bytes + source.bytes,
        flops=facts["flops"],
        weight_dtypes=tuple(facts["dtypes"]),
        retrained=bool(kept),
        pruned=False,
        form="entry",
        threads=threads,
    )
    stage = Stage(stage="entry", enabled=True, config={"main": source.main, "kept": list(facts["kept"])})
    return Contestant(
        making=Making(FACTORY, {**given, "model_sha256": facts["model_sha256"]}, limits.ENTRY),
        candidate=candidate,
        stages=(stage,),
        files={**files, **source.travelling},
        entry=EntrySource(main=f"{FOLDER}/{source.main}"),
        test_files_read=tuple(facts["test_files_read"]),
    )
