"""The leaderboard: immutable submissions on disk, judged anew whenever they are read, and ranked.

`mlperf` measures and hands over a `Measured`; `finalise` derives, judges and seals it, `write` keeps it, `row` shows
it. This package imports none of the others. Figures: `derive.py`; rules: `gates/` and `cautions.py`, by the numbers in
`bands.py`.
"""

from leaderboard.bands import PROTOCOLS, Protocol
from leaderboard.measured import (
    Alone,
    Audits,
    Blas,
    Blocks,
    Env,
    Generation,
    Quality,
    Queries,
    Raw,
    Seeds,
    Timer,
    WeightShuffle,
    Worker,
)
from leaderboard.ranking import boards
from leaderboard.schema import (
    SCHEMA_VERSION,
    Candidate,
    Derived,
    EntrySource,
    Harness,
    Integrity,
    Measured,
    Reason,
    Reference,
    Stage,
    Submission,
    Submitter,
    Task,
    Validity,
    utc_now,
)
from leaderboard.store import Loaded, Problem, StoreError, default_directory, file_problems, files_of, load_all, write
from leaderboard.tables import row
from leaderboard.verdict import finalise, judge

__all__ = [
    "PROTOCOLS",
    "SCHEMA_VERSION",
    "Alone",
    "Audits",
    "Blas",
    "Blocks",
    "Candidate",
    "Derived",
    "EntrySource",
    "Env",
    "Generation",
    "Harness",
    "Integrity",
    "Loaded",
    "Measured",
    "Problem",
    "Protocol",
    "Quality",
    "Queries",
    "Raw",
    "Reason",
    "Reference",
    "Seeds",
    "Stage",
    "StoreError",
    "Submission",
    "Submitter",
    "Task",
    "Timer",
    "Validity",
    "WeightShuffle",
    "Worker",
    "boards",
    "default_directory",
    "file_problems",
    "files_of",
    "finalise",
    "judge",
    "load_all",
    "row",
    "utc_now",
    "write",
]
