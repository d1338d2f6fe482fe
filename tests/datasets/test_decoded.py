"""What is decoded once: kept whole or not at all, made by one process, made again when it is damaged or for another."""

from __future__ import annotations

import os
import resource
import signal
import subprocess
import sys
import time
import warnings
from pathlib import Path

import numpy as np
import pytest

from tests.datasets.site import files_below
from tinytorch.datasets import DataError
from tinytorch.datasets.decoded import decoded
from tinytorch.datasets.download import Found

LAYOUT = {"x": ((5, 3, 7), "|u1"), "y": ((5,), "<i8"), "statistics": ((2, 3), "<f8")}
SOURCE = [Found(Path("source"), "sha256:12", True)]


def make(seed=0):
    rng = np.random.default_rng(seed)
    return {
        "x": rng.integers(0, 256, (5, 3, 7), np.uint8), "y": rng.integers(0, 10, 5), "statistics": rng.random((2, 3)),
    }  # fmt: skip


def never():
    raise AssertionError("decoded again")


def same(arrays, seed=0):
    expected = make(seed)
    assert arrays.keys() == expected.keys()
    for name, array in arrays.items():
        np.testing.assert_array_equal(array, expected[name])
        assert array.dtype == LAYOUT[name][1] and not array.flags.writeable and array.flags.aligned
        with pytest.raises(ValueError):
            array[...] = 0


@pytest.fixture
def file(cache):
    """The kept file, after it was made."""
    decoded("data", SOURCE, LAYOUT, make)
    (path,) = (cache / "decoded").iterdir()
    return path


def test_the_second_use_maps_what_the_first_decoded(file, cache):
    arrays = decoded("data", SOURCE, LAYOUT, never)
    same(arrays)
    assert len(files_below(cache)) == 1 and file.name.startswith("data-")
    assert str(file) in Path("/proc/self/maps").read_text() or sys.platform != "linux"


def test_another_source_or_name_or_layout_has_a_file_of_its_own(file, cache):
    other = [SOURCE[0]._replace(digest="sha256:13")]
    same(decoded("data", other, LAYOUT, lambda: make(1)), 1)
    same(decoded("more", SOURCE, LAYOUT, lambda: make(2)), 2)
    same(decoded("data", [*SOURCE, *other], LAYOUT, lambda: make(3)), 3)
    same(decoded("data", SOURCE, LAYOUT, never))
    assert len(files_below(cache)) == 4
    turned = {**LAYOUT, "x": ((3, 5, 7), "|u1")}  # the same size, and another header
    assert decoded("data", SOURCE, turned, lambda: {**make(), "x": make()["x"].reshape(3, 5, 7)})["x"].shape == (
        3,
        5,
        7,
    )
    assert len(files_below(cache)) == 4


DAMAGE = {
    "cut": lambda content: content[:-1],
    "longer": lambda content: content + b"\0",
    "empty": lambda content: b"",
    "half a header": lambda content: content[:20],
    "changed header": lambda content: content.replace(b'"format": 1', b'"format": 0', 1),
    "other source": lambda content: content.replace(b'"from": "', b'"from": "0', 1)[:-1],
}


@pytest.mark.parametrize("damage", DAMAGE)
def test_a_damaged_file_is_noticed_and_made_again(file, damage):
    whole = file.read_bytes()
    changed = DAMAGE[damage](whole)
    assert changed != whole
    file.write_bytes(changed)
    same(decoded("data", SOURCE, LAYOUT, make))
    assert file.read_bytes() == whole


def test_a_file_that_is_replaced_leaves_those_who_mapped_it_alone(file):
    arrays = decoded("data", SOURCE, LAYOUT, never)
    os.rename(file, file.with_name("moved"))
    same(decoded("data", SOURCE, LAYOUT, make))
    same(arrays)


def test_an_error_of_the_decoder_leaves_nothing(cache):
    def fail():
        raise DataError("damaged")

    with pytest.raises(DataError, match=r"^damaged$"):
        decoded("data", SOURCE, LAYOUT, fail)
    assert not files_below(cache)


