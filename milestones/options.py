"""The command line of a milestone script: options that are checked before anything is trained."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Sequence
from pathlib import Path

from milestones.run import Milestone
from tinytorch.engine.dispatch import backend
from tinytorch.files import require_writable

REFERENCES = Path(__file__).parents[1] / "mlperf" / "references"  # the weights that the competition's tasks start from

EXIT_CODES = "exit code: 0 the claim is met, 1 it is not or the run failed, 2 wrong options, 130 after Ctrl-C"
NO_REPORT = "end with the verdict: leave out what the network costs, how that grows, and what to think about"


def parsed(milestone: Milestone, argv: Sequence[str] | None, quick: Milestone) -> argparse.Namespace:
    """The options; wrong ones end the program with exit code 2 before anything is trained."""
    what = "train" if quick is milestone else f"do another task, {quick.name}, which needs no download, and train"
    parser = argparse.ArgumentParser(
        description=f"{milestone.title}. {milestone.claim}",
        epilog=EXIT_CODES,
        formatter_class=argparse.ArgumentDefaultsHelpFormatter,
    )
    parser.add_argument("--seed", type=whole(0, 2**31 - 1), default=0, help="of first weights and batches' order")
    parser.add_argument(
        f"--{milestone.unit}", dest="length", type=whole(1), metavar="N",
        help=f"how many {milestone.unit} to train (default: {milestone.length})",
    )  # fmt: skip
    parser.add_argument(
        "--quick",
        action="store_true",
        help=f"{what} for {quick.quick_length} {quick.unit} only; the same figure is required and decides the exit "
        "code, but a miss then says nothing about the claim",
    )
    parser.add_argument(
        "--output", type=writable, metavar="DIR", default=milestone.folder / "output", help="where plots are written"
    )
    parser.add_argument("--no-report", dest="report", action="store_false", help=NO_REPORT)
    parser.add_argument(
        "--save",
        type=Path,
        nargs="?",
        const=REFERENCES,
        metavar="FILE",
        help="write the weights if the claim is met (FILE left out: the competition's reference of this checkout)",
    )
    options = parser.parse_args(argv)
    try:
        backend()
    except ValueError as error:
        parser.error(str(error))
    if options.save == REFERENCES:
        options.save /= f"{(quick if options.quick else milestone).name}.safetensors"
    if options.save and not options.save.parent.is_dir():
        parser.error(f"argument --save: {options.save.parent} is no directory; choose one that exists")
    return options


def whole(least: int, most: int | None = None) -> Callable[[str], int]:
    """Reads an integer within limits."""

    def read(text: str) -> int:
        limits = f"at least {least}" if most is None else f"from {least} to {most}"
        try:
            value = int(text)
        except ValueError:
            raise argparse.ArgumentTypeError(f"{text!r} is not a whole number {limits}") from None
        if value < least or (most is not None and value > most):
            raise argparse.ArgumentTypeError(f"{value} is not {limits}")
        return value

    return read


def writable(text: str) -> Path:
    """Reads a directory that can be written to, or that can be made."""
    try:
        require_writable(text)
    except OSError as error:
        raise argparse.ArgumentTypeError(str(error)) from None
    return Path(text)
