"""The leaderboard as pages, without a browser: links, names that mean harm, the same bytes, a folder never half."""

import math
import os
import re
import subprocess
import sys
from html.parser import HTMLParser
from itertools import pairwise
from pathlib import Path

import pytest

from leaderboard import html, verification
from leaderboard.site import build, folder, svg, times
from leaderboard.store import Loaded, Problem
from leaderboard.verification import Verified
from tests.leaderboard import demo

NOBODY = Verified({}, ())
VOID = {"meta", "link", "br", "input", "img", "hr"}


class Page(HTMLParser):
    """What a page links to, what can be linked to, and whether its tags are closed in order."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.links: list[str] = []
        self.ids: list[str] = []
        self.tags: list[str] = []
        self.wrong: list[str] = []
        self.scripts: list[dict[str, str | None]] = []
        self._open: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        found = dict(attrs)
        self.tags.append(tag)
        self.links += [value for name, value in attrs if name in ("href", "src", "xlink:href") and value]
        self.ids += [value for name, value in attrs if name == "id" and value]
        self.wrong += [name for name, _ in attrs if name.startswith("on")]
        if tag == "script":
            self.scripts.append(found)
        if tag not in VOID:
            self._open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.handle_starttag(tag, attrs)
        if tag not in VOID:
            self._open.pop()

    def handle_endtag(self, tag: str) -> None:
        if not self._open or self._open.pop() != tag:
            self.wrong.append(f"</{tag}>")


def pages(place: Path) -> dict[Path, Page]:
    return {path: Page(path.read_text(encoding="utf-8")) for path in sorted(place.rglob("*.html"))}


def built(place: Path, submissions, verified=NOBODY, problems=()) -> Path:
    build.write_site(Loaded(tuple(submissions), tuple(problems)), verified, place, lambda done, total: None)
    return place


@pytest.fixture(scope="module")
def few():
    return demo.board(count=9)


@pytest.fixture(scope="module")
def site(few, tmp_path_factory):
    place = tmp_path_factory.mktemp("pages")
    demo.keep(place / "board", few)
    return built(place / "site", few, verification.load_all(place / "board"))


# -- pages ------------------------------------------------------------------------------------------------------------


def test_every_link_leads_to_a_page_and_a_place_on_it_and_none_leaves_the_folder(site):
    found = pages(site)
    for path, page in found.items():
        assert not page.wrong and len(page.ids) == len(set(page.ids)), (path, page.wrong)
        for link in page.links:
            if link == "data:,":
                continue
            target, _, place = link.partition("#")
            goal = (path.parent / target).resolve() if target else path
            assert goal.is_file() and site.resolve() in goal.parents, (path.name, link)
            assert not place or place in found[goal].ids, (path.name, link)


def test_every_submission_has_a_page_that_says_how_to_replay_it(site, few):
    for one in few:
        text = (site / "submissions" / f"{one.submission_id}.html").read_text(encoding="utf-8")
        place = f"{one.submitter.id}/{one.model}/{one.division}-t1/{one.submission_id}.json"
        assert f"python -m mlperf verify leaderboard/submissions/{place}" in text
        assert f"python -m mlperf submit --model {one.model}" in text and "candidate.safetensors" in text
        for reason in one.validity.reasons:
            assert reason.code in text and str(reason.required).replace(">", "&gt;").replace("<", "&lt;") in text


def test_pages_say_verified_and_refuted_where_somebody_replayed_and_claimed_elsewhere(site, few):
    records = {record.submission_id: record.result for record in demo.replays(few)}
    assert set(records.values()) == {"PASS", "FAIL"}
    words = {"PASS": "verified", "FAIL": "refuted", None: "claimed"}
    index = (site / "index.html").read_text(encoding="utf-8")
    for one in few:
        row = index.partition(f"submissions/{one.submission_id}.html")[2].partition("</tr>")[0]
        expected = words[records.get(one.submission_id)] if one.derived.score is not None else "invalid"
        assert f">{expected}</b>" in row


def test_the_same_submissions_give_the_same_bytes_in_whatever_order_they_were_read(few, tmp_path):
    one, other = built(tmp_path / "one", few[:4]), built(tmp_path / "other", few[3::-1])
    names = [path.relative_to(one) for path in sorted(one.rglob("*")) if path.is_file()]
    assert names == [path.relative_to(other) for path in sorted(other.rglob("*")) if path.is_file()]
    assert all((one / name).read_bytes() == (other / name).read_bytes() for name in names)


def test_a_leaderboard_without_submissions_says_how_to_make_the_first(tmp_path):
    place = built(tmp_path / "site", [])
    assert "python -m mlperf submit --model cnn" in (place / "index.html").read_text(encoding="utf-8")
    assert all(not page.wrong for page in pages(place).values())


# -- names that mean harm ---------------------------------------------------------------------------------------------

HOSTILE = (
    "<script>document.title='executed'</script>",
    "\"'><img src=x onerror=\"document.title='executed'\">",
    "=cmd|' /C calc'!A0",
    "\u202egnp.exe \u0007\x1b[31m",
    "${7*7} {{ 7*7 }} $\\frac{1}{0}$ #fe0000",
    "a" * 200,
)


def hostile_board():
    """Every free text of a submission says something that means harm."""
    found = []
    for place, name in enumerate(HOSTILE):
        changes = {
            "submitter": {"id": f"somebody-{place}", "display_name": name, "team": name},
            "notes": name * 3, "env.cpu_model": name, "env.os": name, "task.metric": name, "task.dataset": name,
            "harness.version": name, "reference.id": name, "benchmark_version": name,
            "pipeline.0.config": {name: name}, "candidate.weight_dtypes": [name],
        }  # fmt: skip
        found.append(demo.made(seed=place, **changes))
    return found


def test_names_that_mean_harm_are_text_and_nothing_else(tmp_path):
    problems = [Problem(f"{name}/../../x.json", "SCHEMA", name) for name in HOSTILE]
    place = built(tmp_path / "site", hostile_board(), problems=problems)
    assert {path.parent.name for path in place.rglob("*.html")} == {"site", "submissions"}
    for path, page in pages(place).items():
        assert not page.wrong and "img" not in page.tags, (path, page.wrong)
        assert [script["src"] for script in page.scripts] == [os.path.relpath(place / "site.js", path.parent)]
        text = path.read_text(encoding="utf-8")
        assert not re.search(r"[\u202a-\u202e\u2066-\u2069\x00-\x08\x0b-\x1f\x7f]", text)
        assert "49" not in re.findall(r"\$?\{?(49)\}?", text.partition("<h1>")[2].partition("</h1>")[0])


def test_a_megabyte_of_a_name_is_a_problem_that_is_listed_in_one_line(tmp_path):
    place = built(tmp_path / "site", [], problems=[Problem("x" * 10**6, "SCHEMA", "y" * 10**6)] * 80)
    text = (place / "index.html").read_text(encoding="utf-8")
    assert len(text) < 50_000 and "the first 50" in text


# -- the folder -------------------------------------------------------------------------------------------------------


def test_a_folder_with_other_files_is_refused_and_left_alone(few, tmp_path):
    precious = tmp_path / "thesis.txt"
    precious.write_text("years of work")
    with pytest.raises(folder.NotOurs, match=r"has files that are no site of this leaderboard .* --out DIR"):
        built(tmp_path, few[:1])
    with pytest.raises(folder.NotOurs, match="is not a folder"):
        built(precious, few[:1])
    assert [path.name for path in tmp_path.iterdir()] == ["thesis.txt"]


@pytest.mark.parametrize("knows_exchange", [True, False])
def test_a_site_is_replaced_as_a_whole_and_one_that_fails_leaves_the_old(few, tmp_path, monkeypatch, knows_exchange):
    if not knows_exchange:
        monkeypatch.setattr(folder, "_exchange", lambda one, other: False)
    place = built(tmp_path / "site", few[:2])
    built(place, few[:1])
    assert len(list((place / "submissions").iterdir())) == 1  # nothing of the old one is left
    before = {path: path.read_bytes() for path in place.rglob("*.html")}
    with pytest.raises(RuntimeError), folder.replacing(place) as new:
        (new / "index.html").write_text("half")
        raise RuntimeError
    assert {path: path.read_bytes() for path in place.rglob("*.html")} == before
    assert [path.name for path in tmp_path.iterdir()] == ["site"]


KILLED = """
import os, signal, sys
from pathlib import Path
from leaderboard.site import folder
with folder.replacing(Path(sys.argv[1])) as new:
    (new / "index.html").write_text("half")
    os.kill(os.getpid(), signal.SIGKILL)
