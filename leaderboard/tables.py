"""What is seen in a terminal. Tables fit 100 columns unless they are asked to be wide."""

import textwrap
from collections.abc import Iterable, Sequence

from leaderboard.columns import (
    columns_of,
    latency_text,
    place_of,
    quality_text,
    score_text,
    verified_text,
)
from leaderboard.events import ALL_ROUND, EVENTS, PERCENT, Event, Place, mean
from leaderboard.grid import grid, shortened
from leaderboard.history import Course
from leaderboard.pareto import Frontier
from leaderboard.ranking import Board, By, Entry, Group, boards
from leaderboard.schema import Submission
from leaderboard.standing import Standing
from leaderboard.store import Problem
from leaderboard.text import (
    NAME_WIDTH,
    counted,
    fixed,
    inert,
    ratio_decimals,
    three,
    within,
)
from leaderboard.view import View

WIDTH = 100
REASON_WIDTH = 160
NARROW_NAME = 18
MOST_NAMED = 4  # of those without a rank
KINDS = {"MLP": "MLP Sprint", "CNN": "CNN Marathon", "Transformer": "Transformer Decathlon"}


# -- boards -----------------------------------------------------------------------------------------------------------


def title(board: Board) -> str:
    """What is ranked, by what."""
    return f"{name_of(board.group)}, by {board.by} (benchmark {inert(board.group.benchmark_version, 12)})"


def name_of(group: Group) -> str:
    """What is compared."""
    tier = "" if group.tier is None else f", quality >= {group.tier} %"
    return f"{group.model}, {group.division} division, {group.thread_policy}{tier}"


def entries_table(entries: tuple[Entry, ...], view: View, by: By, is_wide: bool, further: tuple[str, ...] = ()) -> str:
    """The rows of a board."""
    columns = columns_of(entries, by, is_wide, further)
    rows = [[column.cell(entry, view) for column in columns] for entry in entries]
    if not is_wide:
        place = next(place for place, column in enumerate(columns) if column.name == "submitter")
        for row in rows:
            row[place] = shortened(row[place], NARROW_NAME)
    left = [column.name for column in columns if column.align == "left"]
    return grid(rows, [column.name for column in columns], left, None if is_wide else WIDTH)


def board_text(board: Board, view: View, is_wide: bool = False, most: int | None = None) -> str:
    """One board: its first rows, or all entries where `most` is None."""
    if most is None:
        return f"{title(board)}\n\n{entries_table(board.entries, view, board.by, is_wide)}"
    ranked = [entry for entry in board.entries if entry.rank is not None]
    shown = tuple(ranked[:most])
    parts = [title(board)]
    if shown:
        parts.append(entries_table(shown, view, board.by, is_wide))
    return "\n\n".join([*parts, *filter(None, ["\n".join(_left_out(board, len(ranked) - len(shown)))])])


def _left_out(board: Board, more: int) -> list[str]:
    """What the rows do not show, in words."""
    behind = sum(entry.behind is not None for entry in board.entries)
    hidden = [f"{more:,} more with a rank"] if more else []
    hidden += [f"{behind:,} {'try' if behind == 1 else 'tries'} of people who have a better one"] if behind else []
    found = [f"Not shown (--all): {', '.join(hidden)}."] if hidden else []
    invalid = [entry.standing for entry in board.entries if entry.rank is None and entry.behind is None]
    if invalid:
        found += ["No rank:", *(shortened(_why_unranked(row), WIDTH) for row in invalid[:MOST_NAMED])]
        more = len(invalid) - MOST_NAMED
        found += [f"  and {more:,} more (--all)"] if more > 0 else []
    return found


def _why_unranked(row: Standing) -> str:
    return f"  {inert(row.submitter, NARROW_NAME)} {row.submission_id}: {', '.join(row.invalid)}"


# -- events -----------------------------------------------------------------------------------------------------------


def event_title(event: Event) -> tuple[str, str]:
    """What is ranked, and by what weights."""
    weights = ", ".join(f"{model} {100 * weight:.3g}%" for model, weight in event.weights.items())
    return f"{event.name}, {event.division} division, {event.thread_policy}", f"weighted geometric mean of {weights}"


def event_columns(event: Event) -> list[str]:
    """The headers of an event's table."""
    parts = list(KINDS) if event.name == ALL_ROUND else list(event.weights)
    return ["rank", "submitter", "score", *parts, "tasks", "verified", "tries"]


