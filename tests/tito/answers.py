"""Answers to modules as files: our own, the untouched template, and our own with a place changed."""

import json
import subprocess
import sys
from pathlib import Path

from tito import templates

ROOT = Path(__file__).parents[2]


def own(module, folder, change=None):
    """Our own source as a student's files in a folder, by the names of what they replace."""
    folder.mkdir(parents=True, exist_ok=True)
    files = {}
    for source in module.sources:
        text = templates.source_of(source)
        if change is not None and change[0] == source:
            assert text.count(change[1]) == 1, f"{source}: {change[1]!r} stands there {text.count(change[1])} times"
            text = text.replace(change[1], change[2])
        path = folder / module.file_of(source)
        path.write_text(text)
        files[source] = str(path)
    return files


def untouched(module, folder):
    """The files that `tito module start` writes."""
    folder.mkdir(parents=True, exist_ok=True)
    files = {source: str(folder / module.file_of(source)) for source in module.sources}
    for source, path in files.items():
        Path(path).write_text(templates.written(module, source))
    return files


def checked(jobs):
    """What the checkpoints say of (module, files): for each a list of [part, what must hold, whether it failed]."""
    asked = json.dumps([[module.slug, files] for module, files in jobs])
    command = [sys.executable, "-m", "tests.tito.batch"]
    done = subprocess.run(command, input=asked, capture_output=True, text=True, cwd=ROOT)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.splitlines()[-1])
