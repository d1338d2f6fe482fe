"""What may travel as an entry's source, and the words with which everything else is refused."""

import os
import re

import pytest

from mlperf.entries import source
from mlperf.entries.source import LARGEST, EntryError

PLAIN = "def optimize(model, calibration, context):\n    return model\n"


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "main.py").write_text(PLAIN)
    return tmp_path / "mine"


def refused(path):
    with pytest.raises(EntryError) as error:
        source.read(path)
    assert str(error.value).startswith(f"entry {path}: ")
    return str(error.value)


def test_a_file_is_its_bytes(tmp_path):
    file = tmp_path / "my-entry.py"
    file.write_text(PLAIN)
    found = source.read(file)
    assert (found.main, found.files, found.bytes) == ("my-entry.py", {"my-entry.py": PLAIN.encode()}, len(PLAIN))
    assert found.travelling == {"entry/my-entry.py": PLAIN.encode()}


def test_a_folder_with_helpers_and_data_runs_from_where_it_is_unpacked(folder, tmp_path):
    (folder / "parts").mkdir()
    (folder / "parts" / "helper.py").write_text("def answer():\n    return 'helped'\n")
    (folder / "numbers.txt").write_text("1 2 3")
    (folder / "main.py").write_text("from parts.helper import answer\n\n\ndef optimize(*given):\n    return answer\n")
    (folder / "__pycache__").mkdir()
    (folder / "__pycache__" / "left.pyc").write_bytes(b"0")
    (folder / ".hidden").write_text("stays")
    found = source.read(folder)
    assert set(found.files) == {"main.py", "parts/helper.py", "numbers.txt"} and found.main == "main.py"
    source.unpack(found, tmp_path / "elsewhere")
    assert (tmp_path / "elsewhere" / "numbers.txt").read_text() == "1 2 3"
    (folder / "parts" / "helper.py").write_text("raise RuntimeError('the original is not what runs')")


def test_the_digest_sees_names_and_contents(folder):
    before = source.read(folder).sha256
    assert source.read(folder).sha256 == before
    (folder / "main.py").rename(folder / "other.py")
    renamed = source.read(folder).sha256
    (folder / "other.py").write_text(PLAIN + "\n")
    assert len({before, renamed, source.read(folder).sha256}) == 3


def test_what_is_not_there_or_empty(tmp_path):
    assert "cannot be read: No such file" in refused(tmp_path / "none.py")
    (tmp_path / "empty").mkdir()
    assert "there is no file in it; `python -m mlperf new" in refused(tmp_path / "empty")


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("a b.py", "a b.py cannot travel: letters, digits, dots, dashes and underscores can"),
        ("$(touch x).py", r"\$\(touch x\)\.py cannot travel"),
        ("<script>.py", "<script>.py cannot travel"),
        ("\u202egnp.py", r"\\u202egnp\.py cannot travel"),
        ("new\nline.py", r"new\\nline\.py cannot travel"),
        ("-rf.py", "-rf.py cannot travel"),
        ("x" * 201 + ".py", "cannot travel"),
        ("json.py", "json.py would hide the module json; give it another name"),
        ("numpy.py", "numpy.py would hide the module numpy"),
        ("kernels.py", "kernels.py would hide the module kernels"),
    ],
)
def test_names_that_cannot_travel(folder, name, text):
    (folder / name).write_text(PLAIN)
    assert re.search(text, refused(folder))
    assert "\u202e" not in refused(folder) and "\n" not in refused(folder)


def test_links_lead_nowhere(folder, tmp_path):
    secret = tmp_path / "secret.txt"
    secret.write_text("not yours")
    (folder / "link.txt").symlink_to(secret)
    assert refused(folder).endswith("link.txt is a link; copy what it points to")
    (folder / "link.txt").unlink()
    (folder / "linked").symlink_to(tmp_path, target_is_directory=True)
    assert refused(folder).endswith("linked is a link; copy what it points to")
    (tmp_path / "entry.py").symlink_to(folder / "main.py")
    assert "is a link" in refused(tmp_path / "entry.py")


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="this system has no such files")
def test_a_pipe_is_not_waited_for(folder):
    os.mkfifo(folder / "pipe.py")
    assert refused(folder).endswith("pipe.py is no regular file")


def test_too_much(folder):
    room = LARGEST - len(PLAIN)
    (folder / "numbers.txt").write_bytes(b"0" * room)
    assert source.read(folder).bytes == LARGEST
    (folder / "numbers.txt").write_bytes(b"0" * (room + 1))
    assert "more than 1,048,576 bytes of source with numbers.txt; weights belong into" in refused(folder)
    (folder / "numbers.txt").unlink()
    for i in range(100):
        (folder / f"{i}.txt").touch()
    assert "101 files, at most 100 travel; leave out the unused" in refused(folder)


@pytest.mark.parametrize(
    ("files", "text"),
    [
        ({"main.py": "x = 1"}, "no file at its top defines `optimize`; one function `def optimize(model, calibration"),
        ({"main.py": PLAIN, "other.py": PLAIN}, "main.py, other.py all define `optimize`; one function"),
        ({"main.py": "def optimize(:\n"}, "main.py is no Python: invalid syntax"),
        ({"main.py": "x = '\0'"}, "main.py is no Python: source code string cannot contain null bytes"),
        ({"main.txt": PLAIN, "main.py": ""}, "no file at its top defines"),
    ],
)
def test_exactly_one_file_optimizes(folder, files, text):
    for name, content in files.items():
        (folder / name).write_text(content)
    assert text in refused(folder)
