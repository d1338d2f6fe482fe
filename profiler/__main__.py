"""`python -m profiler`: what a network, a milestone or any script costs, op by op."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from profiler.known import KNOWN, Known, meant, milestones
from tinytorch.engine.dispatch import backend
from tinytorch.files import require_writable

EXAMPLES = """examples:
  python -m profiler cnn                           forward and backward, a batch of 32
  python -m profiler cnn --inference --batch 1     one query; with --plan as one program of kernel steps
  python -m profiler cnn-cifar10 --train --plot /tmp/plots
  python -m profiler 04                            the script of milestone 1998 (options after it are the script's)
  python -m profiler my_script.py --epochs 3
  python -m profiler cnn -o a.json; python -m profiler cnn --threads 1 -o b.json
  python -m profiler compare a.json b.json
  python -m profiler ceilings                      what this machine can do at most

exit code: 0 profiled, 1 it failed, 2 wrong options, 130 after Ctrl-C; of a script its own
"""


class UsageError(ValueError):
    """Options that do not go together."""


def parser() -> argparse.ArgumentParser:
    known = f"known: {', '.join(KNOWN)}; milestones: {', '.join(f'{number:02d}' for number in milestones())}"
    command = argparse.ArgumentParser(
        prog="python -m profiler",
        description=f"Measure FLOPs, memory and time of a network, a milestone or a script, op by op. {known}.",
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        parents=[options_parser()],
    )
    add = command.add_argument
    add("subject", metavar="MODEL|NN|SCRIPT", help="a network, a milestone's number, a script; or compare, ceilings")
    add("arguments", nargs=argparse.REMAINDER, metavar="...", help="of the script; or more options")
    return command


def options_parser() -> argparse.ArgumentParser:
    """What may stand before or after the subject."""
    options = argparse.ArgumentParser(add_help=False)
    add = options.add_argument
    what = options.add_mutually_exclusive_group()
    what.add_argument("--inference", action="store_true", help="forward alone, in evaluation mode")
    what.add_argument("--train", action="store_true", help="forward, backward and an AdamW step")
    add("--plan", action="store_true", help="as a plan, or a captured training step, step by step")
    add("--batch", type=positive, default=32, metavar="N", help="examples in a batch (default: 32)")
    add("--threads", type=positive, metavar="N", help="threads of the kernels (default: all)")
    add("--seconds", type=float, default=2.0, metavar="S", help="about how long is measured (default: 2)")
    add("--lines", action="store_true", help="also a table of single ops with shapes and intervals")
    add("--no-memory", action="store_true", help="leave out the slow pass that traces memory")
    add("--no-roofline", action="store_true", help="do not measure the machine's ceilings")
    add("-o", "--output", type=Path, metavar="FILE", help="write the report as JSON")
    add("--trace", type=Path, metavar="FILE", help="write a trace that Perfetto and chrome://tracing open")
    add("--plot", type=Path, metavar="DIR", help="draw the roofline, time, memory; PNG and SVG")
    return options


def positive(text: str) -> int:
    if not text.isdigit() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number of at least 1")
    return int(text)


def profile_model(name: str, known: Known, options: argparse.Namespace) -> tuple[Any, Any]:
    """The report of a network by its name, and the recording where there is one."""
    import numpy as np

    import tinytorch
    from profiler.profiling import profile_recorded
    from tinytorch import AdamW

    np.random.seed(0)
    model, (x, y) = known.build(), known.batch(options.batch)
    model.train(not options.inference)
    optimizer = AdamW(model.parameters(), lr=1e-3) if options.train else None
    common: dict[str, Any] = {
        "subject": name, "budget_s": options.seconds, "roofline": not options.no_roofline,
        "memory": not options.no_memory,
    }  # fmt: skip
    if not options.plan and options.inference:
        return profile_recorded(model, x, backward=False, **common)
    if not options.plan:
        common |= {"loss": known.loss, "target": tinytorch.Tensor(y), "optimizer": optimizer}
        return profile_recorded(model, x, **common)
    threads = options.threads or 1
    if options.train:
        assert optimizer is not None
        return profile_recorded(tinytorch.compile_step(model, optimizer, known.loss, x, y, threads), x, y, **common)
    return profile_recorded(tinytorch.compile(model, x, threads=threads), x, **common)


def profile_script(path: Path, arguments: Sequence[str], options: argparse.Namespace) -> tuple[Any, Any, int]:
    from profiler import scripts
    from profiler.profiling import report_of_script

    outcome = scripts.run(path, arguments)
    report = report_of_script(outcome.recording, str(path), not options.no_roofline)
    return report, outcome.recording, outcome.exit_code


def show(report: Any, recording: Any, options: argparse.Namespace) -> None:
    """Print the report and write what was asked for; the last line is JSON."""
    from profiler import tables

    print(tables.text(report, every_line=options.lines))
    written = []
    if options.output:
        report.save(options.output)
        written.append(options.output)
    if options.trace:
        from profiler import trace

        trace.save(recording, options.trace, report.memory.timeline if report.memory else ())
        written.append(options.trace)
    if options.plot:
        from profiler import plots

        written += plots.write(report, options.plot)
    for path in written:
        print(f"wrote {path}")
    print(json.dumps(last_line(report, written), separators=(",", ":")), flush=True)


def last_line(report: Any, written: Sequence[Path]) -> dict[str, Any]:
    memory = report.memory
    return {
        "subject": report.subject, "form": report.form, "backend": report.backend, "threads": report.threads,
        "passes": report.passes, "wall_ns": round(report.wall_ns), "observed_ns": round(report.observed_ns),
        "outside_ns": round(report.outside_ns), "flops": report.flops, "bytes": report.bytes,
        "peak_bytes": memory.peak_bytes or None if memory else None, "written": [str(path) for path in written],
    }  # fmt: skip


def compare(arguments: Sequence[str]) -> int:
    """`compare A.json B.json [--plot DIR]`"""
    from profiler import tables
    from profiler.report import Report

    command = argparse.ArgumentParser(prog="python -m profiler compare", description="Two reports beside each other.")
    command.add_argument("before", type=Path, metavar="A.json")
    command.add_argument("after", type=Path, metavar="B.json")
    command.add_argument("--plot", type=Path, metavar="DIR", help="draw them; PNG and SVG")
    options = command.parse_args(arguments)
    before, after = Report.load(options.before), Report.load(options.after)
    print(tables.comparison(before, after))
    written: list[Path] = []
    if options.plot:
        from profiler import plots

        written = plots.write_comparison(before, after, options.plot)
    for path in written:
        print(f"wrote {path}")
    line = {
        "before": str(options.before), "after": str(options.after), "wall_ratio": before.wall_ns / after.wall_ns,
        "flops": [before.flops, after.flops], "written": [str(path) for path in written],
    }  # fmt: skip
    print(json.dumps(line, separators=(",", ":")), flush=True)
    return 0


def show_ceilings(arguments: Sequence[str]) -> int:
    """`ceilings [--threads N] [--again]`"""
    from kernels.threads import get_num_threads
    from profiler.ceilings import ceilings
    from profiler.roofline import table

    command = argparse.ArgumentParser(
        prog="python -m profiler ceilings", description="What this machine can do at most; measured once and kept."
    )
    command.add_argument("--threads", type=positive, metavar="N", help="default: all")
    command.add_argument("--again", action="store_true", help="measure again")
    options = command.parse_args(arguments)
    most = ceilings(options.threads or get_num_threads(), again=options.again)
    print(table(most))
    print(most.model_dump_json(), flush=True)
    return 0


COMMANDS = {"compare": compare, "ceilings": show_ceilings}


def main(argv: Sequence[str] | None = None) -> int:
    """Run a command and return its exit code."""
    command, given = parser(), list(sys.argv[1:] if argv is None else argv)
    try:
        if given and given[0] in COMMANDS:
            return COMMANDS[given[0]](given[1:])
        options = command.parse_args(given)
        subject = meant(options.subject)
        backend()
        if isinstance(subject, Known):
            options = options_parser().parse_args(options.arguments, options)
        check(options)
        if options.threads:
            from kernels.threads import set_num_threads

            set_num_threads(options.threads)
        if isinstance(subject, Known):
            show(*profile_model(options.subject, subject, options), options)
            return 0
        arguments = options.arguments
        if options.subject.isdigit():
            arguments = ["--no-report", *arguments]  # a milestone's own profile is none of its work
        report, recording, code = profile_script(subject, arguments, options)
        show(report, recording, options)
        return code
    except UsageError as error:
        command.error(str(error))
    except (OSError, ValueError) as error:
        print(f"profiler: {error}", file=sys.stderr)
        return 2 if "unknown model" in str(error) else 1
    except KeyboardInterrupt:
        print("profiler: stopped; nothing was written", file=sys.stderr)
        return 130


def check(options: argparse.Namespace) -> None:
    """UsageError where what is asked for cannot be, before anything is measured."""
    if options.seconds <= 0:
        raise UsageError(f"argument --seconds: {options.seconds} is not positive")
    for path in (options.output, options.trace):
        if path is not None and not path.absolute().parent.is_dir():
            raise UsageError(f"cannot write {path}: {path.absolute().parent} is no directory; choose one that exists")
    if options.plot is not None:
        try:
            require_writable(options.plot)
        except OSError as error:
            raise UsageError(f"argument --plot: {error}") from None


if __name__ == "__main__":
    sys.exit(main())
