"""A transfer that breaks off is taken up where it ended, whatever the server makes of that."""

from __future__ import annotations

import gzip

import pytest
import requests

from tests.datasets.site import Answer, files_below, published_at
from tinytorch.datasets import DataError, fetch
from tinytorch.datasets.transfer import ATTEMPTS, Unfinished, transfer

PLAY = bytes(range(256)) * 4000
HALF = len(PLAY) // 2
OTHER = PLAY[::-1]


@pytest.fixture
def part(tmp_path):
    return tmp_path / "input.txt.part"


def test_a_connection_that_breaks_is_taken_up_again(site, part, capfd):
    site["/play"] = [Answer(PLAY, cut=HALF), Answer(PLAY, cut=10_000), Answer(PLAY)]
    transfer(site.url("/play"), part, len(PLAY))
    assert part.read_bytes() == PLAY
    assert site.asked == [("/play", None), ("/play", f"bytes={HALF}-"), ("/play", f"bytes={HALF + 10_000}-")]
    assert "input.txt:" in capfd.readouterr().err


def test_a_later_call_continues_what_an_earlier_one_left(site, part):
    site["/play"] = [Answer(PLAY, cut=HALF), Answer(PLAY, cut=0), Answer(PLAY)]
    with pytest.raises(Unfinished, match=rf"the connection broke off after {HALF:,} of {len(PLAY):,} bytes"):
        transfer(site.url("/play"), part, len(PLAY))
    assert part.read_bytes() == PLAY[:HALF]
    transfer(site.url("/play"), part, len(PLAY))
    assert part.read_bytes() == PLAY and site.asked[-1] == ("/play", f"bytes={HALF}-")


def test_a_server_that_knows_no_ranges_sends_all_again(site, part):
    site["/play"] = [Answer(PLAY, cut=HALF), Answer(PLAY, ranges=False)]
    transfer(site.url("/play"), part, len(PLAY))
    assert part.read_bytes() == PLAY and len(site.asked) == 2


def test_a_server_that_never_gets_further_is_given_up(site, part):
    site["/play"] = Answer(PLAY, cut=HALF, ranges=False)
    with pytest.raises(Unfinished, match="broke off"):
        transfer(site.url("/play"), part, len(PLAY))
    assert len(site.asked) == 2 and part.read_bytes() == PLAY[:HALF]


def test_there_is_an_end_to_attempts(site, part):
    site["/play"] = Answer(PLAY, cut=10)
    with pytest.raises(Unfinished, match=f"broke off after {10 * ATTEMPTS} of"):
        transfer(site.url("/play"), part, len(PLAY))
    assert len(site.asked) == ATTEMPTS


def test_a_part_that_is_whole_asks_for_nothing_and_one_that_is_longer_begins_again(site, part):
    part.write_bytes(PLAY)
    transfer(site.url("/play"), part, len(PLAY))
    assert not site.asked
    part.write_bytes(PLAY + b"more")
    site["/play"] = PLAY
    transfer(site.url("/play"), part, len(PLAY))
    assert part.read_bytes() == PLAY and site.asked == [("/play", None)]


def test_another_part_than_was_asked_for_is_refused(site, part):
    part.write_bytes(PLAY[:HALF])
    site["/play"] = Answer(PLAY, claim="bytes 5-9/10")
    with pytest.raises(Unfinished, match="a part that was not asked for: bytes 5-9/10"):
        transfer(site.url("/play"), part, len(PLAY))
    assert part.read_bytes() == PLAY[:HALF]


def test_a_length_that_is_not_announced_is_no_matter(site, part):
    site["/play"] = [Answer(PLAY, cut=HALF, length=False), Answer(PLAY, length=False)]
    transfer(site.url("/play"), part, len(PLAY))
    assert part.read_bytes() == PLAY and len(site.asked) == 2


