"""Disks that are full and folders that are closed: a clear refusal, and nothing in part."""

import os
import random
from pathlib import Path

from leaderboard.selftest.made import FILES, halves, keep, submission, tree
from leaderboard.selftest.outcome import Outcome, Tick
from leaderboard.selftest.processes import child
from leaderboard.store import path_of
from leaderboard.verdict import canonical


def full_disk(scratch: Path, times: int, seed: int, tick: Tick) -> Outcome:
    """No file may grow beyond some size, random up to that of the largest, so that each of them is cut off in turn."""
    sizes, lost, fault = random.Random(seed), [], "a disk that is full in the middle of a file"
    one = submission("")
    largest = max(len(canonical(one.model_dump(mode="json"))), *map(len, FILES.values()))
    if os.name != "posix":
        return Outcome(fault, 0, "needs RLIMIT_FSIZE", ())
    board = scratch / "full disk"
    keep(board, "there before")
    before = tree(board)
    for life in range(times):
        with child("limited", board, f"life {life}", sizes.randrange(largest)) as process:
            said = process.communicate()[0]
        if not said.startswith("refused leaderboard: cannot keep the submission under") or "Make room" not in said:
            lost.append(f"said {said[:80]!r}")
        lost += halves(board)
        if tree(board) != before:
            lost.append("something was left")
        tick()
    return Outcome(fault, times, "refused with a reason, nothing left", tuple(lost))


def closed_folder(scratch: Path, tick: Tick) -> Outcome:
    """Nobody may write into the directory, or into the deepest of the folders below it that are there."""
    lost, fault = [], "a folder that is read-only"
    if os.name != "posix":
        return Outcome(fault, 0, "needs POSIX permissions", ())
    scratch.chmod(0o711)  # root tries it as somebody else, who must get there
    levels = ("board", *path_of(submission("")).parent.parts)
    for level in range(1, len(levels) + 1):
        board = scratch / f"closed {level}" / levels[0]
        folder = board.joinpath(*levels[1:level])
        folder.mkdir(parents=True)
        for above in (folder, *folder.parents):
            if above.is_relative_to(board):
                above.chmod(0o777)
        folder.chmod(0o555)
        with child("powerless", board, "another") as process:
            said = process.communicate()[0]
        folder.chmod(0o755)
        if not said.startswith("refused leaderboard: cannot keep the submission under") or "denied" not in said:
            lost.append(f"said {said[:80]!r}")
        if tree(board) or any(folder.iterdir()):
            lost.append("something was left")
        tick()
    return Outcome(fault, len(levels), "refused with a reason, nothing left", tuple(lost))
