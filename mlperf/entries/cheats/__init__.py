"""Entries that cheat, each in one way, written as somebody would who means it: what the audits are tried on.

`python -m mlperf selftest cheats` enters them and shows who is caught by what. Each reads as the entry that it is.
"""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

FOLDER = Path(__file__).parent


class Cheat(NamedTuple):
    """How it cheats, and the code that it must be caught by; others may be found beside it."""

    name: str
    how: str
    code: str
    model: str = "mlp"

    @property
    def path(self) -> Path:
        return FOLDER / f"{self.name}.py"


CHEATS = (
    Cheat("answer_memo", "remembers answers by the bytes of the query", "CACHING_SUSPECTED"),
    Cheat("only_when_timed", "skips the work while the clock runs", "PERF_ACC_MISMATCH"),
    Cheat("weights_of_before", "keeps what it computed from other weights", "WEIGHTS_IGNORED"),
    Cheat("patched_clock", "makes the clock go slower while it works", "CLOCK_INCONSISTENT"),
    Cheat("slowed_reference", "makes the reference beside it slower", "REFERENCE_OUT_OF_BAND"),
    Cheat("background", "answers at once and computes in a thread afterwards", "BACKGROUND_WORK"),
    Cheat("lazy", "answers with a promise that computes when looked at", "OUTPUT_TYPE"),
    Cheat("smaller_test_set", "lets only every other test sample be asked", "TEST_SET_INCOMPLETE"),
    Cheat("truncated", "writes half of the tokens when each is timed", "OUTPUT_LENGTH", "transformer"),
    Cheat("trains_on_test", "is trained on the test part", "CALIBRATION_LEAK"),
)
