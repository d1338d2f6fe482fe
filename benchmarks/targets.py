"""What has to be reached, in one place, and how far each is: one line for each target, naming its worst case.

All are ratios measured within rounds: a peer's time over ours, one thread's over several threads', or the machine's
limit. A target that was not measured, because its group or thread count was not asked for, is left out.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import NamedTuple

from benchmarks import accuracy, inference, kernels, overhead, sparse, training, transformer
from benchmarks.contest import Contestant, Result, Spread
from benchmarks.transformer_work import Attention
from benchmarks.work import Blocked, Conv, Gemm, Net, TrainingStep

LIMIT_SHARE, BEST_PEER, TWO_THREADS, INT8_GAIN = 0.85, 1.0, 1.8, 3.0
LATENCY_ONNX = {"perceptron": 3.0, "xor": 3.0, "mlp": 3.0, "cnn": 2.0, "cnn-cifar10": 1.3}
LATENCY_TORCH = {"perceptron": 10.0, "xor": 10.0, "mlp": 10.0}
THROUGHPUT_FLOAT, THROUGHPUT_INT8 = 1.0, 1.2
TRAINING = {"mlp": 2.0, "mlp-mnist": 1.2, "cnn-cifar10": 1.5}
TRAINING_THREADS = 2
FED = 0.95  # what making its batches may cost a step
ACCURACY = 1.5
QUARTER, QUARTER_GAIN = 25, 1.0
CHAIN = 1.0
GPT_STEP, TOKEN_TORCH, TOKEN_ONNX, LONG_ATTENTION, LINEAR_MEMORY = 1.2, 3.0, 1.5, 1.0, 1.0


class Target(NamedTuple):
    """One requirement. `measured` is None where a contestant failed; `case` says where, or which case was the worst."""

    name: str
    threads: int
    required: float
    measured: Spread | None
    case: str

    @property
    def reached(self) -> bool:
        return self.measured is not None and self.measured.median >= self.required


Measure = Callable[[Result], Spread | None]


def fraction(result: Result) -> Spread | None:
    """Share of the core's limit that the kernel reaches: 1 means that its FLOPs cost what the probe's do."""
    work, ours, limit = result.case.work, str(kernels.REPEATED), str(kernels.FMA_LIMIT)
    if ours not in result.times_ns or not isinstance(work, Gemm | Conv):
        return None
    per_flop = result.ratio(limit, ours)
    return Spread(*(value * work.flops for value in per_flop))


def against(peers: Sequence[Contestant], ours: Sequence[Contestant]) -> Measure:
    """The quickest peer's time over the quickest of ours."""

    def measure(result: Result) -> Spread | None:
        quickest, best = (result.quickest([str(each) for each in names]) for names in (ours, peers))
        return result.ratio(best, quickest) if quickest and best else None

    return measure


def worst(name: str, required: float, results: Iterable[Result], measure: Measure) -> list[Target]:
    """One target for all these results: what was measured is the least; nothing where there are no results."""
    found = [(measure(result), str(result.case), result.threads) for result in results]
    if not found:
        return []
    measured, case, threads = min(found, key=lambda each: each[0].median if each[0] else float("-inf"))
    return [Target(name, threads, required, measured, case)]


def of_kernels(results: Sequence[Result]) -> list[Target]:
    """Share of the limit, best peer, several threads, int8."""
    ours = [result for result in results if result.case.group == kernels.GROUP]
    single = [r for r in ours if r.threads == 1 and kernels.REPEATED in r.case.contestants]
    found: list[Target] = []
    for name in ("gemm", "conv", *kernels.GRADIENTS):
        part = [r for r in single if kind(r) == name]
        label = name if name in ("gemm", "conv") else f"conv {name}"
        found += worst(f"{label}: share of the FMA limit", LIMIT_SHARE, part, fraction)
        found += worst(f"{label}: best peer / ours", BEST_PEER, part, against(kernels.PEERS, [kernels.KERNEL]))
    many = [r for r in ours if r.threads > 1]
    for threads in sorted({r.threads for r in many}):
        part = [r for r in many if r.threads == threads]
        scaled = against([kernels.SINGLE], [kernels.KERNEL])
        found += worst("large kernels: one thread / all", TWO_THREADS * threads / 2, part, scaled)
    for result in ours:
        if kernels.INT8_KERNEL in result.case.contestants:
            measure = against([kernels.KERNEL], [kernels.INT8_KERNEL])
            found += worst(f"{result.case}: our f32 / our int8", INT8_GAIN, [result], measure)
        if kernels.PLAIN in result.case.contestants:
            measure = against([kernels.PLAIN], [kernels.INT8_KERNEL])
            found += worst(f"{result.case}: our f32, plain sums / our int8", INT8_GAIN, [result], measure)
    return found


def kind(result: Result) -> str:
    """What of kernels it is: gemm, conv, or the name of the gradient."""
    work = result.case.work
    return "gemm" if isinstance(work, Gemm) else getattr(work, "part", "").replace("forward", "conv")


