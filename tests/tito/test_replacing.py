"""Files in the place of modules, in a process of their own; here that nothing else changes."""

import json
import subprocess
import sys

from tests.tito.answers import ROOT, own
from tito.course import find

CODE = """
import sys, json
import profiler.samples as before
from tito.replacing import replace, replaced
replace(json.loads(sys.argv[1]))
import tinytorch, profiler.samples, profiler.doubts
print(tinytorch.core.tensor.__file__, tinytorch.core.layers.__file__, profiler.doubts.__file__)
print(before is profiler.samples, before.is_steady([5.0] * 8), tinytorch.Linear(2, 3)(tinytorch.Tensor([[1, 2]])).shape)
print(list(replaced()))
"""


def test_some_modules_come_from_files_and_all_others_from_where_they_were(tmp_path):
    files = own(find("02"), tmp_path) | own(find("19"), tmp_path)
    done = subprocess.run(
        [sys.executable, "-c", CODE, json.dumps(files)], capture_output=True, text=True, cwd=ROOT
    )
    assert done.returncode == 0, done.stderr
    places, works, names = done.stdout.splitlines()
    tensor, layers, doubts = places.split()
    assert tensor == str(tmp_path / "02_tensor.py") and doubts == str(tmp_path / "19_benchmarking.py")
    assert layers == str(ROOT / "tinytorch" / "core" / "layers.py")
    assert works == "False True (1, 3)"  # the worker's own clock stays what it was
    assert names == "['tinytorch.core.tensor', 'profiler.doubts']"
