"""Names that would command a terminal, a browser, a spreadsheet or a file system: text wherever they are shown."""

import os
import subprocess
import sys
import unicodedata
from contextlib import suppress
from pathlib import Path

from leaderboard.proof import prove
from leaderboard.schema import Submitter
from leaderboard.selftest.made import FILES, halves, submission
from leaderboard.selftest.outcome import Outcome, Tick
from leaderboard.store import load_all, write
from leaderboard.verdict import canonical

NAMES = (
    "../../../etc/passwd", "..", ".", "/absolute", "C:\\windows", "a/b", "nul", "-rf", "~", "$(id)", "`id`", "%s%n",
    "<script>alert(1)</script>", "<img src=x onerror=alert(1)>", '" onmouseover="alert(1)', "{{7*7}}", "{% raw %}",
    "=cmd()", "+1", "-1", "@SUM(A1)", "\t=1", "=HYPERLINK(\"http://example.org\")", "a,b;c|d", "| --- |", "\\|",
    "\x1b[31mred\x1b[0m", "bell\x07", "back\x08", "line\nline", "return\rreturn", "nul\x00nul", "\x9b31m", "\x7f",
    "\u202egnp.exe", "\u2066isolate", "zero\u200bwidth", "\ufeffmark", "\u2028line", "\ud800", "e" + "\u0301" * 150,
    "\U000e0041tag", "\U0010ffff", "Z\u0338" * 60, "\u0623\u062d\u0645\u062f", "", " ", "x" * 200,
)  # fmt: skip
FILE_NAMES = (
    b"line\nline.json", b"\x1b[31m.json", "\u202enosj.json".encode(), b"\xff\xfe.json", b"<script>.json", b"=c().json",
    b" .json", b"-rf.json", b"a" * 250 + b".json", b"..json", b"*.json", b"'\".json", b"$(id).json",
)  # fmt: skip


def hostile(scratch: Path, tick: Tick) -> Outcome:
    """Submitters and files with such names: kept inside the directory, all listed, nothing shown as a command."""
    board, lost = scratch / "names" / "board", []
    for name in NAMES:
        one = submission(
            name.encode(errors="replace").decode(), submitter=Submitter.named(name, team=name[:200] and "t")
        )
        path = write(one, board, FILES)
        if board.resolve() not in path.resolve().parents:
            lost.append(f"{name!r} was kept outside the directory")
        tick()
    lost += halves(board)
    if len(load_all(board).submissions) != len(NAMES):
        lost.append("a submission is hidden by another's name")
    lost += _a_megabyte()
    named = 0
    for raw in FILE_NAMES:
        with suppress(OSError, ValueError):  # a file system without such names
            (board / os.fsdecode(raw)).write_bytes(b"{")
            named += 1
    if len(load_all(board).problems) != named:
        lost.append(f"{len(load_all(board).problems)} of {named} files with such names are listed")
    lost += _commands_in(_said("--leaderboard", str(board)), "the listing")
    if {path.name for path in (scratch / "names").iterdir()} != {"board"}:
        lost.append("something was written beside the directory")
    tick()
    return Outcome("hostile names of people and files", len(NAMES) + named + 1, "inert text", tuple(lost))


def _a_megabyte() -> list[str]:
    """A name of a megabyte is refused when it is given and when it is read."""
    long, lost = "x" * 2**20, []
    try:
        Submitter.named(long)
        lost.append("a name of a megabyte was taken")
    except ValueError:
        pass
    content = submission("").model_dump(mode="json")
    for text in (long, long[: 2**19]):
        one, faults = prove(canonical(content | {"submitter": content["submitter"] | {"display_name": text}}))
        if one is not None or "at most 200 characters" not in faults[0][1]:
            lost.append("a name of a megabyte was read")
    return lost


def _said(*arguments: str) -> bytes:
    words = [sys.executable, "-m", "leaderboard", *arguments]
    done = subprocess.run(words, capture_output=True, env=os.environ | {"PYTHONIOENCODING": "utf-8"})
    return done.stdout + done.stderr


def _commands_in(said: bytes, what: str) -> list[str]:
    """What a terminal would obey."""
    try:
        text = said.decode()
    except UnicodeDecodeError as error:
        return [f"{what} is not UTF-8: {error}"]
    found = {char for char in text if char != "\n" and unicodedata.category(char)[0] == "C"}
    return [f"{what} holds {char!a}" for char in sorted(found)] + (
        [f"{what} failed: {text[-200:]}"] if "Traceback" in text or not text.strip() else []
    )
