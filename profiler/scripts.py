"""A script run as `python script.py` would run it, watched from outside; it ends as it would have ended.

Left out: what is made of the recording (`lines.py`, `report.py`).
"""

from __future__ import annotations

import runpy
import sys
import traceback
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

from profiler.record import Recording


class Outcome(NamedTuple):
    """What was recorded until the script ended, how, and its exit code as Python would have set it."""

    recording: Recording
    exit_code: int


def run(path: str | Path, arguments: Sequence[str] = ()) -> Outcome:
    """Run the script with these arguments as `__main__` and watch it.

    If it fails, its own traceback is printed to stderr, and what was recorded until then is kept. FileNotFoundError if
    there is no such file.
    """
    script = Path(path)
    if not script.is_file():
        raise FileNotFoundError(f"profiler: there is no script {script}; give the path of a Python file")
    recording = Recording()
    with as_main(script, arguments):
        try:
            with recording.on():
                runpy.run_path(str(script), run_name="__main__")
        except SystemExit as stop:
            return Outcome(recording, exit_code(stop))
        except KeyboardInterrupt:
            print(f"\nprofiler: {script} was interrupted", file=sys.stderr)
            return Outcome(recording, 130)
        except BaseException as error:
            print_own(error, script)
            return Outcome(recording, 1)
    return Outcome(recording, 0)


@contextmanager
def as_main(script: Path, arguments: Sequence[str]) -> Iterator[None]:
    """`sys.argv` and the first place to import from, as the script expects them."""
    before = sys.argv, sys.path[:], sys.modules.get("__main__")
    sys.argv, sys.path[0:0] = [str(script), *arguments], [str(script.resolve().parent)]
    try:
        yield
    finally:
        sys.argv, sys.path[:] = before[:2]
        if before[2] is not None:
            sys.modules["__main__"] = before[2]


def exit_code(stop: SystemExit) -> int:
    """What `sys.exit(value)` means: nothing is success, a number itself, anything else is told and a failure."""
    if stop.code is None or isinstance(stop.code, int):
        return stop.code or 0
    print(stop.code, file=sys.stderr)
    return 1


def print_own(error: BaseException, script: Path) -> None:
    """The traceback from the script on, without the frames that ran it."""
    frames = error.__traceback__
    while frames is not None and frames.tb_frame.f_code.co_filename != str(script):
        frames = frames.tb_next
    traceback.print_exception(type(error), error, frames or error.__traceback__)
