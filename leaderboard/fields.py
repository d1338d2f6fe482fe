"""What every part of a submission is made of: the strict base model, the constrained types, and slugs.

Strictness is the point: unknown keys, NaN, infinities and numbers beyond 63 bits are refused, so that every figure
derived from a file that loads is finite. The parts themselves are in `measured.py` and `schema.py`.
"""

import re
import unicodedata
from hashlib import sha256
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, StringConstraints


class Part(BaseModel):
    """An immutable piece of a submission. `None` means "unknown", never a guess."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


LARGEST = 2**63 - 1
SLUG_LENGTH = 40

Count = Annotated[int, Field(ge=0, le=LARGEST)]
Positive = Annotated[int, Field(ge=1, le=LARGEST)]
Integer = Annotated[int, Field(ge=-LARGEST, le=LARGEST)]
Share = Annotated[float, Field(ge=0, le=1)]

# A slug is safe as one component of a path: no separator, no dot, no leading dash.
Slug = Annotated[str, StringConstraints(pattern=r"^[a-z0-9][a-z0-9_-]*$", max_length=64)]
Sha256 = Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{64}$")]
SubmissionId = Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{12}$")]
Code = Annotated[str, StringConstraints(pattern=r"^[A-Z][A-Z0-9_]*$", max_length=64)]
# A path below a submission's folder: no parent, no hidden part, nothing that a shell or a browser would take for more.
FilePath = Annotated[
    str, StringConstraints(pattern=r"^[A-Za-z0-9_][A-Za-z0-9_.-]*(/[A-Za-z0-9_][A-Za-z0-9_.-]*)*$", max_length=200)
]
Utc = Annotated[str, StringConstraints(pattern=r"^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ$")]
Text = Annotated[str, StringConstraints(max_length=200)]
# Bytes, compressed by zlib, in base64.
Packed = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9+/]*={0,2}$", max_length=200_000)]
LongText = Annotated[str, StringConstraints(max_length=4000)]


def added() -> Any:
    """A field of a later version, None by default and then not written: a file made before it keeps its hash."""
    return Field(default=None, exclude_if=lambda value: value is None)


def slug(name: str) -> str:
    """Lower-case ASCII made from a name, safe as a folder. A name that loses letters gets a hash of itself appended."""
    plain = "".join(mark for mark in unicodedata.normalize("NFKD", name) if not unicodedata.combining(mark)).lower()
    words = re.sub(r"[^a-z0-9]+", "-", plain).strip("-")
    if words and len(words) <= SLUG_LENGTH and plain.isascii():
        return words
    digest = sha256(name.encode()).hexdigest()[:8]
    return f"{words[:SLUG_LENGTH].strip('-') or 'someone'}-{digest}"
