"""What is seen: golden text, digits, and hostile names."""

import re
import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from leaderboard import row
from leaderboard.grid import grid, width_of
from leaderboard.schema import Derived
from leaderboard.standing import Standing
from leaderboard.store import Problem
from leaderboard.tables import problems_text, text
from leaderboard.text import fixed, inert, listed, ratio_decimals, significant
from leaderboard.trust import Trust
from leaderboard.view import view_of


def viewed(submissions, trusts=None, **options):
    return view_of(map(Standing.of, submissions), trusts or {}, **options)


def test_the_boards_as_golden_text(entry, golden):
    field = [
        entry("Ada", 4.0213, 0.02),
        entry("Bob", 3.97, 0.02, **{"candidate.bytes_stored": 1234, "env.turbo": True}),
        entry("1e5", 2.5, 0.15),
        entry("Dan", 123.4, 0.001, **{"raw.workers.1.steady": False, "candidate.retrained": True}),
        entry("Eve", 3.0, 0.01, model="mlp", division="practice"),
        entry("Fay", 1.0, 0.01, division="open"),
    ]
    field.append(entry("Ada", 3.5, 0.02))
    trusts = {
        field[0].submission_id: Trust("verified", 3.951, 3.9, 4.0, ("lab",)),
        field[2].submission_id: Trust("refuted", verifiers=("lab",)),
    }
    view = viewed(field, trusts)
    problems = problems_text([Problem("x/broken.json", "NOT_JSON", "broken or truncated: Expecting value")])
    golden("boards", "\n\n\n".join([text(view, most=2), text(view, is_wide=True), problems]) + "\n")


def test_a_table_fits_100_columns_whatever_is_on_it(entry, generating):
    long = {"submitter.display_name": "李" * 100, "candidate.bytes_stored": 10**9}
    field = [
        entry("Ada", 123456.0, 0.2, **long, **{"raw.workers.0.wall_ns": 1}),
        entry("Bob", 4e5, 0.1, **long, **generating),
        entry("Cyd", 1e-4, 0.0, **long),
    ]
    for most in (None, 1, 5):
        assert max(map(width_of, text(viewed(field), most=most).splitlines())) <= 100


def test_columns_line_up_beside_letters_of_two_places_and_of_none():
    shown = grid([["李雷", "1"], ["e\u0301", "10"]], ["name", "n"], left=["name"])
    assert shown.splitlines() == ["name   n", "----  --", "李雷   1", "e\u0301     10"]
    assert {width_of(line) for line in shown.splitlines()} == {8}


def test_of_many_the_first_are_named_and_the_rest_counted():
    assert listed(["a", "b"], 2) == "a, b"
    assert listed(["a"] * 1002, 2) == "a, a and 1,000 more"


def test_boards_of_token_by_token_answers_show_their_times(entry, generating):
    shown = row(entry("Ada", 4.0, 0.01, **generating, model="transformer"))
    header, _, cells = (line.strip() for line in shown.splitlines()[-3:])
    by_name = dict(zip(re.split(r" {2,}", header), re.split(r" {2,}", cells)))
    assert (by_name["first ms"], by_name["tokens/s"]) == ("0.130", "47,600")
    assert "tokens/s" not in row(entry("Ada", 4.0, 0.01))


def test_the_row_of_one_submission_shows_its_rank_among_its_equals(entry):
    field = [entry(name, ratio, 0.01) for name, ratio in (("Ada", 4.0), ("Bob", 3.0), ("Cyd", 2.0))]
    title, _, header, _, only = row(field[1], field).splitlines()
    assert title.startswith("cnn, closed division, t1, by score (benchmark 4f1c0ffee")
    assert header.split()[:3] == ["rank", "submitter", "score"]
    assert only.split()[:4] == ["2", "Bob", "2.97", "3.00"]
    assert row(field[1]).splitlines()[-1].split()[:2] == ["1", "Bob"]


@pytest.mark.parametrize(("value", "figures", "shown"), [
    (4.0213, 3, "4.02"), (1234.5, 3, "1,230"), (9.996, 3, "10.0"), (0.012345, 3, "0.0123"), (99.95, 3, "100"),
    (12.0, 3, "12.0"), (0.0, 3, "0.00"), (98.99951, 5, "99.000"), (7, 1, "7"),
])  # fmt: skip
def test_significant_figures(value, figures, shown):
    assert fixed(value, significant(value, figures)) == shown


@pytest.mark.parametrize(("lo", "ratio", "hi", "shown"), [
    (4.0, 4.0213, 4.04, "4.02"), (3.7, 4.0213, 4.3, "4.0"), (2.0, 4.0213, 9.0, "4"), (4.0213, 4.0213, 4.0213, "4.02"),
    (90.0, 123.4, 160.0, "120"),
])  # fmt: skip
def test_a_ratio_shows_no_digit_finer_than_its_interval(lo, ratio, hi, shown):
    derived = Derived.model_construct(ratio=ratio, ratio_lo=lo, ratio_hi=hi)
    assert fixed(ratio, ratio_decimals(derived)) == shown


HOSTILE = [
    "\x1b[31mred\x1b[0m",
    "evil\u202egnp.exe",
    "a\r\nb\tc",
    "\x9b2J",
    "z\u200bw\ufeff",
    "\u2028line",
    "\x00nul",
    "\ud800",
]


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_text_is_spelt_out(name):
    shown = inert(name)
    assert "\\" in shown
    assert all(unicodedata.category(char)[0] != "C" and char != "\u2028" for char in shown)


@given(st.text(st.characters()), st.integers(2, 30))
def test_text_is_inert_whatever_it_is(name, width):
    shown = inert(name, width)
    assert len(shown) <= width
    assert all(
        unicodedata.category(char)[0] != "C" and unicodedata.category(char) not in ("Zl", "Zp") for char in shown
    )


def test_ordinary_names_stay_as_they_are():
    for name in ("Ada Lovelace", "Zoë", "李雷", "O'Neil & <Sons>", "=cmd()", "محمد"):
        assert inert(name, 24) == name


def test_marks_piled_onto_a_letter_are_cut():
    assert len(inert("a" + "\u0301" * 100)) == 3


def test_a_hostile_name_takes_one_line_of_the_table(entry):
    plain = entry("Ada", 4.0, 0.01)
    hostile = entry("x", 4.0, 0.01, **{"submitter.display_name": "A\n\x1b[2J\u202e" + "x" * 190})
    shown = text(viewed([plain, hostile], wanted_event=lambda event: False))
    assert len(shown.splitlines()) == 6
    assert "A\\n\\x1b[2J\\u202ex… " in shown
    assert "\x1b" not in problems_text([Problem("\x1b]0;x\x07.json", "SCHEMA", "\x1b[1m: Extra inputs")])
