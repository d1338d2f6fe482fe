"""Texts, published and of any UTF-8 file, and windows of their ids."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest

from tests.datasets.site import digest, published_at
from tinytorch.datasets import DataError, all_windows, load, read_through, text, tinyshakespeare, windows

FILE = "tinyshakespeare/input.txt"
PLAY = ("First Citizen:\nBefore we proceed any further, hear me speak – naïve?\n\n" * 2000).encode()
PLACED = Path(os.environ.get("TINYTORCH_DATA", "")) / FILE


@pytest.fixture
def play(site, monkeypatch):
    """Tiny Shakespeare is PLAY, on the local server."""
    site["/play"] = PLAY
    monkeypatch.setattr(text, "SHAKESPEARE", published_at(site, PLAY, "/play", file=FILE))


def test_the_first_use_downloads_the_second_finds_it(play, site, cache, capfd):
    first = tinyshakespeare()
    assert "100%" in capfd.readouterr().err  # the bar
    assert first == tinyshakespeare() and site.paths == ["/play"] and (cache / FILE).read_bytes() == PLAY
    assert capfd.readouterr() == ("", "")


def test_the_parts_are_one_behind_the_other(play):
    whole = PLAY.decode()
    data = tinyshakespeare()
    assert data.name == "tinyshakespeare" and data.train + data.validation == whole
    assert len(data.train) == int(0.9 * len(whole)) and f"sha256:{data.sha256}" == digest(PLAY)


def test_a_placed_text_must_be_the_published_one(play, tmp_path):
    (tmp_path / FILE).parent.mkdir()
    (tmp_path / FILE).write_bytes(b"another")
    with pytest.raises(DataError, match=f"tinyshakespeare: .*input.txt has {digest(b'another')}, the published file"):
        tinyshakespeare(tmp_path)


@pytest.mark.data
@pytest.mark.skipif(not PLACED.is_file(), reason="TINYTORCH_DATA with tinyshakespeare/input.txt is not set")
def test_the_real_text(monkeypatch):
    monkeypatch.setenv("TINYTORCH_DATA", str(PLACED.parent.parent))
    data = tinyshakespeare()
    assert f"sha256:{data.sha256}" == text.SHAKESPEARE.digest and PLACED.stat().st_size == text.SHAKESPEARE.size
    assert data.train.startswith("First Citizen:\nBefore we proceed")
    assert (len(data.train), len(data.validation)) == (1_003_854, 111_540)
    assert len(set(data.train + data.validation)) == 65


def test_a_text_that_is_not_utf8_is_named(tmp_path):
    (tmp_path / "menu").write_bytes(b"caf\xe9")
    with pytest.raises(DataError, match=r"menu: .*menu is not UTF-8: byte 0xe9 at position 3; convert it"):
        text.read_text("menu", tmp_path / "menu")


# -- windows ----------------------------------------------------------------------------------------------------------


def test_random_windows_are_followed_by_their_targets():
    ids = np.arange(100, 140, dtype=np.int32)
    x, y = windows(ids, 8, 500, np.random.default_rng(0))
    assert x.shape == y.shape == (500, 8) and x.dtype == y.dtype == np.int64 and x.flags.c_contiguous
    np.testing.assert_array_equal(y, x + 1)
    np.testing.assert_array_equal(x, x[:, :1] + np.arange(8))
    assert set(x[:, 0]) == set(range(100, 132))  # the first window and the last, whose last target is the last id
    again, _ = windows(ids.tolist(), 8, 500, np.random.default_rng(0))
    np.testing.assert_array_equal(again, x)


@pytest.mark.parametrize("count, whole", [(9, 1), (16, 1), (17, 2), (24, 2), (25, 3)])
def test_windows_for_evaluation_cover_all_but_a_rest(count, whole):
    ids = np.arange(count)
    x, y = all_windows(ids, 8)
    np.testing.assert_array_equal(x, np.arange(8 * whole).reshape(whole, 8))
    np.testing.assert_array_equal(y, x + 1)
    assert x.dtype == y.dtype == np.int64


@pytest.mark.parametrize("cut", [lambda ids, n: windows(ids, n, 2, np.random.default_rng(0)), all_windows])
def test_too_few_ids_and_ids_that_are_none(cut):
    cut(np.arange(9), 8)
    for count, context in ((8, 8), (0, 8), (9, 0), (9, -1)):
        with pytest.raises(ValueError, match=f"context is {context}, there are {count} ids: a window needs one more"):
            cut(np.arange(count), context)
    for bad in (np.zeros((9, 2), int), np.zeros(9), ["a"] * 9):
        with pytest.raises(ValueError, match="they must be a row of integers; encode a text"):
            cut(bad, 2)


def test_what_is_read_lacks_only_the_last_token():
    data = load("reversal")
    read, written = read_through(data.x_test, data.y_test)
    assert read.shape == (500, 32) and written is data.y_test
    assert (read[:, :17] == data.x_test).all() and (read[:, 17:] == data.y_test[:, :15]).all()
