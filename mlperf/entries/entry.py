"""A student's own entry in a worker: built once (`build`), then made again in every process that measures it (`pair`).

Its code is foreign. What is protected, and what is not:

- The machine, from mistakes: `submit` and `duel` run it within limits (`limits.py`), in processes that are killed with
  all they started. It may read and write what you may: run nobody else's entry so. `verify` locks it up (`sandbox.py`).
- The measurement, only in part: it runs in the same process as the clock and the reference. What it could do to them is
  found by audits, by the parent's own clock and by a replay, not prevented. So nothing proves a figure but a replay by
  somebody else, with a key that the student does not have.
- The test part, only in part: while it is built it is given the training part alone, and is seen opening the files of
  the data or making a drawn set (CALIBRATION_LEAK); not if another program opens them for it, or if it has them with
  it. While it is measured, questions are in its process, and, where the metric needs them, what is right.
"""

from __future__ import annotations

import contextlib
import os
import sys
import tempfile
import traceback
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
from numba.core import event

import kernels.cpu  # noqa: F401  before an entry's first @njit, which settles how wide vectors are
from kernels.threads import set_num_threads
from mlperf import tasks
from mlperf.candidate import Compilations
from mlperf.confinement.hearing import MOST_TOLD
from mlperf.contestant import CANDIDATE, dtypes_of, nonzero
from mlperf.costs import query_flops
from mlperf.entries import source
from mlperf.entries.context import Context, Kept, Optimised
from mlperf.entries.source import EntryError
from mlperf.harness import Arm, answers
from mlperf.shuffling import disturb, shuffle_file
from mlperf.worker import Pair, Refusal
from tinytorch import weights
from tinytorch.core.layers import Layer
from tinytorch.perf.quantization import weights_only

CALIBRATION_SAMPLES = 256
OTHER_WEIGHTS = (
    "optimize made other weights than when the entry was built; make what is random or trained by `context.once` or "
    "`context.taught`, which keep it, and what depends on time or on the process not at all"
)


def made(
    task: tasks.Task, folder: str, main: str, training: str, kept: Kept, threads: int, seed: int, shuffle: int | None
) -> Callable[[np.ndarray], Any]:
    """What an entry's `optimize` returns for the task's reference, or for one whose weights were shuffled.

    `training` is a folder with the training part, x.npy and y.npy. What the entry raises ends as EntryError, with the
    lines of its own files.
    """
    model, answering = task.reference(), task.answering
    if shuffle is not None:
        disturb(model, shuffle)
    x, y = (np.load(Path(training, f"{name}.npy"), mmap_mode="r") for name in "xy")
    example = answering.queries(x[:1])[0]
    context = Context(x, y, example, answering, task.lessons, task.batches, task.loss, threads, seed=seed, kept=kept)
    try:
        optimize = source.load(folder, main)
        optimised = optimize(model, context.calibration(CALIBRATION_SAMPLES, seed).x, context)
    except EntryError:
        raise
    except Exception as error:
        raise EntryError(told(error, folder)) from error
    if not callable(optimised):
        raise EntryError(
            f"optimize returned {type(optimised).__name__}; return something that is called with a query, an array "
            f"{example.shape}, and gives an array"
        )
    return optimised


def told(error: Exception, folder: str) -> str:
    """A traceback from the first line of the entry's own files on."""
    frames = traceback.extract_tb(error.__traceback__)
    own = [i for i, frame in enumerate(frames) if frame.filename.startswith(str(folder))]
    lines = traceback.format_list(frames[own[0] :] if own else frames[-1:])
    text = "".join(["the entry failed:\n", *lines, *traceback.format_exception_only(error)])
    text = text.replace(str(folder) + os.sep, "").strip()
    return text if len(text) <= MOST_TOLD else f"{text[: MOST_TOLD // 2 - 3]} ... {text[2 - MOST_TOLD // 2 :]}"


def model_of(optimised: object) -> Layer | None:
    """The network that an entry's callable shows, if it does."""
    model = getattr(optimised, "model", None)
    return model if isinstance(model, Layer) else None


def arm_of(optimised: Callable[[np.ndarray], Any]) -> Arm:
    """The callable as a contestant, with whatever it says of writing token by token."""
    if isinstance(optimised, Optimised):
        return optimised.arm
    return Arm(optimised, stream=getattr(optimised, "stream", None), forced=getattr(optimised, "forced", None))


def written(model: Layer | None, folder: Path | str) -> str | None:
    """Write a network's weights as a file into a folder; its sha256."""
    if model is None:
        return None
    path = Path(folder, CANDIDATE)
    weights.save(model, path)
    return weights.sha256(path)


# -- jobs of `worker.py` -----------------------------------------------------------------------------------------------


