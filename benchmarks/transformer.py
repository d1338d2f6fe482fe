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
LONG_TEXT = 256  # tokens, from which on reading all again for each takes seconds
HEADS, TOKENS = 4, (512, 2048, 4096, 8192)  # of attention alone
TIMED = 4096  # tokens whose time is a target
QUADRATIC_UP_TO = 2048  # tokens of which NumPy's reference, which holds all scores, is asked

EAGER, CAPTURED, DECODER = (Contestant(OURS, name) for name in ("eager", "captured", "decoder"))
INT8_DECODER = Contestant(OURS, "int8 decoder", "int8")
WRITERS = tuple(Contestant(OURS, f"{how}, {what}") for how in ("eager", "compiled") for what in ("no cache", "cache"))
TORCH_EAGER, NUMPY_EAGER = Contestant(TORCH, "eager"), Contestant(NUMPY, "eager")
ONNX_FLOAT, ONNX_INT8 = Contestant(ONNX, "float32"), Contestant(ONNX, "int8", "int8")


def cases(threads: int, quick: bool) -> list[Case]:
    """What is compared: steps and long attention with every number of threads, all else with one."""
    step = Case(GROUP, STEP, (EAGER, CAPTURED, TORCH_EAGER, NUMPY_EAGER))
    if threads > 1:
        return [step, attention(TIMED)]
    readers = (EAGER, DECODER, INT8_DECODER, TORCH_EAGER, ONNX_FLOAT, ONNX_INT8)
    token = Case(GROUP, TOKEN, readers, Contestant(NUMPY, "recomputed"))
    texts = [text(count) for count in (LENGTHS[:2] if quick else LENGTHS)]
    return [step, token, *texts, *map(attention, TOKENS[:2] if quick else TOKENS)]


def text(count: int) -> Case:
    """Ours alone: what is asked is what a cache gains."""
    return Case(GROUP, Text(LONG, count), WRITERS, Contestant(NUMPY, "eager, cache"), long=count >= LONG_TEXT)


def attention(count: int) -> Case:
    """PyTorch's answer decides where NumPy's scores would take gigabytes; the tests compare both on few tokens."""
    work, small = Attention(HEADS, count), count <= QUADRATIC_UP_TO
    who = (EAGER, TORCH_EAGER, *((NUMPY_EAGER,) if small else ()))
    return Case(GROUP, work, who, NUMPY_EAGER if small else TORCH_EAGER, memory=True, long=count > TIMED)
