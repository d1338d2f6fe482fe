"""What a call costs with next to nothing to compute: ops with tape, one query to the smallest net, an import."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable, Sequence

from benchmarks.contest import Case, Contestant, Result, surroundings
from benchmarks.inference import ONNX_FLOAT, PLAN, TORCH_COMPILED
from benchmarks.libraries import NUMPY, ONNX, OURS, TORCH
from benchmarks.work import Chain, Import, Net
from mlperf.process import environment
from profiler.samples import stopwatch, turns

GROUP = "overhead"
CHAIN = Chain(1000, 16)
CALL = Net("perceptron", 1)  # of 8 FLOPs
IMPORTS = (OURS, TORCH, ONNX, NUMPY)
ROUNDS = {True: 2, False: 5}

EAGER, TORCH_EAGER, NUMPY_EAGER = (Contestant(library, "eager") for library in (OURS, TORCH, NUMPY))


def cases(threads: int, quick: bool) -> list[Case]:
    """What is compared with so many threads: only one is of use."""
    if threads > 1:
        return []
    captured = (PLAN, ONNX_FLOAT, *(() if quick else (TORCH_COMPILED,)))
    return [
        Case(GROUP, CHAIN, (EAGER, TORCH_EAGER, NUMPY_EAGER)),
        Case(GROUP, CALL, (EAGER, *captured, TORCH_EAGER, NUMPY_EAGER)),
    ]


def imports(libraries: Sequence[str], quick: bool, progress: Callable[[], object]) -> Result:
    """Time to start Python and import a library, in turn; a first round, which reads the files, does not count."""
    entered = [Contestant(library, "import", "none") for library in IMPORTS if library in libraries]
    result = Result(Case(GROUP, Import(), tuple(entered)), 1)
    with surroundings(environment(1, hash_seed=0)):
        for i, order in enumerate(turns(entered, 1 + ROUNDS[quick])):
            for each in order:
                with stopwatch() as took:
                    subprocess.run([sys.executable, "-c", f"import {each.package}"], check=True, timeout=60)
                if i > 0:
                    result.times_ns.setdefault(str(each), []).append(float(took.ns))
            progress()
    return result
