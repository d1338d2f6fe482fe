"""`python -m leaderboard` without a command: what is asked for, in the terminal or as one line of JSON."""

import argparse
from collections.abc import Callable
from pathlib import Path
from typing import get_args

from leaderboard.document import compact, course_values, document, frontier_values
from leaderboard.events import EVENTS, slug_of
from leaderboard.history import courses
from leaderboard.listing import list_all
from leaderboard.pareto import frontiers
from leaderboard.ranking import By
from leaderboard.schema import Division, ThreadPolicy
from leaderboard.standing import Standing
from leaderboard.store import Problem, default_directory
from leaderboard.tables import course_text, frontier_text, problems_text, text
from leaderboard.text import inert, listed
from leaderboard.trust import Trust, trust_of_all
from leaderboard.verification import load_all
from leaderboard.view import View, view_of

MOST = 10  # rows of a table
MOST_PROBLEMS = 20
MOST_NAMES = 12


class UnknownName(Exception):
    """Something was named that is not there; the text lists what is."""


def add_options(command: argparse.ArgumentParser) -> None:
    """What can be asked for."""
    what = command.add_mutually_exclusive_group()
    what.add_argument("--event", choices=[slug_of(name) for name in EVENTS], help="only this event and its boards")
    what.add_argument("--pareto", action="store_true", help="who is beaten by nobody in latency, quality and bytes")
    what.add_argument("--history", metavar="NAME", help="how this submitter (name or id) got better over time")
    command.add_argument("--by", choices=get_args(By), default="score", help="what to rank by (default: score)")
    command.add_argument("--model", help="only this model (perceptron, xor, mlp, cnn, ...)")
    command.add_argument("--division", choices=get_args(Division), help="only this division")
    command.add_argument("--threads", choices=get_args(ThreadPolicy), help="only one thread, or only several")
    command.add_argument("--wide", action="store_true", help="all columns, however long the lines")
    command.add_argument("--all", action="store_true", help=f"all rows, not only the first {MOST} of each table")
    command.add_argument("--leaderboard", type=Path, metavar="DIR", help="where the submissions lie")
    command.add_argument("--json", action="store_true", help="one compact JSON document instead of tables")


def loaded(place: Path | None) -> View:
    """Everything there is. Raises UnknownName, and StoreError from reading."""
    rows, trusts, problems = _read(place)
    return view_of(rows, trusts, problems)


def _read(place: Path | None) -> tuple[tuple[Standing, ...], dict[str, Trust], tuple[Problem, ...]]:
    directory = place or default_directory()
    if place and not directory.is_dir():
        raise UnknownName(f"no directory {directory}: name the one that was given to `python -m mlperf submit`")
    listing, verified = list_all(directory), load_all(directory)
    return listing.rows, trust_of_all(verified.records), (*listing.problems, *verified.problems)


def run(options: argparse.Namespace) -> int:
    """Print what was asked for, return the exit code. Raises UnknownName, and StoreError from reading."""
    rows, trusts, problems = _read(options.leaderboard)
    models = sorted({row.model for row in rows})
    if options.model and models and options.model not in models:
        raise UnknownName(f"unknown model {options.model!r}: there are submissions for {', '.join(models)}")
    wanted = _wanted(options)
    view = view_of(
        rows,
        trusts,
        problems,
        options.by,
        wanted,
        lambda event: (
            options.by == "score"
            and options.model is None
            and options.division in (None, event.division)
            and options.threads in (None, event.thread_policy)
            and options.event in (None, slug_of(event.name))
        ),
    )
    chosen = [row for row in rows if wanted(row)]
    if options.pareto:
        return _print_pareto(chosen, view, options.json)
    if options.history is not None:
        return _print_history(chosen, rows, view, options)
    if options.json:
        print(compact(document(view)))
        return 0
    if chosen:
        print(text(view, options.wide, None if options.all else MOST))
    else:
        print(_nothing(rows, options))
    if problems:
        print(f"\n{_problems(view, options.all)}")
    return 0


def _wanted(options: argparse.Namespace) -> Callable[[Standing], bool]:
    of_event = next((weights for name, weights in EVENTS.items() if slug_of(name) == options.event), None)
    return lambda row: (
        options.model in (None, row.model)
        and options.division in (None, row.division)
        and options.threads in (None, row.thread_policy)
        and (of_event is None or row.model in of_event)
    )


def _nothing(rows: tuple[Standing, ...], options: argparse.Namespace) -> str:
    """Why there is nothing to see, and what to do."""
    if rows:
        there = sorted({f"{row.model} {row.division} {row.thread_policy}" for row in rows})
        return f"No such submission; there are some for {listed(there, MOST_NAMES)}."
    directory = inert(str(options.leaderboard or default_directory()))
    submit = f"python -m mlperf submit --model {inert(options.model or 'cnn')}"
    return f"No submissions under {directory} yet. Make the first entry:\n\n  {submit}"


def _problems(view: View, is_all: bool) -> str:
    problems = view.problems if is_all else view.problems[:MOST_PROBLEMS]
    more = len(view.problems) - len(problems)
    return problems_text(problems) + (f"\n\n{more:,} more problems (--all)." if more else "")


def _print_pareto(chosen: list[Standing], view: View, as_json: bool) -> int:
    found = frontiers(chosen)
    if as_json:
        print(compact({"frontiers": frontier_values(found, view)}))
    elif found:
        print("\n\n".join(frontier_text(one, view) for one in found))
    else:
        print("No valid submission with a latency to compare; `python -m leaderboard` lists what there is.")
    return 0


def _print_history(chosen: list[Standing], rows: tuple[Standing, ...], view: View, options: argparse.Namespace) -> int:
    name = options.history.casefold()
    ids = {row.submitter_id for row in rows if name in (row.submitter_id, row.submitter.casefold())}
    if not ids:
        known = sorted({row.submitter_id for row in rows})
        raise UnknownName(f"unknown submitter {options.history!r}: there are {listed(known, MOST_NAMES) or 'none'}")
    found = courses(chosen, ids)
    if options.json:
        print(compact({"courses": course_values(found, view)}))
    elif found:
        print("\n\n".join(course_text(one, view) for one in found))
    else:
        print(f"{inert(options.history)} has no valid submission there; `python -m leaderboard --all` lists all.")
    return 0
