"""The house rules that can be read from the files: who imports whom, where compiled code is named, size, docstrings.

Imports inside functions count like those at the top: a lazy import is still a dependency.
"""

from __future__ import annotations

import ast
import graphlib
import json
import statistics
import subprocess
import sys
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
PACKAGES = ("kernels", "tinytorch", "profiler", "mlperf", "leaderboard", "milestones", "benchmarks", "tito")

# Each room, and what it may import beside itself: kernels <- engine <- core <- perf <- profiler <- mlperf. A file
# belongs to the longest name that fits; what may import a package may import all that is in it.
ROOMS = {
    "kernels": set(),
    "leaderboard": set(),
    "tinytorch.files": set(),
    "tinytorch.engine": {"kernels", "tinytorch.files"},
    "tinytorch.core": {"tinytorch.engine", "tinytorch.files", "tinytorch.weights", "kernels.threads"},
    "tinytorch.weights": {"tinytorch.core", "tinytorch.engine", "tinytorch.files"},
    "tinytorch.datasets": {"tinytorch.core", "tinytorch.files"},
    "tinytorch.models": {"tinytorch.core"},
    "tinytorch.recipes": {
        "tinytorch.core", "tinytorch.datasets", "tinytorch.engine", "tinytorch.perf", "kernels.threads"
    },
    "tinytorch.nn": {"tinytorch.core"},
    "tinytorch.optim": {"tinytorch.core"},
    "tinytorch.perf": {"tinytorch.core", "tinytorch.engine", "tinytorch.models", "tinytorch.weights"},
    "tinytorch.perf.profiling": {"profiler"},  # where course code looks for it
    "tinytorch": set(),
    "profiler": {"kernels", "tinytorch"},
    "mlperf": {"profiler", "tinytorch", "leaderboard", "kernels"},
    "milestones": {"kernels.threads", "profiler", "tinytorch"},
    "benchmarks": {"kernels", "tinytorch", "profiler", "mlperf"},
    "tito": {"leaderboard", "milestones", "mlperf", "profiler", "tinytorch"},
    "milestones.06_2024_systems_age": {"kernels.threads", "milestones", "mlperf", "profiler", "tinytorch"},
}
LONGEST = 400  # lines


def module_name(path: Path) -> str:
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


FILES = {module_name(path): path for package in PACKAGES for path in sorted((ROOT / package).rglob("*.py"))}
each_file = pytest.mark.parametrize("name", FILES)


@cache
def tree(name: str) -> ast.Module:
    return ast.parse(FILES[name].read_text(encoding="utf-8"), str(FILES[name]))


def is_type_checking(node: ast.AST) -> bool:
    return isinstance(node, ast.If) and isinstance(node.test, ast.Name) and node.test.id == "TYPE_CHECKING"


def imported(name: str, node: ast.AST) -> set[str]:
    """Modules that one import statement, or a call of import_module with a name, brings in."""
    if isinstance(node, ast.Import):
        return {alias.name for alias in node.names}
    if isinstance(node, ast.ImportFrom):
        base = node.module or ""
        if node.level:
            here = name if FILES[name].name == "__init__.py" else name.rpartition(".")[0]
            parents = here.split(".")[: len(here.split(".")) - node.level + 1]
            base = ".".join([*parents, base] if base else parents)
        inside = {f"{base}.{alias.name}" for alias in node.names}
        modules = {module for module in inside if module in FILES}
        return modules | ({base} if inside - modules or not modules else set())
    if isinstance(node, ast.Call) and ast.unparse(node.func).endswith("import_module") and node.args:
        literal = ast.unparse(node.args[0]).strip("frb'\"")
        return {literal.partition("{")[0].rstrip(".")} if "." in literal else set()
    return set()


def imports(name: str, at_import_time: bool = False) -> set[str]:
    """All modules a file imports; `at_import_time` leaves out those inside functions and for type checkers."""
    found: set[str] = set()
    stack: list[ast.AST] = [tree(name)]
    while stack:
        node = stack.pop()
        if at_import_time and (isinstance(node, ast.FunctionDef | ast.Lambda) or is_type_checking(node)):
            continue
        found |= imported(name, node)
        stack += ast.iter_child_nodes(node)
    return found


def within(module: str, room: str) -> bool:
    return module == room or module.startswith(f"{room}.")


def room_of(module: str) -> str:
    return max((room for room in ROOMS if within(module, room)), key=len)


@each_file
def test_imports_flow_in_one_direction(name):
    room = room_of(name)
    allowed = ROOMS[room] | {room} | ({"tinytorch"} if room == "tinytorch" else set())
    ours = {module for module in imports(name) if module.partition(".")[0] in PACKAGES}
    wrong = sorted(module for module in ours if not any(within(module, other) for other in allowed))
    assert not wrong, (
        f"{name} imports {', '.join(wrong)}; {room} may import {', '.join(sorted(ROOMS[room])) or 'nothing'}"
    )


