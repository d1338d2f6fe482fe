"""The store loses nothing, and the self-test that says so would notice if it did."""

import argparse
import json
import os
import sys

import pytest

from leaderboard import selftest, store
from leaderboard.selftest import damage, limits, made, names, processes
from leaderboard.selftest.outcome import Outcome

# Waiting for the disk guards against a power failure, which is not tried here; without it the tests are three times
# as quick. `python -m leaderboard selftest` waits.
QUICK_DISK = "import os\nos.fsync = lambda handle: None\n"


@pytest.fixture
def sabotage(tmp_path, monkeypatch):
    """Lines that every child process runs first."""

    def lines(code):
        (tmp_path / "sitecustomize.py").write_text(QUICK_DISK + code)
        monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(tmp_path), *sys.path]))

    monkeypatch.setattr(os, "fsync", lambda handle: None)
    return lines


@pytest.fixture(autouse=True)
def quick_disk(sabotage):
    sabotage("")


def tick():
    pass


def test_at_once_eight_processes_lose_nothing(tmp_path):
    found = processes.at_once(tmp_path, 50, tick)
    assert found.tried == 400 and found.lost == ()


def test_a_reader_sees_nothing_but_whole_submissions_while_others_write(tmp_path):
    found = processes.while_writing(tmp_path, 30, tick)
    assert found.tried >= 1 and found.lost == ()


def test_kill_9_while_writing_loses_nothing(tmp_path):
    assert processes.killed_writing(tmp_path, 5, 1, tick).lost == ()


@pytest.mark.parametrize("name", ["merge", "export"])
def test_kill_9_while_a_command_writes_leaves_nothing_in_part(tmp_path, name):
    assert processes.killed_command(tmp_path, name, 4, 1, tick).lost == ()


def test_a_full_disk_is_explained_and_leaves_nothing(tmp_path):
    assert limits.full_disk(tmp_path, 6, 1, tick).lost == ()


def test_a_closed_folder_is_explained_and_left_as_it_was(tmp_path):
    for folder in (tmp_path, *tmp_path.parents):
        if folder.name.startswith("pytest-"):
            folder.chmod(0o711)  # for root, who tries it as nobody
    found = limits.closed_folder(tmp_path, tick)
    assert found.tried == 4 and found.lost == ()


@pytest.mark.parametrize("seed", [1, 2])
def test_damaged_files_are_listed_or_the_same_still(tmp_path, seed):
    assert damage.mutants(tmp_path, 600, seed, tick).lost == ()


def test_hostile_names_are_inert(tmp_path):
    found = names.hostile(tmp_path, tick)
    assert found.tried > 50 and found.lost == ()


# --- would it notice? ------------------------------------------------------------------------------------------------

# Whole files appear in two pieces, as a careless writer's do.
CARELESS = """
import os, time
def replace(source, target):
    content = open(source, "rb").read()
    with open(target, "wb") as file:
        file.write(content[: len(content) // 2])
        file.flush()
        time.sleep(0.05)
        file.write(content[len(content) // 2 :])
    os.unlink(source)
os.replace = replace
"""
FORGETFUL = "import os\nos.replace = lambda source, target: os.unlink(source)\n"


def test_a_careless_writer_is_noticed(tmp_path, sabotage):
    sabotage(CARELESS)
    assert "NOT_JSON" in str(processes.while_writing(tmp_path, 10, tick).lost)
    assert "NOT_JSON" in str(processes.killed_writing(tmp_path, 4, 1, tick).lost)


def test_a_forgetful_writer_is_noticed(tmp_path, sabotage):
    sabotage(FORGETFUL)
    assert "was kept and is not there" in str(processes.at_once(tmp_path, 2, tick).lost)


def test_a_careless_merge_is_noticed(tmp_path, sabotage):
    sabotage(CARELESS)
    assert "NOT_JSON" in str(processes.killed_command(tmp_path, "merge", 4, 1, tick).lost)


def test_a_crash_on_a_damaged_file_is_noticed(tmp_path, monkeypatch):
    real = damage.prove

    def fragile(data):
        data.decode()
        return real(data)

    monkeypatch.setattr(damage, "prove", fragile)
    assert "UnicodeDecodeError" in str(damage.mutants(tmp_path, 100, 1, tick).lost)


def test_names_that_are_not_inert_are_noticed(tmp_path, monkeypatch):
    monkeypatch.setattr(names, "_said", lambda *_: "\x1b[31mred\u202e".encode())
    lost = names.hostile(tmp_path, tick).lost
    assert any("the listing holds '\\x1b'" in loss for loss in lost) and any("u202e" in loss for loss in lost)


def test_what_is_left_on_a_full_disk_is_noticed(tmp_path, sabotage):
    sabotage("import pathlib\npathlib.Path.unlink = lambda *_, **__: None\n")
    assert "something was left" in limits.full_disk(tmp_path, 6, 1, tick).lost


# --- the command -----------------------------------------------------------------------------------------------------


def run(monkeypatch, outcomes, *words):
    monkeypatch.setattr(selftest, "try_all", lambda size, seed, bar: outcomes)
    parser = argparse.ArgumentParser()
    selftest.add_parser(parser.add_subparsers())
    return selftest.run(parser.parse_args(["selftest", *words]))


def test_the_command_shows_a_table_and_ends_with_json(monkeypatch, capsys):
    assert run(monkeypatch, [Outcome("kill -9", 1200, "nothing lost", ())], "--full", "--seed", "7") == 0
    shown = capsys.readouterr().out.splitlines()
    assert shown[2].split("|")[1:-1] == [" kill -9 ", "   1,200 ", " nothing lost ", "        0 "]
    expected = {"faults": [{"fault": "kill -9", "tried": 1200, "lost": []}], "lost": 0, "seed": 7}
    assert json.loads(shown[-1]) == expected


def test_one_loss_is_told_and_fails(monkeypatch, capsys):
    assert run(monkeypatch, [Outcome("a", 1, "held", ()), Outcome("b", 2, "held", ("gone\x1b[2J",))]) == 1
    assert "LOST  b: gone\\x1b[2J" in capsys.readouterr().out


def test_what_it_plays_with_is_valid_and_different(tmp_path):
    some = [made.varied(seed) for seed in range(40)]
    assert {one.validity.status for one in some} == {"VALID"}
    assert len({one.submission_id for one in some}) == 40
    assert made.submission("a").validity.reasons == ()
    made.keep(tmp_path, "a")
    assert made.halves(tmp_path) == []
    store.files_of(made.submission("a"), tmp_path).joinpath("entry", "main.py").unlink()
    assert "entry/main.py is missing" in made.halves(tmp_path)[0]
