"""`python -m tinytorch.datasets`: which data sets are here, and getting one that is not."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from tinytorch.datasets import DATASETS, load
from tinytorch.datasets.catalogue import PUBLISHED
from tinytorch.datasets.download import VARIABLE, DataError, Found, Published, cache, find, told
from tinytorch.datasets.images import Images

EXAMPLES = f"""examples:
  python -m tinytorch.datasets list                    where each file is, and whether it is the published one
  python -m tinytorch.datasets get cifar10             into the user's cache, decoded for a quick start
  python -m tinytorch.datasets get mnist --root data   the files into data/mnist
  {VARIABLE}=data python -m tinytorch.datasets list

exit code: 0 it is here, 1 it is not to be had, 2 wrong options, 130 after Ctrl-C
"""


def parser() -> argparse.ArgumentParser:
    command = argparse.ArgumentParser(
        prog="python -m tinytorch.datasets",
        description=f"Data sets: {', '.join(PUBLISHED)} are published files; {', '.join(DATASETS)} are embedded.",
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    actions = command.add_subparsers(dest="action", required=True, metavar="list|get")
    listing = actions.add_parser("list", help="where each data set is")
    get = actions.add_parser("get", help="download a data set if need be, check it and decode it")
    get.add_argument("name", metavar="NAME", choices=[*PUBLISHED, *DATASETS], help=f"one of {', '.join(PUBLISHED)}")
    for each in (listing, get):
        each.add_argument(
            "--root", type=Path, metavar="DIR", help=f"look there first, and download to there (then {VARIABLE}, cache)"
        )
    return command


# -- list --------------------------------------------------------------------------------------------------------------


def listed(root: Path | None) -> int:
    """A line for each file, then JSON: of each data set whether it is here."""
    from tabulate import tabulate

    rows, here = [], {}
    for name, entry in PUBLISHED.items():
        found = [find(file, root) for file in entry.files]
        rows += [row(name, file, place) for file, place in zip(entry.files, found)]
        here[name] = {"here": all(found), "published": all(place and place.published for place in found)}
    print(tabulate(rows, ("data set", "file", "MB", "where", "digest"), floatfmt=".2f", disable_numparse=[4]))
    print(f"embedded: {', '.join(DATASETS)}; cache: {cache()}")
    print(json.dumps(here, separators=(",", ":")), flush=True)
    return 0


def row(name: str, file: Published, found: Found | None) -> tuple[str, str, float, str, str]:
    if found is None:
        return name, Path(file.file).name, file.size / 1e6, "not here", f"published {shortened(file.digest)}"
    seen = "as published" if found.published else f"seen {shortened(found.digest)}, published {shortened(file.digest)}"
    return name, found.path.name, size_of(found.path) / 1e6, str(found.path.parent), seen


def shortened(digest: str) -> str:
    algorithm, _, figures = digest.partition(":")
    return f"{algorithm}:{figures[:12]}"


def size_of(path: Path) -> int:
    return sum(p.stat().st_size for p in path.iterdir()) if path.is_dir() else path.stat().st_size


# -- get ---------------------------------------------------------------------------------------------------------------


def got(name: str, root: Path | None) -> int:
    """Read a data set as a program would, and say what it is."""
    data: Any = load(name) if name in DATASETS else PUBLISHED[name].read(root)
    if isinstance(data, Images) or name in DATASETS:
        facts: dict[str, Any] = {"training": list(data.x_train.shape), "test": list(data.x_test.shape)}
    else:
        facts = {"training": [len(data.train)], "test": [len(data.validation)]}
    facts["source"] = "embedded" if name in DATASETS else told([f for f in places(name, root) if f])
    for key, value in facts.items():
        print(f"  {key:<9} {' x '.join(f'{n:,}' for n in value) if isinstance(value, list) else value}")
    print(json.dumps({"data": name, **facts}, separators=(",", ":")), flush=True)
    return 0


def places(name: str, root: Path | None) -> list[Found | None]:
    return [find(file, root) for file in PUBLISHED[name].files]


def main(argv: Sequence[str] | None = None) -> int:
    """Run a command and return its exit code."""
    options = parser().parse_args(argv)
    try:
        return listed(options.root) if options.action == "list" else got(options.name, options.root)
    except DataError as error:
        print(f"datasets: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("\ndatasets: interrupted; what came is kept, and the next attempt continues it", file=sys.stderr)
        return 130


if __name__ == "__main__":
    sys.exit(main())
