"""The best score so far of each submitter over time."""

from collections.abc import Sequence
from datetime import datetime
from itertools import pairwise

from markupsafe import Markup
from matplotlib.dates import AutoDateLocator, date2num, num2date
from matplotlib.ticker import FuncFormatter, MaxNLocator

from leaderboard.history import best_so_far
from leaderboard.schema import TIME_FORMAT, Submission
from leaderboard.site.svg import MARKERS, SERIES, css, drawing, markup, quiet
from leaderboard.text import inert

NAME_WIDTH = 18
MONTHS = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")


def plot(
    submissions: Sequence[Submission], name: str, told: str, hrefs: dict[str, str], days: tuple[datetime, datetime]
) -> Markup | None:
    """A line of steps for each submitter; the best eight have a colour and their name at its end. None if unranked.

    `days` are the first and the last of all drawings on the page, so that they can be compared.
    """
    steps = best_so_far(submissions)
    if not steps:
        return None
    leaders = sorted(steps, key=lambda who: (-(steps[who][-1].derived.score or 0), who))
    first, last = (float(date2num(day)) for day in days)
    room = max((last - first) * 0.03, 1.0)
    end = last + room
    with drawing(name, 6.6, 3.4) as figure:
        axes = figure.subplots()
        links: dict[str, str] = {}
        ends = []
        for place, who in reversed(list(enumerate(leaders))):
            known = place < len(SERIES)
            colour = css(SERIES[place]) if known else css("line")
            when = [float(date2num(day_of(one))) for one in steps[who]]
            scores = [one.derived.score or 0 for one in steps[who]]
            wide = 1.8 if known else 1.0
            axes.step([*when, end], [*scores, scores[-1]], where="post", color=colour, linewidth=wide)
            if not known:
                continue
            dots = axes.scatter(when, scores, s=34, color=colour, marker=MARKERS[place], zorder=3,
                                edgecolor=css("page"), linewidth=0.6)  # fmt: skip
            dots.set_urls([hrefs.get(one.submission_id) for one in steps[who]])
            shown = inert(steps[who][-1].submitter.display_name, NAME_WIDTH)
            links |= {
                hrefs[one.submission_id]: f"{shown}, {one.created_utc[:10]}: {one.derived.score or 0:.3g} times faster"
                for one in steps[who] if one.submission_id in hrefs
            }  # fmt: skip
            ends.append((scores[-1], shown, colour, MARKERS[place]))
        axes.set_xlim(first - room, end)
        axes.xaxis_date()
        axes.margins(y=0.08)
        low, high = axes.get_ylim()
        heights = apart([end[0] for end in ends], (high - low) / 17)
        for (score, shown, colour, _), height in zip(ends, heights):
            axes.annotate(
                shown, (1, score), (1.03, height), xycoords=("axes fraction", "data"), va="center", fontsize=10,
                annotation_clip=False, arrowprops={"arrowstyle": "-", "color": colour, "linewidth": 1, "shrinkB": 0},
            )  # fmt: skip
        axes.set_ylim(low, high)
        axes.xaxis.set_major_locator(AutoDateLocator(minticks=3, maxticks=6))
        axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: _short(num2date(value))))
        axes.yaxis.set_major_locator(MaxNLocator(6))
        axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}×"))
        axes.set_ylabel("best score so far")
        quiet(axes, "y")
        return markup(figure, name, told, links)


def apart(heights: Sequence[float], least: float) -> list[float]:
    """Heights moved as little as needed, upwards from the lowest, so that neighbours keep a distance."""
    order = sorted(range(len(heights)), key=lambda i: heights[i])
    moved = list(heights)
    for below, here in pairwise(order):
        moved[here] = max(moved[here], moved[below] + least)
    return moved


def _short(day: datetime) -> str:
    """"15 Oct", and the year where it is the first day of one; nobody's locale has a say."""
    return f"{day.day} {MONTHS[day.month - 1]}{f' {day.year}' if (day.month, day.day) == (1, 1) else ''}"


def day_of(submission: Submission) -> datetime:
    """When it was made."""
    return datetime.strptime(submission.created_utc, TIME_FORMAT)
