"""Processes that write at once, read while others write, or are killed in the middle of it."""

import argparse
import random
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from importlib import import_module
from importlib.util import find_spec
from io import StringIO
from pathlib import Path

from leaderboard import atomic, travelling
from leaderboard.selftest.made import halves, keep, tree
from leaderboard.selftest.outcome import Outcome, Tick
from leaderboard.store import load_all

WRITERS = 8
ID_DIGITS = 12
ENDLESS = "1000000"
WRITING_S = 0.1  # a killed writer has had up to so long, some ten submissions


@contextmanager
def child(*arguments: object) -> Iterator[subprocess.Popen]:
    """A process that is past its imports, and gone after the block."""
    words = [sys.executable, "-m", "leaderboard.selftest.child", *map(str, arguments)]
    with subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True) as process:
        try:
            assert process.stdout is not None
            process.stdout.readline()
            yield process
        finally:
            process.kill()


def kept(process: subprocess.Popen) -> set[str]:
    """The ids a writer has said it kept; a last line that a kill cut off says nothing."""
    said = process.communicate()[0].split("\n")
    return {line for line in said if len(line) == ID_DIGITS}


def start(directory: Path, writers: int, number: int) -> list[subprocess.Popen]:
    """Writers at once, each of so many submissions."""
    words = [sys.executable, "-m", "leaderboard.selftest.child", "write", str(directory)]
    return [
        subprocess.Popen([*words, f"writer {place}", str(number)], stdout=subprocess.PIPE, text=True)
        for place in range(writers)
    ]


def at_once(scratch: Path, number: int, tick: Tick) -> Outcome:
    """Eight processes write `number` submissions each, into the same folder."""
    board = scratch / "at once"
    said = [kept(process) for process in start(board, WRITERS, number)]
    present = {one.submission_id for one in load_all(board).submissions}
    lost = [f"{name} was kept and is not there" for name in set().union(*said) - present]
    lost += [f"a writer kept {len(ids)} of {number}" for ids in said if len(ids) < number]
    tick()
    whole = WRITERS * number
    return Outcome(f"{WRITERS} processes x {number} submissions at once", whole, "present", (*lost, *halves(board)))


def while_writing(scratch: Path, number: int, tick: Tick) -> Outcome:
    """Somebody lists the directory, files and all, for as long as four processes write into it."""
    board = scratch / "read"
    board.mkdir()
    writers, lost, readings = start(board, 4, number), [], 0
    while any(process.poll() is None for process in writers):
        lost += halves(board)
        readings += any(board.iterdir())  # before the first submission there is nothing to see
    for process in writers:
        process.communicate()
    tick()
    return Outcome("reading while 4 processes write", readings, "saw nothing but whole submissions", tuple(lost))


def killed_writing(scratch: Path, times: int, seed: int, tick: Tick) -> Outcome:
    """kill -9 at random moments of submitting: what was kept is there, nothing is there in part, the next one goes."""
    moments, lost = random.Random(seed), []
    for life in range(times):
        board = scratch / f"killed writing {life}"
        with child("write", board, f"life {life}", ENDLESS) as process:
            time.sleep(moments.uniform(0, WRITING_S))
            process.kill()
            said = kept(process)
        present = {one.submission_id for one in load_all(board).submissions}
        lost += [f"{name} was kept and is not there" for name in said - present]
        lost += halves(board)
        with impatient():
            next_one = keep(board, "after the kill")
        lost += left_over(board)
        if {one.submission_id for one in load_all(board).submissions} != present | {next_one}:
            lost.append("the submission after the kill changed what was there")
        shutil.rmtree(board)
        tick()
    return Outcome("kill -9 while submitting", times, "nothing lost or in part, the next one kept", tuple(lost))


def killed_command(scratch: Path, name: str, times: int, seed: int, tick: Tick) -> Outcome:
    """kill -9 at random moments of a command that makes `out` from `source`, over an `out` made from less.

    A merge leaves whole submissions; what others make is the old or the new. Run again, the command comes to what it
    comes to undisturbed.
    """
    moments, lost = random.Random(seed), []
    small, source = (boards_for(scratch, name, number) for number in (2, 12))
    old, whole = scratch / f"{name} old", scratch / f"{name} whole"
    arguments = COMMANDS[name]
    old.mkdir()
    _finish(name, arguments(small, old))
    shutil.copytree(old, whole)
    begun = time.time()
    _finish(name, arguments(source, whole))
    seconds = time.time() - begun
    for life in range(times):
        out = scratch / f"{name} {life}"
        shutil.copytree(old, out)
        with child("command", name, *arguments(source, out)) as process:
            time.sleep(moments.uniform(0, seconds))
            process.kill()
            process.communicate()
        lost += halves(out)
        seen = {path: data for path, data in tree(out).items() if not path.endswith(".tmp")}
        if name != "merge" and seen not in (tree(old), tree(whole)):
            lost.append("neither the old nor the new was there")
        with impatient():
            _finish(name, arguments(source, out))
        lost += left_over(out)
        if tree(out) != tree(whole):
            lost.append("run again after the kill, it came to something else")
        shutil.rmtree(out)
        tick()
    return Outcome(f"kill -9 while in `{name}`", times, "nothing in part, run again it completes", tuple(lost))


COMMANDS: dict[str, Callable[[Path, Path], list[object]]] = {
    "export": lambda source, out: ["csv", "--leaderboard", source, "--out", out / "board.csv"],
    "merge": lambda source, out: [source, "--into", out],
    "html": lambda source, out: ["--leaderboard", source, "--out", out],
}


def commands() -> list[str]:
    """The commands that write, as far as they are there."""
    return [name for name in COMMANDS if find_spec(f"leaderboard.{name}")]


def boards_for(scratch: Path, name: str, number: int) -> Path:
    """A directory of so many submissions."""
    board = scratch / f"{name} of {number}"
    for count in range(number):
        keep(board, f"number {count}")
    return board


def _finish(name: str, arguments: list[object]) -> None:
    """Run a command to its end, in this process."""
    module = import_module(f"leaderboard.{name}")
    parser = argparse.ArgumentParser()
    module.add_parser(parser.add_subparsers())
    with redirect_stdout(StringIO()), redirect_stderr(StringIO()):
        module.run(parser.parse_args([name, *map(str, arguments)]))


@contextmanager
def impatient() -> Iterator[None]:
    """Leftovers count as stale at once, so that sweeping them can be seen."""
    patience = atomic.STALE_SECONDS
    atomic.STALE_SECONDS = -1
    try:
        yield
    finally:
        atomic.STALE_SECONDS = patience


def left_over(directory: Path) -> list[str]:
    """Temporary names that the next writer did not sweep up."""
    return [
        f"{path.name} was left"
        for path in directory.rglob(".*")
        if path.name.endswith(".tmp") or path.name == travelling.UNFINISHED
    ]
