"""Between us and a confined worker: sets its limits before it begins, adopts what it leaves behind, ends all of it.

A script of its own, `keeper.py {"LIMIT": value, ...} COMMAND ...`, so that limits hold before anything is imported. On
Linux whoever loses its parent below the keeper becomes the keeper's child, in whatever session or group it is, so
nothing can leave the tree. It ends with its command, as that did; and if our process dies, so do it and all below.
Elsewhere it sets the limits and becomes the command.
"""

from __future__ import annotations

import ctypes
import json
import os
import resource
import signal
import sys

if __name__ == "__main__":
    sys.path.insert(0, os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__)))))

from mlperf.confinement import tree

PR_SET_PDEATHSIG, PR_SET_CHILD_SUBREAPER = 1, 36
LINUX = sys.platform.startswith("linux")


def control(option: int, value: int) -> None:
    """prctl(2) on this process."""
    ctypes.CDLL(None, use_errno=True).prctl(option, value, 0, 0, 0)


def limit(limits: dict[str, int]) -> None:
    """Set limits of the system, each as far as it may be raised."""
    for name, value in limits.items():
        what = getattr(resource, name)
        _, most = resource.getrlimit(what)
        value = value if most == resource.RLIM_INFINITY else min(value, most)
        resource.setrlimit(what, (value, value))


def keep(command: list[str]) -> int:
    """Run the command to its end, then end what it left behind. Returns the exit code a shell would show."""
    parent = os.getpid()
    pid = os.fork()
    if not pid:
        control(PR_SET_PDEATHSIG, signal.SIGKILL)
        if os.getppid() != parent:
            os._exit(1)
        os.execvp(command[0], command)
    for stream in (0, 1):  # or the worker's end could not be told from ours
        os.close(stream)
    ended = 0
    while ended != pid:
        ended, status = os.wait()
    tree.end_below(parent)
    code = os.waitstatus_to_exitcode(status)
    return code if code >= 0 else 128 - code


def main() -> None:
    """Set limits, stay with the command on Linux, become it elsewhere."""
    limits, command = json.loads(sys.argv[1]), sys.argv[2:]
    if LINUX:
        starter = os.getppid()

        def stop(*_: object) -> None:
            tree.end_below(os.getpid())
            os._exit(1)

        signal.signal(signal.SIGTERM, stop)
        control(PR_SET_PDEATHSIG, signal.SIGTERM)
        control(PR_SET_CHILD_SUBREAPER, 1)
        if os.getppid() != starter:
            return
        limit(limits)
        sys.exit(keep(command))
    limit(limits)
    os.execvp(command[0], command)


if __name__ == "__main__":
    main()
