"""Where compiled code is kept, and when it may be used again.

Numba keys a cached function by the file it stands in; it does not notice a change in a helper of another file. So the
directory itself is named after everything the code depends on: all sources of this package, the SIMD path, the CPU, and
the versions of Python, Numba and llvmlite. Changed sources mean another directory, and nothing stale can be loaded.

The parent directory is `NUMBA_CACHE_DIR`, else `XDG_CACHE_HOME`, else `~/.cache`; where that cannot be written, a
directory for temporary files.
"""

from __future__ import annotations

import getpass
import hashlib
import os
import sys
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from functools import cache
from pathlib import Path
from typing import Any

import llvmlite
import numba
from llvmlite import binding
from numba.core.codegen import CPUCodeLibrary

from kernels import cpu

config: Any = numba.config
_lock = threading.RLock()


def source_key(folder: Path, *, path: str = cpu.PATH) -> str:
    """Hash (16 hex digits) over the Python sources in `folder` and over what they are compiled for."""
    target = (
        path,
        binding.get_host_cpu_name(),
        binding.get_host_cpu_features().flatten(),
        sys.version,
        numba.__version__,
        llvmlite.__version__,
    )
    digest = hashlib.sha256(repr(target).encode())
    for source in sorted(folder.rglob("*.py")):
        text = source.read_bytes()
        digest.update(f"{source.name} {len(text)} ".encode() + text)
    return digest.hexdigest()[:16]


def _parents() -> Iterator[Path]:
    if os.environ.get("NUMBA_CACHE_DIR"):
        yield Path(os.environ["NUMBA_CACHE_DIR"])
    if os.environ.get("XDG_CACHE_HOME"):
        yield Path(os.environ["XDG_CACHE_HOME"])
    with suppress(RuntimeError):  # a user without a home
        yield Path.home() / ".cache"
    yield Path(tempfile.gettempdir()) / f"cache-{_user()}"


def _user() -> str:
    try:
        return getpass.getuser()
    except (KeyError, OSError):  # a user id without a name
        return str(os.getuid())


@cache
def directory() -> Path:
    """The directory of this version's compiled code; made, and known to be writable."""
    key = source_key(Path(__file__).parent)
    problems = []
    for parent in _parents():
        folder = parent / "tinytorch-kernels" / key
        try:
            folder.mkdir(parents=True, exist_ok=True)
            with tempfile.TemporaryFile(dir=folder):
                return folder
        except OSError as error:
            problems.append(str(error))
    raise OSError(
        f"kernels: no directory for compiled code can be written ({'; '.join(problems)}); "
        "set NUMBA_CACHE_DIR to one that can"
    )


@contextmanager
def compiled_here() -> Iterator[None]:
    """Functions decorated with `cache=True` inside the block keep their code in `directory()`."""
    with _lock:
        before, config.CACHE_DIR = config.CACHE_DIR, str(directory())
        try:
            yield
        finally:
            config.CACHE_DIR = before


@contextmanager
def self_contained(name: str) -> Iterator[None]:
    """Code of this name compiled inside keeps its copies of the functions it calls to itself.

    Numba leaves them visible under names that count functions in each process anew, and of several with one name the
    linker takes the first it loads for all. So what a kernel computed depended, by a last bit, on which kernels were
    loaded or compiled before it, and two functions of one qualified name, such as closures, could be confused.
    """
    finish = CPUCodeLibrary._finalize_final_module

    def alone(library: Any) -> None:
        if library.name == name:
            for function in library._final_module.functions:
                if not function.is_declaration and function.linkage == binding.Linkage.linkonce_odr:
                    function.linkage = "internal"
        finish(library)

    CPUCodeLibrary._finalize_final_module = alone  # type: ignore[method-assign]
    try:
        yield
    finally:
        CPUCodeLibrary._finalize_final_module = finish  # type: ignore[method-assign]


def holds(name: str) -> bool:
    """Whether code of the function `name` has been kept."""
    return any(directory().glob(f"**/*.{name}-*.nbc"))
