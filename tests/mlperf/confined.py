"""Jobs for the tests of limits and sandbox; a worker imports this file by name."""

import os
import socket
import tempfile
import time
from contextlib import suppress
from pathlib import Path

import psutil


def kernels(job, report, wait):
    """Where compiled code lies here, how much of it there is, and that more can be written."""
    from kernels import cache

    folder = cache.directory()
    (folder / "more").write_text("compiled here")
    files = len(list(folder.rglob("*.nbc")))
    return {"directory": str(folder), "files": files, "written": (folder / "more").exists(), "home": os.getcwd()}


def surroundings(job, report, wait):
    return {"variables": dict(os.environ), "cwd": os.getcwd(), "temporary": tempfile.gettempdir()}


def links(job, report, wait):
    """Leaves behind what would mislead whoever reads it."""
    os.mkdir("folder")
    for place in (Path(), Path("folder")):
        (place / "plain").write_text("mine")
        (place / "link").symlink_to(job["secret"])
        (place / "up").symlink_to("/")
        os.mkfifo(place / "pipe")
    return {}


def sights(job, report, wait):
    """What can be seen from here."""
    import mlperf

    def read(name):
        with suppress(OSError):
            return Path(job["data"], name).read_text()

    status = dict(line.split(":", 1) for line in Path("/proc/self/status").read_text().splitlines())
    return {
        "train": read("train"), "test": read("test"), "data": os.listdir(job["data"]),
        "packages": os.listdir(Path(mlperf.__file__).parent.parent), "processes": len(psutil.pids()),
        "interfaces": [name for _, name in socket.if_nameindex()], "host": socket.gethostname(),
        "capabilities": status["CapEff"].strip(),
    }  # fmt: skip


def family(job, report, wait):
    """A child that leaves the session, and a grandchild without a parent."""
    if not os.fork():
        os.setsid()
        os.fork()
        time.sleep(60)
        os._exit(0)
    time.sleep(0.2)
    report("born")
    time.sleep(60)
    return {}


def sleep(job, report, wait):
    time.sleep(30)
    return {}