def build(job: dict[str, Any], report: Callable[[str], None], wait: Callable[[], None]) -> dict[str, Any]:
    """Run `optimize` once, keeping what it keeps, and see what it made. Raises Refusal for what breaks a rule."""
    task = tasks.find(job["task"])
    with watching(job["test_files"]) as seen:
        try:
            kept = Kept(job["kept"], building=True)
            optimised = made(
                task, job["folder"], job["main"], job["training"], kept, job["threads"], job["seed"], shuffle=None
            )
        except EntryError as error:
            raise Refusal("ENTRY", str(error)) from None
        example = task.answering.queries(np.load(Path(job["training"], "x.npy"), mmap_mode="r")[:1])[0]
        check(task, arm_of(optimised), example)
    model = model_of(optimised)
    model_sha256 = written(model, Path(job["kept"]).parent)
    facts = {
        "model_sha256": model_sha256,
        "staged": type(optimised) is Optimised,
        "kept": kept.used,
        "note": getattr(optimised, "note", "") or "",
        "test_files_read": sorted(seen),
        "nonzero": None if model is None else nonzero(model),
        "dtypes": [],
        "flops": None,
    }
    if model is not None:
        facts["dtypes"] = dtypes_of(model)
        with contextlib.suppress(Exception):  # a network that does not run by itself tells no FLOPs
            form = optimised.state.form if isinstance(optimised, Optimised) else "eager"
            facts["flops"] = query_flops(model, task.answering.observable(model, form), example)
    return facts


def check(task: tasks.Task, arm: Arm, example: np.ndarray) -> None:
    """One query, whose answer must be an array of the shape that the reference gives. Raises Refusal."""
    wanted = answers(task.answering.reference(task.reference()), [example])
    try:
        with arm.around():
            got = arm.run(example)
    except Exception as error:
        raise Refusal("ENTRY", f"the entry's callable failed on one query {example.shape}: {error!r}") from None
    if type(got) is not np.ndarray:
        raise Refusal("OUTPUT_TYPE", f"the entry answered with {type(got).__name__}; it must give a NumPy array")
    if got.shape != wanted.shape:
        raise Refusal("ENTRY", f"the entry answered with {got.shape}; the reference's answer is {wanted.shape}")
    if task.answering.output_tokens is not None and arm.stream is None:
        raise Refusal("ENTRY", "the callable has no `stream`, but each token is timed; return what the context gives")


@contextlib.contextmanager
def watching(files: list[str]) -> Iterator[set[str]]:
    """Inside, whoever opens one of these files or what lies below these folders, is seen; and who loads a data set."""
    seen: set[str] = set()
    wanted = [os.path.realpath(file) for file in files]
    active = True

    def hook(name: str, arguments: tuple[Any, ...]) -> None:
        if not active:
            return
        if name == "tinytorch.datasets":
            seen.add(f"the data set {arguments[0]}"[:200])
        elif name == "open" and isinstance(arguments[0], str | bytes | os.PathLike):
            path = os.path.realpath(os.fsdecode(arguments[0]))
            for file in wanted:
                if path == file or path.startswith(file + os.sep):
                    seen.add(os.path.basename(path)[:200])

    sys.addaudithook(hook)  # cannot be taken away again, also not by the entry
    try:
        yield seen
    finally:
        active = False


def pair(
    task: str,
    folder: str,
    main: str,
    training: str,
    kept: str,
    model_sha256: str | None,
    samples: str,
    threads: int,
    seed: int,
    shuffle: int | None = None,
) -> Pair:
    """Factory for `worker.py`: the task's reference and what an entry makes of it, asked the samples (x, y) in a file.

    The counterpart of `candidate.pair`. `shuffle` is a seed to shuffle all weights by that the entry is given. Raises
    Refusal where the entry fails, or makes another network than when it was built.
    """
    compilations = Compilations()
    event.register("numba:run_pass", compilations)
    chosen = tasks.find(task)
    answering = chosen.answering
    with tempfile.TemporaryDirectory(prefix="mlperf-") as scratch:
        if shuffle is not None:
            for file in Path(kept).glob("*.safetensors"):
                shuffle_file(file, Path(scratch, file.name), shuffle)
            kept = scratch
        try:
            optimised = made(chosen, folder, main, training, Kept(kept, building=False), threads, seed, shuffle)
        except EntryError as error:
            raise Refusal("ENTRY", str(error)) from None
        model = model_of(optimised)
        if shuffle is None and written(model, scratch) != model_sha256:
            raise Refusal("ENTRY", OTHER_WEIGHTS)

    def again(shuffle: int) -> Arm:
        given = (folder, main, training, kept, model_sha256, samples, threads, seed)
        return pair(task, *given, shuffle=shuffle).opt

    with np.load(samples) as file:
        x, y = file["x"], file["y"]
    asked = answering.queries(x)
    caching = None
    if model is not None and answering.output_tokens is not None:
        exact = weights_only(model)
        uncached = answering.uncached(exact)
        caching = None if uncached is None else (answering.candidate(exact, "plan", asked[0], threads), uncached)
    set_num_threads(threads, blas=threads)
    return Pair(
        ref=answering.reference(chosen.reference()),
        opt=arm_of(optimised),
        samples=asked,
        told=lambda arm, progress: chosen.metric.told(arm, asked, x, y, progress),
        compiled=lambda: compilations.count,
        output_tokens=answering.output_tokens,
        caching=caching,
        shuffled=again if shuffle is None else None,
    )
