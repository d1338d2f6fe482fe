"""Old files forever: what an older schema wrote, as the models of the newest one read it. One step per version.

A step knows what its version added. Of that, an older file may say nothing: it is filled in as unknown. The content
keeps its `schema_version`, because the rules of its day judge it, and its hash is that of the file as it was read.
"""

from collections.abc import Callable, Iterator, Mapping
from copy import deepcopy
from typing import Any

from leaderboard.schema import SCHEMA_VERSION, SchemaVersion

Content = dict[str, Any]

# Paths of what each version added; a star is every entry of a list.
ADDED: dict[SchemaVersion, tuple[str, ...]] = {
    "1.1.0": (
        "generation",
        "task.output_tokens",
        "pipeline.*.value",
        "derived.ttft_ms_p50",
        "derived.tokens_per_s",
    ),
    "1.2.0": (
        "entry",
        "files",
        "candidate.form",
        "candidate.threads",
        "quality.labels",
        "raw.reference_alone",
        "raw.workers.*.parent_block_ns",
        "raw.workers.*.idle_cpu_ns",
        "raw.workers.*.idle_ns",
        "raw.workers.*.threads_started",
        "raw.workers.*.kept",
        "raw.workers.*.kept_mismatches",
        "audits.fresh_ratio",
        "audits.test_files_read",
        "audits.weight_shuffle.chance",
    ),
}


def to_1_1_0(content: Content) -> Content:
    """Answers written token by token, and stages whose quality is no count."""
    return _with_unknown(content, "1.1.0")


def to_1_2_0(content: Content) -> Content:
    """What a replay needs, and what audits saw."""
    return _with_unknown(content, "1.2.0")


STEPS: Mapping[SchemaVersion, tuple[SchemaVersion, Callable[[Content], Content]]] = {
    "1.0.0": ("1.1.0", to_1_1_0),
    "1.1.0": ("1.2.0", to_1_2_0),
}


def newest(content: Content) -> Content:
    """What the models read, made of the content of a file of any readable version; the content itself stays as it is.

    Raises ValueError where it says what its version does not know.
    """
    version: SchemaVersion = content["schema_version"]
    if version == SCHEMA_VERSION:
        return content
    content = deepcopy(content)
    while version in STEPS:
        version, step = STEPS[version]
        content = step(content)
    return content


def _with_unknown(content: Content, version: SchemaVersion) -> Content:
    for path in ADDED[version]:
        *steps, name = path.split(".")
        for place in _places(content, steps):
            if place.get(name) is not None:
                raise ValueError(f"schema {content['schema_version']} does not know {path}, which came with {version}")
            place[name] = None
    return content


def _places(place: Any, steps: list[str]) -> Iterator[Content]:
    """The objects that a path leads to; none where the content is of another shape, which the models will tell."""
    if not steps:
        if isinstance(place, dict):
            yield place
    elif steps[0] == "*":
        for entry in place if isinstance(place, list) else ():
            yield from _places(entry, steps[1:])
    elif isinstance(place, dict):
        yield from _places(place.get(steps[0]), steps[1:])
