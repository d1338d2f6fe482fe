"""What the scripts of language models share: how a GPT is trained, how well it predicts what it has not seen, and what
their reports look at: the context, of which attention is the square.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial

import numpy as np

import tinytorch
from kernels import threads
from milestones.report import Findings, Study, training_case
from milestones.sweeps import LAST, Case, Sweep
from profiler import units
from tinytorch.core.autograd import no_grad
from tinytorch.core.dataloader import DataLoader
from tinytorch.core.losses import CrossEntropyLoss
from tinytorch.core.optimizers import AdamW
from tinytorch.core.tensor import Tensor
from tinytorch.core.training import CosineSchedule, Trainer
from tinytorch.core.transformer import GPT
from tinytorch.engine.dispatch import backend
from tinytorch.recipes import Language

Loss = Callable[[Tensor, Tensor], Tensor]
AT_ONCE = 64  # sequences that are predicted together: few enough for what lies between the layers to stay in the cache


def trainer(model: GPT, how: Language, steps: int, loss_fn: Loss, x: np.ndarray, y: np.ndarray) -> Trainer:
    """A trainer for single steps on batches like x, y. With compiled kernels its step is captured, on all cores."""
    schedule = CosineSchedule(how.max_lr, how.min_lr, steps, min(how.warmup, steps - 1))
    optimizer = AdamW(model.parameters(), how.max_lr, how.betas, weight_decay=how.weight_decay)
    captured = None
    if backend() == "numba":
        captured = tinytorch.compile_step(model, optimizer, loss_fn, x, y, threads.get_num_threads())
    return Trainer(model, optimizer, loss_fn, schedule, captured=captured)


def mean_loss(model: GPT, loss_fn: Loss, x: np.ndarray, y: np.ndarray) -> float:
    """The loss over sequences x (N, T) with targets y (N, U), each sequence counting alike."""
    total = 0.0
    with no_grad():
        for i in range(0, len(x), AT_ONCE):
            targets = y[i : i + AT_ONCE]
            total += loss_fn(model(Tensor(x[i : i + AT_ONCE])), Tensor(targets)).item() * len(targets)
    return total / len(y)


def forever(batches: DataLoader) -> Iterator[tuple[Tensor, ...]]:
    """Epoch after epoch."""
    while True:
        yield from batches


# -- the report --------------------------------------------------------------------------------------------------------

CONTEXTS = (32, 64, 128, 256, 512, 1024, 2048)


def study(trainer: Trainer, x: np.ndarray, y: np.ndarray, example: np.ndarray, longer: Callable[[int], GPT]) -> Study:
    """What the report of a language model looks at; `longer(context)` is the same network for other lengths."""
    model = trainer.model
    assert isinstance(model, GPT)
    sweep = Sweep("context", "a step of training on one text", CONTEXTS, partial(reading, longer), apart="attention")
    ours = {"width": model.embed_dim, "layers": model.num_layers}
    return Study(trainer, x, y, example, 2017, [sweep], questions, ours)


def reading(longer: Callable[[int], GPT], context: int) -> Case:
    """A step on one text of `context` tokens drawn at random."""
    model, rng = longer(context), np.random.default_rng(0)
    x, y = rng.integers(1, model.vocab_size, (2, 1, context))
    return training_case(Trainer(model, AdamW(model.parameters()), CrossEntropyLoss()), x, y)


def questions(found: Findings) -> list[str]:
    context, query = found.scaling[0], found.passes["one query"]
    first, last = context.points[0], context.points[-1]
    quadratic, every = context.fitted("attention FLOPs"), context.fitted("FLOPs")
    memory, heavy, slow = context.fitted("memory", LAST), found.largest("parameters"), found.largest("ns")
    return [
        f"Attention's FLOPs grow by an exponent of {quadratic.exponent:.2f}, all FLOPs by {every.exponent:.2f}: at "
        f"{first.size} tokens attention has {first.apart / first.flops:.0%} of them, at {last.size:,} "
        f"{last.apart / last.flops:.0%}. From which length on has it half, and what has the width to do with that?",
        f"Memory grows by {memory} over the last {LAST} lengths. Would you have expected 2, and where are the weights "
        "of attention?",
        f"{found.part('parameters', heavy):.0%} of the parameters are in {heavy}, {found.part('ns', slow):.0%} of the "
        f"time goes to {slow}. What could be left out of them, and at what price?",
        f"Reading {found.ours['inputs']:.0f} tokens takes {units.count(query.flops)} FLOPs. Written one by one "
        "without a cache of keys and values, all that stands there is read again for each: how many FLOPs are that, "
        "and how many with one?",
    ]
