"""What hostile code might do to whoever runs it, each attack a few lines; run in a worker by `attacked.py`.

Each is bounded by itself, in time, number or depth, so that a limit that fails takes no machine down.
"""

from __future__ import annotations

import os
import signal
import socket
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

MB = 1 << 20
PATIENCE = 5  # seconds after which an attack that nobody stops gives up
DEPTH = 8  # of forks: 2 ** 8 processes
Given = dict[str, Any]  # what the attacked provide: paths, ports, process numbers


def linger() -> None:
    """Wait to be stopped."""
    time.sleep(PATIENCE)


def forks(given: Given) -> None:
    for _ in range(DEPTH):
        with suppress(OSError):
            os.fork()
    linger()
    os._exit(0)


def memory_in_steps(given: Given) -> None:
    taken = []
    for _ in range(64):  # 1 GB
        taken.append(bytearray(os.urandom(MB)) * 16)
        time.sleep(0.01)
    linger()


def memory_at_once(given: Given) -> None:
    bytearray(16 << 30)


def endless_loop(given: Given) -> None:
    for _ in range(PATIENCE * 10):
        time.sleep(0.1)


def deaf(given: Given) -> None:
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    endless_loop(given)


def writes_outside(given: Given) -> None:
    (Path(given["outside"]) / "written").write_text("by an attack")


def changes_kernels(given: Given) -> None:
    (Path(given["kernels"]) / f"attack-{os.getpid()}").write_text("a kernel that computes something else")


def huge_file(given: Given) -> None:
    with open("huge", "wb") as file:
        for _ in range(256):
            file.write(bytes(MB))


def many_files(given: Given) -> None:
    for number in range(32):
        Path(f"part-{number}").write_bytes(bytes(8 * MB))
    linger()


def deleted_files(given: Given) -> None:
    held = []
    for number in range(32):
        held.append(open(f"part-{number}", "wb"))  # noqa: SIM115 - held open is the point
        os.unlink(held[-1].name)
        held[-1].write(bytes(8 * MB))
    linger()


def reads_key(given: Given) -> None:
    Path(given["key"]).read_bytes()


def reads_home(given: Given) -> None:
    seen = set(os.listdir(given["home"])) - set(given["on_the_way"])
    if not seen:
        raise FileNotFoundError(given["home"])


def reads_masked(given: Given) -> None:
    if not Path(given["test_data"]).read_bytes():
        raise FileNotFoundError(given["test_data"])


def connects(given: Given) -> None:
    socket.create_connection(("127.0.0.1", given["port"]), timeout=PATIENCE).close()


def connects_locally(given: Given) -> None:
    with socket.socket(socket.AF_UNIX) as caller:
        caller.connect(given["socket"])


def leaves_child(given: Given) -> None:
    if os.fork():
        return
    os.setsid()
    if os.fork():
        os._exit(0)
    time.sleep(60)
    os._exit(0)


def prints(given: Given) -> None:
    for number in range(2048):
        with suppress(OSError):
            os.write(1 + number % 2, bytes(MB))
    linger()


def reports_much(given: Given) -> None:
    for number in given["channels"]:
        for _ in range(2048):
            with suppress(OSError):
                os.write(number, b"x" * MB)


def reports_often(given: Given) -> None:
    for number in given["channels"]:
        with suppress(OSError):
            os.write(number, b'{"event": "pair"}\n' * 100_000)


def reports_nonsense(given: Given) -> None:
    for number in given["channels"]:
        with suppress(OSError):
            os.write(number, b"[" * 100_000 + b"\n")


def kills_parent(given: Given) -> None:
    os.kill(os.getppid(), signal.SIGKILL)
    time.sleep(1)
    raise ProcessLookupError("the parent lives")


def kills_another(given: Given) -> None:
    os.kill(given["victim"], signal.SIGKILL)


def attack(job: Given, report: Callable[..., None], wait: Callable[[], None]) -> dict[str, str]:
    """Do the attack that the job names; tells whether it succeeded or what the system said to it."""
    job["channels"] = [int(number) for number in os.listdir("/dev/fd") if int(number) > 2]
    try:
        globals()[job["attack"]](job)
    except (OSError, MemoryError) as error:
        return {"outcome": "refused", "why": f"{type(error).__name__}: {error}"}
    return {"outcome": "succeeds", "why": ""}
