"""Hostile code in a worker: what limits alone stop, what the sandbox stops, and that nothing of it lives on."""

from __future__ import annotations

import json

import pytest

from mlperf import __main__ as command
from mlperf.commands import selftest
from mlperf.confinement import sandbox
from mlperf.confinement.attacked import ATTACKS, GUARDS, Row, rows

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


def test_the_selftest_says_what_was_not_as_stated(monkeypatch, capsys):
    monkeypatch.setattr(selftest, "bubblewrap", lambda: "bwrap")
    monkeypatch.setattr(selftest, "compile_all", lambda: None)
    made = [Row(attack, guard, getattr(attack, guard), "", 0) for attack in ATTACKS for guard in GUARDS]
    for bad in (None, Row(ATTACKS[0], "limits", "succeeds", "", 3)):
        monkeypatch.setattr(selftest, "rows", lambda bad=bad: iter([bad or made[0], *made[1:]]))
        assert command.main(["selftest", "sandbox"]) == (0 if bad is None else 1)
        out = capsys.readouterr().out
        line = json.loads(out.splitlines()[-1])
        assert line["passed"] == (bad is None) and len(line["rows"]) == len(ATTACKS)
        assert ("succeeds, 3 processes survive (stated: stopped: processes)" in out) == (bad is not None)


def test_without_a_sandbox_the_selftest_says_what_to_install(monkeypatch, capsys):
    monkeypatch.setattr(sandbox.shutil, "which", lambda name: None)
    monkeypatch.setattr(selftest, "compile_all", lambda: None)
    sandbox.bubblewrap.cache_clear()
    try:
        assert command.main(["selftest", "sandbox"]) == 1
        assert "bubblewrap (bwrap) is not installed: install Debian's package `bubblewrap`" in capsys.readouterr().err
        assert "--no-sandbox" in str(sandbox.available())
    finally:
        sandbox.bubblewrap.cache_clear()
