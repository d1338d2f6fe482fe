"""Judging: from measured to submission, and the proof on reading that a file still says what follows from its data.

Hash and recomputation detect accident and inconsistent editing. Whoever makes up raw times consistently is found only
by a replay, which is not done here.
"""

import hashlib
import json
import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from leaderboard.cautions import CAUTIONS
from leaderboard.derive import derive
from leaderboard.gates import GATES
from leaderboard.rules import Rule, code_of
from leaderboard.schema import Derived, Integrity, Measured, Reason, Severity, Submission, Validity

ID_DIGITS = 12
UNHASHED = ("integrity", "submission_id")
RELATIVE, ABSOLUTE = 1e-9, 1e-12  # libm differs between platforms in the last digits

_RULES: dict[str, tuple[Severity, Rule]] = {code_of(rule): ("invalid", rule) for rule in GATES}
_RULES |= {code_of(rule): ("warning", rule) for rule in CAUTIONS}


def judge(measured: Measured, further: Sequence[Reason] = ()) -> Validity:
    """All reasons by the rules of this package, then `further` ones (audits, pinned hashes) found by the harness.

    Raises ValueError if a further reason claims a code that is decided here.
    """
    reasons = []
    for code, (severity, rule) in _RULES.items():
        if finding := rule(measured):
            reasons.append(Reason(code=code, severity=severity, **finding._asdict()))
    if clash := sorted(reason.code for reason in further if reason.code in _RULES):
        raise ValueError(f"judge: {', '.join(clash)} follows from the data and cannot be handed in as a further reason")
    reasons += further
    invalid = any(reason.severity == "invalid" for reason in reasons)
    return Validity(status="INVALID" if invalid else "VALID", reasons=tuple(reasons))


def canonical(content: Mapping[str, Any]) -> bytes:
    """The one form of a JSON object: sorted keys, no spaces, UTF-8, no NaN. ValueError if it has none."""
    text = json.dumps(content, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False)
    return text.encode()


def content_sha256(content: Mapping[str, Any]) -> str:
    """SHA-256 of the canonical form without the hash itself and the id that is cut from it."""
    return hashlib.sha256(canonical({key: content[key] for key in content if key not in UNHASHED})).hexdigest()


def finalise(measured: Measured, further: Sequence[Reason] = ()) -> Submission:
    """Derive, judge and seal: the submission that `store.write` keeps.

    `further` are reasons that only the harness can know. Raises ValueError where the content has no canonical JSON (an
    infinity in a stage's config, say).
    """
    validity = judge(measured, further)
    derived = derive(measured, validity.status == "VALID")
    parts = set(Measured.model_fields)  # of a Submission, judged before, only these
    content = measured.model_dump(mode="json", include=parts) | {
        "derived": derived.model_dump(mode="json"),
        "validity": validity.model_dump(mode="json"),
    }
    digest = content_sha256(content)
    return Submission(
        **{name: getattr(measured, name) for name in parts},
        submission_id=digest[:ID_DIGITS],
        derived=derived,
        validity=validity,
        integrity=Integrity(content_sha256=digest),
    )


def discrepancies(submission: Submission, content: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """(code, reason) for everything a file claims that does not follow from it. `content` is the JSON as read."""
    claimed, digest = submission.integrity.content_sha256, content_sha256(content)
    if claimed != digest:
        yield "HASH_MISMATCH", f"content_sha256 is {claimed[:12]}..., the content's is {digest[:12]}...: it was changed"
    elif submission.submission_id != digest[:ID_DIGITS]:
        yield "HASH_MISMATCH", f"submission_id is {submission.submission_id}, but the content's is {digest[:ID_DIGITS]}"
    claim = submission.validity
    validity = judge(submission, [reason for reason in claim.reasons if reason.code not in _RULES])
    if claim.status != validity.status:
        yield "VALIDITY_MISMATCH", f"status is {claim.status}, but the data make it {validity.status}"
    elif not _same_reasons(claim.reasons, validity.reasons):
        codes = [", ".join(reason.code for reason in half.reasons) or "none" for half in (claim, validity)]
        yield "VALIDITY_MISMATCH", f"reasons are {codes[0]}, but the data give {codes[1]} with other values"
    derived = derive(submission, validity.status == "VALID")
    for name in Derived.model_fields:
        said, follows = getattr(submission.derived, name), getattr(derived, name)
        if not _same(said, follows):
            yield "DERIVED_MISMATCH", f"derived.{name} is {said}, but the raw data give {follows}"


def _same(said: object, follows: object) -> bool:
    """Equal, numbers to the precision that platforms share."""
    if isinstance(said, tuple) and isinstance(follows, tuple):
        return len(said) == len(follows) and all(_same(a, b) for a, b in zip(said, follows))
    if isinstance(said, int | float) and isinstance(follows, int | float):
        return math.isclose(said, follows, rel_tol=RELATIVE, abs_tol=ABSOLUTE)
    return said == follows


def _same_reasons(said: Sequence[Reason], follow: Sequence[Reason]) -> bool:
    """The wording of a hint may improve after a submission was made; everything else must agree."""
    return len(said) == len(follow) and all(
        (a.code, a.severity, a.required) == (b.code, b.severity, b.required) and _same(a.measured, b.measured)
        for a, b in zip(said, follow)
    )
