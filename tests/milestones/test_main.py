"""`python -m milestones` with scripts made for it: what it runs, prints, and ends with."""

from __future__ import annotations

import json
import signal
import subprocess
import sys

import pytest

from milestones import catalogue
from milestones.__main__ import main
from tests.milestones.test_scripts import ROOT, environment

SCRIPT = """
import sys, time
from milestones.run import Claim
MILESTONE = Claim("{name}", "a title", "it does {name}")
if __name__ == "__main__":
    print("options:", sys.argv[1:])
{body}
"""
MET = """    print('{"met":true,"verdict":"99 % reached"}')"""
OTHER = """    print('{"met":true,"verdict":"99 % reached","claim":"it does another task"}')"""
MISSED = """    print('{"met":false,"verdict":"1 % reached"}'); sys.exit(1)"""
BROKEN = """    sys.exit("it broke")"""
BARE = """    print('{"met":false,"needs":"tinyshakespeare"}'); sys.exit(2)"""
SLOW = """    try:
        print("waiting", flush=True)
        time.sleep(60)
    except KeyboardInterrupt:
        print("ended well"); sys.exit(130)"""


@pytest.fixture
def folder(tmp_path):
    """`folder(met=..., ...)`: a folder with one milestone for each name, numbered from 1."""

    def make(**bodies):
        for number, (name, body) in enumerate(bodies.items(), 1):
            place = tmp_path / f"{number:02}_{1950 + number}_{name}"
            place.mkdir()
            (place / f"{name}.py").write_text(SCRIPT.format(name=name, body="{body}").replace("{body}", body))
            (place / f"help_{name}.py").write_text("THIS = 'is no milestone'\n")
        return tmp_path

    return make


def test_all_that_meet_their_claim_exit_0(folder, capfd):
    code = main(["run", "all", "--quick"], folder(first=MET, second=MET))
    out = capfd.readouterr().out
    assert code == 0 and out.count("options: ['--quick']") == 2
    line = json.loads(out.splitlines()[-1])
    assert line["met"] and [one["number"] for one in line["milestones"]] == [1, 2]
    assert line["milestones"][0]["reached"] == "99 % reached" and line["milestones"][0]["seconds"] > 0
    table = out[out.rindex("milestone  ") :]
    assert "01 first" in table and "it does second" in table and "99 % reached" in table and "yes" in table


def test_one_that_fails_does_not_stop_the_others(folder, capfd):
    code = main(["run", "all"], folder(one=MISSED, two=BROKEN, three=BARE, four=MET))
    out, err = capfd.readouterr()
    line = json.loads(out.splitlines()[-1])
    assert code == 1 and not line["met"] and "it broke" in err
    assert [one["met"] for one in line["milestones"]] == [False, False, False, True]
    assert [one["reached"] for one in line["milestones"]] == [
        "1 % reached", "failed (exit code 1); see above", "needs tinyshakespeare; see above", "99 % reached",
    ]  # fmt: skip


def test_a_script_whose_data_are_missing_is_skipped_and_the_others_decide(folder, capfd):
    assert main(["run", "all"], folder(one=BARE, two=MET)) == 0
    out = capfd.readouterr().out
    line = json.loads(out.splitlines()[-1])
    assert (line["met"], line["skipped"]) == (False, 1), "a claim that was not looked at is not met"
    assert "needs tinyshakespeare; see above" in out and "skipped" in out[out.rindex("milestone  ") :]
    assert "NO" not in out[out.rindex("milestone  ") :]


def test_where_all_data_are_missing_the_exit_code_says_so(folder, capfd):
    assert main(["run", "1"], folder(one=BARE)) == 2


def test_the_table_says_what_was_really_done(folder, capfd):
    assert main(["run", "1"], folder(first=OTHER)) == 0
    out = capfd.readouterr().out
    assert "it does another task" in out[out.rindex("milestone  ") :] and "it does first" not in out


def test_a_number_runs_that_one_with_its_options(folder, capfd):
    code = main(["run", "2", "--seed", "3", "--quick"], folder(first=MISSED, second=MET))
    out = capfd.readouterr().out
    assert code == 0 and "options: ['--seed', '3', '--quick']" in out and "01 first" not in out


@pytest.mark.parametrize("which", ["3", "0", "second", "-1"])
def test_an_unknown_number_lists_the_known(folder, capfd, which):
    with pytest.raises(SystemExit) as stopped:
        main(["run", which], folder(first=MET, second=MET))
    assert stopped.value.code == 2
    err = capfd.readouterr().err
    assert f"unknown milestone '{which}'; known: 1, 2, or all" in err or "required: N|all" in err


def test_list_shows_number_year_script_and_claim(folder, capfd):
    assert main(["list"], folder(first=MET, second=MET)) == main([], folder()) == 0
    out = capfd.readouterr().out
    assert "01        1951    first.py   it does first" in out and "help_first" not in out


def test_the_real_ones_are_found_with_their_claims():
    found = catalogue.entries()
    assert [(one.number, one.year) for one in found] == [
        (1, 1957), (2, 1969), (3, 1986), (3, 1986), (4, 1998), (4, 1998), (5, 2017), (5, 2017), (6, 2024),
    ]  # fmt: skip
    assert all(len(one.claim.claim) > 20 for one in found)


def test_help_has_examples_and_exit_codes(capfd):
    with pytest.raises(SystemExit):
        main(["--help"])
    out = capfd.readouterr().out
    assert "python -m milestones run all --quick" in out and "130 after Ctrl-C" in out


def test_ctrl_c_ends_the_script_and_exits_130(folder):
    place = folder(slow=SLOW, never=MET)
    run_all = f"main(['run', 'all'], pathlib.Path({str(place)!r}))"
    program = f"import pathlib, sys\nfrom milestones.__main__ import main\nsys.exit({run_all})"
    running = subprocess.Popen(
        [sys.executable, "-c", program], cwd=ROOT, env=environment(), stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        text=True,
    )  # fmt: skip
    try:
        assert running.stdout is not None
        for line in running.stdout:
            if line == "waiting\n":
                break
        running.send_signal(signal.SIGINT)
        out, err = running.communicate(timeout=60)
    finally:
        running.kill()
    assert running.returncode == 130 and "interrupted, 0 of 2 done" in err and "Traceback" not in err
    assert "never" not in out
