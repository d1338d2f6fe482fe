"""Archives that mean harm, or are only damaged: nothing is extracted, nothing grows, and each is a DataError."""

from __future__ import annotations

import gzip
import io
import lzma
import subprocess
import sys
import tarfile

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.datasets.site import files_below
from tinytorch.datasets import DataError
from tinytorch.datasets.archive import members, reading, unpacked

CONTENTS = {"folder/a.bin": b"first" * 100, "folder/b.bin": b"second" * 50}
SIZES = {name: len(content) for name, content in CONTENTS.items()}
SLACK = 20_000  # more than a tar of two files needs beside them
PACK = {"plain": bytes, "gz": lambda content: gzip.compress(content, mtime=0), "xz": lzma.compress}


def entry(name, content=b"", kind=tarfile.REGTYPE, target=""):
    info = tarfile.TarInfo(name)
    info.size, info.type, info.linkname = len(content), kind, target
    return info, content


def tar(*entries, form=tarfile.USTAR_FORMAT):
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode="w", format=form) as archive:
        for info, content in entries:
            archive.addfile(info, io.BytesIO(content))
    return file.getvalue()


GOOD = tar(entry("folder", kind=tarfile.DIRTYPE), *(entry(*item) for item in CONTENTS.items()))


def read(path, sizes=SIZES, slack=SLACK):
    with reading(path):
        return {name: stream.read() for name, stream in members(path, sizes, slack)}


@pytest.fixture
def place(tmp_path):
    def place(content):
        (tmp_path / "archive").write_bytes(content)
        return tmp_path / "archive"

    return place


def refused(path, why=None):
    before = files_below(path.parent)
    with pytest.raises(DataError, match=why) as error:
        read(path)
    assert str(error.value).startswith(str(path)) and error.value.__suppress_context__
    assert files_below(path.parent) == before


# -- good ones ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("pack", PACK)
def test_what_is_expected_is_read_from_any_compression(place, pack):
    assert read(place(PACK[pack](GOOD))) == CONTENTS
    with unpacked(place(PACK[pack](b"content")), 7) as stream:
        assert stream.read() == b"content"
    with unpacked(place(PACK[pack](b"")), 0) as stream:
        assert stream.read() == b""


def test_other_members_are_passed_over_whatever_they_are_called(place):
    others = [
        entry("../../escaped", b"x"), entry("/etc/absolute", b"x"), entry("folder/../a.bin", b"x"),
        entry("link", kind=tarfile.SYMTYPE, target="/etc/passwd"), entry("pipe", kind=tarfile.FIFOTYPE),
        entry("folder/a.bin/", kind=tarfile.DIRTYPE),
    ]  # fmt: skip
    assert read(place(tar(*others[:-1], *(entry(*item) for item in CONTENTS.items())))) == CONTENTS
    refused(place(tar(others[-1], *(entry(*item) for item in CONTENTS.items()))), "folder/a.bin in it is no plain file")
    assert files_below(place(b"").parent) == ["archive"] and not (place(b"").parent.parent / "escaped").exists()


# -- hostile ones ------------------------------------------------------------------------------------------------------

A, B = (entry(*item) for item in CONTENTS.items())
HOSTILE = {
    "missing": ((A,), "there is no folder/b.bin in it"),
    "none": ((), "there is no folder/a.bin and no folder/b.bin in it"),
    "twice": ((A, B, A), "folder/a.bin is in it twice"),
    "short": ((entry("folder/a.bin", b"x"), B), "folder/a.bin in it has 1 bytes, not 500"),
    "long": ((entry("folder/a.bin", b"x" * 501), B), "folder/a.bin in it has 501 bytes, not 500"),
    "symbolic link": ((entry("folder/a.bin", kind=tarfile.SYMTYPE, target="/etc/passwd"), B), "is no plain file"),
    "hard link": ((B, entry("folder/a.bin", kind=tarfile.LNKTYPE, target="folder/b.bin")), "is no plain file"),
    "device": ((entry("folder/a.bin", kind=tarfile.CHRTYPE), B), "is no plain file"),
    "sparse": ((entry("folder/a.bin", CONTENTS["folder/a.bin"], kind=tarfile.GNUTYPE_SPARSE), B), "folder/a.bin in it"),
}


@pytest.mark.parametrize("pack", PACK)
@pytest.mark.parametrize("case", HOSTILE)
def test_hostile_members_are_refused_by_name(place, case, pack):
    entries, why = HOSTILE[case]
    refused(place(PACK[pack](tar(*entries))), why)


ZEROS = 64 << 20


