"""Whose word a result is: its submitter's claim, or a replay's, which is signed (`verification.py`)."""

from collections.abc import Mapping, Sequence
from typing import Literal, NamedTuple

from leaderboard.verification import Verification

Word = Literal["claimed", "verified", "refuted"]


class Trust(NamedTuple):
    """What replays found; the ratio is the lowest of those that passed, None where none did."""

    word: Word = "claimed"
    ratio: float | None = None
    ratio_lo: float | None = None
    ratio_hi: float | None = None
    verifiers: tuple[str, ...] = ()


CLAIMED = Trust()


def trust_in(records: Sequence[Verification]) -> Trust:
    """What the records on one submission come to: refuted where no replay agrees with it."""
    if not records:
        return CLAIMED
    passed = [record for record in records if record.result == "PASS"]
    if not passed:
        return Trust("refuted", verifiers=tuple(record.verifier for record in records))
    verifiers = tuple(record.verifier for record in passed)
    measured = [record for record in passed if record.ratio is not None]
    if not measured:
        return Trust("verified", verifiers=verifiers)
    lowest = min(measured, key=lambda record: (record.ratio or 0.0, record.verifier))
    return Trust("verified", lowest.ratio, lowest.ratio_lo, lowest.ratio_hi, verifiers)


def trust_of_all(records: Mapping[str, Sequence[Verification]]) -> dict[str, Trust]:
    """By submission id; who is missing is claimed."""
    return {submission_id: trust_in(some) for submission_id, some in records.items()}
