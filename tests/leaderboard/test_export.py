"""The leaderboard as files: golden bytes, the same whatever the order, and names that stay names everywhere."""

import csv
import html
import io
import json
import random
import re
import time
import unicodedata

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from leaderboard.columns import COLUMNS
from leaderboard.export import FORMATS
from leaderboard.history import courses
from leaderboard.markdown import escaped
from leaderboard.pareto import frontiers
from leaderboard.spreadsheet import FORMULA, harmless
from leaderboard.standing import Standing
from leaderboard.store import Problem
from leaderboard.tables import course_text, frontier_text, problems_text, text
from leaderboard.trust import Trust
from leaderboard.view import view_of
from tests.leaderboard.rows import fields, row, viewed

HOSTILE = (
    "<script>alert(1)</script>", "=cmd|' /C calc'!A0", "@SUM(1+1)", "-2+3", "+1", "\t=1", "\r=1", " =1", "＝1",
    "a | b ` c [x](http://evil.example) ![i](//e) www.evil.example", "**bold** _it_ ~~no~~ # h", "../../etc/passwd",
    "\x1b[2J\x00\x07", "\u202egnp.exe", "\u200b\ufeff", "\ud800", "a\nb\r\nc\u2028d", "&lt;b&gt;", "<!--", "-->", "",
    "{{ 7*7 }}", "'; DROP TABLE", "x" * 1_000_000, "=" + "y" * 1_000_000,
)  # fmt: skip
NAMES = st.one_of(st.sampled_from(HOSTILE), st.text(max_size=30))


def hostile_view(name, *more):
    field = [
        row(0, name, benchmark_version=name, cpu_model=name),
        row(1, name, 3.0, benchmark_version=name, score=None, status="INVALID", reasons=(("NOT_STEADY", "invalid"),)),
        *more,
    ]
    return field, view_of(field, {}, [Problem(name, "SCHEMA", name)])


def is_inert(shown):
    return all(char == "\n" or unicodedata.category(char) not in ("Cc", "Cf", "Cs", "Zl", "Zp") for char in shown)


@pytest.mark.parametrize("kind", FORMATS)
def test_the_same_submissions_give_golden_bytes(entry, generating, golden, kind):
    field = [
        entry("Ada", 4.0213, 0.02),
        entry("Ada", 3.0, 0.02),
        entry("=Bob|<b>", 3.97, 0.02, **{"candidate.bytes_stored": 1234, "env.turbo": True, "submitter.id": "bob"}),
        entry("Eve", 3.0, 0.01, model="mlp", division="practice"),
        entry("Fay", 30.0, 0.1, model="transformer", **generating),
    ]
    trusts = {field[0].submission_id: Trust("verified", 3.951, 3.9, 4.0, ("lab",))}
    problems = [Problem("x|y.json", "NOT_JSON", "broken")]
    view = view_of(map(Standing.of, field), trusts, problems)
    golden(f"export_{kind}", FORMATS[kind](view))
    assert FORMATS[kind](view_of(map(Standing.of, field[::-1]), trusts, problems)) == FORMATS[kind](view)


@settings(max_examples=40)
@given(fields(), st.randoms(use_true_random=False))
def test_the_order_of_files_changes_no_byte(field, order):
    shuffled = order.sample(field, len(field))
    one, other = viewed(field), viewed(shuffled)
    for make in (*FORMATS.values(), text, lambda view: text(view, most=2), lambda view: text(view, is_wide=True)):
        assert make(one) == make(other)
    everybody = {each.submitter_id for each in field}
    for found, again in (
        (frontiers(field), frontiers(shuffled)),
        (courses(field, everybody), courses(shuffled, everybody)),
    ):
        assert found == again


