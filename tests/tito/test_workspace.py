"""A student's record: whole or not there, and made anew from tests where it is broken."""

import json
from pathlib import Path

import pytest

from tests.tito.answers import own, untouched
from tito import progress
from tito.course import find
from tito.workspace import BrokenRecord, Progress, Reached, Workspace


@pytest.fixture
def workspace(tmp_path):
    return Workspace(tmp_path / "mine")


def files_of(workspace, *names, make=own):
    for name in names:
        make(find(name), workspace.root / "modules")


def test_nothing_is_there_at_first(workspace):
    assert workspace.progress() == Progress() and not workspace.root.exists()
    assert workspace.state(find("02"), Progress()) == "" and workspace.files(find("02")) == {}


def test_states_of_a_module(workspace):
    module = find("02")
    progress.start(module, workspace)
    assert workspace.state(module, workspace.progress()) == "started"
    workspace.complete(module)
    assert workspace.state(module, workspace.progress()) == "completed"
    path = workspace.path(module, module.sources[0])
    path.write_text(path.read_text() + "\n")
    assert workspace.state(module, workspace.progress()) == "changed"
    assert workspace.forget(module) and not workspace.forget(module)
    assert workspace.state(module, workspace.progress()) == "started"


def test_a_module_of_two_files_needs_both(workspace):
    module = find("09")
    files_of(workspace, "09")
    assert len(workspace.files(module)) == 2
    workspace.path(module, module.sources[1]).unlink()
    assert workspace.files(module) == {} and workspace.state(module, Progress()) == ""


def test_a_file_that_is_there_is_never_overwritten(workspace):
    module = find("09")
    files_of(workspace, "09")
    workspace.path(module, module.sources[0]).unlink()
    with pytest.raises(progress.AlreadyThere, match=r"09_spatial_dataloader\.py is there already and stays as it is"):
        progress.start(module, workspace)
    assert not workspace.path(module, module.sources[0]).exists()  # all of them, or none


def test_reset_loses_nothing(workspace):
    module = find("03")
    files_of(workspace, "03")
    path = workspace.path(module, module.sources[0])
    path.write_text("mine")
    workspace.complete(module)
    (aside,) = progress.reset(module, workspace)
    assert "NotImplementedError" in path.read_text() and Path(aside).read_text() == "mine"
    assert module.slug not in workspace.progress().completed


@pytest.mark.parametrize("text", ["", "{", "[]", "5", '{"version": 2}', '{"completed": {"02_tensor": {}}}',
                                  '{"completed": [1]}', '{"more": 1}', "[" * 100_000, "\x00"])  # fmt: skip
def test_a_broken_record_is_told_of_and_made_anew_from_the_tests(workspace, text):
    files_of(workspace, "01", "20")
    files_of(workspace, "19", make=untouched)
    workspace.record.write_text(text)
    with pytest.raises(BrokenRecord, match=r"progress\.json"):
        workspace.progress()
    said = []
    record = progress.read(workspace, said.append)
    assert sorted(record.completed) == ["01_setup", "20_capstone"]
    (told,) = said
    assert "progress.json is broken" in told and "it is put aside, and the modules are tested again" in told
    assert workspace.record.with_suffix(".broken.json").read_text() == text
    assert workspace.progress() == record


def test_a_record_that_is_no_text(workspace):
    workspace.root.mkdir()
    workspace.record.write_bytes(b"\xff\xfe")
    with pytest.raises(BrokenRecord, match="cannot be read"):
        workspace.progress()


def test_the_better_run_of_a_milestone_is_kept(workspace):
    workspace.root.mkdir()

    def reached(met, *mine):
        return Reached(ran_utc="2026-11-29T00:00:00Z", met=met, verdict="v", seconds=1.0, mine=mine)

    for run in (reached(False), reached(True), reached(True, "02_tensor"), reached(False, "02_tensor"), reached(True)):
        workspace.reach("01 perceptron", run)
    assert workspace.progress().milestones["01 perceptron"] == reached(True, "02_tensor")
    assert json.loads(workspace.record.read_text())["version"] == 1
