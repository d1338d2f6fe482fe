"""The work in PyTorch, eager and compiled, with our weights, in whichever of its two memory formats is quicker."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Mapping
from contextlib import nullcontext
from typing import Any, TypeVar

import numpy as np
import torch

from benchmarks.libraries import Made, Unavailable, stacked
from benchmarks.libraries.training import losses, walk
from benchmarks.work import LEARNING_RATE, PADDING, Chain, Conv, Gemm, Net, TrainingStep, parameters
from profiler.clock import Runner, compare, fastest
from tinytorch.core import activations, layers, spatial
from tinytorch.core.layers import Layer, Sequential

GEOMETRY = ((1, 1), (PADDING, PADDING), (1, 1))
CHOICE_S = 0.5  # for timing each memory format, before anything counts

Name = TypeVar("Name", bound=Hashable)


def tensor(a: np.ndarray) -> torch.Tensor:
    return torch.from_numpy(np.ascontiguousarray(a))


def translated(model: Sequential) -> Any:
    """The same net with the same weights and the same mode."""
    made = torch.nn.Sequential(*[translated_layer(layer) for layer in model])
    return made.train(model.training)


def translated_layer(layer: Layer) -> Any:
    """One layer with its weights. TypeError for a kind that no net here has."""
    match layer:
        case layers.Linear():
            weight, bias = parameters(layer)
            made: Any = torch.nn.Linear(layer.in_features, layer.out_features)
            values = {"weight": weight.T, "bias": bias}
        case spatial.Conv2d():
            made = torch.nn.Conv2d(
                layer.in_channels, layer.out_channels, layer.kernel_size, layer.stride, layer.padding
            )
            values = dict(zip(("weight", "bias"), parameters(layer)))
        case spatial.BatchNorm2d():
            made = torch.nn.BatchNorm2d(layer.num_features, layer.eps, layer.momentum)
            values = {
                "weight": layer.gamma.data, "bias": layer.beta.data,
                "running_mean": layer.running_mean, "running_var": layer.running_var,
            }  # fmt: skip
        case spatial.MaxPool2d():
            return torch.nn.MaxPool2d(layer.kernel_size, layer.stride, layer.padding)
        case layers.Flatten():
            return torch.nn.Flatten()
        case activations.ReLU() | activations.Sigmoid() | activations.Tanh():
            return getattr(torch.nn, type(layer).__name__)()
        case _:
            raise TypeError(f"with_torch: no translation of {type(layer).__name__}; add one")
    state = made.state_dict()
    made.load_state_dict(state | {name: tensor(np.array(value)) for name, value in values.items()})
    return made


def quickest(candidates: Mapping[Name, Callable[[Any], Any]], query: Any, budget_s: float = CHOICE_S) -> Name:
    """The name of the quickest of functions that do the same; there are no ties, a peer is to be at its best."""
    if len(candidates) == 1:
        return next(iter(candidates))
    runners = {name: Runner(run, [query]) for name, run in candidates.items()}
    return fastest(compare(runners, budget_s=budget_s), tie=0)


def quicker(*candidates: Callable[[Any], Any], query: Any) -> Callable[[Any], Any]:
    """Of functions that do the same, the quickest."""
    return candidates[quickest(dict(enumerate(candidates)), query)]


def formats(ndim: int) -> list[Any]:
    """Memory formats that make a difference for arrays of so many axes."""
    return [torch.contiguous_format, torch.channels_last] if ndim == 4 else [torch.contiguous_format]


def gemm(work: Gemm, threads: int) -> Made:
    a, b = map(tensor, work.arrays())
    c = torch.empty_like(a)
    return Made(lambda _: torch.mm(a, b, out=c), lambda: torch.mm(a, b, out=c).numpy().copy())


def conv(work: Conv, threads: int) -> Made:
    arrays = [tensor(a) for a in work.arrays()]

    def in_format(memory_format: Any) -> Callable[[Any], torch.Tensor]:
        x, w, g = (arrays[i].to(memory_format=memory_format, copy=True) for i in (0, 1, 3))
        bias = arrays[2]
        if work.part == "forward":
            return lambda _: torch.nn.functional.conv2d(x, w, bias, padding=PADDING)
        wanted = (work.part == "input grad", work.part == "weight grad", False)
        backward = torch.ops.aten.convolution_backward
        return lambda _: backward(g, x, w, None, *GEOMETRY, False, (0, 0), 1, wanted)[wanted.index(True)]

    with torch.inference_mode():
        run = quicker(*map(in_format, formats(4)), query=None)
        return Made(run, lambda: run(None).numpy().copy(), around=torch.inference_mode)


def net(work: Net, threads: int) -> Made:
    return infer(work, lambda model: model)


def net_compiled(work: Net, threads: int) -> Made:
    """torch.compile with its defaults and frozen weights."""
    import torch._dynamo
    import torch._inductor.config as inductor

    inductor.freezing, inductor.compile_threads = True, 1
    torch._dynamo.reset()
    try:
        made = infer(work, lambda model: torch.compile(model, dynamic=False))
        made.answer()
        return made
    except Exception as error:  # whatever its compiler stumbles over
        lines = [line for line in str(error).splitlines() if line.strip()]
        raise Unavailable(f"{type(error).__name__}: {lines[0] if lines else 'no text'}") from error


def infer(work: Net, prepared: Callable[[Any], Callable[[torch.Tensor], torch.Tensor]]) -> Made:
    """Tensors in, tensor out; arrays are wrapped before, which costs nothing then."""
    queries = [tensor(x) for x in work.queries()]

    def in_format(memory_format: Any) -> Callable[[Any], torch.Tensor]:
        return translated(work.model()).to(memory_format=memory_format)

    with torch.inference_mode():
        run = prepared(quicker(*map(in_format, formats(queries[0].ndim)), query=queries[0]))

    def answer() -> np.ndarray:
        with torch.inference_mode():
            return stacked(lambda x: run(x).numpy(), queries)

    return Made(run, answer, queries, torch.inference_mode)


def step(work: TrainingStep, threads: int) -> Made:
    x, y = map(tensor, work.data())

    def in_format(memory_format: Any) -> Callable[[Any], torch.Tensor]:
        model = translated(work.model()).to(memory_format=memory_format)
        optimizer, loss_of = torch.optim.SGD(model.parameters(), lr=LEARNING_RATE), torch.nn.CrossEntropyLoss()

        def run(_: object) -> torch.Tensor:
            optimizer.zero_grad()
            loss = loss_of(model(x), y)
            loss.backward()
            optimizer.step()
            return loss

        return run

    better = quickest({each: in_format(each) for each in formats(x.ndim)}, None)
    run = in_format(better)  # from the first weights on again
    return Made(run, lambda: losses(lambda _: run(None).detach().numpy(), nullcontext))


def chain(work: Chain, threads: int) -> Made:
    start, factor, term = map(tensor, work.arrays())
    x = start.requires_grad_()

    def run(_: object) -> Any:
        return walk(x, factor, term, work.ops)

    return Made(run, lambda: run(None).numpy().copy())


IMPLEMENTATIONS = {
    (Gemm, "eager"): gemm,
    (Conv, "eager"): conv,
    (Net, "eager"): net,
    (Net, "compiled"): net_compiled,
    (TrainingStep, "eager"): step,
    (Chain, "eager"): chain,
}


def prepare(threads: int) -> None:
    """To be called once, before anything is made."""
    torch.set_num_threads(threads)
    torch.set_num_interop_threads(1)