def event_cells(place: Place[Standing], event: Event, view: View) -> list[str]:
    """The row of a submitter: in all-round the score of each kind of network, else of each model."""
    rows = {row.model: row for row in place.counted}
    scores = {model: row.ratio_lo for model, row in rows.items()}
    if event.name == ALL_ROUND:
        parts = [three(mean(EVENTS[name], scores)) if scores.keys() & PERCENT[name] else "-" for name in KINDS.values()]
    else:
        parts = [score_text(rows[model]) if model in rows else "-" for model in event.weights]
    words = [view.trust(row).word for row in place.counted]
    verified = "refuted" if "refuted" in words else f"{words.count('verified')} of {len(words)}"
    return [
        place_of(place.rank, place.tied),
        shortened(inert(place.submitter, NAME_WIDTH), NARROW_NAME),
        within(place.score, place.score, place.most),
        *parts,
        f"{len(rows)} of {len(event.weights)}",
        verified,
        f"{place.attempts:,}",
    ]


def event_text(event: Event[Standing], view: View, most: int | None = None) -> str:
    """One event with its first places, or all."""
    name, formula = event_title(event)
    rows = [event_cells(place, event, view) for place in event.places[:most]]
    table = grid(rows, event_columns(event), ["submitter"], WIDTH)
    more = len(event.places) - len(rows)
    left_out = f"\n\nNot shown (--all): {more:,} more." if more else ""
    return f"{name}\n{textwrap.fill(formula, WIDTH, break_on_hyphens=False)}\n\n{table}{left_out}"


# -- frontiers and histories ------------------------------------------------------------------------------------------


def frontier_text(frontier: Frontier, view: View) -> str:
    """Those on the frontier, the quickest first."""
    rows = [
        [
            inert(row.submitter, NARROW_NAME),
            row.division,
            latency_text(row, row.latency_us_p90),
            quality_text(row),
            f"{row.bytes:,}",
            score_text(row),
            verified_text(row, view),
            row.submission_id,
        ]
        for row in frontier.best
    ]
    headers = ["submitter", "division", "p90 us", "quality", "bytes", "score", "verified", "id"]
    heading = f"{frontier.model}, {frontier.thread_policy} (benchmark {inert(frontier.benchmark_version, 12)}): "
    share = f"{len(rows):,} of {counted(frontier.total, 'submission')} beaten by nobody in latency, quality and bytes"
    return f"{heading}{share}\n\n{grid(rows, headers, ['submitter', 'division', 'id'], WIDTH)}"


def course_text(course: Course, view: View) -> str:
    """The steps of a submitter on one board."""
    first = course.steps[0].standing
    rows = [
        [
            step.standing.created_utc[:10],
            score_text(step.standing),
            fixed(step.standing.ratio, ratio_decimals(step.standing)),
            fixed(step.standing.ratio_hi, ratio_decimals(step.standing)),
            verified_text(step.standing, view),
            step.standing.submission_id,
            "record" if step.record else "faster" if step.surely else "perhaps faster",
        ]
        for step in course.steps
    ]
    headers = ["date", "score", "ratio", "at most", "verified", "id", "step"]
    version = inert(course.group.benchmark_version, 12)
    name = f"{inert(first.submitter, NAME_WIDTH)}: {name_of(course.group)} (benchmark {version})"
    steps = f"{counted(len(rows), 'step')} in {counted(course.attempts, 'attempt')}"
    return f"{name}, {steps}\n\n{grid(rows, headers, ['date', 'id', 'step'], WIDTH)}"


# -- all of it --------------------------------------------------------------------------------------------------------


def text(view: View, is_wide: bool = False, most: int | None = None) -> str:
    """Events, then boards; of each the first rows, or all."""
    parts = [event_text(event, view, most) for event in view.events]
    return "\n\n".join([*parts, *(board_text(board, view, is_wide, most) for board in view.boards)])


def row(submission: Submission, among: Iterable[Submission] = (), by: By = "score") -> str:
    """The leaderboard's row of one submission, with its rank among those it is comparable with."""
    field = {one.submission_id: one for one in (*among, submission)}
    for board in boards(field.values(), by):
        mine = tuple(entry for entry in board.entries if entry.submission.submission_id == submission.submission_id)
        if mine:
            return f"{title(board)}\n\n{entries_table(mine, View(()), by, is_wide=True)}"
    raise AssertionError("a submission is on exactly one board")


def problems_text(problems: Sequence[Problem], title: str = "Not on the board") -> str:
    """The files that are not on the board (or not elsewhere, as `title` says), each with its reason."""
    rows = [(inert(path, REASON_WIDTH), code, inert(reason, REASON_WIDTH)) for path, code, reason in problems]
    headers = ("file", "code", "reason")
    return f"{title} ({len(rows)}):\n\n{grid(rows, headers, left=headers)}"
