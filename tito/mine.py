"""`python -m tito.mine FILES SCRIPT [options]`: a milestone's script on a student's modules, in a process of its own.

FILES is JSON: the files that take the place of modules of ours, by name.
"""

from __future__ import annotations

import json
import runpy
import sys
from pathlib import Path

from tito.replacing import replace


def main() -> None:
    files, script, *options = sys.argv[1:]
    replace(json.loads(files))
    sys.path[0] = str(Path(script).parent)  # as when the script itself is started
    sys.argv = [script, *options]
    runpy.run_path(script, run_name="__main__")


if __name__ == "__main__":
    main()