@settings(max_examples=60)
@given(NAMES)
def test_csv_has_no_formula_and_no_control_character_whatever_a_name_is(name):
    _, view = hostile_view(name)
    shown = FORMATS["csv"](view)
    assert is_inert(shown) and len(shown) < 10_000
    lines = list(csv.DictReader(io.StringIO(shown)))
    assert len(lines) == 2 and None not in lines[0]
    for line in lines:
        assert not any(line[column].lstrip(" ").startswith(FORMULA) for column in ("submitter", "benchmark_version"))
    assert float(lines[0]["score"]) == pytest.approx(3.96) and lines[1]["score"] == ""


def test_a_formula_gets_an_apostrophe_and_a_name_stays_a_name():
    assert harmless("=1+1") == "'=1+1" and harmless("＝1") == "'＝1" and harmless("\t=1").startswith("'")
    for name in ("Ada Lovelace", "O'Neil & <Sons>", "1e5", "李雷"):
        assert harmless(name) == name


@settings(max_examples=60)
@given(NAMES)
def test_markdown_has_no_markup_of_a_name_and_keeps_its_tables(name):
    _, view = hostile_view(name)
    shown = FORMATS["md"](view)
    assert is_inert(shown) and len(shown) < 20_000
    for line in shown.splitlines():
        assert not set(line) & set("<>`[]*_~\\{}!@")
        assert not re.search(r"https?:|www\.", line)
    tables = [block.splitlines() for block in shown.split("\n\n") if block.startswith("| ")]
    assert tables
    for lines in tables:
        assert len({line.count("|") for line in lines}) == 1


@given(st.text(max_size=40))
def test_escaped_text_reads_as_it_was(name):
    assert html.unescape(escaped(name)) == html.unescape(escaped(html.unescape(escaped(name))))


def test_an_ordinary_name_is_readable_in_markdown():
    assert escaped("Ada O'Neil-Zoë, 李雷") == "Ada O'Neil-Zoë, 李雷"
    assert escaped("a|b") == "a&#124;b"


@settings(max_examples=60)
@given(NAMES)
def test_json_is_ascii_and_gives_every_name_back(name):
    _, view = hostile_view(name)
    shown = FORMATS["json"](view)
    assert shown.isascii() and is_inert(shown)
    content = json.loads(shown)
    assert content["boards"][0]["entries"][0]["submitter"] == name
    assert content["problems"][0]["path"] == name


@settings(max_examples=60)
@given(NAMES)
def test_terminal_tables_are_inert_whatever_a_name_is(name):
    field, view = hostile_view(name, row(2, "Bob", 2.0, benchmark_version=name))
    shown = [text(view), text(view, is_wide=True), text(view, most=1), problems_text(view.problems)]
    shown += [frontier_text(one, view) for one in frontiers(field)]
    shown += [course_text(one, view) for one in courses(field, {field[0].submitter_id})]
    assert all(is_inert(part) and len(part) < 20_000 for part in shown)


def test_json_is_unrounded_and_complete(entry):
    submission = entry("Ada", 4.0213, 0.02)
    view = viewed([Standing.of(submission)])
    (board,) = json.loads(FORMATS["json"](view))["boards"]
    (only,) = board["entries"]
    assert only["ratio"] == submission.derived.ratio and only["latency_us_p90"] == submission.derived.latency_us_p90
    assert (board["model"], board["by"], only["rank"], only["status"], only["bytes"]) == (
        "cnn",
        "score",
        1,
        "VALID",
        8000,
    )
    assert only["verification"]["word"] == "claimed" and only["flags"] == ["CONSTANT_TIMES"]


def test_thousands_are_shown_quickly():
    """A guard against quadratic work; measured, it is a tenth of this."""
    noise = random.Random(0)
    field = [
        row(number, f"S{number % 300}", noise.uniform(1, 90), 0.02, bytes=noise.randrange(1000, 9000))
        for number in range(10_000)
    ]
    began = time.perf_counter()
    text(viewed(field), most=10)
    assert time.perf_counter() - began < 2


def test_no_two_columns_have_the_same_name():
    names = [column.name for column in COLUMNS]
    assert len(names) == len(set(names))
