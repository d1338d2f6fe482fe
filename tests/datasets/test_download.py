"""A published file, wherever it is: placed, cached, downloaded, damaged, or not to be had."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from tests.datasets.site import Answer, digest, files_below, published_at
from tinytorch.datasets import DataError, fetch
from tinytorch.datasets.download import find, told

FILE = "play/input.txt"
PLAY = ("First Citizen:\nBefore we proceed any further, hear me speak – naïve?\n\n" * 4000).encode()
OTHER = PLAY.replace(b"hear", b"here")


@pytest.fixture
def play(site):
    """PLAY as a published file, and that it is there."""
    site["/play"], site["/mirror"] = PLAY, PLAY
    return published_at(site, PLAY, "/play", "/mirror")


def place(folder: Path, content: bytes = PLAY, file: str = FILE) -> Path:
    path = folder / file
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
    return path


def fetched(file, root=None, **options):
    (found,) = fetch("play", (file,), root, **options)
    return found


# -- where it is -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("algorithm", ["sha256", "md5"])
def test_the_first_use_downloads_the_second_finds_it(site, cache, tmp_path, algorithm, capfd):
    site["/play"] = PLAY
    file = published_at(site, PLAY, "/play", algorithm=algorithm)
    first = fetched(file)
    assert first == (cache / FILE, digest(PLAY, algorithm), True) and first.path.read_bytes() == PLAY
    assert "100%" in capfd.readouterr().err
    assert fetched(file) == first and site.paths == ["/play"] and files_below(tmp_path) == [f"caches/tinytorch/{FILE}"]
    assert capfd.readouterr() == ("", "")


def test_a_given_folder_goes_first_then_the_variable_then_the_cache(play, site, tmp_path, monkeypatch):
    cached = fetched(play).path
    placed = place(tmp_path / "variable")
    monkeypatch.setenv("TINYTORCH_DATA", str(tmp_path / "variable"))
    assert fetched(play).path == placed
    assert fetched(play, tmp_path / "given").path == placed  # nothing there, and no need to download it
    given = place(tmp_path / "given")
    assert fetched(play, tmp_path / "given").path == fetched(play, str(tmp_path / "given")).path == given
    monkeypatch.setenv("TINYTORCH_DATA", str(tmp_path / "elsewhere"))
    assert fetched(play).path == cached and site.paths == ["/play"]


def test_a_download_goes_to_the_folder_that_is_given(play, tmp_path):
    fetched(play, tmp_path / "mine")
    assert files_below(tmp_path) == [f"mine/{FILE}"]


def test_an_empty_variable_is_none(play, tmp_path, monkeypatch):
    monkeypatch.setenv("TINYTORCH_DATA", "")
    monkeypatch.chdir(tmp_path)
    place(tmp_path, b"not this one")
    assert fetched(play).path.read_bytes() == PLAY


def test_other_places_and_forms_are_found_after_the_first(play, tmp_path, monkeypatch):
    file = play._replace(others=("PLAY.TXT", "folder"))
    (tmp_path / "folder").mkdir()
    for name, content in (("a", b"1"), ("b", b"2")):
        (tmp_path / "folder" / name).write_bytes(content)
    folder = fetched(file, tmp_path, placed_may_differ=True)
    assert folder.path == tmp_path / "folder" and not folder.published
    (tmp_path / "folder" / "b").write_bytes(b"3")
    assert fetched(file, tmp_path, placed_may_differ=True).digest != folder.digest
    upper = place(tmp_path, file="PLAY.TXT")
    assert fetched(file, tmp_path) == (upper, digest(PLAY), True)
    assert (
        fetched(file, tmp_path).path == upper and fetched(file, place(tmp_path).parent.parent).path.name == "input.txt"
    )
    assert find(file) is None


def test_what_was_found_is_told(play, tmp_path):
    other = place(tmp_path, OTHER)
    here = find(play, tmp_path)
    assert told([here]) == f"input.txt, {digest(OTHER)}, not the published file"
    place(tmp_path)
    same = find(play, tmp_path)
    assert told([same]) == "input.txt as published" and told([same, same]) == "2 files as published"
    assert told([here, same, same]) == f"{other.name}, {digest(OTHER)}, not the published file; 2 files as published"


# -- what can be wrong -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("by_variable", [False, True])
def test_a_placed_file_that_is_another_is_named_and_left_alone(play, site, tmp_path, monkeypatch, by_variable):
    path = place(tmp_path, OTHER)
    monkeypatch.setenv("TINYTORCH_DATA", str(tmp_path) if by_variable else "")
    with pytest.raises(DataError) as error:
        fetched(play, None if by_variable else tmp_path)
    assert str(error.value) == (
        f"play: {path} has {digest(OTHER)}, the published file has {digest(PLAY)}: it is damaged or another one; "
        f"delete it, or replace it by {site.url('/play')}"
    )
    assert path.read_bytes() == OTHER and not site.asked
    assert fetched(play, tmp_path, placed_may_differ=True) == (path, digest(OTHER), False)


def test_a_damaged_cache_is_replaced(play, site, cache):
    path = place(cache, PLAY[:-1])
    assert fetched(play).path == path and path.read_bytes() == PLAY and site.paths == ["/play"]


WRONG = {
    "gone": (Answer(status=404), "the server answers 404 Not Found"),
    "refused": (Answer(status=503), "the server answers 503 Service Unavailable"),
    "changed": (Answer(OTHER), "its digest is not the published one, so it was damaged on the way or changed there"),
    "shorter": (Answer(PLAY[:-9]), f"the server offers {len(PLAY) - 9:,} bytes, the published file has {len(PLAY):,}"),
    "longer": (Answer(PLAY * 2), f"the server offers {2 * len(PLAY):,} bytes, the published file has {len(PLAY):,}"),
    "endless": (
        Answer(PLAY * 2, length=False),
        f"the server sends more than the {len(PLAY):,} bytes of the published file",
    ),
}


@pytest.mark.parametrize("wrong", WRONG)
def test_after_a_server_that_fails_the_mirror_is_asked(play, site, cache, wrong):
    site["/play"] = WRONG[wrong][0]
    assert fetched(play).path.read_bytes() == PLAY and site.paths == ["/play", "/mirror"]
    assert files_below(cache) == [FILE]


@pytest.mark.parametrize("wrong", WRONG)
def test_when_all_fail_each_is_told_why_and_nothing_is_at_the_target(play, site, tmp_path, cache, wrong):
    answer, why = WRONG[wrong]
    site["/play"] = site["/mirror"] = answer
    with pytest.raises(DataError) as error:
        fetched(play, instead="read another")
    assert error.value.__suppress_context__ and site.paths == ["/play", "/mirror"]
    assert f"{site.url('/play')}: {why}; {site.url('/mirror')}: {why}. " in str(error.value)
    assert not files_below(tmp_path)
    site["/play"] = PLAY
    assert fetched(play).path.read_bytes() == PLAY and files_below(cache) == [FILE]  # the next attempt is a new one


def test_without_network_one_message_says_what_to_do(play, tmp_path, cache, monkeypatch):
    monkeypatch.setenv("TINYTORCH_DATA", str(tmp_path / "data"))
    file = play._replace(urls=("http://127.0.0.1:9/a", "http://127.0.0.1:9/b"))  # nobody listens there
    with pytest.raises(DataError) as error:
        fetched(file, instead="without it, the digits are embedded")
    assert str(error.value) == (
        f"play: there is no {FILE} in {tmp_path / 'data'}, {cache}; input.txt could not be downloaded: "
        "http://127.0.0.1:9/a: ConnectionError; http://127.0.0.1:9/b: ConnectionError. "
        f"Run `python -m tinytorch.datasets get play` with a network, or put it into {cache / 'play'}, "
        "or set TINYTORCH_DATA to a folder that holds it; without it, the digits are embedded"
    )
    assert not files_below(tmp_path)


def test_of_several_files_those_that_are_missing_are_named(play, site, tmp_path):
    first, second, third = (play._replace(file=f"play/{n}", urls=(site.url("/gone"),)) for n in "123")
    place(tmp_path, file="play/2")
    with pytest.raises(DataError, match=r"there is no play/1, no play/3 in .*; 1 could not .* or put them into "):
        fetch("play", (first, second, third), tmp_path)
    first = first._replace(urls=play.urls)
    with pytest.raises(DataError, match=r"there is no play/3 in .* or put it into "):
        fetch("play", (first, second, third), tmp_path)
    assert files_below(tmp_path) == ["play/1", "play/2"]
    third = third._replace(urls=play.urls)
    assert [here.path.name for here in fetch("play", (first, second, third), tmp_path)] == ["1", "2", "3"]


def test_a_folder_that_cannot_be_written_is_named(play, site, tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(DataError, match=r"could not be downloaded: (Not a directory|File exists)\. Run"):
        fetched(play, tmp_path / "file")
    assert not site.asked


def test_a_file_that_cannot_be_read_is_named(play, tmp_path, monkeypatch):
    path = place(tmp_path)

    def refuse(*_, **__):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "open", refuse)
    with pytest.raises(DataError, match=r"input.txt cannot be read: Permission denied; see who may read it"):
        fetched(play, tmp_path)
    assert path.is_file()


# -- several at once, and one that is killed ---------------------------------------------------------------------------

FETCH = """
import sys
from tinytorch.datasets import Published, fetch
(here,) = fetch("play", (Published(*eval(sys.argv[1])),))
print(here.digest)
"""


def fetching(file) -> subprocess.Popen:
    pipe = subprocess.PIPE
    return subprocess.Popen([sys.executable, "-c", FETCH, repr(tuple(file))], stdout=pipe, stderr=pipe, text=True)


def test_of_processes_at_once_one_downloads_and_the_others_wait_for_it(play, site, cache):
    crowd = [fetching(play) for _ in range(4)]
    for process in crowd:
        said, errors = process.communicate(timeout=60)
        assert (process.returncode, said) == (0, f"{digest(PLAY)}\n"), errors
    assert files_below(cache) == [FILE] and site.paths == ["/play"]


def test_a_process_that_is_killed_leaves_a_part_that_the_next_one_continues(play, site, cache):
    held = site.hold("/play", PLAY, len(PLAY) // 2)
    process = fetching(play)
    part = cache / f"{FILE}.part"
    try:
        held.sent.wait(timeout=60)
        while not part.exists() or not part.stat().st_size:
            assert process.poll() is None
    finally:
        process.kill()  # -9
        process.communicate()
        held.go_on.set()
    assert not (cache / FILE).exists() and 0 < part.stat().st_size <= len(PLAY) // 2
    begun = part.stat().st_size
    site["/play"] = PLAY
    assert fetched(play).path.read_bytes() == PLAY
    assert site.asked[-1] == ("/play", f"bytes={begun}-") and not part.exists()
