"""A GPT trained, asked for single tokens and for whole texts, and attention alone over more and more tokens."""

from __future__ import annotations

from dataclasses import replace

from benchmarks.contest import Case, Contestant
from benchmarks.libraries import NUMPY, ONNX, OURS, TORCH
from benchmarks.transformer_work import Attention, Gpt, GptStep, Text, Token

GROUP = "transformer"
SHAKESPEARE = Gpt()
STEP = GptStep(SHAKESPEARE, 12)
TOKEN = Token(SHAKESPEARE, 16, 48)  # looks at 17 to 48 keys, 32.5 on average
LONG = replace(SHAKESPEARE, context=1024)
LENGTHS = (16, 64, 256, 1024)  # of texts
SECONDS_LONG = 1024  # a text of which reading it again for each token takes many seconds
ATTENTION, TIMED = 4, 4096  # heads, tokens
MEMORY = (512, 2048, 8192)  # tokens of which the memory is told, beside the time
QUADRATIC_UP_TO = 2048  # tokens of which NumPy's reference, which holds all scores, is asked

EAGER, CAPTURED, DECODER = (Contestant(OURS, name) for name in ("eager", "captured", "decoder"))
INT8_DECODER = Contestant(OURS, "int8 decoder", "int8")
WRITERS = tuple(Contestant(OURS, f"{how}, {what}") for how in ("eager", "compiled") for what in ("no cache", "cache"))
TORCH_EAGER, NUMPY_EAGER = Contestant(TORCH, "eager"), Contestant(NUMPY, "eager")
ONNX_FLOAT, ONNX_INT8 = Contestant(ONNX, "float32"), Contestant(ONNX, "int8", "int8")


def cases(threads: int, quick: bool) -> list[Case]:
    """What is compared: steps and attention with every number of threads, tokens and memory with one."""
    step = Case(GROUP, STEP, (EAGER, CAPTURED, TORCH_EAGER, NUMPY_EAGER))
    long = attention(TIMED, memory=False)
    if threads > 1:
        return [step, long]
    readers = (EAGER, DECODER, INT8_DECODER, TORCH_EAGER, ONNX_FLOAT, ONNX_INT8)
    token = Case(GROUP, TOKEN, readers, Contestant(NUMPY, "recomputed"))
    texts = [text(count) for count in (LENGTHS[:2] if quick else LENGTHS)]
    sizes = MEMORY[:2] if quick else MEMORY
    return [step, token, *texts, *([] if quick else [long]), *(attention(count, memory=True) for count in sizes)]


def text(count: int) -> Case:
    """Ours alone: what is asked is what a cache gains."""
    return Case(GROUP, Text(LONG, count), WRITERS, Contestant(NUMPY, "eager, cache"), long=count >= SECONDS_LONG)


def attention(count: int, memory: bool) -> Case:
    """PyTorch's answer decides where NumPy's scores would take gigabytes; the tests compare both on few tokens."""
    if count <= QUADRATIC_UP_TO:
        return Case(GROUP, Attention(ATTENTION, count), (EAGER, TORCH_EAGER, NUMPY_EAGER), NUMPY_EAGER, memory)
    return Case(GROUP, Attention(ATTENTION, count), (EAGER, TORCH_EAGER), TORCH_EAGER, memory, long=count > TIMED)
