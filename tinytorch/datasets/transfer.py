"""One file from one address: with a progress bar, and from where an earlier attempt broke off.

Left out: which address, and whether what arrives is what was meant (`mirrors`).
"""

from __future__ import annotations

import contextlib
import sys
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import requests

TIMEOUT_S = 30
ATTEMPTS = 5  # at one address, as long as each of them brings more
CHUNK = 1 << 16


class Unfinished(OSError):
    """A transfer that ended before the end."""


class Unfit(Unfinished):
    """A transfer that was ended here, since it would not have brought the published file."""


def transfer(url: str, part: Path, size: int) -> None:
    """Bring the `size` bytes at `url` into the file `part`, which may hold the first of them already.

    A connection that breaks is taken up again with a Range request, here or in a later call; a server that knows no
    ranges sends all again. OSError where that does not lead to the end; then `part` keeps what came.
    """
    for attempt in range(ATTEMPTS):
        before = held(part)
        if before > size:
            part.unlink()  # of something else
        if before == size:
            return
        try:
            return receive(url, part, size)
        except Unfit:
            raise
        except Unfinished:
            if attempt == ATTEMPTS - 1 or held(part) <= before:
                raise


def receive(url: str, part: Path, size: int) -> None:
    """One attempt of `transfer`; `requests.RequestException` where there is no good answer, Unfinished if it ends."""
    import urllib3
    from tqdm import tqdm

    with answer(url, held(part)) as response:
        response.raise_for_status()
        start = first_byte(response, url)
        coming = int(response.headers.get("Content-Length", size - start))
        if start + coming != size:
            raise Unfit(f"the server offers {start + coming:,} bytes, the published file has {size:,}")
        with part.open("ab" if start else "wb") as file, progress(tqdm, part, start, size) as bar:
            try:
                # As sent: a server that calls a .gz file an encoding must not have it decoded on the way.
                for chunk in response.raw.stream(CHUNK, decode_content=False):
                    if file.tell() + len(chunk) > size:
                        part.unlink()
                        raise Unfit(f"the server sends more than the {size:,} bytes of the published file")
                    file.write(chunk)
                    bar.update(len(chunk))
            except urllib3.exceptions.HTTPError:
                pass  # it broke off, as is seen from what is there
    if held(part) < size:
        raise Unfinished(f"the connection broke off after {held(part):,} of {size:,} bytes")


def answer(url: str, start: int) -> requests.Response:
    import requests

    ask = {"Accept-Encoding": "identity", **({"Range": f"bytes={start}-"} if start else {})}
    return requests.get(url, headers=ask, stream=True, timeout=TIMEOUT_S)


def first_byte(response: requests.Response, url: str) -> int:
    """Where in the file the body of an answer begins: 0 unless the server says that it is a part."""
    if response.status_code != 206:
        return 0
    unit, _, span = response.headers.get("Content-Range", "").partition(" ")
    first = span.partition("-")[0]
    if unit != "bytes" or not first.isdigit() or response.request.headers.get("Range") != f"bytes={first}-":
        raise Unfit(f"the server answers with a part that was not asked for: {unit} {span}")
    return int(first)


def progress(tqdm: type, part: Path, start: int, size: int) -> contextlib.AbstractContextManager:
    return tqdm(
        desc=part.stem, initial=start, total=size, unit="B", unit_scale=True, file=sys.stderr, dynamic_ncols=True
    )


def held(part: Path) -> int:
    """Bytes that are there."""
    try:
        return part.stat().st_size
    except FileNotFoundError:
        return 0