def test_what_a_server_calls_an_encoding_is_kept_as_it_is(site, part):
    """Some call every .gz a gzip encoding; a client that undoes it gets other bytes than were published."""
    content = gzip.compress(PLAY, mtime=0)
    site["/play.gz"] = Answer(content, headers=(("Content-Encoding", "gzip"),))
    transfer(site.url("/play.gz"), part, len(content))
    assert part.read_bytes() == content


def test_no_answer_is_an_error_of_requests(site, part):
    with pytest.raises(requests.HTTPError, match="404"):
        transfer(site.url("/gone"), part, 5)
    with pytest.raises(requests.ConnectionError):
        transfer("http://127.0.0.1:9/", part, 5)
    assert not part.exists()


# -- with the digest ---------------------------------------------------------------------------------------------------


def test_a_mirror_continues_what_another_server_began(site, cache):
    site["/play"] = [Answer(PLAY, cut=HALF), Answer(status=503)]
    site["/mirror"] = PLAY
    (found,) = fetch("play", (published_at(site, PLAY, "/play", "/mirror"),))
    assert found.path.read_bytes() == PLAY
    assert site.asked == [("/play", None), ("/play", f"bytes={HALF}-"), ("/mirror", f"bytes={HALF}-")]


def test_a_beginning_that_was_wrong_is_fetched_again(site, cache):
    """The first server sends half of something else; the mirror's rest does not go with it, so it is asked for all."""
    site["/play"] = [Answer(OTHER, cut=HALF), Answer(status=404)]
    site["/mirror"] = PLAY
    (found,) = fetch("play", (published_at(site, PLAY, "/play", "/mirror"),))
    assert found.path.read_bytes() == PLAY and site.asked[-2:] == [("/mirror", f"bytes={HALF}-"), ("/mirror", None)]
    assert files_below(cache) == ["play/input.txt"]


def test_what_came_is_kept_and_the_message_says_so(site, cache):
    site["/play"] = [Answer(PLAY, cut=HALF), Answer(status=503)]
    file = published_at(site, PLAY, "/play")
    with pytest.raises(DataError) as error:
        fetch("play", (file,))
    part = cache / "play/input.txt.part"
    said = f"answers 503 Service Unavailable. What came is kept in {part}, and the next attempt continues it. Run `"
    assert said in str(error.value) and part.read_bytes() == PLAY[:HALF] and not (cache / file.file).exists()
    site["/play"] = PLAY
    (found,) = fetch("play", (file,))
    assert found.path.read_bytes() == PLAY and site.asked[-1] == ("/play", f"bytes={HALF}-") and not part.exists()


def test_ctrl_c_keeps_what_came(site, cache, monkeypatch):
    class Interrupted(Exception):
        pass

    site["/play"] = PLAY
    from tinytorch.datasets import transfer as module

    class Bar:
        def __init__(self, *_, **__):
            self.calls = 0

        def __enter__(self):
            return self

        def __exit__(self, *_):
            pass

        def update(self, _):
            self.calls += 1
            if self.calls == 3:
                raise KeyboardInterrupt

    monkeypatch.setattr(module, "progress", Bar)
    with pytest.raises(KeyboardInterrupt):
        fetch("play", (published_at(site, PLAY, "/play"),))
    assert files_below(cache) == ["play/input.txt.part"]
    kept = (cache / "play/input.txt.part").read_bytes()
    assert kept and PLAY.startswith(kept)


def test_a_full_disk_is_told_and_no_mirror_is_asked(site, cache, monkeypatch):
    import resource
    import signal

    site["/play"] = site["/mirror"] = PLAY
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, hard))
    try:
        with pytest.raises(DataError, match=r"could not be downloaded: File too large\. What came is kept in"):
            fetch("play", (published_at(site, PLAY, "/play", "/mirror"),))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
        signal.signal(signal.SIGXFSZ, handler)
    assert site.paths == ["/play"] and files_below(cache) == ["play/input.txt.part"]