"""


def test_a_killed_build_leaves_the_old_site_and_the_next_one_sweeps_up(few, tmp_path, monkeypatch):
    place = built(tmp_path / "site", few[:1])
    before = (place / "index.html").read_bytes()
    subprocess.run([sys.executable, "-c", KILLED, str(place)], check=False)
    assert (place / "index.html").read_bytes() == before and len(list(tmp_path.iterdir())) == 2
    monkeypatch.setattr(folder, "is_stale", lambda path: True)  # as it is an hour later
    (tmp_path / ".site-of-somebody.tmp").mkdir()  # no marker: not ours
    built(place, few[:1])
    assert sorted(path.name for path in tmp_path.iterdir()) == [".site-of-somebody.tmp", "site"]


# -- scale ------------------------------------------------------------------------------------------------------------


def test_a_large_board_is_short_on_the_first_page_and_whole_on_its_own(few, tmp_path, monkeypatch):
    monkeypatch.setattr(build, "WHOLE_INDEX", 5)
    monkeypatch.setattr(build, "ALL_HAVE_PAGES", 5)
    monkeypatch.setattr(build.views, "SHOWN", 1)
    everyone = [demo.made(seed=place, ratio=20 - place) for place in range(8)]  # all Ada's, one board
    place = built(tmp_path / "site", [*everyone, *few[:1]])
    index = (place / "index.html").read_text(encoding="utf-8")
    more = re.search(r'href="(boards/[\w-]+\.html)">Show all 8<', index)
    assert more and index.count("<tr data-s") == 2 and "2 of 9" in index
    assert (place / more[1]).read_text(encoding="utf-8").count("<tr data-s") == 8
    best, latest = everyone[0], max(everyone, key=lambda one: one.created_utc)
    assert {path.stem for path in (place / "submissions").iterdir()} == {
        best.submission_id, latest.submission_id, few[0].submission_id
    }  # fmt: skip


def test_the_first_page_for_200_submissions_is_below_500_kB(tmp_path, monkeypatch):
    monkeypatch.setattr(build, "who_has_a_page", lambda ranked, records: set())
    place = built(tmp_path / "site", demo.board(count=200))
    text = (place / "index.html").read_bytes()
    assert text.count(b"<tr data-s") == 200 and len(text) < 250_000


# -- drawings ---------------------------------------------------------------------------------------------------------


def test_drawings_take_colours_and_letters_from_the_page(few):
    drawn = str(times.queries(few[0])) + str(times.ratios(few[0]))
    assert "var(--opt)" in drawn and "var(--ink)" in drawn and "worker 5" in drawn
    assert "#fe" not in drawn and "font-family" not in drawn and "DejaVu" not in drawn


@pytest.mark.parametrize(
    "low, high", [(1.0, 1.2), (3.0, 10.0), (0.5, 40.0), (1.0, 1e6), (61.3, 61.9), (2.2, 2.9), (9.4, 23.0)]
)
def test_an_axis_of_times_has_a_few_round_labels(low, high):
    marks = times.round_marks(low, high)
    assert 1 <= len(marks) <= 6 and all(low <= mark <= high for mark in marks)
    assert len({times.plain_duration(mark) for mark in marks}) == len(marks)
    assert all(math.log(b / a) > math.log(high / low) / 12 for a, b in pairwise(marks))  # labels have room


def test_times_have_the_unit_that_suits_them():
    shown = [times.duration(value) for value in (0.5, 1.234, 999.0, 5700.0, 2.5e6)]
    assert shown == ["500 ns", "1.23 µs", "999 µs", "5.70 ms", "2.50 s"]


def test_series_are_told_apart_without_colour():
    assert len(set(svg.MARKERS)) == len(svg.SERIES)


# -- the command ------------------------------------------------------------------------------------------------------


def test_the_command_builds_and_refuses_in_words(few, tmp_path, capsys):
    from leaderboard.__main__ import main

    demo.keep(tmp_path / "board", few[:2])
    arguments = ["html", "--leaderboard", str(tmp_path / "board"), "--out"]
    assert main([*arguments, str(tmp_path / "site")]) == 0
    assert "2 submissions on 7 pages" in capsys.readouterr().out
    assert main([*arguments, str(tmp_path)]) == 2
    assert "choose another place with --out DIR" in capsys.readouterr().err
    assert main(["html", "--leaderboard", str(tmp_path / "nothing"), "--out", str(tmp_path / "site")]) == 2
    assert "no directory" in capsys.readouterr().err
    assert html.EXAMPLES.count("python -m leaderboard html") == 2
