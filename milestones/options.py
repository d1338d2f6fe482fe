"""The command line of a milestone script: options that are checked before anything is trained."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from milestones.run import Version
from tinytorch.engine.dispatch import backend
from tinytorch.files import require_writable
from tinytorch.models import MODELS

REFERENCES = Path(__file__).parents[1] / "mlperf" / "references"  # the weights that the competition's tasks start from

EXIT_CODES = (
    "exit code: 0 the claim is met, 1 it is not or the run failed, 2 wrong options or missing data, 130 after Ctrl-C"
)
NO_REPORT = "end with the verdict: leave out what the network costs, how that grows, and what to think about"
ANEW = (
    "do not continue a run that was stopped; otherwise one with the same settings and data, of which --output has a "
    "checkpoint, goes on after its last whole epoch and ends as if it had never been stopped"
)


def parsed(versions: Mapping[str, Version], argv: Sequence[str] | None) -> argparse.Namespace:
    """The options; wrong ones end the program with exit code 2 before anything is trained. "default" comes first."""
    milestone = versions["default"].milestone
    parser = argparse.ArgumentParser(
        description=f"{milestone.title}. {milestone.claim}",
        epilog=EXIT_CODES,
    )
    seeded = "of first weights and batches' order (default: %(default)s)"
    parser.add_argument("--seed", type=whole(0, 2**31 - 1), default=0, help=seeded)
    parser.set_defaults(recipe="default", anew=False)
    if len(versions) > 1:
        others = {name: version.milestone for name, version in versions.items() if name != "default"}
        claims = "; ".join(f"{name}: {other.claim}" for name, other in others.items())
        parser.add_argument("--recipe", choices=list(versions), help=f"default; or {as_help(claims)}")
    lengths = ", ".join(
        f"{version.milestone.length}{'' if name == 'default' else f' with --recipe {name}'}"
        for name, version in versions.items()
    )
    parser.add_argument(
        f"--{milestone.unit}", dest="length", type=whole(1), metavar="N",
        help=f"how many {milestone.unit} to train (default: {lengths})",
    )  # fmt: skip
    parser.add_argument("--quick", action="store_true", help=as_help(quick_help(versions["default"])))
    plotted = f"where plots are written (default: output, in {milestone.folder.name})"
    parser.add_argument("--output", type=writable, metavar="DIR", default=milestone.folder / "output", help=plotted)
    if milestone.is_resumable:
        parser.add_argument("--anew", action="store_true", help=ANEW)
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
        chosen, _ = versions[options.recipe].chosen(options.quick)
        if chosen.name not in MODELS:
            parser.error(f"argument --save: the competition has no reference {chosen.name}; give a FILE")
        options.save /= f"{chosen.name}.safetensors"
    if options.save and not options.save.parent.is_dir():
        parser.error(f"argument --save: {options.save.parent} is no directory; choose one that exists")
    return options


def quick_help(version: Version) -> str:
    """What --quick does: the same for less time, less of the same, or another task."""
    quick, _ = version.chosen(quick=True)
    train = f"train for {quick.quick_length} {quick.unit} only"
    if quick.needs and quick is not version.milestone:
        return f"{train} and claim less: {quick.claim}"
    what = train
    if quick is not version.milestone:
        what = f"do another task, {quick.name}, which needs no download, and {train}"
    same = "the same figure is required and decides the exit code, but a miss then says nothing about the claim"
    return f"{what}; {same}"


def as_help(text: str) -> str:
    """Plain text as argparse wants it, which else looks for names after each percent sign."""
    return text.replace("%", "%%")


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
