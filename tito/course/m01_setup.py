"""Module 01: the machine that everything runs on."""

from __future__ import annotations

from tito.checks import Check, Module, Part, Raises

PARTS = (
    Part("nbytes", "Raises ValueError for what is no size.", ">>> nbytes('2M')\n2097152", "UNITS knows what K, M "
    "and G mean."),
    Part(
        "count", "", ">>> count('0-3,8')\n5",
        "Split at the commas; a part is one number, or first-last. str.partition tells both apart.",
    ),
    Part(
        "cpu_info", "Empty where the system has no such file.", ">>> isinstance(cpu_info(), dict)\nTrue",
        "read(CPU_INFO) is its text or None; entries of processors are apart by an empty line, key and value by a "
        "colon.",
    ),
)  # fmt: skip

FILE = "import profiler.machine as m\nfrom pathlib import Path\nimport tempfile\np = Path(tempfile.mkdtemp()) / 'cpu'\n"
CHECKS = (
    Check("nbytes", "sizes with units become numbers of bytes", (
        ("nbytes('7')", 7),
        ("nbytes('32K')", 32768),
        ("nbytes('2M')", 2097152),
        ("nbytes('1G')", 1073741824),
        ("nbytes('many')", Raises("ValueError")),
    )),
    Check("count", "a list of CPUs is counted", (
        ("count('0')", 1),
        ("count('3-3')", 1),
        ("count('0-3')", 4),
        ("count('0-3,8')", 5),
        ("count('0,2,4-7,12')", 7),
    )),
    Check("cpu_info", "what the system says of its first processor", (
        (f"{FILE}m.CPU_INFO = p\nm.cpu_info()", {}),
        (f"{FILE}m.CPU_INFO = p\n_ = p.write_text('model name\\t: Fast 1: 2 GHz\\nflags\\t\\t: a b\\n')\nm.cpu_info()",
         {"model name": "Fast 1: 2 GHz", "flags": "a b"}),
        (f"{FILE}m.CPU_INFO = p\n_ = p.write_text('id : 0\\n\\nid : 1\\n')\nm.cpu_info()", {"id": "0"}),
    )),
)  # fmt: skip

MODULE = Module(
    1, "setup", "Can I find out which machine I work on?",
    {"profiler.machine": PARTS}, "from profiler.machine import count, nbytes", CHECKS,
)  # fmt: skip