def test_imports_are_found_wherever_they_stand():
    """The rule above is only as good as its eyes."""
    assert "kernels" in {module.partition(".")[0] for module in imports("tinytorch.engine.dispatch")}
    assert not any(within(m, "kernels") for m in imports("tinytorch.engine.dispatch", at_import_time=True))
    assert {"tinytorch.engine.ops", "tinytorch.engine.dispatch"} <= imports("tinytorch.core.tensor")
    assert room_of("tinytorch.core.layers") == "tinytorch.core" and room_of("tinytorch") == "tinytorch"
    parsed = ast.parse(
        "def f():\n    from . import tensor\n    from ..engine import ops\n    import_module('kernels.pool')"
    )
    statements = [node for node in ast.walk(parsed) if imported("tinytorch.core.layers", node)]
    found = set().union(*(imported("tinytorch.core.layers", node) for node in statements))
    assert found == {"tinytorch.core.tensor", "tinytorch.engine.ops", "kernels.pool"}


def test_no_two_modules_import_each_other():
    graph = {}
    for name in FILES:
        top = imports(name, at_import_time=True) & FILES.keys()
        # A package's face imports its rooms, and every room's import loads the face: that is not a cycle of ideas.
        graph[name] = {module for module in top if not within(name, module)}
    try:
        list(graphlib.TopologicalSorter(graph).static_order())
    except graphlib.CycleError as error:
        pytest.fail(f"imports go in a circle: {' -> '.join(reversed(error.args[1]))}")


@each_file
def test_nobody_imports_a_milestone(name):
    if not within(name, "milestones") and not within(name, "tito"):
        assert not any(within(module, "milestones") for module in imports(name))


@each_file
def test_compiled_code_is_named_in_kernels_alone(name):
    """The benchmark may listen to Numba, to know of compilations while it measures."""
    if not within(name, "kernels") and not within(name, "mlperf"):
        assert not any(within(module, "numba") for module in imports(name))


@each_file
def test_llvm_is_spoken_in_one_room(name):
    """`cpu` and `cache` ask LLVM only which processor this is, to choose and to key what is compiled for it."""
    llvm = {module for module in imports(name) if within(module, "llvmlite")}
    text = FILES[name].read_text(encoding="utf-8")
    assert not llvm or within(name, "kernels.simd") or name in ("kernels.cache", "kernels.cpu")
    assert within(name, "kernels.simd") or ("llvmlite import ir" not in text and "llvmlite.ir" not in text)


# Who else reads the counter, and why it cannot ask the one clock.
COUNTER = {
    "profiler.samples": "is the one clock",
    "profiler.record": "a pass is on the clock of the calls within it, which the seam reads",
    "tinytorch.engine.dispatch": "the seam, which knows no profiler",
    "kernels.ahead": "seconds of progress; kernels import nothing",
}


@each_file
def test_there_is_one_clock(name):
    counters = {"perf_counter", "perf_counter_ns", "monotonic", "monotonic_ns"}
    reads = {
        word
        for node in ast.walk(tree(name))
        for word in (getattr(node, "id", None), getattr(node, "attr", None), getattr(node, "name", None))
        if word in counters
    }
    assert not reads or name in COUNTER, f"{name} reads {', '.join(reads)}; use profiler.clock, say stopwatch()"


@each_file
def test_files_are_short_and_say_what_they_are(name):
    assert len(FILES[name].read_text(encoding="utf-8").splitlines()) <= LONGEST
    docstring = ast.get_docstring(tree(name))
    assert docstring and docstring.strip(" ."), f"{name} does not say what it is"


@each_file
def test_nothing_prints_when_imported(name):
    top = [node for node in tree(name).body if isinstance(node, ast.Expr) and isinstance(node.value, ast.Call)]
    assert not [node.lineno for node in top if ast.unparse(node.value.func) == "print"]


# -- importing --------------------------------------------------------------------------------------------------------

HEAVY = ("numba", "llvmlite", "kernels", "matplotlib", "sklearn", "scipy", "safetensors", "pydantic", "tqdm")
PROBE = f"""
import json, sys
from time import perf_counter
start = perf_counter()
import tinytorch
seconds = perf_counter() - start
heavy = [name for name in {HEAVY!r} if name in sys.modules]
sys.stderr.write(json.dumps([seconds, heavy]))
"""


def test_import_is_quick_and_silent_and_loads_nothing_heavy():
    seconds = []
    for _ in range(3):
        done = subprocess.run([sys.executable, "-c", PROBE], capture_output=True, text=True, cwd=ROOT, timeout=60)
        assert done.returncode == 0 and done.stdout == "", done.stderr
        took, heavy = json.loads(done.stderr)
        assert not heavy
        seconds.append(took)
    assert statistics.median(seconds) < 1
