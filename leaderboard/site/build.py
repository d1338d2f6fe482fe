"""All pages from all submissions: `write_site` is what `python -m leaderboard html` calls.

A page of its own costs a submission two drawings, about a tenth of a second. So everybody has one while there are at
most ALL_HAVE_PAGES; beyond, those have it that somebody will look for: the first of each board, each submitter's best
and latest there, and what was verified. The others are still on their board with every figure that ranks.
"""

from collections.abc import Callable, Iterator, Sequence
from itertools import groupby
from pathlib import Path
from typing import Any, NamedTuple

from leaderboard.bands import PROTOCOLS, QUALITY_TIERS
from leaderboard.codes import KINDS, catalogue
from leaderboard.events import EVENTS, LEAST_TIER, standings
from leaderboard.flags import flags
from leaderboard.history import best_so_far
from leaderboard.pareto import frontier
from leaderboard.ranking import Board, boards
from leaderboard.schema import Submission
from leaderboard.site import details, pareto, progress, views
from leaderboard.site.folder import replacing
from leaderboard.site.pages import HERE, STATIC, environment, render
from leaderboard.store import Loaded
from leaderboard.verification import Verified

ALL_HAVE_PAGES = 1000
WHOLE_INDEX = 400  # up to so many submissions the first page shows every row
PODIUM = 5  # places of an event on the first page
MOST_POINTS = 300  # on one drawing

Progress = Callable[[int, int], None]


class Site(NamedTuple):
    """What was built: how many pages, and the bytes of the first one."""

    pages: int
    index_bytes: int


def write_site(loaded: Loaded, verified: Verified, place: Path, told: Progress) -> Site:
    """Build the site and let it take `place`; `told(done, total)` hears of pages. OSError (NotOurs) where it cannot."""
    ranked, records = boards(loaded.submissions), verified.records
    loaded = Loaded(loaded.submissions, (*loaded.problems, *verified.problems))
    with_page = who_has_a_page(ranked, records)
    is_whole = len(loaded.submissions) <= WHOLE_INDEX
    short = [views.table_of(board, records, with_page, None if is_whole else views.SHOWN) for board in ranked]
    todo = 5 + len(with_page) + sum(table.more is not None for table in short)
    done, index_bytes = 0, 0
    with replacing(place) as folder:
        for name in STATIC:
            (folder / name).write_bytes((HERE / "static" / name).read_bytes())
        for path, text in _pages(loaded, records, ranked, short, with_page):
            target = folder / path
            target.parent.mkdir(exist_ok=True)
            target.write_text(text, encoding="utf-8", errors="replace", newline="\n")
            index_bytes = index_bytes or len(text.encode(errors="replace"))
            done += 1
            told(done, todo)
    return Site(done, index_bytes)


def who_has_a_page(ranked: Sequence[Board], records: views.Records) -> set[str]:
    """The ids of all submissions with a page of their own."""
    if sum(len(board.entries) for board in ranked) <= ALL_HAVE_PAGES:
        return {entry.submission.submission_id for board in ranked for entry in board.entries}
    found = set(records)
    for board in ranked:
        here = [entry.submission for entry in board.entries]
        found |= {one.submission_id for one in here[: views.SHOWN]}
        best = {one.submitter.id: one.submission_id for one in reversed(here)}
        latest = {one.submitter.id: one.submission_id for one in sorted(here, key=lambda one: one.created_utc)}
        found |= {*best.values(), *latest.values()}
    return found & {entry.submission.submission_id for board in ranked for entry in board.entries}


