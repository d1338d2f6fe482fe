"""Hostile code in a worker: what limits alone stop, what the sandbox stops, and that nothing of it lives on."""

from __future__ import annotations

import json

import pytest

from mlperf import attacked, sandbox
from mlperf.attacked import ATTACKS, Row, rows, table

GUARDS = ("limits", "sandbox")
WITHOUT = sandbox.available()


@pytest.fixture(scope="module")
def ended():
    """All attacks, made once and several at a time."""
    made = rows(GUARDS if WITHOUT is None else GUARDS[:1])
    return {(row.attack.name, row.guard): row for row in made}


@pytest.mark.parametrize("guard", GUARDS)
@pytest.mark.parametrize("name", [attack.name for attack in ATTACKS])
def test_an_attack_ends_as_stated(name, guard, ended):
    if guard == "sandbox" and WITHOUT is not None:
        pytest.skip(WITHOUT)
    row = ended[name, guard]
    assert row.outcome == getattr(row.attack, guard), row.why
    assert row.survivors == 0


def test_the_sandbox_lets_no_attack_succeed():
    assert [attack.name for attack in ATTACKS if attack.sandbox == "succeeds"] == []


def test_a_table_says_what_was_not_as_stated():
    attack = ATTACKS[0]
    text = table([Row(attack, "limits", "succeeds", "", 3), Row(attack, "sandbox", attack.sandbox, "", 0)])
    assert "| attack" in text and "limits alone (submit)" in text
    assert "succeeds, 3 processes survive (stated: stopped: processes)" in text
    assert text.count("stated") == 1


def test_the_selftest_fails_if_one_attack_does(monkeypatch, capsys):
    good, bad = (Row(ATTACKS[0], "limits", outcome, "", 0) for outcome in (ATTACKS[0].limits, "succeeds"))
    monkeypatch.setattr(attacked, "available", lambda: None)
    for made, code in (([good], 0), ([good, bad], 1)):
        monkeypatch.setattr(attacked, "rows", lambda guards, made=made: iter(made))
        assert attacked.selftest() == code
        line = json.loads(capsys.readouterr().out.splitlines()[-1])
        assert line["otherwise"] == ["forks, limits"] * code and line["as_stated"] == 1
