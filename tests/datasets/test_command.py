"""`python -m tinytorch.datasets`: what is where, and getting what is not."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys

import pytest

from tests.datasets.site import digest, pack_cifar, place_mnist, published_at
from tinytorch.datasets import catalogue, cifar, text
from tinytorch.datasets.__main__ import main

PLAY = b"First Citizen:\n" * 100


@pytest.fixture
def run(capsys):
    """`run(arguments)`: the exit code, what was printed, the JSON in the last line, and the errors."""

    def run(arguments):
        code = main(arguments.split())
        out, errors = capsys.readouterr()
        return code, out, json.loads(out.splitlines()[-1]) if out else None, errors

    return run


@pytest.fixture
def here(small_cifar, site, monkeypatch, tmp_path):
    """A CIFAR-10 of another digest in `data`, and a text that is to be had."""
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "cifar-10-binary.tar.xz").write_bytes(pack_cifar(small_cifar, "xz"))
    monkeypatch.setenv("TINYTORCH_DATA", str(tmp_path / "data"))
    site["/play"] = PLAY
    file = published_at(site, PLAY, "/play", file=text.SHAKESPEARE.file)
    monkeypatch.setattr(text, "SHAKESPEARE", file)
    entry = catalogue.PUBLISHED["tinyshakespeare"]._replace(files=(file,))
    monkeypatch.setitem(catalogue.PUBLISHED, "tinyshakespeare", entry)
    return tmp_path / "data"


def test_list_says_where_each_file_is_and_what_was_seen(here, run, site, cache):
    code, out, last, errors = run("list")
    seen = digest((here / "cifar-10-binary.tar.xz").read_bytes())[:19]
    rows = [line for line in out.splitlines() if line.startswith(("mnist", "cifar10", "tinyshakespeare"))]
    assert code == 0 and not errors and not site.asked and len(rows) == 6
    assert all("not here" in row and "published sha256:" in row for row in (*rows[:4], rows[5]))
    assert "9.91" in rows[0] and str(here) in rows[4] and f"seen {seen}, published sha256:c4a38c50a1bc" in rows[4]
    assert last == {
        "mnist": {"here": False, "published": False}, "cifar10": {"here": True, "published": False},
        "tinyshakespeare": {"here": False, "published": False},
    }  # fmt: skip
    assert f"embedded: clusters, xor, digits, digits-images, reversal; cache: {cache}" in out
    assert run("get tinyshakespeare")[0] == 0
    _, out, last, _ = run("list")
    assert last["tinyshakespeare"] == {"here": True, "published": True} and "as published" in out


def test_list_knows_an_extracted_folder_and_another_root(small_cifar, run, tmp_path):
    (tmp_path / cifar.FOLDER).mkdir()
    for name, content in small_cifar.items():
        (tmp_path / cifar.FOLDER / name).write_bytes(content)
    _, out, last, _ = run(f"list --root {tmp_path}")
    assert last["cifar10"] == {"here": True, "published": False}
    assert re.search(rf"^cifar10 +{cifar.FOLDER} +0.07 +{tmp_path} +seen sha256:", out, re.MULTILINE)


def test_get_downloads_and_tells_what_it_is(here, run, cache):
    code, out, last, errors = run("get tinyshakespeare")
    assert code == 0 and "100%" in errors and (cache / "tinyshakespeare/input.txt").read_bytes() == PLAY
    assert last == {"data": "tinyshakespeare", "training": [1350], "test": [150], "source": "input.txt as published"}
    assert "  training  1,350\n" in out


def test_get_decodes_what_is_there(here, run, cache):
    code, out, last, _ = run("get cifar10")
    assert code == 0 and last["training"] == [20, 3, 32, 32] and last["test"] == [4, 3, 32, 32]
    assert last["source"].endswith(", not the published file") and "  training  20 x 3 x 32 x 32\n" in out
    assert len(list((cache / "decoded").iterdir())) == 1


def test_get_takes_a_root(small_mnist, run, tmp_path):
    place_mnist(tmp_path / "mine" / "mnist", small_mnist)
    code, _, last, _ = run(f"get mnist --root {tmp_path / 'mine'}")
    assert code == 0 and last["training"] == [30, 1, 28, 28]


def test_what_is_embedded_is_always_here(run):
    code, _, last, _ = run("get digits")
    assert code == 0 and last == {"data": "digits", "training": [1437, 64], "test": [360, 64], "source": "embedded"}


def test_what_is_not_to_be_had_is_an_error(run):
    code, out, _, errors = run("get mnist")
    assert code == 1 and not out and errors.startswith("datasets: mnist: there is no mnist/train-images-idx3-ubyte.gz")


@pytest.mark.parametrize("arguments", ["get imagenet", "get", "", "put mnist", "list --all"])
def test_wrong_options_are_told(capsys, arguments):
    with pytest.raises(SystemExit) as ended:
        main(arguments.split())
    assert ended.value.code == 2
    said = capsys.readouterr().err
    assert "imagenet" not in arguments or ("invalid choice: 'imagenet' (choose from " in said and "cifar10" in said)


def test_ctrl_c_says_that_nothing_is_lost(run, monkeypatch):
    def interrupt(root):
        raise KeyboardInterrupt

    monkeypatch.setitem(catalogue.PUBLISHED, "mnist", catalogue.PUBLISHED["mnist"]._replace(read=interrupt))
    code, _, _, errors = run("get mnist")
    assert code == 130 and errors == "\ndatasets: interrupted; what came is kept, and the next attempt continues it\n"


def test_the_command_that_messages_name_is_one(tmp_path):
    command = [sys.executable, "-m", "tinytorch.datasets"]
    told = subprocess.run([*command, "--help"], capture_output=True, text=True, timeout=60)
    assert told.returncode == 0 and "get cifar10" in told.stdout and "exit code: 0 it is here, 1" in told.stdout
    listed = subprocess.run([*command, "list"], capture_output=True, text=True, timeout=60, env=os.environ)
    assert listed.returncode == 0 and json.loads(listed.stdout.splitlines()[-1]).keys() == catalogue.PUBLISHED.keys()