def _pages(
    loaded: Loaded,
    records: views.Records,
    ranked: Sequence[Board],
    short: Sequence[views.Table],
    with_page: set[str],
) -> Iterator[tuple[str, str]]:
    """(path, text) of every page, the first page first."""
    templates, codes, remarks = environment(), catalogue(), flags(loaded.submissions)
    everyone = loaded.submissions
    events = [views.event_of(event, records, with_page) for event in standings(everyone)]
    common = {
        "count": len(everyone),
        "submitters": len({one.submitter.id for one in everyone}),
        "newest": max((one.created_utc for one in everyone), default=""),
        "verified": sum(views.trust_of(one, records) == "verified" for one in everyone),
    }
    yield "index.html", render(
        templates, "index.html", "", boards=short, problems=loaded.problems, **common,
        models=sorted({one.model for one in everyone}), divisions=sorted({one.division for one in everyone}),
        shown=sum(len(table.rows) for table in short), events=events, podium=PODIUM,
    )  # fmt: skip
    yield "events.html", render(templates, "events.html", "", events=events, **common)
    yield "pareto.html", render(templates, "pareto.html", "", plots=_frontiers(everyone, with_page), **common)
    yield "progress.html", render(templates, "progress.html", "", plots=_histories(ranked, with_page), **common)
    rules = {"weights": EVENTS, "least_tier": LEAST_TIER, "protocols": PROTOCOLS, "tiers": QUALITY_TIERS}
    yield "score.html", render(templates, "score.html", "", codes=codes, kinds=KINDS, **rules, **common)
    for board, table in zip(ranked, short):
        if table.more:
            whole = views.table_of(board, records, with_page, None)
            yield table.more, render(templates, "board.html", "../", table=whole, **common)
        for entry in board.entries:
            one = entry.submission
            if one.submission_id in with_page:
                values = details.values_of(entry, table, records)
                better = f"submissions/{entry.behind}.html" if entry.behind in with_page else None
                values |= {"codes": codes, "remarks": remarks.get(one.submission_id, ()), "better": better}
                yield views.page_of(one), render(templates, "submission.html", "../", **values, **common)


class Plot(NamedTuple):
    """A drawing with what it is about; `rows` say the same in a table."""

    slug: str
    title: str
    svg: Any
    rows: tuple[Any, ...]
    left_out: int


def _comparable(one: Submission) -> tuple[str, str, str]:
    return (one.model, one.thread_policy, one.benchmark_version)


def _frontiers(everyone: Sequence[Submission], with_page: set[str]) -> list[Plot]:
    """Latency against quality for every model and thread policy, both divisions together."""
    plots: list[Plot] = []
    timed = [one for one in everyone if one.derived.score is not None and one.derived.latency_us_p90 is not None]
    for (model, policy, _), group in groupby(sorted(timed, key=_comparable), _comparable):
        members = list(group)
        best = frontier(members)
        chosen = sorted(members, key=lambda one: (one.submission_id not in best, -(one.derived.score or 0)))
        points = [
            pareto.Point(one, views.page_of(one) if one.submission_id in with_page else None, one.submission_id in best)
            for one in chosen[:MOST_POINTS]
        ]
        title = f"{model}, {views.threads_of(policy)}"
        told = f"Latency against quality of {len(points)} submissions for {title}; {len(best)} of them on the frontier"
        slug = f"pareto-{len(plots)}"
        front = sorted((p for p in points if p.on_frontier), key=lambda p: p.submission.derived.latency_us_p90 or 0)
        rows = tuple((point, pareto.label_of(point.submission)) for point in front)
        plots.append(Plot(slug, title, pareto.plot(points, slug, told), rows, len(members) - len(points)))
    return plots


def _histories(ranked: Sequence[Board], with_page: set[str]) -> list[Plot]:
    """Progress on every model, division and thread policy; tiers of the open division are one history."""
    plots: list[Plot] = []
    dates = [progress.day_of(entry.submission) for board in ranked for entry in board.entries]
    for key, group in groupby(ranked, lambda board: board.group[:4]):
        members = [entry.submission for board in group for entry in board.entries]
        hrefs = {one.submission_id: views.page_of(one) for one in members if one.submission_id in with_page}
        slug, title = f"progress-{len(plots)}", f"{key[0]}, {key[1]}, {views.threads_of(key[2])}"
        told = f"Best score so far of each submitter over time, {title}"
        svg = progress.plot(members, slug, told, hrefs, (min(dates), max(dates)))
        if svg:
            best = [(steps[-1], len(steps)) for steps in best_so_far(members).values()]
            best.sort(key=lambda row: -(row[0].derived.score or 0))
            plots.append(Plot(slug, title, svg, tuple(best), 0))
    return plots