def bombs():
    """Small files that unpack to 67 MB: as a member that is passed over, as one that is expected, as a header."""
    junk = tarfile.TarInfo("junk")
    junk.size = ZEROS
    expected = tarfile.TarInfo("folder/a.bin")
    expected.size = ZEROS
    header = tarfile.TarInfo("././@LongLink")  # a name of 67 MB, which a reader would hold in memory
    header.type, header.size = tarfile.GNUTYPE_LONGNAME, ZEROS
    pax = tarfile.TarInfo("pax")
    pax.type, pax.size = tarfile.XHDTYPE, ZEROS
    yield "passed over", junk, "it holds more than the 20,800 bytes that are expected at most"
    yield "expected", expected, "has 67,108,864 bytes, not 500"
    yield "long name", header, "it holds more than the 20,800 bytes that are expected at most"
    yield "pax header", pax, "it holds more than the 20,800 bytes that are expected at most"


BOMBS = {name: (info, why) for name, info, why in bombs()}
UNDER_LIMIT = """
import resource, sys
from tests.datasets.test_archive import read
from pathlib import Path
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
try:
    read(Path(sys.argv[1]))
except OSError as error:
    print(error)
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before)
"""


@pytest.mark.parametrize("bomb", BOMBS)
def test_a_small_file_that_unpacks_to_a_huge_one_costs_no_memory(place, bomb):
    info, why = BOMBS[bomb]
    content = io.BytesIO()
    with gzip.GzipFile(fileobj=content, mode="wb", compresslevel=1) as file:
        file.write(info.tobuf(tarfile.GNU_FORMAT))
        for _ in range(ZEROS >> 20):
            file.write(bytes(1 << 20))
    path = place(content.getvalue())
    assert path.stat().st_size < 3 << 20
    done = subprocess.run([sys.executable, "-c", UNDER_LIMIT, path], capture_output=True, text=True, timeout=60)
    said, kibibytes = done.stdout.splitlines()
    assert why in said and int(kibibytes) < 20 << 10


def test_an_xz_file_may_not_ask_for_gigabytes(place):
    filters = [{"id": lzma.FILTER_LZMA2, "dict_size": 1 << 30}]
    try:
        content = lzma.compress(GOOD, filters=filters)
    except MemoryError:
        pytest.skip("there is not enough memory to make such a file")
    refused(place(content), "cannot be read: Memory usage limit exceeded; replace it by the published file")


# -- damaged ones ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("pack", PACK)
def test_a_file_that_ends_early_is_refused_wherever_it_ends(place, pack):
    whole = PACK[pack](GOOD)
    end = GOOD.rindex(b"second") + len(b"second") if pack == "plain" else len(whole)
    for cut in {*range(0, end, max(1, end // 40)), end - 1}:
        refused(place(whole[:cut]))


@pytest.mark.parametrize("pack", ["gz", "xz"])
def test_a_check_sum_at_the_end_is_looked_at(place, pack):
    whole = bytearray(PACK[pack](GOOD))
    index = 4 * (int.from_bytes(whole[-8:-4], "little") + 1)  # bytes of what lies between it and the foot of an .xz
    whole[-6 if pack == "gz" else -12 - index - 4] ^= 1
    refused(place(bytes(whole)), "cannot be read: .*; replace it by the published file")


def test_a_check_sum_far_behind_the_last_member_is_looked_at(place):
    whole = bytearray(gzip.compress(GOOD + bytes(200_000)))
    assert read(place(bytes(whole)), slack=300_000) == CONTENTS
    whole[-6] ^= 1
    with pytest.raises(DataError, match="CRC check failed"):
        read(place(bytes(whole)), slack=300_000)


def test_what_is_no_archive_is_refused(place, tmp_path):
    refused(place(b"<html>404 Not Found</html>" * 50), "cannot be read: ")
    refused(place(b""), "cannot be read: ")
    refused(tmp_path / "nothing", "cannot be read: No such file or directory")
    refused(tmp_path, "cannot be read: Is a directory")


WHOLE = {pack: PACK[pack](GOOD) for pack in PACK}


@given(
    pack=st.sampled_from(list(PACK)),
    where=st.lists(st.tuples(st.integers(0, 4000), st.integers(0, 255)), min_size=1, max_size=8),
    cut=st.integers(0, 100),
)
def test_damage_anywhere_is_a_data_error_or_none(tmp_path_factory, pack, where, cut):
    content = bytearray(WHOLE[pack][: len(WHOLE[pack]) - cut])
    for at, value in where:
        content[at % len(content)] = value
    path = tmp_path_factory.getbasetemp() / "mutated"
    path.write_bytes(content)
    try:
        found = read(path)
    except DataError:
        return
    assert {name: len(content) for name, content in found.items()} == SIZES


@given(st.binary(max_size=2000), st.sampled_from([b"", b"\x1f\x8b\x08\0", b"\xfd7zXZ\0\0\4", GOOD[:512]]))
def test_random_bytes_are_a_data_error(tmp_path_factory, content, begin):
    path = tmp_path_factory.getbasetemp() / "random"
    path.write_bytes(begin + content)
    with pytest.raises(DataError):
        read(path)
