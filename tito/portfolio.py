"""One page of what a student reached, from what was recorded and measured, and from nothing else."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

from jinja2 import Environment
from tabulate import tabulate

from leaderboard import Submission, load_all
from leaderboard.markdown import escaped
from leaderboard.ranking import boards
from leaderboard.text import counted
from tito.course import modules
from tito.workspace import Progress, Workspace


class Section(NamedTuple):
    """A heading, words, a table, and a picture's file name."""

    title: str
    words: str
    headers: tuple[str, ...] = ()
    rows: tuple[tuple[str, ...], ...] = ()
    picture: str = ""


def own_code(workspace: Workspace, progress: Progress) -> Section:
    """Which modules are the student's own."""
    rows = []
    for module in modules():
        state = workspace.state(module, progress)
        if state in ("completed", "changed"):
            done = progress.completed[module.slug]
            note = "as tested" if state == "completed" else "changed since it was tested"
            rows.append((module.slug, module.question, done.completed_utc, note))
    words = f"{len(rows)} of {len(modules())} modules are my own code."
    return Section("My own code", words, ("module", "question", "completed", "file"), tuple(rows))


def milestones(progress: Progress) -> Section:
    """What was reached, and on whose code."""
    rows = tuple(
        (script, reached.verdict, "yes" if reached.met else "no",
         f"{reached.seconds:.1f} s" if reached.seconds else "-", ", ".join(reached.mine) or "none", reached.ran_utc)
        for script, reached in sorted(progress.milestones.items())
    )  # fmt: skip
    met = sum(one.met for one in progress.milestones.values())
    words = f"{counted(met, 'claim')} met." if rows else "None has been run yet."
    return Section("Milestones", words, ("milestone", "reached", "met", "training", "my modules", "when"), rows)


def best(submissions: Sequence[Submission], name: str) -> list[Submission]:
    """Of each board the student's best valid submission, first boards first."""
    found = []
    for board in boards(submissions):
        own = [entry for entry in board.entries if entry.rank and entry.standing.submitter == name]
        found += [entry.submission for entry in own[:1]]
    return found


def competition(submissions: Sequence[Submission], name: str) -> Iterator[Section]:
    """The best submissions, and how each was made, stage by stage."""
    own = best(submissions, name)
    rows = tuple(
        (one.model, one.division, f"{one.derived.ratio_lo:.3g}x", f"{one.derived.ratio:.3g}x",
         f"{one.quality.value:.4f}", f"{one.candidate.bytes_stored:,}", one.submission_id[:12])
        for one in own
    )  # fmt: skip
    headers = ("model", "division", "faster, lower bound", "ratio", metric_of(own), "bytes", "id")
    words = f"The best valid submissions of {name}." if rows else f"The leaderboard has no valid submission of {name}."
    yield Section("Competition", words, headers, rows)
    for one in own:
        stages = tuple(
            (stage.stage, f"{ratio:.3g}x" if ratio else "-", f"{stage.bytes:,}" if stage.bytes else "-")
            for stage, ratio in zip(one.pipeline, one.derived.stage_ratios)
        )
        if one.entry is not None:
            continue  # an entry is measured as a whole
        words = "Against the reference after each stage, as it was measured then."
        yield Section(f"Waterfall of {one.model}, {one.division}", words, ("stage", "faster", "bytes"), stages)


def metric_of(own: Sequence[Submission]) -> str:
    """What quality is called, where all call it alike."""
    names = {one.task.metric for one in own}
    return names.pop() if len(names) == 1 else "quality"


def sections(workspace: Workspace, board: Path, name: str, picture: str = "") -> list[Section]:
    """The whole page."""
    progress = workspace.progress()
    found = [own_code(workspace, progress), milestones(progress)]
    found += competition(load_all(board).submissions, name)
    if picture:
        words = "Work per byte against what this machine can do at most, measured for this page."
        found.append(Section("Roofline", words, picture=picture))
    return found


def markdown(name: str, parts: Sequence[Section]) -> str:
    """The page as Markdown; names are text and no markup."""
    lines = [f"# TinyTorch: {escaped(name)}"]
    for part in parts:
        lines += ["", f"## {escaped(part.title)}", "", escaped(part.words)]
        if part.rows:
            rows = [[escaped(cell) for cell in row] for row in part.rows]
            lines += ["", tabulate(rows, part.headers, "github", disable_numparse=True)]
        if part.picture:
            lines += ["", f"![{part.title}]({part.picture})"]
    return "\n".join(lines) + "\n"


PAGE = """\
<!doctype html>
<html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width, initial-scale=1">
<title>TinyTorch: {{ name }}</title>
<style>
:root { color-scheme: light dark; }
body { font: 16px/1.5 system-ui, sans-serif; max-width: 60rem; margin: 2rem auto; padding: 0 1rem; }
.wide { overflow-x: auto; }
table { border-collapse: collapse; font-variant-numeric: tabular-nums; }
th, td { text-align: left; padding: .3rem .8rem .3rem 0; border-bottom: 1px solid #8886; }
img { max-width: 100%; background: white; }
</style></head><body>
<h1>TinyTorch: {{ name }}</h1>
{% for part in parts %}<section><h2>{{ part.title }}</h2><p>{{ part.words }}</p>
{% if part.rows %}<div class="wide" tabindex="0"><table><thead><tr>
{% for word in part.headers %}<th scope="col">{{ word }}</th>{% endfor %}</tr></thead><tbody>
{% for row in part.rows %}<tr>{% for cell in row %}<td>{{ cell }}</td>{% endfor %}</tr>
{% endfor %}</tbody></table></div>{% endif %}
{% if part.picture %}<img src="{{ part.picture }}" alt="{{ part.title }}">{% endif %}</section>
{% endfor %}</body></html>
"""


def page(name: str, parts: Sequence[Section]) -> str:
    """The page as HTML, which needs no other file but its picture."""
    return Environment(autoescape=True).from_string(PAGE).render(name=name, parts=parts)
