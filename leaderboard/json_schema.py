"""The JSON Schema of a submission: `python -m leaderboard.json_schema > leaderboard/submission.schema.json`.

For other programs and editors; this leaderboard reads by the models themselves. A schema cannot say how fields hang
together (one entry per block, counts that agree) nor what follows from what: a file that fits may still be refused.
"""

import json
from typing import Any

from leaderboard.schema import SCHEMA_VERSION, Submission

DRAFT = "https://json-schema.org/draft/2020-12/schema"


def document() -> dict[str, Any]:
    """The schema of the newest version, which older files fit, too. What may be `null` is unknown or was not made."""
    schema = _closed(Submission.model_json_schema())
    about = {"$schema": DRAFT, "$id": f"tinymlperf-submission-{SCHEMA_VERSION}", "title": "TinyMLPerf submission"}
    return about | {key: value for key, value in schema.items() if key != "title"}


def _closed(part: Any) -> Any:
    """Objects with any keys of a pattern have no other keys, as the models have it."""
    if isinstance(part, list):
        return [_closed(entry) for entry in part]
    if not isinstance(part, dict):
        return part
    closed = {key: _closed(value) for key, value in part.items()}
    return closed | {"additionalProperties": False} if "patternProperties" in part else closed


def text() -> str:
    """The file that is committed."""
    return json.dumps(document(), indent=1, sort_keys=True) + "\n"


if __name__ == "__main__":
    print(text(), end="")
