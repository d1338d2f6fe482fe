"""Milestones on one's own modules: what each needs, and how it is run with them."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence

from milestones import catalogue
from milestones.__main__ import Outcome
from milestones.__main__ import run as run_script
from tito.checks import Module
from tito.course import module
from tito.workspace import Progress

# The last module that a milestone needs, from the second on: the course's prerequisites.
NEEDS = {1: 4, 2: 6, 3: 8, 4: 9, 5: 13, 6: 19}


class UnknownMilestone(ValueError):
    """A milestone that there is not; the text lists those there are."""


def needed(number: int) -> list[Module]:
    """What has to be completed before a milestone runs on one's own code."""
    return [module(n) for n in range(2, NEEDS[number] + 1)]


def missing(number: int, progress: Progress) -> list[Module]:
    """Of what a milestone needs, what has not been completed."""
    return [one for one in needed(number) if one.slug not in progress.completed]


def find(word: str) -> list[catalogue.Entry]:
    """The scripts of a milestone, by its number. Raises UnknownMilestone."""
    found = [one for one in catalogue.entries() if word.isascii() and word.isdigit() and one.number == int(word)]
    if not found:
        raise UnknownMilestone(f"unknown milestone {word[:40]!r}; known: {', '.join(f'{n:02}' for n in NEEDS)}")
    return found


def run(entry: catalogue.Entry, options: Sequence[str], files: Mapping[str, str]) -> Outcome:
    """Run a script, on a student's files in the place of modules of ours where there are any."""
    return run_script(entry, options, ("-m", "tito.mine", json.dumps(dict(files))) if files else ())