def of_inference(results: Sequence[Result]) -> list[Target]:
    """Latency and throughput."""
    found: list[Target] = []
    onnx, ours = (inference.ONNX_FLOAT, inference.ONNX_INT8), (inference.PLAN, inference.INT8_PLAN)
    for result in results:
        work = result.case.work
        if result.case.group != inference.GROUP or not isinstance(work, Net) or work.name not in LATENCY_ONNX:
            continue
        if work.batch == 1:
            name = f"{work.name} latency"
            found += worst(f"{name}: onnxruntime / ours", LATENCY_ONNX[work.name], [result], against(onnx, ours))
            if work.name in LATENCY_TORCH:
                measure = against([inference.TORCH_EAGER], ours)
                found += worst(f"{name}: torch eager / ours", LATENCY_TORCH[work.name], [result], measure)
        else:
            name = f"{work.name} throughput"
            for what, required, i in (("f32", THROUGHPUT_FLOAT, 0), ("int8", THROUGHPUT_INT8, 1)):
                if ours[i] in result.case.contestants:
                    measure = against([onnx[i]], [ours[i]])
                    found += worst(f"{name} {what}: onnxruntime / ours", required, [result], measure)
    return found


def of_sparse(results: Sequence[Result]) -> list[Target]:
    """Layers with a quarter of their blocks."""
    few = [r for r in results if isinstance(r.case.work, Blocked) and r.case.work.kept == QUARTER]
    return [
        target
        for dense, blocks in sparse.PAIRS
        for target in worst(f"a quarter kept: {dense.variant} / {blocks.variant}", QUARTER_GAIN, few,
                            against([dense], [blocks]))
    ]  # fmt: skip


def of_training(results: Sequence[Result]) -> list[Target]:
    """Training steps, with two threads, and how much of one is left for the net where each has a batch of its own."""
    measure = against([training.TORCH_EAGER], training.OURS_ALL)
    steps = [r for r in results if r.case.group == training.GROUP and r.threads == TRAINING_THREADS]
    found: list[Target] = []
    for result in steps:
        if isinstance(result.case.work, TrainingStep):
            name = f"training {result.case}: torch eager / ours"
            found += worst(name, TRAINING[result.case.work.name], [result], measure)
            if training.FED in result.case.contestants:
                name = f"training {result.case}: one batch / all fed"
                found += worst(name, FED, [result], against([training.CAPTURED], [training.FED]))
    return found


def of_accuracy(results: Sequence[Result]) -> list[Target]:
    """The time of an epoch, and the time to the goal where the race has one."""
    found: list[Target] = []
    for race in accuracy.races(results):
        measure = against([accuracy.TORCH_EAGER], [accuracy.CAPTURED])
        found += worst(f"{accuracy.NET}, an epoch: torch eager / ours", ACCURACY, [race], measure)
        if race.training.goal is not None:
            name = f"{accuracy.NET} to {race.training.goal:.0%}: torch eager / ours"
            found += worst(name, ACCURACY, [race], accuracy.time_to_goal)
    return found


def of_transformer(results: Sequence[Result]) -> list[Target]:
    """A GPT's step and its single tokens, attention's time, and that its memory grows no faster than the tokens."""
    ours = [r for r in results if r.case.group == transformer.GROUP]
    steps = [r for r in ours if r.case.work == transformer.STEP and r.threads == TRAINING_THREADS]
    tokens = [r for r in ours if r.case.work == transformer.TOKEN]
    trained, readers = (transformer.EAGER, transformer.CAPTURED), (transformer.DECODER, transformer.INT8_DECODER)
    torch, onnx = [transformer.TORCH_EAGER], (transformer.ONNX_FLOAT, transformer.ONNX_INT8)
    found = worst("GPT step: torch eager / ours", GPT_STEP, steps, against(torch, trained))
    found += worst("GPT token: torch eager / ours", TOKEN_TORCH, tokens, against(torch, readers))
    found += worst("GPT token: onnxruntime / ours", TOKEN_ONNX, tokens, against(onnx, readers))
    for result in ours:
        if isinstance(result.case.work, Attention) and result.case.work.tokens == transformer.TIMED:
            measure = against(torch, [transformer.EAGER])
            found += worst(f"{result.case}: torch eager / ours", LONG_ATTENTION, [result], measure)
    return found + memory_growth(ours)


def memory_growth(results: Iterable[Result]) -> list[Target]:
    """Tokens of the longest attention over those of the shortest, over the same of their memory: 1 is linear."""
    by_tokens = {
        r.case.work.tokens: r.peak_bytes.get(str(transformer.EAGER))
        for r in results if r.threads == 1 and isinstance(r.case.work, Attention)
    }  # fmt: skip
    if len(by_tokens) < 2:
        return []
    few, many = min(by_tokens), max(by_tokens)
    small, large = by_tokens[few], by_tokens[many]
    share = many / few / (large / small) if small and large else None
    measured = None if share is None else Spread(share, share, share)
    name = "attention: growth of tokens / of memory"
    return [Target(name, 1, LINEAR_MEMORY, measured, f"{few} to {many} tokens")]


def of_overhead(results: Sequence[Result]) -> list[Target]:
    """Ops with tape."""
    chains = [r for r in results if r.case.work == overhead.CHAIN]
    return worst("chain of ops: torch eager / ours", CHAIN, chains, against([overhead.TORCH_EAGER], [overhead.EAGER]))


def evaluate(results: Sequence[Result]) -> list[Target]:
    """All targets that these results speak of."""
    parts = (of_kernels, of_sparse, of_inference, of_training, of_transformer, of_overhead, of_accuracy)
    return [target for part in parts for target in part(results)]