# -- where nothing can be kept -----------------------------------------------------------------------------------------


def in_memory(cache, why):
    with pytest.warns(UserWarning) as warned:
        arrays = decoded("data", SOURCE, LAYOUT, make)
    same(arrays)
    (said,) = (str(warning.message) for warning in warned)
    assert said.startswith(f"the decoded data cannot be kept as {cache}/decoded/data-") and why in said
    assert said.endswith("in memory now and will be decoded again next time; XDG_CACHE_HOME names another cache folder")


def test_a_cache_that_is_no_folder_is_told(cache):
    cache.parent.mkdir()
    cache.write_text("")
    in_memory(cache, "Not a directory")


def test_a_cache_that_may_not_be_written_is_told(cache, monkeypatch):
    """Whoever runs this may write anywhere, so the system is made to refuse."""
    real = os.open

    def refuse(path, flags, *rest, **more):
        if flags & os.O_CREAT and str(cache) in str(path):
            raise PermissionError(13, "Permission denied")
        return real(path, flags, *rest, **more)

    monkeypatch.setattr(os, "open", refuse)
    in_memory(cache, "Permission denied")
    assert not files_below(cache)


def test_a_full_disk_is_told_and_nothing_half_written_stays(cache):
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100, hard))
    try:
        in_memory(cache, "File too large")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
        signal.signal(signal.SIGXFSZ, handler)
    assert not files_below(cache)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        same(decoded("data", SOURCE, LAYOUT, make))


# -- several at once, and one that is killed ---------------------------------------------------------------------------

ONE_OF_MANY = """
import sys, time
from tests.datasets.test_decoded import LAYOUT, SOURCE, make, same
from tinytorch.datasets import decoded as module
from tinytorch.datasets.decoded import decoded

def decode():
    with open(sys.argv[1], "a") as log:
        log.write("decoded\\n")
    print("decoding", flush=True)
    time.sleep(float(sys.argv[2]))
    return make()

def slowly(path, *rest):
    with real(path) as file:
        yield file
        file.flush()
        print("writing", flush=True)
        time.sleep(60)

if sys.argv[3:]:
    from contextlib import contextmanager
    real, module.atomic_file = module.atomic_file, contextmanager(slowly)
same(decoded("data", SOURCE, LAYOUT, decode))
print("same", flush=True)
"""


def process(log, seconds, *more):
    command = [sys.executable, "-c", ONE_OF_MANY, str(log), str(seconds), *more]
    return subprocess.Popen(command, stdout=subprocess.PIPE, text=True)


def test_of_processes_at_once_one_decodes_and_the_others_wait_for_it(tmp_path, cache):
    crowd = [process(tmp_path / "log", 0.5) for _ in range(4)]
    said = [each.communicate(timeout=60)[0].split() for each in crowd]
    assert sorted(said) == [["decoding", "same"], ["same"], ["same"], ["same"]]
    assert (tmp_path / "log").read_text() == "decoded\n" and len(files_below(cache)) == 1


@pytest.mark.parametrize("when", ["decoding", "writing"])
def test_a_process_that_is_killed_leaves_nothing_that_is_taken_for_data(tmp_path, cache, when):
    first = process(tmp_path / "log", 60 if when == "decoding" else 0, *(["slowly"] if when == "writing" else []))
    waiting = None
    try:
        while first.stdout.readline() != f"{when}\n":
            assert first.poll() is None
        assert all(name.startswith("decoded/.data-") for name in files_below(cache))
        waiting = process(tmp_path / "log", 0)
        time.sleep(0.3)
        assert waiting.poll() is None
    finally:
        first.kill()  # -9
        first.communicate()
        if waiting:
            said = waiting.communicate(timeout=60)[0].split()
    assert said == ["decoding", "same"]  # its turn came with the other's end
    (left,) = files_below(cache)
    assert left.startswith("decoded/data-")  # and what the other had begun is gone
    same(decoded("data", SOURCE, LAYOUT, never))
