"""The catalogue of codes: complete, without a code nobody raises, and explained to whoever asks."""

import ast
import re
from pathlib import Path

import pytest

from leaderboard import codes
from leaderboard.cautions import CAUTIONS
from leaderboard.flags import FLAGS
from leaderboard.gates import GATES
from leaderboard.rules import code_of
from mlperf.__main__ import main

ROOT = Path(__file__).parents[2]
SHAPE = re.compile(r"[A-Z][A-Z0-9]*(_[A-Z0-9]+)*")
RAISING = {"Problem", "Refused", "Refusal", "Flag", "Fault", "Check", "Reason", "_reason", "outcome", "__init__"}


def constant(node):
    value = node.value if isinstance(node, ast.Constant) and isinstance(node.value, str) else ""
    return value if SHAPE.fullmatch(value) and len(value) > 2 else None


def raised(tree):
    """Codes in the places where they are raised: `code="X"`, `Problem(.., "X", ..)`, `("X", reason)`."""
    for node in ast.walk(tree):
        if isinstance(node, ast.keyword) and node.arg == "code":
            yield constant(node.value)
        elif isinstance(node, ast.Call) and ast.unparse(node.func).rpartition(".")[2] in RAISING:
            yield from map(constant, node.args)
        elif isinstance(node, ast.Tuple) and len(node.elts) > 1 and not all(map(constant, node.elts)):
            yield constant(node.elts[0])


def all_raised():
    found = {code_of(rule) for rule in (*GATES, *CAUTIONS, *FLAGS)}
    for path in [*(ROOT / "leaderboard").rglob("*.py"), *(ROOT / "mlperf").rglob("*.py")]:
        if path.name != "codes.py":
            found |= set(raised(ast.parse(path.read_text(encoding="utf-8")))) - {None}
    return found


def test_every_code_that_is_raised_is_in_the_catalogue_and_no_other():
    found, known = all_raised(), set(codes.catalogue())
    assert found - known == set(), "add them to leaderboard/codes.py"
    assert known - found == set(), "nobody raises them"


def test_codes_are_found_where_they_are_raised():
    """The rule above is only as good as its eyes."""
    source = 'yield "ONE_CODE", text\nReason(code="TWO_CODES")\nProblem(path, "THREE", x)\nA = ("PATH", "HOME")\n'
    assert set(raised(ast.parse(source))) - {None} == {"ONE_CODE", "TWO_CODES", "THREE"}
    assert {"HASH_MISMATCH", "REFERENCE_HASH", "NOT_JSON", "FAR_AHEAD", "DATA_COPY", "FILE_HASH"} <= all_raised()


def test_every_code_says_rule_reason_and_remedy():
    for entry in codes.catalogue().values():
        for text in (entry.rule, entry.why, entry.remedy):
            assert len(text) > 8 and text.rstrip()[-1] == ".", entry
        assert entry.kind in codes.KINDS


def test_the_table_has_all_codes_and_fits_a_terminal(capsys):
    assert main(["explain"]) == 0
    out = capsys.readouterr().out
    assert all(re.search(rf"^  {code} ", out, re.MULTILINE) for code in codes.catalogue())
    assert max(map(len, out.splitlines())) <= 110


@pytest.mark.parametrize("name", ["CACHING_SUSPECTED", "caching_suspected"])
def test_one_code_is_explained(capsys, name):
    assert main(["explain", name]) == 0
    out = capsys.readouterr().out
    assert out.startswith("CACHING_SUSPECTED: makes a submission INVALID")
    assert re.search(r"^rule    No answer is remembered", out, re.MULTILINE)
    assert "MLPerf TEST04" in out and re.search(r"^remedy  Remove every table", out, re.MULTILINE)


@pytest.mark.parametrize(("name", "says"), [
    ("QUALITY_GATES", "unknown code 'QUALITY_GATES'; did you mean QUALITY_GATE"),
    ("zzz", "unknown code 'zzz'; python -m mlperf explain lists all"),
])  # fmt: skip
def test_an_unknown_code_names_near_ones(capsys, name, says):
    with pytest.raises(SystemExit) as ended:
        main(["explain", name])
    assert ended.value.code == 2 and says in capsys.readouterr().err
